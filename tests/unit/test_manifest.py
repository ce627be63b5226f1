"""Manifests, indexes and configs from somebody nobody trusts: read with the field named that is wrong, written so that the rest is kept."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any

import pytest

from cellhold.errors import ImageNotFound, ImageRefused
from cellhold.image import config, fields, manifest, mediatypes, writing
from cellhold.image.config import History
from cellhold.image.descriptor import Descriptor
from cellhold.image.manifest import Index, Manifest
from cellhold.image.platform import Platform
from cellhold.spec.digest import Digest

ONE, TWO, THREE = (Digest.of(name.encode()) for name in ("one", "two", "three"))
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
AMD64 = Platform.parse("linux/amd64")


def entry(media_type: str = mediatypes.LAYER_GZIP, digest: Digest = ONE, size: int = 7, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(digest), "size": size, **more}


def image(**more: Any) -> dict[str, Any]:
    base = {
        "schemaVersion": 2,
        "mediaType": mediatypes.MANIFEST,
        "config": entry(mediatypes.CONFIG),
        "layers": [entry(), entry(digest=TWO)],
    }
    return base | more


def index(*platforms: dict[str, str] | None) -> dict[str, Any]:
    manifests = [
        entry(mediatypes.MANIFEST, Digest.of(str(number).encode())) | ({"platform": one} if one else {})
        for number, one in enumerate(platforms)
    ]
    return {"schemaVersion": 2, "mediaType": mediatypes.INDEX, "manifests": manifests}


def settings(**more: Any) -> dict[str, Any]:
    rootfs = {"type": "layers", "diff_ids": [str(ONE), str(TWO)]}
    return {"architecture": "amd64", "os": "linux", "rootfs": rootfs} | more


def raw(document: Any) -> bytes:
    return json.dumps(document, indent=3).encode()


def parsed(document: Any) -> Manifest:
    made = manifest.parse(raw(document))
    assert isinstance(made, Manifest)
    return made


def test_a_manifest_keeps_its_bytes_and_its_digest() -> None:
    content = raw(image(annotations={"a": "b"}))
    made = manifest.parse(content, f"{mediatypes.MANIFEST}; charset=utf-8")
    assert isinstance(made, Manifest)
    assert (made.raw, made.digest, made.annotations) == (content, Digest.of(content), {"a": "b"})
    assert [layer.digest for layer in made.layers] == [ONE, TWO]
    assert made.config.size_bytes == 7


def test_dockers_schema_2_is_the_same_in_other_words() -> None:
    made = parsed(
        image(mediaType=mediatypes.DOCKER_MANIFEST, config=entry(mediatypes.DOCKER_CONFIG), layers=[entry(mediatypes.DOCKER_LAYER_GZIP)])
    )
    assert made.media_type == mediatypes.DOCKER_MANIFEST
    assert len(made.layers) == 1


@pytest.mark.parametrize("given", [None, "", "application/json", "text/plain; charset=utf-8", "application/octet-stream"])
def test_a_document_that_does_not_say_what_it_is_is_known_by_its_shape(given: str | None) -> None:
    bare = image()
    del bare["mediaType"]
    assert manifest.parse(raw(bare), given).media_type == mediatypes.MANIFEST
    bare = index(None)
    del bare["mediaType"]
    assert manifest.parse(raw(bare), given).media_type == mediatypes.INDEX


@pytest.mark.parametrize(
    ("document", "given", "sentence"),
    [
        (image(schemaVersion=1), None, "Docker's schema 1"),
        (image(), "application/vnd.docker.distribution.manifest.v1+prettyjws", "Docker's schema 1"),
        (image(schemaVersion=3), None, "manifest.schemaVersion: 3 is not 2"),
        (image(schemaVersion="2"), None, "manifest.schemaVersion: '2' is not a whole number"),
        (image(mediaType="text/html"), None, "manifest.mediaType: 'text/html' is not an image manifest"),
        ({"schemaVersion": 2}, "application/x\x1b[31m", r"manifest.mediaType: 'application/x\\x1b\[31m' is not an image manifest"),
        (image(), mediatypes.INDEX, "manifest.mediaType: .* is not the .* that it was sent as"),
        (image(manifests=[]), None, "both layers and manifests"),
        (image(layers=None), None, "manifest.layers: it is missing"),
        (image(layers={}), None, "manifest.layers: an object is not a list"),
        (image(layers=[entry(), 3]), None, r"manifest.layers\[1\]: 3 is not an object"),
        (image(layers=[entry(size=-5)]), None, r"manifest.layers\[0\].size: -5 is not a whole number"),
        (image(layers=[entry(size=1 << 63)]), None, r"manifest.layers\[0\].size: 9223372036854775808 is not a whole number"),
        (image(layers=[entry() | {"size": 7.0}]), None, r"manifest.layers\[0\].size: 7.0 is not a whole number"),
        (image(layers=[entry() | {"size": True}]), None, r"manifest.layers\[0\].size: True is not a whole number"),
        (image(layers=[entry() | {"digest": "sha256:../../x"}]), None, r"manifest.layers\[0\].digest: .* is not a digest"),
        (image(layers=[entry() | {"digest": None}]), None, r"manifest.layers\[0\].digest: it is missing"),
        (image(layers=[entry("application/vnd.in-toto+json")]), None, r"layers\[0\].mediaType: .*in-toto.* is not a layer"),
        (image(layers=[entry()] * 501), None, "manifest.layers: 501 layers are more than 500"),
        (image(config=entry("application/vnd.cncf.helm.config.v1+json")), None, "another kind of artifact"),
        (image(annotations={"a": 1}), None, r"manifest.annotations\['a'\]: 1 is not text"),
        (image(annotations={"a": "\ud800"}), None, r"manifest.annotations\['a'\]: '\\ud800' has characters"),
        (index({"os": "linux"}), None, r"manifest.manifests\[0\].platform.architecture: it is missing"),
        ([], None, "it is a list, not a JSON object"),
    ],
)
def test_a_manifest_that_is_not_sound_is_refused_with_the_field_named(document: Any, given: str | None, sentence: str) -> None:
    with pytest.raises(ImageRefused, match=sentence) as caught:
        manifest.parse(raw(document), given)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not valid JSON"),
        (b"\xff{}", "not valid JSON"),
        (b'{"schemaVersion": 2, "layers": [], "layers": []}', "the key layers appears twice"),
        (b'{"schemaVersion": NaN}', "NaN is not a number"),
        (b'{"schemaVersion": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"schemaVersion": 2}' + b" " * manifest.MOST_BYTES, "bytes are more than"),
    ],
    ids=["empty", "no UTF-8", "twice", "NaN", "huge number", "deep", "long"],
)
def test_bytes_that_two_readers_could_read_differently_are_refused(content: bytes, sentence: str) -> None:
    with pytest.raises(ImageRefused, match=sentence):
        manifest.parse(content)


@pytest.mark.parametrize(
    ("platforms", "chosen"),
    [
        ([{"os": "linux", "architecture": "arm64"}, {"os": "linux", "architecture": "amd64"}], 1),
        ([{"os": "linux", "architecture": "amd64"}, {"os": "linux", "architecture": "amd64"}], 0),
        ([{"os": "unknown", "architecture": "unknown"}, {"os": "linux", "architecture": "amd64", "variant": ""}], 1),
        ([None, {"os": "linux", "architecture": "amd64"}], 1),
        ([{"os": "linux", "architecture": "arm64"}, None], 1),
    ],
)
def test_the_image_for_this_platform_is_chosen(platforms: list[dict[str, str] | None], chosen: int) -> None:
    made = manifest.parse(raw(index(*platforms)))
    assert isinstance(made, Index)
    assert made.choose(AMD64) is made.manifests[chosen]


def test_without_an_image_for_this_platform_the_others_are_named() -> None:
    made = manifest.parse(raw(index({"os": "linux", "architecture": "arm", "variant": "v7"}, {"os": "unknown", "architecture": "unknown"})))
    assert isinstance(made, Index)
    with pytest.raises(ImageNotFound, match=r"for linux/amd64: the index has 'linux/arm/v7'\n"):
        made.choose(AMD64)


def test_a_config_says_how_the_image_runs() -> None:
    run: dict[str, Any] = {
        "Env": ["A=b=c"],
        "Entrypoint": None,
        "Cmd": ["sh"],
        "WorkingDir": "/srv",
        "User": "1000:1000",
        "Labels": {"a": "b"},
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}},
        "StopSignal": "SIGINT",
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30_000_000_000, "Timeout": 0, "StartInterval": 500_000_000, "Retries": 3},
        "OnBuild": ["RUN make", "CMD run"],
    }
    made = config.parse(raw(settings(config=run, created="2026-01-31T12:00:00.123456789Z", variant="v2")), layers=2)
    assert (made.env, made.entrypoint, made.cmd, made.working_dir, made.user) == (("A=b=c",), None, ("sh",), "/srv", "1000:1000")
    assert (made.labels, made.exposed_ports, made.volumes, made.stop_signal) == ({"a": "b"}, ("80/tcp",), ("/data",), "SIGINT")
    assert made.healthcheck == config.Healthcheck(test=("CMD", "true"), interval_seconds=30, start_interval_seconds=0.5, retries=3)
    assert made.on_build == ("RUN make", "CMD run")
    assert made.created == NOON.replace(microsecond=123456)
    assert (str(made.platform), made.diff_ids) == ("linux/amd64/v2", (ONE, TWO))


def test_a_config_may_say_next_to_nothing() -> None:
    made = config.parse(raw(settings(config=None, history=None)))
    assert (made.env, made.cmd, made.shell, made.working_dir, made.created, made.history) == ((), None, None, "", None, ())
    assert made.layer_history() == (None, None)


def test_the_history_is_put_beside_the_layers_that_it_made() -> None:
    history = [{"created_by": "ADD"}, {"created_by": "ENV", "empty_layer": True}, {"created_by": "RUN"}]
    first, second = config.parse(raw(settings(history=history))).layer_history()
    assert first is not None
    assert second is not None
    assert (first.created_by, second.created_by) == ("ADD", "RUN")


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (settings(architecture=None), "config.architecture: it is missing"),
        (settings(rootfs=None), "config.rootfs.type: it is missing"),
        (settings(rootfs={"type": "layers", "diff_ids": [str(ONE)]}), "config.rootfs.diff_ids: it has 1 layers, its manifest has 2"),
        (settings(rootfs={"type": "windows"}), "config.rootfs.type: 'windows' is not 'layers'"),
        (settings(rootfs={"type": "layers", "diff_ids": ["x"]}), r"config.rootfs.diff_ids\[0\]: 'x' is not a digest"),
        (settings(config={"Env": "A=b"}), "config.config.Env: 'A=b' is not a list"),
        (settings(config={"Env": ["A=\0"]}), r"config.config.Env\[0\]: 'A=\\x00' has characters"),
        (settings(config={"Cmd": [["sh"]]}), r"config.config.Cmd\[0\]: a list is not text"),
        (settings(config={"OnBuild": "RUN x"}), "config.config.OnBuild: 'RUN x' is not a list"),
        (settings(config={"Healthcheck": {"Interval": -1}}), "config.config.Healthcheck.Interval: -1 is not a whole number"),
        (settings(created="yesterday"), "config.created: 'yesterday' is not a time"),
        (settings(created="2026-01-31T12:00:00"), "is not a time"),
        (settings(history=[{"empty_layer": "yes"}]), r"config.history\[0\].empty_layer: 'yes' is neither true nor false"),
        (settings(history=[{"created_by": "x" * 9000, "comment": 1}]), r"config.history\[0\].comment: 1 is not text"),
    ],
)
def test_a_config_that_is_not_sound_is_refused_with_the_field_named(document: Any, sentence: str) -> None:
    with pytest.raises(ImageRefused, match=sentence):
        config.parse(raw(document), layers=2)


def test_chain_ids_are_those_of_the_specification() -> None:
    first, second, third = config.chain_ids((ONE, TWO, THREE))
    assert first == ONE
    assert second == Digest.of(f"{ONE} {TWO}".encode())
    assert third == Digest.of(f"{second} {THREE}".encode())
    assert config.chain_ids(()) == ()


def test_a_changed_config_keeps_what_nobody_knows() -> None:
    base = config.parse(
        raw(settings(config={"Env": ["A=b"], "OnBuild": ["RUN x"]}, history=[{"created_by": "ADD", "x": 1}], foo={"bar": 1}))
    )
    entry_ = History(created=NOON, created_by="commit")
    changes = {"Cmd": ["sh"], "OnBuild": None}
    made = writing.changed_config(base, diff_ids=(*base.diff_ids, THREE), history=[entry_], created=NOON, settings=changes)
    document = json.loads(made.raw)
    assert document["foo"] == {"bar": 1}
    assert document["config"] == {"Env": ["A=b"], "Cmd": ["sh"]}
    assert document["history"] == [{"created_by": "ADD", "x": 1}, {"created": "2026-01-31T12:00:00Z", "created_by": "commit"}]
    assert made.diff_ids == (ONE, TWO, THREE)
    assert made.created == NOON


def test_a_changed_manifest_speaks_the_words_of_its_base() -> None:
    old = parsed(
        image(
            mediaType=mediatypes.DOCKER_MANIFEST,
            config=entry(mediatypes.DOCKER_CONFIG),
            layers=[entry(mediatypes.DOCKER_LAYER_GZIP, x="kept")],
            y="kept",
        )
    )
    new = writing.new_config(AMD64, diff_ids=[ONE, TWO], history=[], created=NOON)
    layer = Descriptor(media_type=mediatypes.LAYER_GZIP, digest=THREE, size_bytes=5)
    made = writing.changed_manifest(old, writing.config_descriptor(new), [*old.layers, layer])
    document = json.loads(made.raw)
    assert document["y"] == document["layers"][0]["x"] == "kept"
    assert [one["mediaType"] for one in document["layers"]] == [mediatypes.DOCKER_LAYER_GZIP] * 2
    assert document["config"] == entry(mediatypes.DOCKER_CONFIG, new.digest, len(new.raw))


def test_a_new_manifest_is_read_as_it_was_written() -> None:
    new = writing.new_config(AMD64, diff_ids=[ONE], history=[History(created_by="import")], created=NOON, settings={"Cmd": ["sh"]})
    layer = Descriptor(media_type=mediatypes.LAYER_ZSTD, digest=ONE, size_bytes=5, annotations={"a": "\N{SNOWMAN}"})
    made = writing.new_manifest(writing.config_descriptor(new), [layer], annotations={"b": "c"})
    assert made == manifest.parse(made.raw, mediatypes.MANIFEST)
    assert made.layers == (layer,)
    assert b" " not in made.raw


def test_what_is_no_manifest_is_not_written() -> None:
    layer = Descriptor(media_type="text/plain", digest=ONE, size_bytes=5)
    with pytest.raises(ImageRefused, match=r"manifest.layers\[0\].mediaType"):
        writing.new_manifest(Descriptor(media_type=mediatypes.CONFIG, digest=TWO, size_bytes=2), [layer])


def test_words_of_a_command_line_that_are_no_unicode_are_marked_in_what_is_written() -> None:
    assert fields.canonical({"comment": os.fsdecode(b"caf\xe9")}) == b'{"comment":"caf\xef\xbf\xbd"}'
