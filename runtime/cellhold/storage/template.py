"""Empty ext4 file systems, one file per size, made once and copied per container.

TEMPLATES/
    ext4-67108864.img        sparse; a few hundred KiB on disk
    lock                     held while one is made
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cellhold import helper
from cellhold.errors import InvalidSpec, NotSupported, SetupFailed
from cellhold.spec import units
from cellhold.spec.tracing import step
from cellhold.store import durable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MINIMUM_BYTES = 1 << 20
MAXIMUM_BYTES = 15 << 40  # 2^32 blocks of 4 KiB are 16 TiB
_BLOCK_BYTES = 4096
_BYTES_PER_INODE = 8192  # a tree of installed Python packages has 10 KiB a file; ext4's own default, 16 KiB, runs out of inodes first
_INODE_BYTES = 256
_FIXED_BYTES = 12 * _BLOCK_BYTES  # superblock, descriptors, bitmaps, lost+found, the first directories
# No journal: after a crash of the machine there is no container to continue. No
# reserved blocks, no space for growing.
_FEATURES = "none,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,uninit_bg"
_OPTIONS = (
    "-q",
    "-F",
    "-b",
    "4096",
    "-I",
    "256",
    "-i",
    "8192",
    "-m",
    "0",
    "-E",
    "lazy_itable_init=1,root_owner=0:0,nodiscard",
    "-O",
    _FEATURES,
)
_REPAIRED = 1 | 2  # e2fsck's exit status: errors were corrected; the system should be rebooted, where it is its root
_SBIN = "/usr/sbin:/sbin:/usr/bin:/bin"


def template(limit_bytes: int, templates: Path) -> Path:
    """Return the file with an empty ext4 of this size; make it if it is missing.

    It holds `limit_bytes` of files, less a few percent.

    Raises InvalidSpec (too small or large), NotSupported (no mkfs.ext4), SetupFailed
    (mkfs.ext4 failed), OSError.
    """
    if not MINIMUM_BYTES <= limit_bytes <= MAXIMUM_BYTES:
        reach = f"{units.size(MINIMUM_BYTES)} to {units.size(MAXIMUM_BYTES)}"
        raise InvalidSpec(f"cannot use disk={limit_bytes}: a file system can be made for {reach}", hint="disk=1g, for example")
    path = templates / f"ext4-{limit_bytes}.img"
    if not path.exists():
        templates.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(templates / "lock"):
            if not path.exists():
                _make(path, limit_bytes)
    return path


def clear(templates: Path) -> None:
    """Remove what a killed process was making. Raises OSError."""
    if drafts := list(templates.glob("*.new")):
        with _locked(templates / "lock"):
            for draft in drafts:
                draft.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _make(path: Path, limit_bytes: int) -> None:
    mkfs = shutil.which("mkfs.ext4", path=f"{helper.search_path()}:{_SBIN}")
    if mkfs is None:
        raise NotSupported(
            f"cannot limit the disk to {units.size(limit_bytes)}: mkfs.ext4 is not installed",
            hint="apt-get install e2fsprogs; or storage=tmpfs, which has limits of its own",
        )
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with step("storage.template", f"an ext4 for {units.size(limit_bytes)}"):
        try:
            with open(draft, "xb", opener=_private) as file:  # Path.open has no opener
                file.truncate(_image_bytes(limit_bytes))
            _run_mkfs([mkfs, *_OPTIONS, os.fspath(draft.absolute())], limit_bytes)
            durable.sync(draft)
            draft.rename(path)
        finally:
            draft.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def repair(image: Path) -> None:
    """Repair a file system after a crash of the machine (e2fsck(8)).

    Raises SetupFailed.
    """
    program = shutil.which("e2fsck", path=f"{helper.search_path()}:{_SBIN}")
    if program is None:
        raise SetupFailed(
            f"cannot open {image}: the machine stopped while it was in use, and e2fsck is not installed",
            step="storage.repair",
            hint="apt-get install e2fsprogs",
        )
    with step("storage.repair", "e2fsck: the machine stopped while it was in use"):
        ran = helper.run([program, "-f", "-y", os.fspath(image.absolute())], env={"PATH": _SBIN})
    if ran.returncode & ~_REPAIRED:
        said = ran.stdout.decode(errors="replace").strip().rpartition("\n")[2] or f"exit status {ran.returncode}"
        raise SetupFailed(f"cannot open {image}: e2fsck: {said}", step="storage.repair")


def _run_mkfs(command: list[str], limit_bytes: int) -> None:
    # MKE2FS_CONFIG: the features are those above, not those of this machine's
    # mke2fs.conf
    ran = helper.run(command, env={"PATH": _SBIN, "MKE2FS_CONFIG": "/dev/null"})
    if ran.returncode:
        said = ran.stderr.decode(errors="replace").strip() or f"exit status {ran.returncode}"
        raise SetupFailed(f"cannot make a file system of {units.size(limit_bytes)}: mkfs.ext4: {said}", step="storage.template")


def _image_bytes(limit_bytes: int) -> int:
    """Return the file's length: the user's bytes plus ext4's own.

    ext4 keeps inode tables, a reserve, bitmaps and the like for itself.
    """
    inodes = limit_bytes // _BYTES_PER_INODE * _INODE_BYTES
    reserve = min(limit_bytes // 50, 4096 * _BLOCK_BYTES)  # ext4's s_resv_clusters: 2 %, up to 4096 blocks
    return -(-(limit_bytes + inodes + reserve) // _BLOCK_BYTES) * _BLOCK_BYTES + _FIXED_BYTES
