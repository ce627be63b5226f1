"""What the build cache refers to is found in a time that grows with its steps."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from cellhold.image import tags
from cellhold.spec.digest import Digest
from cellhold.store.builds import Taken
from cellhold.store.home import open_home
from cellhold.store.layers import LayerFacts, Layers

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

STEPS = 100


def test_each_layer_of_a_long_build_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, parent = open_home(tmp_path / "s"), None
    chains = [Digest.of(b"%d" % number) for number in range(STEPS)]
    for number, chain in enumerate(chains):
        with home.layers.draft(chain) as draft:
            assert draft is not None
            draft.keep(LayerFacts(diff_id=str(chain), parent=parent, size_bytes=1, entries=1))
        home.builds.put(f"{number:064x}", Taken(created=1.0, chain_id=chain))
        parent = str(chain)
    looked: Counter[Digest] = Counter()
    facts = Layers.facts

    def counted(layers: Layers, chain: Digest) -> LayerFacts:
        looked[chain] += 1
        return facts(layers, chain)

    monkeypatch.setattr(Layers, "facts", counted)
    assert tags.by_builds(home).layers == set(chains)
    assert max(looked.values()) <= 2  # whether it is there, and what is below it
