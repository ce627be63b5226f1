"""The environment of an image: PATH, home and working directory, from its config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cellhold_kernel.images.tree import Tree

_MOST_DIRECTORIES = 64  # in one list such as PATH
_LONGEST_TABLE = 1 << 20  # bytes of /etc/passwd that are read
_COLUMNS = 7  # of passwd(5)


@dataclass(frozen=True, kw_only=True)
class Around:
    """The environment. env, cwd: of the image's config; home: its user's, or "/"."""

    env: Mapping[str, str]
    cwd: str
    home: str

    def directories(self, variable: str) -> tuple[str, ...]:
        """Return the absolute paths of a list such as PATH.

        An empty entry is the working directory, as in execvp(3).
        """
        listed = self.env.get(variable, "")
        entries = listed.split(":")[:_MOST_DIRECTORIES] if listed else []
        return tuple(dict.fromkeys(self.absolute(entry) for entry in entries))

    def absolute(self, path: str) -> str:
        """Return a path as an absolute one, without trailing slashes."""
        return (path if path.startswith("/") else f"{self.cwd}/{path}").rstrip("/") or "/"

    def program(self, tree: Tree, name: str) -> str | None:
        """Return a program's path: a path itself, else the first on PATH, or None.

        Only an executable file counts.
        """
        paths = [self.absolute(name)] if "/" in name else [f"{directory}/{name}" for directory in self.directories("PATH")]
        return next((path for path in paths if (place := tree.find(path)) is not None and place.is_program), None)


def around(tree: Tree, *, env: Mapping[str, str], user: str, cwd: str) -> Around:
    """Return the environment. user: as in OCI's config, "USER[:GROUP]"; "" is root."""
    home = env.get("HOME") or _home(tree, user.partition(":")[0] or "0")
    return Around(env=env, cwd=cwd if cwd.startswith("/") else "/", home=home if home.startswith("/") else "/")


def _home(tree: Tree, user: str) -> str:
    return next((row[5] for row in _accounts(tree) if user in (row[0], row[2])), "/")


def _accounts(tree: Tree) -> Iterator[list[str]]:
    """Yield the valid rows of passwd(5)."""
    text = tree.read("/etc/passwd", most_bytes=_LONGEST_TABLE) or b""
    for line in text.decode(errors="surrogateescape").split("\n"):
        row = line.split(":")
        if len(row) == _COLUMNS:
            yield row
