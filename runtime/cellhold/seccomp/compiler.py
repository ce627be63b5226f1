"""Compile a plan by libseccomp into a program for seccomp(2).

Only a cache miss comes here: loading pyseccomp costs 0.1 s or more.

Two filters are compiled and linked: `refuse` (which passes what it does not name), then
`allow`. libseccomp cannot say "this call, unless its argument is ..." under a default
that refuses with the same errno, and comparing two filters' answers is the kernel's job
only if both are loaded, which every system call would pay for.
"""

from __future__ import annotations

import os
from errno import ENOSYS, EPERM
from struct import iter_unpack, pack
from typing import TYPE_CHECKING, Any

from cellhold.errors import NotSupported
from cellhold.seccomp.plan import ALLOW, plan

if TYPE_CHECKING:
    from types import ModuleType

    from cellhold.seccomp.plan import Plan, Rule

REMEDY = "apt-get install libseccomp2"
INSTRUCTION_BYTES = 8  # struct sock_filter
_INSTRUCTION = "HBBI"  # code, jump if true, jump if false, k
_LOAD, _JUMP, _JUMP_IF_GREATER, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x05, 0x25, 0x35, 0x06
_RET_ALLOW, _RET_ERRNO = 0x7FFF0000, 0x00050000
_ALL_ARCHITECTURES_AGREE = 4096  # numbers from 424 up to here are the same everywhere; above are x32's and ARM's private ones
_BINARY_TREE = 2  # SCMP_FLTATR_CTL_OPTIMIZE, libseccomp 2.5: log2 instead of a walk over 300 comparisons
_SECOND = {"x86_64": ("X86", "X32"), "aarch64": ("ARM",)}  # the other entry points of such a kernel


def program(capabilities: frozenset[str], *, set_ids: bool = True) -> bytes:
    """Return the compiled filter for a container with `capabilities`, on this machine.

    An array of struct sock_filter. capabilities: such as "CAP_CHOWN". set_ids: see
    plan(). Raises NotSupported without libseccomp.
    """
    return compiled(plan(capabilities, os.uname().machine, set_ids=set_ids))


def compiled(rules: Plan) -> bytes:
    """Return head, `refuse` and `allow` of a plan as one program.

    Raises NotSupported without libseccomp.
    """
    library = _pyseccomp()
    refuse = _filter(library, rules.machine, rules.refuse, default=_RET_ALLOW)
    allow = _filter(library, rules.machine, rules.allow, default=_RET_ERRNO | EPERM)
    newest = max(library.resolve_syscall(library.Arch.NATIVE, name) for name in rules.known)
    return _head(newest) + _continued(refuse) + allow


def _pyseccomp() -> ModuleType:
    try:
        import pyseccomp  # noqa: PLC0415  # it runs ldconfig to find libseccomp
    except (ImportError, RuntimeError) as error:
        raise NotSupported(f"cannot compile the system call filter: {error}", hint=REMEDY) from error
    module: ModuleType = pyseccomp
    return module


def _filter(library: Any, machine: str, rules: tuple[Rule, ...], *, default: int) -> bytes:
    """Compile `rules`.

    Names that this version of libseccomp does not know are left out (and so refused).
    """
    made = library.SyscallFilter(default)
    for name in _SECOND.get(machine, ()):
        made.add_arch(getattr(library.Arch, name))
    made.set_attr(library.Attr.CTL_OPTIMIZE, _BINARY_TREE)
    unknown = -1  # __NR_SCMP_ERROR; other negative numbers stand for calls that only the second architectures have
    for rule in rules:
        action = _RET_ALLOW if rule.answer == ALLOW else _RET_ERRNO | rule.answer
        where = [library.Arg(one.position, library.MASKED_EQ, one.mask, one.value) for one in rule.conditions]
        for number in (library.resolve_syscall(library.Arch.NATIVE, name) for name in rule.names):
            if number != unknown:
                made.add_rule(action, number, *where)
    return _exported(made)


def _exported(made: Any) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


def _head(newest: int) -> bytes:
    """Return the instructions that answer ENOSYS to calls newer than `newest`.

    So would a kernel for which they were not written; runc does the same. glibc falls
    back on ENOSYS and fails on EPERM (fchmodat2, 2.39).
    """
    return b"".join(
        (
            pack(_INSTRUCTION, _LOAD, 0, 0, 0),  # seccomp_data.nr
            pack(_INSTRUCTION, _JUMP_IF_AT_LEAST, 2, 0, _ALL_ARCHITECTURES_AGREE),
            pack(_INSTRUCTION, _JUMP_IF_GREATER, 0, 1, newest),
            pack(_INSTRUCTION, _RETURN, 0, 0, _RET_ERRNO | ENOSYS),
        )
    )


def _continued(first: bytes) -> bytes:
    """Replace every "return ALLOW" of `first` by a jump to its end.

    There the next program begins.
    """
    length = len(first) // INSTRUCTION_BYTES
    linked = []
    for index, (code, if_true, if_false, k) in enumerate(iter_unpack(_INSTRUCTION, first)):
        if (code, k) == (_RETURN, _RET_ALLOW):
            linked.append(pack(_INSTRUCTION, _JUMP, 0, 0, length - index - 1))
        else:
            linked.append(pack(_INSTRUCTION, code, if_true, if_false, k))
    return b"".join(linked)
