"""A process that exchanges two names over and over.

What was checked by its name is another file when the name is used again.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PROGRAM = """
import ctypes, os, sys
one, other = map(os.fsencode, sys.argv[1:])
rename = ctypes.CDLL(None, use_errno=True).renameat2
assert rename(-100, one, -100, other, 2) == 0, os.strerror(ctypes.get_errno())  # AT_FDCWD, RENAME_EXCHANGE
print("up", flush=True)
while True:
    rename(-100, one, -100, other, 2)
"""


@contextmanager
def flipping(one: Path, other: Path) -> Iterator[None]:
    """Exchange two names until the end of the block (renameat2(2)).

    Their order at the end is undefined.
    """
    with subprocess.Popen([sys.executable, "-I", "-c", _PROGRAM, str(one), str(other)], stdout=subprocess.PIPE) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == b"up\n"
            yield
        finally:
            program.kill()
