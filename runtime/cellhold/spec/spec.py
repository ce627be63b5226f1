"""What to run: frozen values, checked when they are made.

Units are in the names; None means the kernel's default (no limit).

Nothing here asks the host: whether it can enforce a limit is checked by the code that
enforces it (and refuses if it cannot).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec
from cellhold.spec.fields import FIELDS
from cellhold.spec.limits import Limits
from cellhold.spec.names import check_hostname, check_length, check_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.linux.hostpath import HostPath, Identity

LOOPBACK = "127.0.0.1"
HOST, CONTAINER = "host", "container:"  # a network that is not the container's own: docker's words
STORAGES = ("disk", "tmpfs")
PORT_MAXIMUM, BYTE_MAXIMUM = 65535, 255
_SHOWN = 80
_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}", re.ASCII)
# Of runc's checkProcMount: files that tell of the machine, for which others can be
# shown (lxcfs).
_PROC_FILES = frozenset(
    "proc/cpuinfo proc/diskstats proc/meminfo proc/stat proc/swaps proc/uptime proc/loadavg proc/slabinfo proc/net/dev".split()
)
_DEVICE = re.compile(r"/dev(/[^/\0\n]+)+")
RESTART = re.compile(r"no|always|unless-stopped|on-failure(?::([1-9]\d{0,5}))?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """A directory below a bind or overlay that must be one particular directory.

    If another one is in its place, the container does not start.

    In a bind it is a mount point of its own, too, which nobody inside can move or
    remove (rename(2), EBUSY): so what is hidden below it stays below it, also for other
    containers that see the same source.

    path: below the source, without symbolic links. identity: its device and inode.
    read_only: nothing in it can be changed. opened: keeps the inode from becoming
    another directory's.
    """

    path: str
    identity: Identity
    read_only: bool = False
    opened: HostPath | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Mount:
    """Something of the host, or an empty tmpfs, at a path of the container.

    kind: "bind" (source: an absolute host path), "overlay" (a bind of a directory whose
    changes stay in the container and are removed with it: podman's ":O"), "volume"
    (source: its name, "" for an anonymous one) or "tmpfs" (size_bytes: None = a share
    of memory, see cellhold.rootfs.tmpfs; inodes: files, None = derived from its size;
    mode: None = 1777; no_exec: no program can be run from it).

    target: absolute. Not in /proc, except the files there that runc allows to be
    replaced, nor in /dev, except /dev/shm.

    as_root: a bind presents the host owner's ids as the container's (uid 0 is uid 0),
    so that files made there belong to the host's user; without it the ids stay what
    they are on disk and are mostly unmapped inside. hidden: paths below the target that
    are covered, so that nothing of them can be seen (".ssh"). fixed: see Fixed; what
    lies above another one, or above what is hidden, comes first.

    opened: the source of a bind or overlay, opened and checked by whoever made this;
    then the text is only its name. Without it the text is looked up once, when the
    container is made. identity: of a source that was opened so; if it has to be looked
    up again, for a container that is kept and started again, it must be the same.
    outlives: what is written to an overlay stays in the store if the process that made
    the container is killed, until a container of the same Spec.owner takes it
    (cellhold.store.leavings).
    """

    kind: str
    target: str
    source: str | None = None
    read_only: bool = False
    size_bytes: int | None = None
    inodes: int | None = None
    mode: int | None = None
    no_exec: bool = False
    as_root: bool = True
    hidden: tuple[str, ...] = ()
    fixed: tuple[Fixed, ...] = ()
    outlives: bool = False
    opened: HostPath | None = field(default=None, compare=False, repr=False)
    identity: Identity | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Raise InvalidSpec for paths that cannot be mounted or mounted on."""
        if self.kind not in ("bind", "overlay", "tmpfs", "volume"):
            raise InvalidSpec(f"cannot mount type={self.kind}: not a known kind", hint="bind, volume, overlay or tmpfs")
        for what, path in (("target", self.target), ("source", None if self.kind == "volume" else self.source)):
            if path is not None and (not path.startswith("/") or "\0" in path):
                raise InvalidSpec(
                    f"cannot mount {path[:_SHOWN]!r}: the {what} is not an absolute path", hint="write it from the root: /data"
                )
            if path is not None:
                check_length(path, f"mount the {what}")
        if not {*self.target.split("/")} - {"", "."} or ".." in self.target.split("/"):
            raise InvalidSpec(f"cannot mount on {self.target}: the target must be below the root, without '..'")
        if self.kind != "tmpfs" and self.source is None:
            raise InvalidSpec(f"cannot mount on {self.target}: no source given")
        if self.inodes is not None and self.inodes < 1:
            raise InvalidSpec(f"cannot use nr_inodes={self.inodes}: a tmpfs has at least its own directory")
        self._check_place()

    def _check_place(self) -> None:
        """Raise InvalidSpec for a target on which the isolation depends.

        That is what the container has of the kernel (runc: checkProcMount).
        """
        target = os.path.normpath(self.target.lstrip("/"))
        if _is_at_or_below(target, "proc") and (self.kind != "bind" or target not in _PROC_FILES):
            raise InvalidSpec(
                f"cannot mount on {self.target}: /proc describes the container's own processes and cannot be replaced",
                hint="mount it elsewhere: /mnt/proc; single files can be replaced: /proc/cpuinfo, /proc/meminfo ...",
            )
        if _is_at_or_below(target, "dev") and not _is_at_or_below(target, "dev/shm"):
            raise InvalidSpec(
                f"cannot mount on {self.target}: /dev holds the container's own devices and cannot be replaced",
                hint="--device adds devices of the host; mount other files elsewhere: /mnt/dev",
            )


def _is_at_or_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A small tmpfs at `target` that the container shares with its starter.

    The starter has its directory as well (Container.exchange()): both can open what
    lies in it.

    files: (name, text) of the files in it at the start, readable by the container's
    root alone. pipes: names of FIFOs, whose reading ends the starter has as well.
    size_bytes, inodes: its capacity.
    """

    target: str
    size_bytes: int
    inodes: int
    files: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    pipes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port of the container that the host answers on.

    host: the number on the host, None = any that is free. address: the host's.
    """

    container: int
    host: int | None = None
    address: str = LOOPBACK
    protocol: str = "tcp"

    def __post_init__(self) -> None:
        """Raise InvalidSpec for a port, address or protocol that cannot be published.

        That includes ::1.
        """
        numbers = (self.container, *(() if self.host is None else (self.host,)))
        if not all(isinstance(number, int) and 1 <= number <= PORT_MAXIMUM for number in numbers):
            raise InvalidSpec(f"cannot publish port {self.host}:{self.container}: not from 1 to {PORT_MAXIMUM}")
        if ":" in self.address:
            _check_ipv6(self.address)
        elif not _IPV4.fullmatch(self.address) or any(int(part) > BYTE_MAXIMUM for part in self.address.split(".")):
            raise InvalidSpec(f"cannot publish on {self.address!r}: not an IP address", hint="127.0.0.1, or 0.0.0.0 for all of the host's")
        if self.protocol not in ("tcp", "udp"):
            raise InvalidSpec(f"cannot publish port {self.container}/{self.protocol}: neither tcp nor udp")


def _check_ipv6(address: str) -> None:
    from ipaddress import IPv6Address  # noqa: PLC0415  # most have none

    try:
        parsed = IPv6Address(address)
    except ValueError as error:
        raise InvalidSpec(f"cannot publish on {address!r}: not an IP address", hint="[::] for all of the host's") from error
    if parsed.is_loopback or parsed.ipv4_mapped or parsed.scope_id or str(parsed) != address:
        raise InvalidSpec(
            f"cannot publish on {address}: it cannot be reached from elsewhere, or it is {parsed} written in another way",
            hint=f"{LOOPBACK} is reached from this host only, too",
        )


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device node of the host that the container may use beside the harmless ones.

    source: its path on the host. target: its path in the container, below /dev. access:
    of "r" (read), "w" (write), "m" (make such a node). opened: as for Mount.
    """

    source: str
    target: str
    access: str = "rwm"
    opened: HostPath | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Raise InvalidSpec for an invalid path of a node, or an invalid access."""
        if not _DEVICE.fullmatch(self.target) or ".." in self.target.split("/") or "\0" in self.source:
            raise InvalidSpec(f"cannot use device={self.source}:{self.target}: a device must be below /dev", hint="/dev/fuse, for example")
        if not self.access or set(self.access) - set("rwm"):
            raise InvalidSpec(f"cannot use device={self.source} for {self.access!r}: not of r, w and m", hint="/dev/fuse:/dev/fuse:rw")


@dataclass(frozen=True, kw_only=True)
class Health:
    """A healthcheck: `args` is run periodically; status 0 means healthy.

    args: () for none, whatever the image says. interval_seconds: between two checks.
    timeout_seconds: of one check. start_seconds: period in which failures do not count.
    retries: failures in a row that make the container unhealthy. The defaults are
    Docker's.
    """

    args: tuple[str, ...] = ()
    interval_seconds: float = 30.0
    timeout_seconds: float = 30.0
    start_seconds: float = 0.0
    retries: int = 3


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What to run: the image, the program, and the container's isolation.

    image: "host" (this machine's own files, read-only), the path of a directory that is
    the root file system (it starts with / or .), or the name of an OCI image in the
    store ("python:3.12-slim"). rootfs: the directory that is the image, opened and
    checked by whoever made this; then `image` is only its name.

    entrypoint, then args: the program and its arguments; None and (): the image's. env:
    added to the image's; nothing of the caller's environment is passed on. user: "uid",
    "uid:gid" or names of the image's /etc/passwd; None = the image's. cwd: None = the
    image's. groups: more groups of the user (ids or names). capabilities: None = the
    default set, else exactly these ("CAP_CHOWN"). terminal: its standard streams are a
    terminal of its own. stdin: they stay open for clients that attach.

    network: "none" (loopback only), the name of a network ("bridge" always exists), on
    which the container is known by its name and aliases, "host" (this host's own), or
    "container:NAME" (that of a container that runs). ports: published. egress: where it
    may connect to (cellhold.network.egress), None = anywhere. hosts: (name, address)
    for its /etc/hosts.

    storage: "disk" or "tmpfs" (pages count against the memory limit). shm_bytes: of
    /dev/shm, None = see cellhold.rootfs.tmpfs. image_volumes: whether paths that the
    image declares as volumes become anonymous volumes, which no limit counts; else they
    stay part of the writable layer, and are its `directories`: made if they are
    missing. exchange: only of a container that is not kept. devices: of the host, that
    it may use.

    stop_signal, stop_seconds: what stop() sends, and how long it waits before SIGKILL;
    None = the image's, else SIGTERM, and 10. restart: Docker's policy ("no", "always",
    "unless-stopped", "on-failure[:TIMES]"), for a container that is kept. health: None
    = the image's; checked if the container is kept. labels: for people and programs.

    owner: the id of the notebook that the container is for; "" = of whoever uses the
    command line. Names on networks are valid within one owner (cellhold.network.names).
    """

    image: str = "host"
    entrypoint: tuple[str, ...] | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    cwd: str | None = None
    user: str | None = None
    hostname: str | None = None
    name: str | None = None
    limits: Limits = field(default_factory=Limits)
    mounts: tuple[Mount, ...] = ()
    network: str = "none"
    storage: str = "disk"
    read_only: bool = False
    capabilities: frozenset[str] | None = None
    groups: tuple[str, ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()
    shm_bytes: int | None = None
    terminal: bool = False
    stdin: bool = False
    stop_signal: int | None = None
    stop_seconds: float | None = None
    restart: str = "no"
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    health: Health | None = None
    devices: tuple[Device, ...] = ()
    ports: tuple[Port, ...] = ()
    aliases: tuple[str, ...] = ()
    egress: str | None = None
    owner: str = ""
    image_volumes: bool = True
    directories: tuple[str, ...] = ()
    rootfs: HostPath | None = field(default=None, compare=False, repr=False)
    exchange: Exchange | None = None

    def __post_init__(self) -> None:
        """Raise InvalidSpec for what can be seen to be wrong without asking the host."""
        self._check_network()
        if self.storage not in STORAGES:
            raise InvalidSpec(f"cannot use storage={self.storage}: not a kind of storage", hint="storage=disk or storage=tmpfs")
        if self.hostname is not None:
            check_hostname(self.hostname)
        if self.name is not None:
            check_name(self.name)
        if self.owner:
            check_name(self.owner)
        self._check_mounts()
        self._check_words()

    def _check_network(self) -> None:
        check_name(self.network.removeprefix(CONTAINER))
        for name in self.aliases:
            check_hostname(name)
        wanted = {
            "ports": self.ports,
            "an alias": self.aliases,
            "egress": self.egress,
            **{field.word: field.value(self.limits) for field in FIELDS if field.needs_network},
        }
        useless = next((name for name, value in wanted.items() if value), None)
        if useless and self.network == "none":
            raise InvalidSpec(f"cannot use {useless} with network=none: it has loopback only", hint="add network=bridge")
        if useless and shares_network(self.network):
            raise InvalidSpec(
                f"cannot use {useless} with network={self.network}: that network is not the container's own", hint="add network=bridge"
            )

    def _check_mounts(self) -> None:
        targets = [os.path.normpath(entry.target.lstrip("/")) for entry in self.mounts]
        if len(set(targets)) < len(targets):
            twice = next(target for number, target in enumerate(targets) if target in targets[:number])
            raise InvalidSpec(f"cannot mount twice on /{twice}")
        if self.exchange is not None:
            ours = self.exchange.target.strip("/")
            if inside := next((target for target in targets if _is_at_or_below(target, ours)), None):
                raise InvalidSpec(f"cannot mount on /{inside}: the cell kernel's sockets are in /{ours}", hint="mount it elsewhere")

    def _check_words(self) -> None:
        if not RESTART.fullmatch(self.restart):
            raise InvalidSpec(f"cannot use restart={self.restart!r}: no, always, unless-stopped, on-failure or on-failure:TIMES")
        if self.cwd is not None and not self.cwd.startswith("/"):
            raise InvalidSpec(f"cannot use workdir={self.cwd[:_SHOWN]!r}: not an absolute path", hint="write it from the root: /work")
        if self.cwd is not None:
            check_length(self.cwd, "use workdir")
        for key in self.env:
            if not key or "=" in key or "\0" in key or "\0" in self.env[key]:
                raise InvalidSpec(f"cannot use env {key!r}: not a valid environment variable")
        for arg in (*(self.entrypoint or ()), *self.args, *self.groups, self.cwd or "", self.user or ""):
            if "\0" in arg:
                raise InvalidSpec(f"cannot run {arg!r}: an argument holds a NUL byte")

    def with_limits(self, **limits: object) -> Spec:
        """Return this spec with some limits replaced.

        Raises InvalidSpec as Limits does.
        """
        return replace(self, limits=replace(self.limits, **limits))  # type: ignore[arg-type]  # checked by Limits


def shares_network(network: str) -> bool:
    """Return whether the container uses a network namespace that is not its own.

    That is this host's, or another container's.
    """
    return network == HOST or network.startswith(CONTAINER)
