"""registries.toml: how registries are reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cellhold.errors import InvalidSpec, NotSupported
from cellhold.image.registry import Logins, Registry, Settings
from cellhold.image.registry.patience import retry_after
from cellhold.image.registry.settings import Endpoint, default_paths

if TYPE_CHECKING:
    from pathlib import Path


def settings(tmp_path: Path, *texts: str) -> Settings:
    paths = [tmp_path / f"{number}.toml" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return Settings.read([*paths, tmp_path / "none"])


@pytest.mark.parametrize(
    ("registry", "url"),
    [
        ("quay.io", "https://quay.io"),
        ("docker.io", "https://registry-1.docker.io"),
        ("localhost:5000", "http://localhost:5000"),
        ("localhost", "http://localhost"),
        ("127.8.8.8:1", "http://127.8.8.8:1"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("localhost.example", "https://localhost.example"),
        ("128.0.0.1:5000", "https://128.0.0.1:5000"),
    ],
)
def test_only_this_machine_is_asked_without_tls_by_itself(registry: str, url: str) -> None:
    assert Settings().endpoint(registry).url == url


def test_the_users_file_is_over_the_machines_key_by_key(tmp_path: Path) -> None:
    machine = '[registry."r:1"]\ninsecure = true\nca = "/a"\n[registry."localhost:2"]\ninsecure = false'
    read = settings(tmp_path, machine, '[registry."r:1"]\nca = "/b"\npush-chunk = "1m"')
    assert read.endpoint("r:1") == Endpoint(name="r:1", url="http://r:1", login="r:1", ca="/b")
    assert read.endpoint("localhost:2").url == "https://localhost:2"
    assert read.section("r:1").push_chunk_bytes == 1 << 20


def test_mirrors_are_addresses_in_their_order(tmp_path: Path) -> None:
    read = settings(tmp_path, '[registry."docker.io"]\nmirrors = ["https://m.example/", "http://localhost:1"]')
    assert [one.url for one in read.mirrors("docker.io")] == ["https://m.example", "http://localhost:1"]
    assert read.mirrors("quay.io") == ()


def test_a_mirror_without_tls_wants_to_be_allowed(tmp_path: Path) -> None:
    text = '[registry."docker.io"]\nmirrors = ["http://m.example"]\n'
    with pytest.raises(InvalidSpec, match="plain http is not allowed for it") as caught:
        settings(tmp_path, text).mirrors("docker.io")
    assert str(caught.value.hint).startswith('[registry."m.example"] insecure = true')
    assert settings(tmp_path, text + '[registry."m.example"]\ninsecure = true').mirrors("docker.io")[0].is_plain


@pytest.mark.parametrize(
    "text",
    [
        "registry = 1",
        "[other]",
        "[",
        "registry.x = 1",
        '[registry."r"]\ninsecure = "yes"',
        '[registry."r"]\nmirrors = "https://m"',
        '[registry."r"]\nmirrors = ["m.example"]',
        '[registry."r"]\nmirrors = ["https://user:password@m"]',
        '[registry."r"]\nmirrors = [1]',
        '[registry."r"]\nother = 1',
        '[registry."r"]\npush-chunk = "much"',
    ],
)
def test_a_file_that_cannot_be_understood_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidSpec, match=str(tmp_path / "0.toml")):
        settings(tmp_path, text)


def test_the_files_are_the_machines_and_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/x")
    assert [str(path) for path in default_paths()] == ["/etc/cellhold/registries.toml", "/x/cellhold/registries.toml"]


def test_a_file_of_certificates_that_is_none_is_named(tmp_path: Path) -> None:
    read = settings(tmp_path, f'[registry."localhost:1"]\ninsecure = false\nca = "{tmp_path}/0.toml"')
    with (
        Registry("localhost:1", credentials=Logins(tmp_path / "none"), settings=read) as registry,
        pytest.raises(NotSupported, match="cannot trust ca = "),
    ):
        registry.manifest("x", "1")


@pytest.mark.parametrize(
    ("header", "seconds"), [("5", 5.0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0), ("", None), ("-1", None), ("soon", None), (None, None)]
)
def test_retry_after_is_read_in_both_its_forms(header: str | None, seconds: float | None) -> None:
    assert retry_after(header) == seconds
