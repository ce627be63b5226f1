"""The child's outer half: confines the inner half and talks to the caller.

The inner half reads the hostile content.

    caller      <-(data, SOCK_STREAM, one way or the other)->  inner half
    caller      <-(control, SOCK_SEQPACKET)->                  supervisor
    supervisor  <-(report, SOCK_SEQPACKET)->                   inner half

Started by `cellhold.layer.confined` as `python -I -S`, as the caller's user. The first
message on control is the Job. Later ones name directories that the inner half may read,
too. What the inner half reports is passed on as it is, never read here. When the caller
closes control, or ends, the inner half is killed.
"""

from __future__ import annotations

import _socket
import gc
import marshal
import os
import select
import traceback
from importlib import import_module

from cellhold.errors import ImageRefused, NotSupported
from cellhold.init import prepare, rootless
from cellhold.layer.worker import confinement
from cellhold.layer.worker.decompression import MAGIC_BYTES, chosen
from cellhold.layer.worker.report import Report
from cellhold.linux import mount, process
from cellhold.linux.pidfd import pidfd_send_signal

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from typing import NoReturn

    from cellhold.layer.worker.job import Job, Layer

DATA, CONTROL = 0, 3
PROGRAMS = {
    "unpack": "cellhold.layer.worker.unpacking",
    "pack": "cellhold.layer.worker.packing",
    "copy": "cellhold.layer.worker.copying",
}
LONGEST_MESSAGE = 65536
_SIGKILL = 9
_EINVAL, _ESTALE = 22, 116
_ALL_IDS = 65536


def main() -> None:
    """Serve one job."""
    process.close_range(CONTROL + 1, 1 << 30)
    prepare.set_title(b"cellhold-layer")
    os.umask(0)
    gc.disable()
    control = _socket.socket(fileno=CONTROL)
    head = control.recv(1 << 20)
    if not head:
        return
    job: Job = marshal.loads(head)  # noqa: S302  # from our own caller
    try:
        supervise(job, control)
    except OSError as error:
        tell(control, "unable", str(error.errno or 0), error.strerror or str(error))


def supervise(job: Job, control: _socket.socket) -> None:
    """Confine the inner half, and pass on its reports until it ends.

    Raises OSError if it cannot be confined.
    """
    if job["rootless"] is not None:
        rootless.enter(*job["rootless"])
    load(job)
    try:
        inner = start(job, shift=job["rootless"] is None)
    except OSError as error:
        if error.errno != _EINVAL or job["rootless"] is not None:
            raise
        inner = start(job, shift=False)  # no idmapped mounts on this file system (9p, NFS): its ids are the host's own, with no power
    os.close(DATA)
    watch(inner, control)
    _pid, status = os.waitpid(inner.pid, 0)
    tell(control, "ended", str(os.waitstatus_to_exitcode(status)))


class Inner:
    """The inner half as the supervisor knows it.

    shift: its directories are shown with other owners than they have on disk.
    """

    def __init__(self, pid: int, pidfd: int, report: _socket.socket, *, shift: bool) -> None:
        """Take over the descriptors."""
        self.pid = pid
        self.pidfd = pidfd
        self.report = report
        self.shift = shift

    def kill(self) -> None:
        """Kill the inner half; it may be dead already."""
        pidfd_send_signal(self.pidfd, _SIGKILL)

    def show(self, layers: list[Layer], *, writable: bool) -> None:
        """Send it directories; only the first may be `writable`. Raises OSError."""
        trees: list[int] = []
        try:
            for layer in layers:
                trees.append(tree(layer, self, writable=writable and not trees))
            prepare.send_descriptors(self.report, trees) if trees else self.report.send(b"go")
        finally:
            for fd in trees:
                os.close(fd)


def load(job: Job) -> None:
    """Import what the inner half will need.

    Once it is confined, there is no Python to import from.
    """
    import_module(PROGRAMS[job["what"]])
    compression = chosen(first_bytes()) if job["what"] == "unpack" else job["options"]["compression"]
    if compression == "zstd":
        import_module("zstandard")  # it takes longer than all the rest


def first_bytes() -> bytes:
    """Wait for the first four bytes of the data, and leave them there."""
    data = _socket.socket(fileno=DATA)
    try:
        return data.recv(MAGIC_BYTES, _socket.MSG_PEEK | _socket.MSG_WAITALL)
    finally:
        data.detach()


def start(job: Job, *, shift: bool) -> Inner:
    """Clone the inner half, and give it its ids and its directories."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)
    pid, pidfd = process.clone3(confinement.NAMESPACES)
    if pid == 0:
        ours.close()
        descend(job, theirs)
    theirs.close()
    inner = Inner(pid, pidfd, ours, shift=shift)
    try:
        prepare.map_ids(pid, *maps(job, shift=shift))
        inner.show([job["tree"], *job["lowers"]], writable=job["writable"])
    except OSError:
        inner.kill()
        os.waitpid(pid, 0)
        os.close(pidfd)
        ours.close()
        raise
    return inner


def maps(job: Job, *, shift: bool) -> tuple[str, str]:
    """Return the lines of uid_map and gid_map: a range that is nobody's.

    Without root, it is what rootless.enter() has mapped.
    """
    if job["rootless"] is not None:
        uids, gids, _helpers = job["rootless"]
        return rootless.same(uids), rootless.same(gids)
    row = f"0 {job['base'] if shift or not job['tree']['shift'] else 0} {_ALL_IDS}"
    return row, row


def tree(layer: Layer, inner: Inner, *, writable: bool) -> int:
    """Return a detached mount of a directory.

    The kernel follows no links in it, and its owners are shown as the child's ids.
    """
    fd = opened(layer)
    try:
        strict = mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV | mount.MOUNT_ATTR_NOEXEC | (0 if writable else mount.MOUNT_ATTR_RDONLY)
        mount.mount_setattr(fd, attr_set=strict, propagation=mount.MS_PRIVATE)
        if layer["shift"] and inner.shift:
            idmap(fd, inner.pid)
        follow_no_links(fd)
    except OSError:
        os.close(fd)
        raise
    return fd


def opened(layer: Layer) -> int:
    """Return a detached mount of a directory, its owners unchanged.

    Raises OSError for one of the host's with another one in its place.
    """
    if layer["identity"] is None:
        return mount.open_tree(mount.AT_FDCWD, layer["path"])
    place = os.open(layer["path"], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        status = os.fstat(place)
        if (status.st_dev, status.st_ino) != layer["identity"]:
            raise OSError(_ESTALE, f"{layer['path']} is another directory now")
        return mount.open_tree(place, "")
    finally:
        os.close(place)


def idmap(fd: int, pid: int) -> None:
    """Map the owners as prepare.shifted() does.

    A file system that cannot do it is an OSError (EINVAL): writing wrong owners would
    be no help.
    """
    userns = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        mount.mount_setattr(fd, attr_set=mount.MOUNT_ATTR_IDMAP, userns_fd=userns)
    finally:
        os.close(userns)


def follow_no_links(fd: int) -> None:
    """Forbid symbolic links on this mount (Linux 5.14).

    The kernel follows none then; nothing here relies on it.
    """
    try:
        mount.mount_setattr(fd, attr_set=mount.MOUNT_ATTR_NOSYMFOLLOW)
    except OSError as error:
        if error.errno != _EINVAL:
            raise


def watch(inner: Inner, control: _socket.socket) -> None:
    """Pass messages on until the inner half is dead; the caller's going kills it."""
    poll = select.poll()
    for fd in (control.fileno(), inner.report.fileno(), inner.pidfd):
        poll.register(fd, select.POLLIN)
    while True:
        ready = [fd for fd, _events in poll.poll()]
        if inner.report.fileno() in ready:
            words = received(inner.report)
            if words:
                forward(control, words)
                continue  # its reports come before its end
            poll.unregister(inner.report)
        if inner.pidfd in ready:
            os.close(inner.pidfd)
            return
        if control.fileno() in ready and not answer(inner, control):
            poll.unregister(control)
            inner.kill()


def answer(inner: Inner, control: _socket.socket) -> bool:
    """Show the inner half the directories that the caller names.

    Returns False when the caller has gone.
    """
    words = received(control)
    if not words:
        return False
    try:
        inner.show(marshal.loads(words), writable=False)  # noqa: S302  # from our own caller
    except OSError as error:
        tell(control, "unable", str(error.errno or 0), error.strerror or str(error))
        inner.kill()
    return True


def descend(job: Job, channel: _socket.socket) -> NoReturn:
    """Be the inner half; never returns.

    Wait for ids and directories, confine this process, do the work, report the result.
    """
    report = Report(channel)
    try:
        os.dup2(1, CONTROL)  # neither the caller's control socket nor anything else that is not ours
        process.close_range(CONTROL + 1, channel.fileno() - 1)
        process.close_range(channel.fileno() + 1, 1 << 30)
        trees = report.descriptors()
        if not trees:
            os._exit(125)  # the supervisor is gone, or could not prepare
        confinement.confine(job, os.dup(trees[0]))
        import_module(PROGRAMS[job["what"]]).run(job, trees, report)
    except ImageRefused as error:
        report.say("refused", str(error), error.hint or "")
    except NotSupported as error:
        report.say("unsupported", str(error), error.hint or "")
    except MemoryError:
        report.say("refused", f"it needs more than {job['memory_bytes'] >> 20} MiB of memory to be read", "")
    except OSError as error:
        report.say("failed", str(error.errno or 0), error.strerror or str(error))
    except BaseException:  # noqa: BLE001  # the border: what is not foreseen is reported as well
        report.say("broken", traceback.format_exc()[-2000:])
    os._exit(0)


def received(channel: _socket.socket) -> bytes:
    """Return the next message; nothing if the other end has gone."""
    try:
        return channel.recv(LONGEST_MESSAGE)
    except OSError:
        return b""


def forward(control: _socket.socket, words: bytes) -> None:
    """Send to the caller; one that is gone is noticed elsewhere."""
    try:
        control.send(words, _socket.MSG_NOSIGNAL)
    except OSError:
        return


def tell(control: _socket.socket, *words: str) -> None:
    """Send a message of the supervisor's own."""
    forward(control, "\0".join(words).encode(errors="replace"))
