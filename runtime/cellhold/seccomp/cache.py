"""Compiled filters on disk. cached_program() is called once per container start.

    DIRECTORY/                            the caller's, 0700
        seccomp-<sha256 of plan, libseccomp, machine>     0600: sha256 of the program,
                                                          then the program

A filter from disk decides what a container may do, so a file is trusted only if no one
else could have written it.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from hashlib import sha256
from stat import S_ISREG
from typing import TYPE_CHECKING

from cellhold.errors import NotSupported
from cellhold.seccomp.compiler import INSTRUCTION_BYTES, REMEDY, compiled
from cellhold.seccomp.plan import plan

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.seccomp.plan import Plan

_FORMAT = 1  # of what compiler.py makes out of the same plan: to be raised with each change of it
_DIGEST_BYTES = sha256().digest_size
_LONGEST = 4096 * INSTRUCTION_BYTES  # BPF_MAXINSNS
_OTHERS_MAY_WRITE = 0o022


def cached_program(capabilities: frozenset[str], directory: Path, *, set_ids: bool = True) -> bytes:
    """Return program(capabilities, set_ids=...) from the cache in `directory`.

    It is compiled and stored if it is missing, damaged or not this user's own. Raises
    NotSupported without libseccomp, OSError if `directory` cannot be written.
    """
    rules, key = _planned(capabilities, os.uname().machine, _libseccomp_version(), set_ids=set_ids)
    path = directory / f"seccomp-{key}"
    found = _trusted(path)
    if found is not None:
        return found
    made = compiled(rules)
    _store(path, made)
    return made


@cache
def _planned(capabilities: frozenset[str], machine: str, libseccomp: tuple[int, ...], *, set_ids: bool) -> tuple[Plan, str]:
    """Return the plan and the key of its file.

    Cached: making both takes longer than reading the file.
    """
    rules = plan(capabilities, machine, set_ids=set_ids)
    return rules, sha256(repr((_FORMAT, libseccomp, rules)).encode()).hexdigest()


def _libseccomp_version() -> tuple[int, ...]:
    """Return seccomp_version(3), loaded by soname: pyseccomp would run ldconfig."""
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise NotSupported(f"cannot filter system calls: libseccomp is not installed ({error})", hint=REMEDY) from error
    library.seccomp_version.restype = ctypes.POINTER(ctypes.c_uint * 3)  # struct scmp_version: major, minor, micro
    return tuple(library.seccomp_version().contents)


def _trusted(path: Path) -> bytes | None:
    """Return the program in `path`.

    None unless it is whole and this user alone could have written it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # missing, a symlink, a socket ...
        return None
    with os.fdopen(fd, "rb") as file:
        facts = os.fstat(fd)
        if not S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & _OTHERS_MAY_WRITE:
            return None
        content = file.read(_DIGEST_BYTES + _LONGEST + 1)
    program = content[_DIGEST_BYTES:]
    whole = program and len(program) <= _LONGEST and sha256(program).digest() == content[:_DIGEST_BYTES]
    return program if whole else None


def _store(path: Path, program: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(sha256(program).digest() + program)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
