r"""The lines that are sent to the shell. Pure; driver.py decides when to send one.

The shell's descriptors: 0 is the command pipe, 1 and 2 are the control pipe, where
prompts go too. A cell gets others in their place, so that neither it nor a program that
it starts has the pipes: a shell keeps a redirected descriptor at a number of its own
that no program inherits.

    5     ends at once: a cell's standard input
    6, 7  its standard output and error
    8     a socket for `read` (asking.py)

Each of our commands is written `\name`, so that an alias of a cell does not apply.
"""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HANDED_OVER = 4  # descriptors from 3 on that the shell starts with; they become its 5, 6, 7 and 8
_MOVE = "exec 8<&6 7>&5 6>&4 5<&3 3<&- 4<&-"
_FORGET = "unset HISTFILE ENV PROMPT_COMMAND MAIL MAILCHECK"
_READ = r"""if [ / -ef / ]; then read() {
for _cellhold do case $_cellhold in -*u*) unset _cellhold; \command read "$@"; return;; -*) ;; *) break;; esac; done; unset _cellhold
if [ /proc/self/fd/0 -ef /proc/self/fd/5 ]; then
\command printf '%s\0' "$#" "$@" >&8; \command read -r _cellhold <&8 || return 1
if [ "$_cellhold" = y ]; then unset _cellhold; \command read "$@" <&8; else unset _cellhold; return 1; fi
else \command read "$@"; fi; }; fi"""
# busybox leaves its signal handler by a jump, possibly with a lock of its C library
# held (seen with glibc): whatever takes that lock next waits forever. A trap runs when
# the shell is between two commands; its error ends the cell as an interrupt does.
TRAP = "trap '{ : \"${_interrupted?}\"; } 2>/dev/null' INT\n"
_QUESTION = (
    "( set +eufx; unset IFS; \\command printf '\\n%s begin\\n' {token}; {body}\n"
    "\\command printf '\\n%s end\\n' {token} ) <&5 2>/dev/null 6>&- 7>&- 8>&-\n"
)


def is_bash(argv: Sequence[str]) -> bool:
    """Return whether a command is bash, by its name."""
    return PurePosixPath(argv[0]).name == "bash"


def start(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the command that starts the shell.

    It is interactive: only then a shell survives an interrupt or a syntax error.
    busybox takes a signal for the end of its input if that is standard input and not a
    file; bash is interactive only without a file.
    """
    if is_bash(argv):
        return (*argv, "--norc", "--noprofile", "--noediting", "+H", "-i")
    return (*argv, "-i", "/dev/stdin")


def first(argv: Sequence[str]) -> str:
    """Return the first line: it moves the descriptors and defines `read`."""
    hide = "" if is_bash(argv) else "; exec 0<&5"
    return f"{_MOVE}{hide}; {_FORGET}; {_READ} >/dev/null 2>&1\n"


def cell(code: str, *, before: int) -> str:
    """Return the line that runs a cell.

    before: the exit status of the cell before, which is `$?` at its beginning. The
    blank keeps code that begins with a dash from being an option, the newline ends a
    here-document.
    """
    set_status = f"(exit {before}) || " if before else ""
    return f"{set_status}\\eval {quote(f' {code}' + chr(10))} <&5 >&6 2>&7 6>&- 7>&-\n"


def question(body: str, token: str) -> str:
    """Return the line that runs code in a subshell, whose output is the answer."""
    return _QUESTION.format(token=token, body=body)


def status(token: str) -> str:
    """Return the line that prints the exit status.

    A trace (set -x) or an echo (set -v) of this line differs from what it prints.
    """
    return f"\\command printf '\\n%s %s\\n' {token} \"$?\" >&2\n"


def new_token() -> str:
    """Return an unguessable mark for one cell or question."""
    return os.urandom(16).hex()


def quote(text: str) -> str:
    """Quote a text as one shell word; NUL, which a word cannot have, is dropped."""
    return "'" + text.replace("\0", "").replace("'", "'\\''") + "'"
