"""The registry client and a registry that lies, fails, cuts, drips and redirects: each is one sentence, or is got over."""

from __future__ import annotations

import itertools
import json
import time
from typing import TYPE_CHECKING

import pytest

from cellhold.errors import ImageNotFound, ImageRefused, RegistryFailed
from cellhold.image import mediatypes
from cellhold.image.descriptor import Descriptor
from cellhold.image.registry import Logins, Registry, Settings
from cellhold.image.registry.settings import Section
from cellhold.spec.digest import Digest
from liar import Answer, Liar
from registry_samples import BLOB, LAYER, MANIFEST, PLACE, QUICK, RAW

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from liar import Asked


@pytest.fixture
def registry(liar: Liar, tmp_path: Path) -> Iterator[Registry]:
    with Registry(liar.host, credentials=Logins(tmp_path / "none"), settings=Settings(patience=QUICK)) as one:
        yield one


def cut(body: bytes, *, whole: int, status: int = 200, **headers: str) -> Answer:
    """An answer that says it has `whole` bytes, and ends after `body`."""
    return Answer(status=status, body=body, headers={"Content-Length": str(whole)} | {k.replace("_", "-"): v for k, v in headers.items()})


def part(asked: Asked) -> Answer:
    """What an honest registry gives for a range."""
    start = int(asked.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    return Answer(status=206, body=BLOB[start:], headers={"Content-Range": f"bytes {start}-{len(BLOB) - 1}/{len(BLOB)}"})


# ------------------------------------------------------------------------------------------------------------------ manifests


def test_a_manifest_comes_as_it_is_with_its_digest(liar: Liar, registry: Registry) -> None:
    liar.says(
        "GET", MANIFEST, Answer(body=RAW, headers={"Content-Type": mediatypes.MANIFEST, "Docker-Content-Digest": str(Digest.of(RAW))})
    )
    assert registry.manifest("x", "1") == (RAW, mediatypes.MANIFEST, Digest.of(RAW))
    assert mediatypes.DOCKER_INDEX in liar.asked[0].headers["Accept"]


@pytest.mark.parametrize("reference", ["1", str(Digest.of(b"other"))])
def test_a_manifest_with_another_digest_is_refused(liar: Liar, registry: Registry, reference: str) -> None:
    liar.says("GET", f"/v2/x/manifests/{reference}", Answer(body=RAW, headers={"Docker-Content-Digest": str(Digest.of(b"other"))}))
    with pytest.raises(ImageRefused, match=f"it was to be '{Digest.of(b'other')}' and is {Digest.of(RAW)}"):
        registry.manifest("x", reference)


def test_a_header_cannot_vouch_for_another_digest_than_was_asked_for(liar: Liar, registry: Registry) -> None:
    asked = Digest.of(b"other")
    liar.says("GET", f"/v2/x/manifests/{asked}", Answer(body=RAW, headers={"Docker-Content-Digest": str(Digest.of(RAW))}))
    with pytest.raises(ImageRefused, match="it was to be"):
        registry.manifest("x", str(asked))


def test_a_manifest_can_be_asked_for_by_sha512(liar: Liar, registry: Registry) -> None:
    name = f"sha512:{Digest('sha512', '').hasher().hexdigest()}"
    liar.says("GET", f"/v2/x/manifests/{name}", Answer(body=b""))
    assert str(registry.manifest("x", name).digest) == name


def test_an_endless_manifest_is_refused_before_it_fills_the_memory(liar: Liar, registry: Registry) -> None:
    liar.says("GET", MANIFEST, Answer(pieces=lambda: itertools.repeat(bytes(1 << 16))))
    with pytest.raises(ImageRefused, match="longer than 4194304 bytes"):
        registry.manifest("x", "1")


def test_a_dripping_manifest_is_given_up(liar: Liar, registry: Registry) -> None:
    def drip() -> Iterator[bytes]:
        while True:
            time.sleep(0.05)
            yield b" "

    liar.says("GET", MANIFEST, Answer(pieces=drip))
    start = time.monotonic()
    with pytest.raises(RegistryFailed, match=r"only \d+ bytes came in"):
        registry.manifest("x", "1")
    assert time.monotonic() - start < 60


def test_no_such_manifest_is_no_such_image(liar: Liar, registry: Registry) -> None:
    body = json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest \x1b[31munknown"}]}).encode()
    liar.says("GET", MANIFEST, Answer(status=404, body=body))
    with pytest.raises(ImageNotFound, match=rf"cannot get the manifest x:1 at {liar.host}: it answers 404 \(MANIFEST_UNKNOWN: ") as caught:
        registry.manifest("x", "1")
    assert str(caught.value).isprintable()


# ------------------------------------------------------------------------------------------------------------- failures and tries


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_failure_that_passes_is_got_over(liar: Liar, registry: Registry, status: int) -> None:
    liar.says("GET", MANIFEST, Answer(status=status), Answer(status=status), Answer(body=RAW))
    assert registry.manifest("x", "1").raw == RAW


@pytest.mark.parametrize("status", [429, 500])
def test_a_failure_that_does_not_pass_is_told(liar: Liar, registry: Registry, status: int) -> None:
    liar.says("GET", MANIFEST, Answer(status=status, body=b"x" * 100_000))
    with pytest.raises(RegistryFailed, match=f"it answers {status}") as caught:
        registry.manifest("x", "1")
    assert caught.value.status == status
    assert len(liar.asked) == QUICK.tries
    assert len(str(caught.value)) < 400


def test_a_retry_after_is_waited_for(liar: Liar, registry: Registry) -> None:
    liar.says("GET", MANIFEST, Answer(status=429, headers={"Retry-After": "1"}), Answer(body=RAW))
    start = time.monotonic()
    registry.manifest("x", "1")
    assert time.monotonic() - start >= 1


def test_a_retry_after_of_an_hour_is_not(liar: Liar, registry: Registry) -> None:
    liar.says("GET", MANIFEST, Answer(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(RegistryFailed, match="it answers 429"):
        registry.manifest("x", "1")
    assert len(liar.asked) == 1


@pytest.mark.parametrize("status", [400, 403, 405, 418])
def test_a_refusal_is_not_repeated(liar: Liar, registry: Registry, status: int) -> None:
    liar.says("GET", MANIFEST, Answer(status=status))
    with pytest.raises(RegistryFailed, match=f"it answers {status}"):
        registry.manifest("x", "1")
    assert len(liar.asked) == 1


def test_a_registry_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    settings = Settings(patience=QUICK)
    with (
        Registry("127.0.0.1:9", credentials=Logins(tmp_path / "none"), settings=settings) as registry,
        pytest.raises(RegistryFailed, match=r"cannot get the manifest x:1 at 127.0.0.1:9: it cannot be reached") as caught,
    ):
        registry.manifest("x", "1")
    assert caught.value.status is None


def test_a_registry_that_speaks_no_tls_says_which_setting_allows_that(liar: Liar, tmp_path: Path) -> None:
    settings = Settings(patience=QUICK, sections={liar.host: Section(insecure=False)})
    with (
        Registry(liar.host, credentials=Logins(tmp_path / "none"), settings=settings) as registry,
        pytest.raises(RegistryFailed, match="no safe connection") as caught,
    ):
        registry.manifest("x", "1")
    assert "insecure = true" in str(caught.value.hint)


# --------------------------------------------------------------------------------------------------------------------- redirects


def test_a_redirect_to_another_host_is_followed(liar: Liar, registry: Registry) -> None:
    with Liar("127.0.0.2") as storage:
        liar.says("GET", PLACE, Answer(status=307, headers={"Location": f"{storage.url}/there?signature=x"}))
        storage.says("GET", "/there", Answer(body=BLOB))
        assert b"".join(registry.blob("x", LAYER)) == BLOB


def test_a_redirect_loop_ends(liar: Liar, registry: Registry) -> None:
    liar.says("GET", MANIFEST, Answer(status=302, headers={"Location": MANIFEST}))
    with pytest.raises(RegistryFailed, match="it redirects more than 5 times"):
        registry.manifest("x", "1")
    assert len(liar.asked) == 6


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("file:///etc/passwd", "'file:///etc/passwd', which is not an http or https address"),
        ("ftp://127.0.0.1/x", "not an http or https address"),
        ("http://user:password@127.0.0.1/", "not an http or https address"),
        ("http://[::1/", "not an http or https address"),
        ("http://127.0.0.1:x/", "not an http or https address"),
        ("http://registry.example/", "plain http at 'registry.example'"),
        ("http://169.254.169.254/latest", "plain http at '169.254.169.254'"),
    ],
)
def test_a_redirect_leads_to_no_other_place(liar: Liar, registry: Registry, location: str, reason: str) -> None:
    liar.says("GET", MANIFEST, Answer(status=302, headers={"Location": location}))
    with pytest.raises(RegistryFailed, match=reason):
        registry.manifest("x", "1")
    assert len(liar.asked) == 1


# ------------------------------------------------------------------------------------------------------------------------- blobs


def test_a_blob_comes_in_pieces_of_bounded_size(liar: Liar, registry: Registry) -> None:
    liar.says("GET", PLACE, Answer(body=BLOB))
    pieces = list(registry.blob("x", LAYER))
    assert b"".join(pieces) == BLOB
    assert max(map(len, pieces)) <= 256 << 10


def test_a_blob_goes_on_where_it_was_cut(liar: Liar, registry: Registry) -> None:
    liar.says("GET", PLACE, cut(BLOB[:1000], whole=len(BLOB)), part)
    assert b"".join(registry.blob("x", LAYER)) == BLOB
    assert [asked.headers["Range"] for asked in liar.asked] == [None, "bytes=1000-"]


def test_a_blob_that_is_cut_often_arrives_if_each_time_more_comes(liar: Liar, registry: Registry) -> None:
    size = 1 << 20
    big = Descriptor(media_type=mediatypes.LAYER, digest=Digest.of(bytes(6 * size)), size_bytes=6 * size)

    def some(asked: Asked) -> Answer:
        start = int((asked.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        said = f"bytes {start}-{6 * size - 1}/{6 * size}"
        return cut(bytes(size), whole=6 * size - start, status=206 if start else 200, Content_Range=said)

    liar.says("GET", f"/v2/x/blobs/{big.digest}", some)
    assert sum(map(len, registry.blob("x", big))) == big.size_bytes
    assert len(liar.asked) == 6


def test_a_blob_that_never_gets_on_is_given_up(liar: Liar, registry: Registry) -> None:
    liar.says("GET", PLACE, cut(b"", whole=len(BLOB)))
    with pytest.raises(RegistryFailed, match=f"0 of {len(BLOB)} bytes came"):
        list(registry.blob("x", LAYER))
    assert len(liar.asked) == QUICK.tries


def test_a_registry_without_ranges_is_asked_for_everything_again(liar: Liar, registry: Registry) -> None:
    liar.says("GET", PLACE, cut(BLOB[:300_000], whole=len(BLOB)), Answer(body=BLOB))
    assert b"".join(registry.blob("x", LAYER)) == BLOB


def test_a_blob_can_begin_where_an_earlier_one_ended(liar: Liar, registry: Registry) -> None:
    liar.says("GET", PLACE, part)
    assert b"".join(registry.blob("x", LAYER, start_byte=12345)) == BLOB[12345:]
    assert list(registry.blob("x", LAYER, start_byte=len(BLOB))) == []
    assert len(liar.asked) == 1


def test_another_range_than_was_asked_for_is_not_taken(liar: Liar, registry: Registry) -> None:
    liar.says("GET", PLACE, Answer(status=206, body=BLOB[5:], headers={"Content-Range": f"bytes 5-{len(BLOB) - 1}/{len(BLOB)}"}))
    with pytest.raises(RegistryFailed, match="the answer has the range 'bytes 5-"):
        list(registry.blob("x", LAYER, start_byte=10))


@pytest.mark.parametrize("body", [BLOB[:-1], BLOB + b"x"])
def test_a_blob_of_another_length_is_refused(liar: Liar, registry: Registry, body: bytes) -> None:
    liar.says("GET", PLACE, Answer(body=body))
    with pytest.raises(ImageRefused, match=f"the registry has '{len(body)}' bytes of it .*, its descriptor says {len(BLOB)}"):
        list(registry.blob("x", LAYER))


def test_a_blob_that_does_not_end_is_refused_when_it_is_too_long(liar: Liar, registry: Registry) -> None:
    liar.says("GET", PLACE, Answer(pieces=lambda: itertools.repeat(bytes(1 << 16))))
    with pytest.raises(ImageRefused, match=rf"it goes on after {len(BLOB)} bytes"):
        list(registry.blob("x", LAYER))


def test_a_dripping_blob_is_given_up(liar: Liar, registry: Registry) -> None:
    def drip() -> Iterator[bytes]:
        for byte in BLOB:
            time.sleep(0.02)
            yield bytes((byte,))

    liar.says("GET", PLACE, Answer(pieces=drip))
    with pytest.raises(RegistryFailed, match=r"only \d+ bytes came in"):
        list(registry.blob("x", LAYER))


def test_a_slow_reader_is_no_slow_registry(liar: Liar, registry: Registry) -> None:
    liar.says("GET", PLACE, Answer(body=BLOB))
    size = 0
    for piece in registry.blob("x", LAYER):
        time.sleep(0.05)
        size += len(piece)
    assert size == len(BLOB)


# ----------------------------------------------------------------------------------------------------------------------- mirrors


@pytest.fixture
def mirrored(liar: Liar, tmp_path: Path) -> Iterator[tuple[Liar, Registry]]:
    """A mirror, and the client of a registry that has it."""
    with Liar() as mirror:
        settings = Settings(patience=QUICK, sections={liar.host: Section(mirrors=(mirror.url,))})
        with Registry(liar.host, credentials=Logins(tmp_path / "none"), settings=settings) as registry:
            yield mirror, registry


def test_a_mirror_is_asked_first(liar: Liar, mirrored: tuple[Liar, Registry]) -> None:
    mirror, registry = mirrored
    mirror.says("GET", MANIFEST, Answer(body=RAW))
    mirror.says("GET", PLACE, Answer(body=BLOB))
    assert registry.manifest("x", "1").raw == RAW
    assert b"".join(registry.blob("x", LAYER)) == BLOB
    assert liar.asked == []


def test_the_registry_goes_on_where_a_mirror_fails(liar: Liar, mirrored: tuple[Liar, Registry]) -> None:
    mirror, registry = mirrored
    mirror.says("GET", MANIFEST, Answer(body=b"another", headers={"Docker-Content-Digest": str(Digest.of(RAW))}))
    liar.says("GET", MANIFEST, Answer(body=RAW))
    assert registry.manifest("x", "1").raw == RAW
    mirror.says("GET", PLACE, cut(BLOB[:1000], whole=len(BLOB)), Answer(status=403))
    liar.says("GET", PLACE, part)
    assert b"".join(registry.blob("x", LAYER)) == BLOB
    assert liar.asked[-1].headers["Range"] == "bytes=1000-"


def test_what_neither_has_is_told_of_the_registry(liar: Liar, mirrored: tuple[Liar, Registry]) -> None:
    with pytest.raises(ImageNotFound, match=f"at {liar.host}: it answers 404"):
        mirrored[1].manifest("x", "1")


# ---------------------------------------------------------------------------------------------------------------------------- tags


def test_tags_come_page_by_page(liar: Liar, registry: Registry) -> None:
    def page(asked: Asked) -> Answer:
        if "last=b" in asked.path:
            return Answer(body=b'{"name": "x", "tags": ["c"]}')
        return Answer(body=b'{"name": "x", "tags": ["a", "b"]}', headers={"Link": '</v2/x/tags/list?n=2&last=b>; rel="next"'})

    liar.says("GET", "/v2/x/tags/list", page)
    assert registry.tags("x") == ("a", "b", "c")


@pytest.mark.parametrize("body", [b"[]", b'{"tags": [1]}', b'{"tags": "x"}', b"<html>"])
def test_a_list_of_tags_that_is_none_is_told(liar: Liar, registry: Registry, body: bytes) -> None:
    liar.says("GET", "/v2/x/tags/list", Answer(body=body))
    with pytest.raises(RegistryFailed, match="cannot list the tags of x"):
        registry.tags("x")


def test_pages_without_end_end(liar: Liar, registry: Registry) -> None:
    liar.says("GET", "/v2/x/tags/list", Answer(body=b'{"tags": ["a"]}', headers={"Link": '</v2/x/tags/list>; rel="next"'}))
    with pytest.raises(RegistryFailed, match="more than 100 pages"):
        registry.tags("x")
