"""Names of images and of platforms: read as Docker reads them, printed as Docker prints them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from urllib3.util import parse_url

from cellhold.errors import InvalidSpec
from cellhold.image.platform import Platform
from cellhold.image.reference import Reference, new_name, notebook_name
from cellhold.spec.digest import Digest

DIGEST = f"sha256:{'ab' * 32}"


@pytest.mark.parametrize(
    ("text", "full", "short"),
    [
        ("python", "docker.io/library/python:latest", "python:latest"),
        ("python:3.12-slim", "docker.io/library/python:3.12-slim", "python:3.12-slim"),
        ("docker.io/python", "docker.io/library/python:latest", "python:latest"),
        ("index.docker.io/library/python:3", "docker.io/library/python:3", "python:3"),
        ("jupyter/base-notebook", "docker.io/jupyter/base-notebook:latest", "jupyter/base-notebook:latest"),
        ("a/b/c", "docker.io/a/b/c:latest", "a/b/c:latest"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
        ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
        ("[::1]:5000/x:y", "[::1]:5000/x:y", "[::1]:5000/x:y"),
        ("quay.io/a__b/c-d--e.f:V_1.0", "quay.io/a__b/c-d--e.f:V_1.0", "quay.io/a__b/c-d--e.f:V_1.0"),
        ("REG/x", "REG/x:latest", "REG/x:latest"),
        (f"python@{DIGEST}", f"docker.io/library/python@{DIGEST}", f"python@{DIGEST}"),
        (f"h:1/x:t@{DIGEST}", f"h:1/x:t@{DIGEST}", f"h:1/x:t@{DIGEST}"),
        ("docker.io/quay.io/x", "docker.io/quay.io/x:latest", "docker.io/quay.io/x:latest"),
    ],
)
def test_a_name_is_completed_and_shortened_as_docker_does(text: str, full: str, short: str) -> None:
    reference = Reference.parse(text)
    assert (str(reference), reference.familiar()) == (full, short)
    assert Reference.parse(full) == Reference.parse(short) == reference


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Python", "no upper case"),
        ("a/B", "no upper case"),
        ("", "0 characters"),
        ("a" * 2000, "2000 characters"),
        ("a" * 256, "255 characters at most"),
        ("a" * 64, "an image's id"),
        ("a//b", "made of a-z"),
        ("a/", "made of a-z"),
        ("../x", "'..' is not a registry's name"),
        ("./x", "'.' is not a registry's name"),
        ("a..b", "made of a-z"),
        ("a___b", "made of a-z"),
        ("-a", "made of a-z"),
        ("a b", "made of a-z"),
        ("a\n", "made of a-z"),
        ("a:", "'' is not a tag"),
        ("a:.x", "'.x' is not a tag"),
        ("a:x\n", "not a tag"),
        (f"a:{'x' * 129}", "not a tag"),
        ("a:b:c", "not a tag"),
        ("a@sha256:12", "not a digest"),
        (f"a@{DIGEST.upper()}", "not a digest"),
        (f"a@{DIGEST}@{DIGEST}", "not a digest"),
        ("-h.x/a", "not a registry's name"),
        ("h:x/a", "not a registry's name"),
        ("h:65536/a", "65536 is not a port: ports go from 1 to 65535"),
        ("h:0/a", "0 is not a port"),
        (f"h:{'9' * 900}/a", "is not a port"),
        ("[::1]:99999/a", "99999 is not a port"),
        ("[:::]/a", "not a registry's name"),
        ("[12345::]:1/a", "not a registry's name"),
        ("user@h/a", "not a digest"),
        ("http://h/a", "'http:' is not a registry's name"),
        ("\u0661/x", "made of a-z"),
        ("b\u0430sh", "made of a-z"),  # a Cyrillic letter
    ],
)
def test_what_is_no_name_is_one_sentence(text: str, reason: str) -> None:
    with pytest.raises(InvalidSpec, match=reason) as caught:
        Reference.parse(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.text()
    | st.text(alphabet="abz09AZ.-_:/@[]\n\0\u0661\u00e9")
    | st.from_regex(
        r"([a-zA-Z0-9.-]{1,9}|\[[a-f0-9:]{0,12}\])?(:[0-9]{0,7})?/?[a-z0-9._/-]{0,20}(:[\w.-]{0,9})?(@sha256:[0-9a-f]{64})?",
        fullmatch=True,
    )
)
def test_any_text_is_a_name_that_stays_what_it_is_or_one_sentence(text: str) -> None:
    try:
        found = Reference.parse(text)
    except InvalidSpec as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert refused.isprintable()
        assert len(refused) < 700
        return
    assert Reference.parse(str(found)) == Reference.parse(found.familiar()) == found
    assert parse_url(f"https://{found.registry}/v2/").host


def test_upper_case_comes_with_the_name_to_write() -> None:
    with pytest.raises(InvalidSpec) as caught:
        Reference.parse("quay.io/Me/App:V1")
    assert caught.value.hint == "write me/app"


def test_a_digest_is_asked_for_before_a_tag() -> None:
    reference = Reference.parse("python:3.12")
    assert reference.selector == "3.12"
    pinned = reference.with_digest(Digest.parse(DIGEST))
    assert (pinned.selector, str(pinned)) == (DIGEST, f"docker.io/library/python:3.12@{DIGEST}")


def test_names_of_images_that_a_notebook_makes_are_given_by_that_notebook_alone() -> None:
    name = notebook_name("a1", "lab/py")
    assert name == "localhost/nb/a1/lab/py:latest"
    assert new_name(name, aim="tag it", owner="a1") == name
    for owner in ("", "b2"):
        with pytest.raises(InvalidSpec, match=r"^cannot tag it: "):
            new_name(name, aim="tag it", owner=owner)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("Linux/AArch64/v8", "linux/arm64"),
        ("linux/armhf", "linux/arm"),
        ("linux/arm/7", "linux/arm"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/i686", "linux/386"),
    ],
)
def test_a_platform_is_spelled_in_one_way(text: str, normal: str) -> None:
    assert str(Platform.parse(text)) == normal


@pytest.mark.parametrize("text", ["", "linux", "linux/", "linux/arm/v7/x", "linux/a b", "linux/\n"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec, match="no OS/ARCHITECTURE"):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("host", "offered", "rank"),
    [
        ("linux/amd64", "linux/amd64", 0),
        ("linux/amd64", "linux/amd64/v1", 0),
        ("linux/amd64", "linux/386", None),
        ("linux/amd64", "linux/amd64/v2", None),
        ("linux/amd64/v3", "linux/amd64", 2),
        ("linux/amd64/v3", "linux/amd64/v2", 1),
        ("linux/arm64", "linux/arm64/v8", 0),
        ("linux/arm64", "linux/arm/v7", None),
        ("linux/arm/v7", "linux/arm/v6", 1),
        ("linux/arm/v7", "linux/arm/v5", 2),
        ("linux/arm/v6", "linux/arm/v7", None),
        ("linux/amd64", "windows/amd64", None),
        ("linux/amd64", "unknown/unknown", None),
        ("linux/s390x", "linux/s390x", 0),
    ],
)
def test_a_platform_takes_lower_variants_of_itself_only(host: str, offered: str, rank: int | None) -> None:
    assert Platform.parse(host).rank(Platform.parse(offered)) == rank


def test_the_values_load_no_library_for_http() -> None:
    program = (
        "import sys, cellhold.image; a = set(sys.modules); import cellhold.image.manifest, cellhold.image.config, cellhold.image.writing;"
    )
    program += (
        "import cellhold.image.reference; print('urllib3' in sys.modules, 'cellhold.image.manifest' in a, 'cellhold.image.fields' in a)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert done.stdout == "False False False\n"
