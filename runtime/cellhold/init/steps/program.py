"""Exec the program: session, user, working directory, limits, then execve(2).

Runs in the child that PID 1 forked.
"""

from __future__ import annotations

import os
import resource
import stat

from cellhold.init import terminal as terminals
from cellhold.init.steps.step import Step
from cellhold.linux import process

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.init.plan import Plan

_LONGEST_NUMBER = 10  # digits of the largest id
_LONGEST_TABLE = 1 << 20  # bytes of /etc/passwd or /etc/group that are read: an image may hold a million lines


class NoSuchUser(Exception):
    """The image's /etc/passwd or /etc/group does not have the name."""


def become(plan: Plan, *, terminal: int = -1) -> None:
    """Turn this process into the program, up to the exec.

    terminal: the controlling terminal of its session. Raises OSError or NoSuchUser.
    """
    os.setsid()
    uid, gid, groups, home = resolve(plan["user"])
    groups += [group_id(group) for group in plan["groups"]]
    for number, soft, hard in plan["rlimits"]:
        resource.setrlimit(number, (soft, hard))
    if plan["oom_score_adj"]:
        raise_oom_score(plan["oom_score_adj"])
    if plan["id_count"] == 1:  # the kernel lets nobody call setgroups(2) there, and no other group means anything
        groups = []
    if outside := [number for number in (uid, gid, *groups) if number >= plan["id_count"]]:  # 4294967295 would mean "leave it root"
        raise NoSuchUser(f"id {outside[0]} is not one of the container's {plan['id_count']} ids")
    if terminal >= 0:
        terminals.control(terminal, uid)
    make_directory(plan["cwd"])
    if plan["id_count"] > 1:
        os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    process.capset(plan["bounding"] if uid == 0 else 0)
    enter(plan["cwd"])
    plan["env"].setdefault("HOME", home)


def make_directory(path: str) -> None:
    """Make the working directory if it is missing.

    As root, who owns it then, as in Docker.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except FileExistsError:
        return  # no directory: enter() says so


def enter(path: str) -> None:
    """Change into the working directory, as the user.

    It has to lie under the new root (CVE-2024-21626).
    """
    os.chdir(path)
    if not os.getcwd().startswith("/"):
        raise PermissionError(1, "the working directory is outside of the container")


def raise_oom_score(adjustment: int) -> None:
    """Make the kernel prefer the program over PID 1 when memory runs out.

    Raising the score needs no privilege (proc(5)). The file belongs to root of the host
    as long as the process is not dumpable, so it is made dumpable for this moment:
    there is no other process in the container yet, and exec decides anew.
    """
    process.prctl(process.PR_SET_DUMPABLE, 1)
    fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(adjustment).encode())
    finally:
        os.close(fd)


def execute(plan: Plan) -> None:
    """Exec the program, searched in the PATH of its own environment.

    Raises OSError.
    """
    args, env = plan["args"], plan["env"]
    if "/" in args[0]:
        os.execve(args[0], args, env)
    failure: OSError = FileNotFoundError(2, os.strerror(2))
    for directory in env.get("PATH", "/usr/bin:/bin").split(":"):
        try:
            os.execve(f"{directory or '.'}/{args[0]}", args, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            failure = error  # found, not executable: told only if no other directory has it (execvp(3))
    raise failure


def _describe(plan: Plan) -> str:
    return " ".join(plan["args"])


def _list_syscalls(plan: Plan) -> Iterator[str]:
    from shlex import join  # noqa: PLC0415  # words are for people: PID 1 does not pay for them

    for number, soft, hard in plan["rlimits"]:
        yield f"setrlimit({number}, {soft}, {hard})"
    yield f'chdir("{plan["cwd"]}")'
    yield f"execve({join(plan['args'])}, {len(plan['env'])} variables)"


EXEC = Step("program.exec", execute, _describe, _list_syscalls)


def resolve(user: str) -> tuple[int, int, list[int], str]:
    """Return (uid, gid, supplementary groups, home) of "uid[:gid]" or names.

    Raises NoSuchUser.
    """
    name, _, group = user.partition(":")
    row = entry("/etc/passwd", 7, name)
    if row is None and not is_number(name):
        raise NoSuchUser(f"no user {name} in the image's /etc/passwd")
    uid = int(row[2]) if row else int(name)
    gid = int(row[3]) if row else 0
    groups = [int(line[2]) for line in table("/etc/group", 4) if row and row[0] in line[3].split(",")]
    if group:
        gid = group_id(group)
    return uid, gid, groups, row[5] if row else "/"


def group_id(group: str) -> int:
    """Return the id of a group by name or number. Raises NoSuchUser."""
    row = entry("/etc/group", 4, group)
    if row is None and not is_number(group):
        raise NoSuchUser(f"no group {group} in the image's /etc/group")
    return int(row[2]) if row else int(group)


def entry(path: str, columns: int, word: str) -> list[str] | None:
    """Return the row of a name, or of a number.

    Digits are never a name, or an image could call its root 1000 (Docker does so as
    well).
    """
    if word.isascii() and word.isdecimal():
        return next((row for row in table(path, columns) if is_number(word) and int(row[2]) == int(word)), None)
    return next((row for row in table(path, columns) if row[0] == word), None)


def is_number(text: str) -> bool:
    """Return whether it is a number in ASCII digits, and not an absurd one.

    int() accepts Arabic digits too.
    """
    return text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER


def table(path: str, columns: int) -> list[list[str]]:
    """Return the sound rows of passwd(5) or group(5).

    A table that is not a regular file (a FIFO would block) counts as empty.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        text = os.read(fd, _LONGEST_TABLE) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)
    if len(text) == _LONGEST_TABLE:
        text = text[: text.rfind(b"\n") + 1]  # half a row would be another user's
    rows = (line.split(":") for line in text.decode(errors="replace").splitlines())
    return [row for row in rows if len(row) == columns and is_number(row[2]) and (columns == 4 or is_number(row[3]))]  # noqa: PLR2004
