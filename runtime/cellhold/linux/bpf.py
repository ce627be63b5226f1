"""bpf(2): load a program, attach it to a v2 cgroup, count those attached."""

from __future__ import annotations

import ctypes
from ctypes import c_char, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p

from cellhold.linux.libc import syscall

_BPF_PROG_LOAD = 5
_BPF_PROG_ATTACH = 8
_BPF_PROG_QUERY = 16
BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI = 2
_LICENSE = b"BSD"  # the helpers that the kernel keeps for GPL programs are not used
_INSTRUCTION = 8  # bytes

_bpf = syscall("bpf", c_int, c_void_p, c_size_t)


class _Load(ctypes.Structure):
    """union bpf_attr for BPF_PROG_LOAD, as far as it is used."""

    _fields_ = (
        ("prog_type", c_uint32),
        ("insn_cnt", c_uint32),
        ("insns", c_char_p),
        ("license", c_char_p),
        ("log_level", c_uint32),
        ("log_size", c_uint32),
        ("log_buf", c_uint64),
        ("kern_version", c_uint32),
        ("prog_flags", c_uint32),
        ("prog_name", c_char * 16),
    )


class _Attach(ctypes.Structure):
    """union bpf_attr for BPF_PROG_ATTACH."""

    _fields_ = (("target_fd", c_uint32), ("attach_bpf_fd", c_uint32), ("attach_type", c_uint32), ("attach_flags", c_uint32))


class _Query(ctypes.Structure):
    """union bpf_attr for BPF_PROG_QUERY, as far as it is used."""

    _fields_ = (
        ("target_fd", c_uint32),
        ("attach_type", c_uint32),
        ("query_flags", c_uint32),
        ("attach_flags", c_uint32),
        ("prog_ids", c_uint64),
        ("prog_cnt", c_uint32),
    )


def load(kind: int, instructions: bytes, *, name: str) -> int:
    """BPF_PROG_LOAD of an array of struct bpf_insn: return the program's descriptor.

    Raises the verifier's EINVAL or EACCES.
    """
    attributes = _Load(prog_type=kind, insn_cnt=len(instructions) // _INSTRUCTION, insns=instructions, license=_LICENSE)
    attributes.prog_name = name.encode()
    return _call(_BPF_PROG_LOAD, attributes)


def attach(program: int, cgroup: int, kind: int, *, flags: int) -> None:
    """BPF_PROG_ATTACH to a directory of cgroup v2.

    It stays for as long as the directory does; the descriptor may be closed.
    """
    _call(_BPF_PROG_ATTACH, _Attach(target_fd=cgroup, attach_bpf_fd=program, attach_type=kind, attach_flags=flags))


def attached(cgroup: int, kind: int) -> int:
    """BPF_PROG_QUERY: return how many programs of that kind are attached right there."""
    attributes = _Query(target_fd=cgroup, attach_type=kind)
    _call(_BPF_PROG_QUERY, attributes)
    return int(attributes.prog_cnt)


def _call(command: int, attributes: ctypes.Structure) -> int:
    return _bpf(command, ctypes.byref(attributes), ctypes.sizeof(attributes))
