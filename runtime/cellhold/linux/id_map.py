"""The rows of /proc/PID/uid_map and gid_map (user_namespaces(7)), for people."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterable


def format_rows(rows: Iterable[tuple[int, int, int]]) -> str:
    """Format rows: "0 is 1000, 1-65535 are 100000-165534 on the host".

    A row is (inside, outside, count).
    """
    words = (
        f"{_format_range(inside, count)} {'are' if count > 1 else 'is'} {_format_range(outside, count)}" for inside, outside, count in rows
    )
    return f"{', '.join(words)} on the host"


def _format_range(first: int, count: int) -> str:
    return f"{first}-{first + count - 1}" if count > 1 else f"{first}"
