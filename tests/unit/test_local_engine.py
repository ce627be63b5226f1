"""The engine of this host, before anything is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cellhold.errors import CellholdError
from cellhold.spec.spec import Spec
from cellhold_kernel.engine.local.engine import LocalEngine

if TYPE_CHECKING:
    from cellhold_kernel.engine.local.container import LocalContainer


def never(_spec: Spec) -> LocalContainer:
    """Stand for Container.create, which nothing here calls."""
    raise AssertionError


def test_a_network_that_is_not_there_is_named_before_an_image_is_pulled_for_it() -> None:
    engine = LocalEngine(never)
    with pytest.raises(CellholdError, match="nowhere"):
        engine.check(Spec(image="registry.example/not/here:1", args=("true",), network="nowhere"))


def test_an_image_that_is_here_is_left_to_create_which_says_it_at_once() -> None:
    LocalEngine(never).check(Spec(image="host", args=("true",), network="nowhere"))
