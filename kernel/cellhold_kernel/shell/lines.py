r"""What the shell is told, as lines of text. Pure; which line is sent when is driver.py's business.

The shell's descriptors: 0 is where the lines come from, 1 and 2 are the control pipe, where prompts end up too. A cell gets others in
their place, so that neither it nor a program that it starts has the two: a shell keeps what it redirects at a number of its own
that no program inherits.

    5  ends at once: a cell's standard input        6, 7  its standard output and error        8  a socket for `read` (asking.py)

Every command of ours is written `\name`, which no alias of a cell's catches.
"""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HANDED_OVER = 4  # descriptors from 3 on that the shell starts with: what become its 5, 6, 7 and 8
_MOVE = "exec 8<&6 7>&5 6>&4 5<&3 3<&- 4<&-"
_FORGET = "unset HISTFILE ENV PROMPT_COMMAND MAIL MAILCHECK"
_READ = r"""if [ / -ef / ]; then read() {
for _cellhold do case $_cellhold in -*u*) unset _cellhold; \command read "$@"; return;; -*) ;; *) break;; esac; done; unset _cellhold
if [ /proc/self/fd/0 -ef /proc/self/fd/5 ]; then
\command printf '%s\0' "$#" "$@" >&8; \command read -r _cellhold <&8 || return 1
if [ "$_cellhold" = y ]; then unset _cellhold; \command read "$@" <&8; else unset _cellhold; return 1; fi
else \command read "$@"; fi; }; fi"""
# busybox leaves its signal handler by a jump, with a lock of its C library held if it was just there (seen with glibc): the next one to
# want that lock waits for ever. A trap runs when the shell is between two commands; its error ends the cell as an interrupt does.
TRAP = "trap '{ : \"${_interrupted?}\"; } 2>/dev/null' INT\n"
_QUESTION = (
    "( set +eufx; unset IFS; \\command printf '\\n%s begin\\n' {token}; {body}\n"
    "\\command printf '\\n%s end\\n' {token} ) <&5 2>/dev/null 6>&- 7>&- 8>&-\n"
)


def is_bash(argv: Sequence[str]) -> bool:
    """Whether it is bash, by its name."""
    return PurePosixPath(argv[0]).name == "bash"


def start(argv: Sequence[str]) -> tuple[str, ...]:
    """The command that starts the shell: interactive, since only then it lives on after an interrupt or a syntax error.

    busybox takes a signal for the end of its input when that is standard input, and no file; bash is interactive only without a file.
    """
    if is_bash(argv):
        return (*argv, "--norc", "--noprofile", "--noediting", "+H", "-i")
    return (*argv, "-i", "/dev/stdin")


def first(argv: Sequence[str]) -> str:
    """What is said first: put the descriptors where they belong, define `read`."""
    hide = "" if is_bash(argv) else "; exec 0<&5"
    return f"{_MOVE}{hide}; {_FORGET}; {_READ} >/dev/null 2>&1\n"


def cell(code: str, *, before: int) -> str:
    """Run a cell. before: the exit status of the one before, which is its `$?` in the beginning.

    The blank keeps code that begins with a dash from being an option, the newline ends a here-document.
    """
    known = f"(exit {before}) || " if before else ""
    return f"{known}\\eval {quote(f' {code}' + chr(10))} <&5 >&6 2>&7 6>&- 7>&-\n"


def question(body: str, token: str) -> str:
    """Run something in a copy of the shell, whose output is the answer."""
    return _QUESTION.format(token=token, body=body)


def status(token: str) -> str:
    """Have the exit status told. A trace (set -x) or an echo (set -v) of this line does not look like what it prints."""
    return f"\\command printf '\\n%s %s\\n' {token} \"$?\" >&2\n"


def new_token() -> str:
    """What nobody can guess: the mark of one cell or question."""
    return os.urandom(16).hex()


def quote(text: str) -> str:
    """As one word that means itself; a NUL cannot be in one."""
    return "'" + text.replace("\0", "").replace("'", "'\\''") + "'"
