"""What a notebook may say of packages.

Names with versions, extras and markers (PEP 508).

Never a URL, a path or an option of an installer: where packages come from is for
whoever runs this machine to say (packages/index.py). A text may come from a stranger.

    polars, seaborn>=0.13,<1, jax[cpu]; platform_machine == 'x86_64'

The usual forms are read here; `packaging`, which takes 30 ms to import, reads markers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST = 200  # in a set
MOST_BYTES = 16 << 30  # of the layer that is made of it, unless the policy says otherwise
_LONGEST = 500  # characters of one
_LONGEST_TEXT = 20_000
_SHOWN = 80
_HINT = "names as on PyPI, with or without versions: polars, seaborn>=0.13"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VERSION = r"(?:~=|==|!=|<=|>=|<|>)\s*[A-Za-z0-9][A-Za-z0-9._+!-]*(?:\.\*)?"
_USUAL = re.compile(
    rf"({_NAME})\s*(?:\[\s*({_NAME}(?:\s*,\s*{_NAME})*)\s*\])?\s*({_VERSION}(?:\s*,\s*{_VERSION})*)?",
    re.ASCII,
)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d))?", re.ASCII)
_SEPARATORS = re.compile(r"[-_.]+")
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, kw_only=True)
class PackageRequirement:
    """One requirement.

    text: as a resolver takes it. name: normalized (PEP 503). bare: without any version.
    """

    text: str
    name: str
    bare: bool = False

    def __str__(self) -> str:
        """Return the text."""
        return self.text


@dataclass(frozen=True, kw_only=True)
class PackageSet:
    """What a notebook wants of packages, within the policy.

    wanted: in the order of their names. exclude_newer: what was published later does
    not exist. lock: of the notebook's metadata, a stranger's text. index: the policy's.
    most_bytes: of a layer. owner: the notebook whose versions are kept, "" for none.
    is_upgrade: what was resolved before does not count.
    """

    wanted: tuple[PackageRequirement, ...]
    exclude_newer: str | None = None
    lock: str | None = None
    index: str | None = None
    most_bytes: int = MOST_BYTES
    owner: str = ""
    is_upgrade: bool = False


def normalize(name: str) -> str:
    """Return a project's name as PEP 503 compares it."""
    return _SEPARATORS.sub("-", name).lower()


def parse_list(text: str, key: str = "packages") -> tuple[PackageRequirement, ...]:
    """Parse requirements that commas separate, in the order of their names.

    Of two for the same name and without a marker the later holds. Raises InvalidSpec.
    """
    if len(text) > _LONGEST_TEXT:
        raise InvalidSpec(f"cannot use {key}: more than {_LONGEST_TEXT} characters", hint=_HINT)
    return merge([parse(part, key) for part in _split(text) if part.strip()])


def merge(*lists: Sequence[PackageRequirement]) -> tuple[PackageRequirement, ...]:
    """Return all requirements, in the order of their names.

    A later one takes the place of an earlier one.

    Raises InvalidSpec for more than MOST.
    """
    found: dict[tuple[str, str], PackageRequirement] = {}
    for one in (one for each in lists for one in each):
        marker = one.text.partition(";")[2].strip()
        if one.bare and (one.name, marker) in found:
            continue  # "polars" asks for nothing that "polars<1" has not
        found[one.name, marker] = one
    if len(found) > MOST:
        raise InvalidSpec(f"cannot use {len(found)} packages: {MOST} are the most that a notebook names")
    return tuple(found[key] for key in sorted(found))


def parse(text: str, key: str = "packages") -> PackageRequirement:
    """Parse one requirement.

    Raises InvalidSpec for what is none, or says where the package lies.
    """
    text = text.strip()
    if len(text) > _LONGEST or not text.isascii() or not text.isprintable():
        raise _refused(text, key, "not a requirement")
    usual = _USUAL.fullmatch(text)
    if usual is not None:
        name, extras, versions = usual.groups()
        extra = f"[{','.join(sorted(normalize(one.strip()) for one in extras.split(',')))}]" if extras else ""
        whole = f"{normalize(name)}{extra}{_SPACES.sub('', versions or '')}"
        return PackageRequirement(text=whole, name=normalize(name), bare=not versions and not extras)
    return _parse_any(text, key)


def parse_moment(text: str, key: str = "exclude-newer") -> str:
    """Parse a date or a moment (RFC 3339). Raises InvalidSpec."""
    if not _MOMENT.fullmatch(text):
        raise InvalidSpec(f"cannot use {key}={escape(text, most=40)}: not a moment", hint="2026-11-30 or 2026-11-30T12:00:00Z")
    return text


def _parse_any(text: str, key: str) -> PackageRequirement:
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415  # 30 ms, for markers alone

    if text.startswith("-"):
        raise _refused(text, key, "options of an installer have no meaning here")
    if "@" in text or "://" in text or text.startswith((".", "/")):
        raise _refused(text, key, "a package is named; where it comes from is for this machine's configuration to say")
    try:
        found = Requirement(text)
    except InvalidRequirement:
        raise _refused(text, key, "not a requirement") from None
    if any(one.operator == "===" for one in found.specifier):
        raise _refused(text, key, "=== compares texts, not versions")
    found.name = normalize(found.name)
    return PackageRequirement(text=str(found), name=found.name, bare=False)


def _refused(text: str, key: str, reason: str) -> InvalidSpec:
    return InvalidSpec(f"cannot use {key}={escape(text, most=_SHOWN)}: {reason}", hint=_HINT)


def _split(text: str) -> Iterator[str]:
    """Yield the parts between lines, and between commas that begin a name."""
    part, depth, quote = "", 0, ""
    for at, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[(":
            depth += 1
        elif letter in "])":
            depth -= 1
        elif letter == "\n" or (letter == "," and depth <= 0 and text[at + 1 :].lstrip()[:1] not in tuple("<>=!~")):
            yield part
            part = ""
            continue
        part += letter
    yield part
