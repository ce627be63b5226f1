"""Questions to a shell about code: what is sent, and how answers are parsed. Pure.

Completion, inspection, whether a cell is complete, which shell it is: each is a piece
of portable shell code, and a parser of what that prints. The answers are untrusted, and
bounded by control.py.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from cellhold_kernel.shell.lines import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

MATCHES_MOST = 500
_READ = ("0", "1", "2")  # exit statuses of a shell that has parsed code; 126, 127: it could not be run
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SET = re.compile(r"^([A-Za-z_][A-Za-z0-9_]*)=", re.MULTILINE)
_COMMENT_OR_WORD = re.compile(  # possessive: the time is linear in the length of a cell
    r"""(?P<comment>(?<![^\s;|&()<>`])\#[^\n]*+)|(?:\\.|"(?:\\.|[^"\\])*+"?|'[^']*+'?|[^\s;|&()<>`"'\\])++\\?""", re.DOTALL
)
_VARIABLE = re.compile(r"\$\{?([A-Za-z0-9_]*)\Z")
_AT_COMMAND = re.compile(r"(?:\A|[;|&(`\n{!]|\$\(|\b(?:then|do|else|elif|if|while|until|time|exec|command|sudo|env|xargs))\Z")
_FUNCTION = re.compile(r"^[ \t]*(?:function[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*\([ \t]*\)|^[ \t]*function[ \t]+([\w.-]+)", re.MULTILINE)
_ASKED = re.compile(r"[A-Za-z0-9_./+:@%-]+")
_OPEN = re.compile(r"end of file|unexpected EOF|unterminated|EOF in|missing '[})]'", re.IGNORECASE)
_SPECIAL = re.compile(r"([\s\"'`$&|;<>()\\*?\[\]#~!{}])")
_BUSYBOX = re.compile(r"BusyBox v([0-9][\w.]*)")
_BUILTINS = (
    "alias bg break case cd command continue do done echo elif else esac eval exec exit export false fg fi for getopts hash if jobs kill "
    "local printf pwd read readonly return set shift test then times trap true type ulimit umask unalias unset until wait while"
).split()


class Wanted(NamedTuple):
    """The word that is to be completed.

    kind: variable, command or path. start, end: of `text` in the code, in characters.
    """

    kind: str
    text: str
    start: int
    end: int


def wanted(code: str, cursor: int) -> Wanted:
    """Return the word at the cursor that is to be completed."""
    before = code[:cursor]
    if name := _VARIABLE.search(before):
        return Wanted("variable", name[1], name.start(1), cursor)
    last = deque(_COMMENT_OR_WORD.finditer(before), maxlen=1)
    start = last[0].start() if last and last[0].end() == len(before) and not last[0]["comment"] else cursor
    text = before[start:]
    begins = _AT_COMMAND.search(before[:start].rstrip(" \t")) is not None
    if begins and "=" in text:
        start += text.rfind("=") + 1
        text = before[start:]
        begins = False
    return Wanted("command" if begins and "/" not in text else "path", text, start, cursor)


def completion(want: Wanted, *, is_bash: bool) -> str:
    """Return the question for completions of a word.

    Its answer: names, each followed by a NUL; for variables what `set` prints.
    """
    if want.kind == "variable":
        return "\\compgen -v" if is_bash else "\\set"
    text = unquoted(want.text)
    home = text.startswith("~/")
    pattern = f"~/{quote(text[2:])}" if home else quote(text)
    paths = f'for f in {pattern}*; do [ -e "$f" ] && if [ -d "$f" ]; then \\printf "%s/\\0" "$f"; else \\printf "%s\\0" "$f"; fi; done'
    if want.kind == "path":
        return paths
    each = 'if [ -f "$f" ] && [ -x "$f" ]; then \\printf "%s\\0" "${f##*/}"; fi'
    programs = f'IFS=:; for d in $PATH; do for f in "$d"/{quote(text)}*; do {each}; done; done'
    builtins = f"\\compgen -A function -A alias -A builtin -A keyword -- {quote(text)} | \\tr '\\n' '\\0'; " if is_bash else ""
    return f"{builtins}{programs}" if text else paths


def matches(want: Wanted, answer: bytes, functions: Iterable[str], *, is_bash: bool) -> list[str]:
    """Return the completions, quoted as they are inserted into the code."""
    text = answer.decode("utf-8", "replace")
    if want.kind == "variable":
        names = text.split() if is_bash else _SET.findall(text)
        return sorted({name for name in names if name.startswith(want.text) and _NAME.fullmatch(name)})[:MATCHES_MOST]
    typed = unquoted(want.text)
    names = [name for name in text.split("\0")[:-1] if name]
    if want.kind == "command":
        names += [name for name in (*functions, *_BUILTINS) if typed and name.startswith(typed)]
        return sorted(set(map(escaped, names)))[:MATCHES_MOST]
    return sorted(set(map(escaped, names)))[:MATCHES_MOST]


def functions_in(code: str) -> set[str]:
    """Return the names of the functions that code defines.

    Only bash can list its functions.
    """
    return {first or second for first, second in _FUNCTION.findall(code)}


def unquoted(word: str) -> str:
    """Return a word, possibly incomplete, without its quotes and backslashes."""
    return re.sub(r"\\(.)|[\"']", lambda match: match[1] or "", word, flags=re.DOTALL)


def escaped(word: str) -> str:
    """Return a word with backslashes, as it must be typed."""
    home, rest = ("~/", word[2:]) if word.startswith("~/") else ("", word)
    return home + _SPECIAL.sub(r"\\\1", rest)


def inspected(code: str, cursor: int) -> str | None:
    """Return the word at the cursor if it may be a name, else None."""
    begin = re.search(r"[A-Za-z0-9_./+:@%-]*\Z", code[:cursor])
    end = _ASKED.match(code, begin.start() if begin else cursor)
    return end[0].strip("-") or None if end else None


def inspection(word: str, *, is_bash: bool, detailed: bool) -> str:
    """Return the question of what a word is: a command, a function or a variable."""
    value = f'[ "${{{word}+x}}" ] && \\printf "%s=%s\\n" {word} "${{{word}}}"; ' if _NAME.fullmatch(word) else ""
    helped = f" && {{ \\echo; \\help {'' if detailed else '-d '}{word}; }}" if is_bash else ""
    return f"{value}\\command -v {quote(word)} >/dev/null && \\type {quote(word)}{helped}"


def check(shell: str, code: str) -> str:
    """Return the question of whether code is complete: the shell parses it only (-n).

    It parses it again with a line added that is an error everywhere but in a
    here-document.
    """
    once, again = quote(code + "\n"), quote(f"{code}\n)")
    return (
        f"m=$({quote(shell)} -n -c {once} 2>&1); \\printf '%s\\n' \"$?\"; "
        f"{quote(shell)} -n -c {again} >/dev/null 2>&1; \\printf '%s\\n' \"$?\"; \\printf '%s' \"$m\""
    )


def parse_check(answer: bytes) -> tuple[str, str]:
    """Parse the answer to `check`.

    Returns (complete, incomplete, invalid or unknown; the shell's message).
    """
    first, _, rest = answer.decode("utf-8", "replace").partition("\n")
    second, _, message = rest.partition("\n")
    if first not in _READ:
        return "unknown", ""
    if first != "0":
        return "incomplete" if _OPEN.search(message) else "invalid", message
    return "incomplete" if second == "0" else "complete", message


def identity(shell: str, *, is_bash: bool) -> str:
    """Return the question of which shell it is."""
    if is_bash:
        return "\\printf 'bash %s' \"$BASH_VERSION\""
    return f"\\readlink /proc/$$/exe; {quote(shell)} --help 2>&1"


def parse_identity(answer: bytes) -> tuple[str, str]:
    """Parse the answer to `identity` into name and version, "" if there is none.

    Examples: ("bash", "5.2.15"), ("busybox", "1.35.0"), ("dash", "").
    """
    text = answer.decode("utf-8", "replace")
    if version := re.match(r"bash (\d+[\d.]*)", text):
        return "bash", version[1]
    if version := _BUSYBOX.search(text):
        return "busybox", version[1]
    name = text.partition("\n")[0].rpartition("/")[2]
    return (name, "") if re.fullmatch(r"[a-z]{2,10}", name) else ("sh", "")


def language(name: str, version: str) -> dict[str, object]:
    """Return Jupyter's language_info."""
    return {
        "name": "bash" if name == "bash" else "sh",
        "version": version or "POSIX",
        "mimetype": "text/x-sh",
        "file_extension": ".sh",
        "codemirror_mode": "shell",
        "pygments_lexer": "bash",
        "nbconvert_exporter": "script",
    }
