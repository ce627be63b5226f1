"""A kernel layer's content, and how the image's own Python starts with it.

The image's Python unpacks the wheels into one directory. The image needs no pip,
site-packages is not changed (it may be read-only, or belong to a distribution: PEP
668), and no .pth file is written. The kernel's process puts the directory first on
sys.path, and passes that to no other process: in cells, its versions of the packages in
it (ipykernel, traitlets, tornado ...) take precedence over the image's, so that the
kernel runs whatever old ones the image has; everything else is imported from the image
as usual; programs and Pythons that cells start see the image as it is.

Both programs run in a container of the image, on Python 3.6 and later. INSTALL writes
errors to standard error, and then exits with 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold_kernel.images.found import KernelSpec, version_text
from cellhold_kernel.transport.logged import START_IN_LAYER

if TYPE_CHECKING:
    from cellhold_kernel.images.found import Python

TARGET = "/opt/cellhold/kernel"  # in the image

INSTALL = '''
"""install.py WHEELS TARGET: unpack each wheel of a directory into another (PEP 427), and compile it. Standard library only."""
import compileall, os, shutil, sys, time, zipfile


def destination(name):
    """Where a wheel's member belongs below the target; None for what a kernel does not need (scripts, headers, data)."""
    parts = name.split("/")
    if parts[0].endswith(".data"):
        if len(parts) < 3 or parts[1] not in ("purelib", "platlib"):
            return None
        parts = parts[2:]
    if not all(parts) or ".." in parts or "." in parts:
        raise ValueError("the member %r leads out of it" % name)
    return os.path.join(*parts)


def unpack(wheel, target):
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            where = None if member.filename.endswith("/") else destination(member.filename)
            if where is not None:
                path = os.path.join(target, where)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with archive.open(member) as source, open(path, "wb") as made:
                    shutil.copyfileobj(source, made)
                os.chmod(path, 0o755 if member.external_attr >> 16 & 0o111 else 0o644)
                moment = time.mktime(member.date_time + (0, 0, -1))
                os.utime(path, (moment, moment))


def main(wheels, target):
    os.umask(0o022)
    names = sorted(name for name in os.listdir(wheels) if name.endswith(".whl"))
    if not names:
        sys.exit("there are no wheels in " + wheels)
    for name in names:
        try:
            unpack(os.path.join(wheels, name), target)
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            sys.exit("cannot unpack %s: %s" % (name, error))
    more = {}
    if sys.version_info >= (3, 7):  # a layer's files may get other times: what is compiled does not depend on them
        import py_compile
        more["invalidation_mode"] = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(target, quiet=2, **more)  # what does not compile is for other Pythons
    sys.path.insert(0, target)
    try:
        import ipykernel.kernelapp
    except ImportError as error:  # a library of the system that the wheels count on, say
        sys.exit("the kernel does not start: %s" % error)


main(*sys.argv[1:])
'''


def install_command(python: Python, *, wheels: str, target: str = TARGET) -> tuple[str, ...]:
    """Return the command that makes the layer in a container of the image.

    wheels: the directory with the wheels, as the container sees it.
    """
    return (python.path, "-I", "-S", "-c", INSTALL, wheels, target)


def kernelspec(python: Python, *, target: str = TARGET) -> KernelSpec:
    """Return the kernelspec that starts the kernel with the layer."""
    return KernelSpec(
        name="python3",
        argv=(python.path, "-c", START_IN_LAYER, target, "-f", "{connection_file}"),
        display_name=version_text(python.version),
        language="python",
        prefix=python.prefix,
    )
