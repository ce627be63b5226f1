"""What a notebook may say of packages: names, never places; and which index is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cellhold.errors import InvalidSpec
from cellhold_kernel.images.packages import index, lock
from cellhold_kernel.settings.requirements import MOST, parse_list

if TYPE_CHECKING:
    from pathlib import Path

LOCK = """
version = 1
[options]
exclude-newer = "2026-01-02T00:00:00Z"
[[package]]
name = "Small_One"
version = "1.0"
wheels = [{ url = "http://evil.example/small_one-1.0-py3-none-any.whl", hash = "sha256:%s" }]
""" % ("a" * 64)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("polars, seaborn>=0.13", ["polars", "seaborn>=0.13"]),
        ("seaborn >= 0.13, < 1, Jax[CPU, gpu_x],z", ["jax[cpu,gpu-x]", "seaborn>=0.13,<1", "z"]),
        ("a\nb\n", ["a", "b"]),
        ("x; python_version < '3.9', y", ['x; python_version < "3.9"', "y"]),
        ("polars, polars<1, polars", ["polars<1"]),
        ("polars<1, polars>=1", ["polars>=1"]),
        ("", []),
    ],
)
def test_requirements_are_read_in_the_order_of_their_names(text: str, means: list[str]) -> None:
    assert [one.text for one in parse_list(text)] == means


@pytest.mark.parametrize(
    "text",
    [
        "-r requirements.txt",
        "--index-url=http://evil.example",
        "polars @ http://evil.example/polars.whl",
        "polars@file:///etc/passwd",
        "http://evil.example/polars.whl",
        "./polars",
        "/srv/polars",
        "git+https://evil.example/polars",
        "polars seaborn",
        "polars===1",
        "polars>=",
        "x[",
        "p\u03bflars",
        "a\0b",
        "a\u2028b",
        "*",
        "a" * 600,
        'x; python_version < "3" ]\n[tool.uv',
    ],
)
def test_what_is_no_name_with_versions_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"^cannot use packages"):
        parse_list(text)


def test_a_set_has_a_bound() -> None:
    with pytest.raises(InvalidSpec, match="201 packages"):
        parse_list(",".join(f"p{number}" for number in range(MOST + 1)))


def test_a_lock_is_believed_about_names_versions_and_hashes_alone() -> None:
    pins = lock.pins(LOCK)
    assert pins == lock.Pins(versions={"small-one": ("1.0",)}, hashes=frozenset({"a" * 64}), exclude_newer="2026-01-02T00:00:00Z")
    assert list(pins.constraints()) == ["small-one==1.0"]


@pytest.mark.parametrize(
    "text",
    [
        "no toml",
        "package = 1",
        LOCK.replace('"1.0"', '"1.0\\n[tool.uv]"'),
        LOCK.replace("Small_One", "../x"),
        LOCK.replace("sha256:", "md5:"),
        LOCK.replace("2026-01-02T", "soon T"),
        "a = " + "[" * 5000,
        "#" * (lock.LARGEST + 1),
    ],
)
def test_a_lock_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"^cannot use"):
        lock.pins(text)


def test_one_index_holds_the_policys_before_variables_before_files(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path)}
    assert index.configured(env=env) == index.PYPI
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".config/pip/pip.conf").write_text(
        "[install]\nextra-index-url = http://more.example\n[global]\nindex-url = http://pip.example/\n"
    )
    assert index.configured(env=env) == "http://pip.example"
    (tmp_path / ".config/uv").mkdir()
    (tmp_path / ".config/uv/uv.toml").write_text(
        '[[index]]\nurl = "http://more.example"\n[[index]]\nurl = "http://uv.example"\ndefault = true\n'
    )
    assert index.configured(env=env) == "http://uv.example"
    env["PIP_INDEX_URL"] = "http://variable.example"
    assert index.configured(env=env) == "http://variable.example"
    env["CELLHOLD_INDEX"] = "http://own.example"
    assert index.configured(env=env) == "http://own.example"
    assert index.configured("http://policy.example/simple/", env) == "http://policy.example/simple"


@pytest.mark.parametrize("url", ["file:///srv", "srv/simple", "http://", "http://a b", "ftp://x"])
def test_an_index_is_a_url_of_http(url: str) -> None:
    with pytest.raises(InvalidSpec, match="CELLHOLD_INDEX"):
        index.configured(env={"CELLHOLD_INDEX": url})


def test_a_login_is_not_shown() -> None:
    assert index.without_login("https://me:secret@index.example/simple") == "https://index.example/simple"
