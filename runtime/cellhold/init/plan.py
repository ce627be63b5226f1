"""The plan of one container as the library passes it to the launcher.

Plain marshal-able values. Imported by type checkers only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict


class Tree(TypedDict):
    """A piece of the host's file system to clone as a detached mount (launcher).

    Numbered by its position in Plan["trees"]. held: a descriptor of it, in whichever
    process has the plan: the launcher gets it with its request. -1: it is opened by its
    path, which then is one of our own store's or this program's. Otherwise the path is
    its name, for people.
    """

    path: str
    held: int
    idmap: bool  # show the owner ids on disk as the container's ids: 0 on disk is the container's root
    attributes: int  # MOUNT_ATTR_*
    recursive: bool


class Overlay(TypedDict):
    """An overlay mount at `target`.

    Its writable directories are "N/upper" and "N/work" of the storage, N its position
    in the list.
    """

    target: str
    lowers: list[int]  # numbers of trees, topmost first
    read_only: bool


class FileSystem(TypedDict):
    """A new file system at `target`."""

    target: str
    fstype: str
    options: dict[str, str | None]
    attributes: int
    files: NotRequired[dict[str, str]]  # name -> text of what is in a tmpfs from the start
    pipes: NotRequired[list[str]]  # names of FIFOs in it
    handed: NotRequired[bool]  # its directory, and reading ends of its pipes, are handed to our caller (spec.Exchange)


class Bind(TypedDict):
    """Tree number `tree` at `target`, which is made if it is missing."""

    target: str
    tree: int
    directory: bool
    populate: bool  # an empty one gets what the image has there


class Fixed(TypedDict):
    """A fixed directory of a mount: see cellhold.spec.spec.Fixed."""

    path: str
    identity: tuple[int, int]
    read_only: bool


class Covers(TypedDict):
    """What is fixed and hidden in one of the user's mounts; paths below it.

    See covers.py.
    """

    fixed: list[Fixed]
    hidden: list[str]


class Node(TypedDict):
    """A device node at a path below /dev, as mknod(2) takes it."""

    path: str
    mode: int
    device: int


class View(TypedDict):
    """A cgroup file system below /sys/fs/cgroup; see cellhold.cgroups.base.View."""

    fstype: str
    option: str
    directory: str


class Writable(TypedDict):
    """A writable layer that the launcher opens, as its caller cannot mount.

    A directory, or a new tmpfs (path None).
    """

    path: str | None
    options: dict[str, str | None]  # of the tmpfs
    pairs: int  # how many pairs of directories it needs


class Confinement(TypedDict):
    """The part of the plan that takes rights away."""

    masked: list[str]
    read_only_paths: list[str]
    bounding: int  # capability bits that the program may have
    seccomp: bytes  # a compiled filter


class Program(TypedDict):
    """As whom, where and with what the program runs, and for how long."""

    user: str
    groups: list[str]  # more of them, ids or names
    terminal: tuple[int, int] | None  # rows and columns; None: the streams are descriptors
    cwd: str
    args: list[str]
    env: dict[str, str]
    oom_score_adj: int  # 0: as it is
    seconds: float | None  # wall time after which the launcher kills it
    carry: NotRequired[dict[str, object]]  # of a process that copies files (init/file_transfer.py)


class Plan(Confinement, Program):
    """Everything that init needs. Sizes in bytes, times in seconds."""

    hostname: str
    namespaces: int  # CLONE_NEW* flags for clone3; the cgroup namespace comes later, from inside the group
    id_base: int  # as the launcher sees it: 0 in the user namespace that a rootless one lives in
    id_count: int
    id_rows: list[tuple[int, int, int]]  # id inside, id on the host, how many: for people
    writable: Writable | None  # None: the storage's descriptor is a mount already
    trees: list[Tree]
    overlays: list[Overlay]
    volatile: bool  # whether the writable layer is thrown away with the container, so that nobody wants it on the disk
    overlay_program: str | None  # fuse-overlayfs, for whom the kernel's overlay is refused
    filesystems: list[FileSystem]
    binds: list[Bind]
    covers: dict[str, Covers]  # by the target of an overlay or a bind
    devices: list[Node]  # beside those that every /dev has
    network: str  # whose: OWN, WIRED or SHARED of prepare.py
    directories: list[str]  # of the writable layer, made where they are missing
    files: dict[str, str]  # path -> text: small files made for this container (/etc/hosts ...)
    views: list[View]
    rlimits: list[tuple[int, int, int]]  # resource number, soft, hard
    maxima: dict[str, int]  # name in /proc/sys/user -> what the container's user namespace may have; without root alone
