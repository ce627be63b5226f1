"""What the kernel counts for the whole machine, and for nobody in particular, a container takes none of.

Nobody fills it here: every container of the machine would feel that.
"""

from __future__ import annotations

import json

import pytest

from boxes import run, spec

PROGRAM = """
import ctypes, errno, json, socket, struct
def tried(make, *arguments):
    try:
        make(*arguments)
        return "taken"
    except OSError as error:
        return errno.errorcode[error.errno]
code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0xffff))  # return 65535: the whole packet
program = struct.pack("HxxxxxxQ", 1, ctypes.addressof(code))  # struct sock_fprog
one, two = socket.socketpair()
port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
port.bind(("127.0.0.1", 0))
libc = ctypes.CDLL(None, use_errno=True)
def io_setup():
    context = ctypes.c_ulong()
    if libc.syscall(206, 1, ctypes.byref(context)) < 0:
        raise OSError(ctypes.get_errno(), "")
print(json.dumps({
    "a socket's filter": tried(one.setsockopt, socket.SOL_SOCKET, 26, program),
    "a filter of who gets what comes in": tried(port.setsockopt, socket.SOL_SOCKET, 51, program),
    "events of asynchronous I/O": tried(io_setup),
}))
"""


@pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp")
def test_a_container_takes_none_of_what_is_counted_for_the_whole_machine() -> None:
    ran = run(spec("host", "python3", "-I", "-S", "-c", PROGRAM))
    assert ran.outcome.status == 0, ran.err
    assert json.loads(ran.out) == {
        "a socket's filter": "ENOPROTOOPT",
        "a filter of who gets what comes in": "ENOPROTOOPT",
        "events of asynchronous I/O": "ENOSYS",
    }
