"""Pushes by the registry client: what is there already is not sent, what is sent is checked, and each failure is one sentence."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from cellhold.errors import RegistryFailed
from cellhold.image import mediatypes
from cellhold.image.registry import Logins, Registry, Settings, Way
from cellhold.image.registry.settings import Section
from cellhold.spec.digest import Digest
from liar import Answer
from registry_samples import BLOB, LAYER, MANIFEST, PLACE, QUICK, RAW

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from liar import Liar


@pytest.fixture
def registry(liar: Liar, tmp_path: Path) -> Iterator[Registry]:
    with Registry(liar.host, credentials=Logins(tmp_path / "none"), settings=Settings(patience=QUICK)) as one:
        yield one


# -------------------------------------------------------------------------------------------------------------------------- pushes


def test_a_blob_that_is_there_is_not_pushed(liar: Liar, registry: Registry) -> None:
    liar.says("HEAD", PLACE, Answer())
    told: list[int] = []
    assert registry.push_blob("x", LAYER, lambda: io.BytesIO(BLOB), tell=told.append) is Way.WAS_THERE
    assert [asked.method for asked in liar.asked] == ["HEAD"]
    assert told == []


def test_a_blob_of_another_repository_is_mounted(liar: Liar, registry: Registry) -> None:
    liar.says("POST", "/v2/x/blobs/uploads/", Answer(status=201))
    assert registry.push_blob("x", LAYER, lambda: io.BytesIO(BLOB), mount_from="other") is Way.MOUNTED
    query = parse_qs(urlsplit(liar.asked[-1].path).query)
    assert query == {"mount": [str(LAYER.digest)], "from": ["other"]}


def test_a_blob_is_pushed_in_one_request_and_anew_after_a_failure(liar: Liar, registry: Registry) -> None:
    liar.says("POST", "/v2/x/blobs/uploads/", Answer(status=202, headers={"Location": "/upload/7?state=a"}))
    liar.says("PUT", "/upload/7", Answer(status=500), Answer(status=201))
    told: list[int] = []
    assert registry.push_blob("x", LAYER, lambda: io.BytesIO(BLOB), tell=told.append) is Way.SENT
    assert [asked.method for asked in liar.asked] == ["HEAD", "POST", "PUT", "POST", "PUT"]
    assert liar.asked[-1].body == BLOB
    assert parse_qs(urlsplit(liar.asked[-1].path).query) == {"state": ["a"], "digest": [str(LAYER.digest)]}
    assert told[-1] == len(BLOB)


def test_a_blob_is_pushed_in_chunks_where_that_is_configured(liar: Liar, tmp_path: Path) -> None:
    settings = Settings(patience=QUICK, sections={liar.host: Section(push_chunk_bytes=1_500_000)})
    liar.says("POST", "/v2/x/blobs/uploads/", Answer(status=202, headers={"Location": "/upload/1"}))
    liar.says("PATCH", "/upload/1", Answer(status=202, headers={"Location": "/upload/2"}))
    liar.says("PUT", "/upload/2", Answer(status=201))
    with Registry(liar.host, credentials=Logins(tmp_path / "none"), settings=settings) as registry:
        registry.push_blob("x", LAYER, lambda: io.BytesIO(BLOB))
    patch, put = liar.asked[-2:]
    assert patch.headers["Content-Range"] == "0-1499999"
    assert put.headers["Content-Range"] == f"1500000-{len(BLOB) - 1}"
    assert patch.body + put.body == BLOB


def test_a_file_that_is_shorter_than_its_descriptor_is_not_pushed(liar: Liar, registry: Registry) -> None:
    liar.says("POST", "/v2/x/blobs/uploads/", Answer(status=202, headers={"Location": "/upload/7"}))
    with pytest.raises(RegistryFailed, match="its file ends after 5 of"):
        registry.push_blob("x", LAYER, lambda: io.BytesIO(b"short"))


def test_a_manifest_is_pushed_as_it_is(liar: Liar, registry: Registry) -> None:
    liar.says("PUT", MANIFEST, Answer(status=201, headers={"Docker-Content-Digest": str(Digest.of(RAW))}))
    registry.push_manifest("x", "1", RAW, mediatypes.MANIFEST)
    assert (liar.asked[0].body, liar.asked[0].headers["Content-Type"]) == (RAW, mediatypes.MANIFEST)


def test_a_registry_that_takes_another_manifest_than_was_pushed_is_told(liar: Liar, registry: Registry) -> None:
    liar.says("PUT", MANIFEST, Answer(status=201, headers={"Docker-Content-Digest": str(Digest.of(b"other"))}))
    with pytest.raises(RegistryFailed, match="it has understood"):
        registry.push_manifest("x", "1", RAW, mediatypes.MANIFEST)
