"""loop(4): a file as a block device, freed when nobody has it open or mounted."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from errno import EBUSY, ENOENT, ENXIO
from pathlib import Path
from struct import pack

_CONTROL = "/dev/loop-control"
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A  # Linux 5.8: file and flags in one step, so that autoclear is on from the first moment
_LO_FLAGS_AUTOCLEAR = 4
# struct loop_config: fd, block_size, struct loop_info64, 8 reserved; of loop_info64
# only the flags and the name (for losetup) are ours
_CONFIG = "II 52x I 64s 112x 64x"
_ATTEMPTS = 200
_PAUSE_SECONDS = 0.005


def attach(file_fd: int, name: str) -> tuple[int, str]:
    """Attach the opened file `file_fd` to a free loop device.

    Returns its descriptor, which keeps it alive until it is mounted, and its path.

    name: what losetup(8) shows. Raises OSError.
    """
    config = pack(_CONFIG, file_fd, 0, _LO_FLAGS_AUTOCLEAR, os.fsencode(name)[:63])
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        for attempt in range(_ATTEMPTS):
            path = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            try:
                return _configured(path, config), path
            except OSError as error:
                # Between "free" and "mine" another process may take it, and a new
                # device's node may not be there yet.
                if error.errno not in (EBUSY, ENOENT, ENXIO) or attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(_PAUSE_SECONDS)
    finally:
        os.close(control)
    raise AssertionError("the last attempt returns or raises")


def device_of(file: Path) -> str | None:
    """Return the path of the loop device backed by `file`, or None."""
    for link in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            if link.read_text(errors="surrogateescape").removesuffix("\n") == os.fspath(file):
                return f"/dev/{link.parents[1].name}"
    return None


def _configured(path: str, config: bytes) -> int:
    device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(device, _LOOP_CONFIGURE, config)
    except BaseException:
        os.close(device)
        raise
    return device
