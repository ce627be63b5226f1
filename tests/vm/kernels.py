"""The guest's kernels, Debian's own: User-mode Linux (a process that is a kernel), and the usual one in QEMU without KVM.

    ~/.cache/cellhold/vm/uml/        or qemu/
        linux                        the kernel
        lib/modules/VERSION/         its modules
        initrd                       busybox and the modules that mounting the root takes; /init comes with each job
        uml-xstate.so                uml only

Nothing is installed: a package is downloaded with apt-get, or given by CELLHOLD_VM_KERNEL, and unpacked.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).parent
_SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # an ordinary user's PATH has no depmod and no mkfs


class MissingError(Exception):
    """The guest cannot be had here; the text says why, and what to do."""


class Machine(NamedTuple):
    """One run: a directory of its own with `initrd`, `scratch.img`, and the files `console` and `status` that it writes."""

    place: Path
    memory_mib: int


class Kernel(Protocol):
    """How to get a kernel, and how to run it. Its standard output and error become the job's."""

    name: str
    tools: ClassVar[Mapping[str, str]]  # program -> Debian package
    modules: tuple[str, ...]

    def package(self) -> str:
        """The Debian package that has it."""

    def unpack(self, tree: Path, into: Path) -> str:
        """Put `linux` and `lib/modules` into the cache from an unpacked package; returns the version."""

    def command(self, machine: Machine) -> list[str]:
        """What runs it, in the foreground, with descriptors 3, 4 and 5 for standard output, standard error and the status."""


class Uml:
    """User-mode Linux, in namespaces of its own: hostfs sees the machine read-only, and nothing outlives the run."""

    name = "uml"
    tools: ClassVar[Mapping[str, str]] = {"cc": "gcc", "findmnt": "util-linux"}
    modules: tuple[str, ...] = ("overlay",)

    def package(self) -> str:
        """As Kernel has it."""
        return "user-mode-linux"

    def unpack(self, tree: Path, into: Path) -> str:
        """As Kernel has it; and the shim that UML needs on some processors."""
        (tree / "usr/lib/uml/modules").rename(into / "lib/modules")
        (tree / "usr/bin/linux.uml").rename(into / "linux")
        call("cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(into / "uml-xstate.so"), str(HERE / "uml-xstate.c"))
        return next((into / "lib/modules").iterdir()).name

    def command(self, machine: Machine) -> list[str]:
        """As Kernel has it."""
        place, kernel = machine.place, cache(self)
        (place / "outside").mkdir()
        as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
        script = (
            f"mount --rbind / {place}/outside\n"
            f'findmnt -rno TARGET -R {place}/outside | while read -r at; do mount -o remount,bind,ro "$at" 2>/dev/null; done\n'
            # The shell stays as PID 1, which no SIGABRT would end: a kernel that panics aborts.
            f'LD_PRELOAD={kernel}/uml-xstate.so {kernel}/linux "$@"; exit $?'
        )
        return [
            *("unshare", *as_root, "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, "sh"),
            *(f"hostfs={place}/outside", f"initrd={place}/initrd", f"ubda={place}/scratch.img", f"uml_dir={place}/", "root=none"),
            *(f"mem={machine.memory_mib}M", "con=null", "con0=null,fd:6", "ssl=null", "ssl0=null,fd:3", "ssl1=null,fd:4", "ssl2=null,fd:5"),
            *("quiet", "panic=-1"),
        ]


class Qemu:
    """Debian's kernel in QEMU: every instruction is emulated (TCG), so 3 times slower than UML, but nothing is left out of it."""

    name = "qemu"
    tools: ClassVar[Mapping[str, str]] = {"qemu-system-x86_64": "qemu-system-x86", "xz": "xz-utils"}
    modules: tuple[str, ...] = ("virtio_pci", "virtio_blk", "virtio_console", "9pnet_virtio", "9p", "ext4", "crc32c_generic", "overlay")

    def package(self) -> str:
        """As Kernel has it: the image that the metapackage stands for; the one for clouds has no 9p."""
        depends = call("apt-cache", "depends", "linux-image-amd64").split()
        return next(word for word in depends if word.startswith("linux-image-"))

    def unpack(self, tree: Path, into: Path) -> str:
        """As Kernel has it. The kernel is decompressed here: its own code takes 8 s for that when it is emulated."""
        (tree / "lib/modules").rename(into / "lib/modules")
        version = next((into / "lib/modules").iterdir()).name
        image = (tree / f"boot/vmlinuz-{version}").read_bytes()
        start = image.find(b"\xfd7zXZ\0")
        elf = subprocess.run(["xz", "-dcq"], input=image[start:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
        if start < 0 or not elf.startswith(b"\x7fELF"):
            raise MissingError(f"cannot use the kernel {version}: it is not compressed with xz")
        (into / "linux").write_bytes(elf)
        return version

    def command(self, machine: Machine) -> list[str]:
        """As Kernel has it. -cpu Nehalem: AVX is slow when it is emulated."""
        place = machine.place
        ports = [
            word
            for number, name in ((3, "out"), (4, "err"), (5, "status"))
            for word in (
                *("-add-fd", f"fd={number},set={number}", "-chardev", f"file,id={name},path=/dev/fdset/{number},append=on"),
                *("-device", f"virtserialport,chardev={name},name=vm.{name}"),
            )
        ]
        return [
            *("qemu-system-x86_64", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "Nehalem", "-M", "q35,usb=off", "-smp", "2"),
            *("-m", str(machine.memory_mib), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none"),
            *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
            *("-kernel", str(cache(self) / "linux"), "-initrd", str(place / "initrd"), "-serial", f"file:{place}/console"),
            *("-append", "console=ttyS0 quiet panic=-1 nokaslr mitigations=off audit=0 cryptomgr.notests random.trust_cpu=on"),
            *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
            *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host", "-device", "virtio-serial-pci", *ports),
            *("-drive", f"file={place}/scratch.img,format=raw,if=none,id=scratch,cache=unsafe", "-device", "virtio-blk-pci,drive=scratch"),
        ]


_TOOLS = {"busybox": "busybox-static", "cpio": "cpio", "depmod": "kmod", "mkfs.ext4": "e2fsprogs", "unshare": "util-linux"}


def cache(kernel: Kernel) -> Path:
    """Where it is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "cellhold/vm", kernel.name)


def prepare(kernel: Kernel) -> Path:
    """Have it in the cache; returns that directory. Raises MissingError when a tool or the package cannot be had."""
    missing = [package for tool, package in {**_TOOLS, **kernel.tools}.items() if shutil.which(tool, path=_SYSTEM_PATH) is None]
    if missing:
        raise MissingError(f"cannot make the guest: programs are missing; apt install {' '.join(missing)}")
    into = cache(kernel)
    into.mkdir(parents=True, exist_ok=True)
    with Path(into, "lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (into / "initrd").exists():
            with tempfile.TemporaryDirectory(dir=into) as work:
                _unpack(kernel, Path(work), into)
    return into


def _unpack(kernel: Kernel, work: Path, into: Path) -> None:
    call("dpkg-deb", "-x", str(_package(kernel, work)), str(work / "tree"))
    shutil.rmtree(into / "lib", ignore_errors=True)
    (into / "lib").mkdir()
    version = kernel.unpack(work / "tree", into)
    call("depmod", "-b", str(into), version)
    root = work / "initrd"
    for name in ("bin", "modules", "proc", "sys", "dev", "new", "host", "scratch"):
        (root / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "", root / "bin")
    plans = (call("modprobe", "-d", str(into), "-S", version, "--show-depends", name) for name in kernel.modules)
    files = dict.fromkeys(line.split()[1] for plan in plans for line in plan.splitlines() if line.startswith("insmod"))
    for number, file in enumerate(files):
        shutil.copy(file, root / "modules" / f"{number:03}-{Path(file).name}")
    if packed := sorted((root / "modules").glob("*.xz")):
        call("xz", "-d", *map(str, packed))
    (work / "initrd.new").write_bytes(archive(root, sorted(str(path.relative_to(root)) for path in root.rglob("*"))))
    (work / "initrd.new").rename(into / "initrd")  # last: its presence says that all of it is there


def _package(kernel: Kernel, work: Path) -> Path:
    """The kernel's package: the one that CELLHOLD_VM_KERNEL names, or downloaded."""
    if given := os.environ.get("CELLHOLD_VM_KERNEL"):
        return Path(given)
    sys.stderr.write(f"downloading the guest's kernel ({kernel.package()})\n")
    call("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", kernel.package(), directory=work)
    return next(work.glob("*.deb"))


def archive(root: Path, names: Sequence[str]) -> bytes:
    """The files as a cpio archive; the kernel unpacks several, one behind the other."""
    listing = "".join(f"{name}\n" for name in names).encode()
    return subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"], input=listing, stdout=subprocess.PIPE, check=True, cwd=root
    ).stdout


def call(*command: str, directory: Path | None = None) -> str:
    """Run a program and return what it printed; raises MissingError with its last words when it fails."""
    environment = {**os.environ, "PATH": _SYSTEM_PATH}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory, env=environment)
    except FileNotFoundError:
        raise MissingError(f"cannot make the guest: {command[0]} is not installed (it takes Debian or Ubuntu)") from None
    if done.returncode != 0:
        last = (done.stderr.strip() or f"status {done.returncode}").splitlines()[-1]
        raise MissingError(f"cannot make the guest: {' '.join(command[:4])}: {last}")
    return done.stdout
