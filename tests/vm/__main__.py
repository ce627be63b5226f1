"""Run a command in a throw-away machine on cgroup v2; print its output, return its exit status.

    cd tests && python -m vm [--kernel uml|qemu] [--user] [--timeout SECONDS] COMMAND...

The guest sees this machine's / read-only below an overlay on a scratch disk: the same paths, the same virtual environment; every
change is lost at the end. Its current directory is this checkout. /var/tmp (TMPDIR) is ext4. No network but lo, no input.

--user: as uid 1000 in user.slice/user-1000.slice/user@1000.service/job.scope, the last two delegated; default: as root.
Status 124: time ran out. 125: the guest could not be made, or gave no status.

User-mode Linux has one processor, no cpuset, no pressure figures (PSI) and no time namespaces; QEMU has them all. It also panics
now and then when a memory limit is met while the kernel itself fills new memory, as for dd reading /dev/zero (6.1, its __clear_user
believes that a page table is there): what runs here meets that limit by writing to memory itself. In both the host
image is shown without shifted ids, since its files lie on an overlay: what is only its owner's cannot be read there.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from vm.kernels import HERE, Machine, MissingError, Qemu, Uml, archive, call, prepare

if TYPE_CHECKING:
    from vm.kernels import Kernel

KERNELS: dict[str, Kernel] = {kernel.name: kernel for kernel in (Uml(), Qemu())}
CHECKOUT = HERE.parents[1]
_NO_STATUS, _TIMED_OUT = 125, 124
_KILLED = (9, 137)  # as a signal, as a shell tells it
_PASSED = ("PATH", "LANG", "PYTHONPATH", "VIRTUAL_ENV", "CI", "CELLHOLD_TEST_STRICT")
_SCRATCH_BYTES = 8 << 30


def main() -> int:
    """Parse, run, return the status."""
    parser = argparse.ArgumentParser(prog="python -m vm", description="Run a command in a throw-away machine on cgroup v2.")
    parser.add_argument("--kernel", choices=KERNELS, default="uml")
    parser.add_argument("--user", action="store_true", help="as an ordinary user in a delegated group")
    parser.add_argument("--timeout", type=float, default=1800, metavar="SECONDS")
    parser.add_argument("--memory", type=int, default=1536, metavar="MIB")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if not options.command:
        parser.error("no command")
    kernel = KERNELS[options.kernel]
    try:
        files = prepare(kernel)
        with tempfile.TemporaryDirectory(prefix="vm") as place:
            machine = Machine(Path(place), options.memory)
            furnish(machine, files, options.command, user=options.user)
            return run(kernel.command(machine), machine, options.timeout)
    except MissingError as error:
        sys.stderr.write(f"{error}\n")
        return _NO_STATUS


def furnish(machine: Machine, files: Path, command: list[str], *, user: bool) -> None:
    """Lay out what the machine boots from: the job behind the kernel's own initramfs, and an empty disk."""
    if CHECKOUT.is_relative_to("/var/tmp"):
        raise MissingError(f"cannot use the guest: {CHECKOUT} lies below /var/tmp, which is an empty disk there; clone to another place")
    job = machine.place / "job"
    job.mkdir()
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ} | {"TMPDIR": "/var/tmp", "PYTHONDONTWRITEBYTECODE": "1"}
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in passed.items())
    (job / "job.sh").write_text(f"#!/bin/sh\n{exports}cd {shlex.quote(str(CHECKOUT))} || exit {_NO_STATUS}\nexec {shlex.join(command)}\n")
    (job / "settings").write_text(f"VM_USER={int(user)}\nVM_MODULES={shlex.quote(str(files / 'lib/modules'))}\n")
    (job / "main.sh").write_bytes((HERE / "main.sh").read_bytes())
    (machine.place / "init").write_bytes((HERE / "init.sh").read_bytes())
    for program in (job / "job.sh", machine.place / "init"):
        program.chmod(0o755)
    names = ["init", "job", *(f"job/{name}" for name in ("job.sh", "settings", "main.sh"))]
    (machine.place / "initrd").write_bytes((files / "initrd").read_bytes() + archive(machine.place, names))
    disk = machine.place / "scratch.img"
    with disk.open("wb") as file:
        file.truncate(_SCRATCH_BYTES)
    call("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", str(disk))


def run(command: list[str], machine: Machine, seconds: float) -> int:
    """Run the machine to its end; its job's status, or why there is none."""
    console, status = machine.place / "console", machine.place / "status"
    # Descriptors 3 to 6, as Kernel.command has them: a shell puts them there. timeout(1) waits without asking again and again.
    shell = f'exec 3>&1 4>&2 5>{status} 6>>{console}; exec "$@" </dev/null >>{console} 2>&1'
    console.touch()
    status.touch()
    timed = ["timeout", "--foreground", "--signal=KILL", f"{seconds:g}", *command]
    ended = subprocess.run(["sh", "-c", shell, "sh", *timed], check=False).returncode
    if abs(ended) in _KILLED:
        sys.stderr.write(f"the guest did not end within {seconds:g} s\n")
        return _TIMED_OUT
    said = status.read_text().strip()
    if said.isdigit():
        return int(said)
    tail = "\n".join(console.read_text(errors="replace").splitlines()[-40:])
    sys.stderr.write(f"the guest gave no status (its kernel ended with {ended}); its console:\n{tail}\n")
    return _NO_STATUS


if __name__ == "__main__":
    sys.exit(main())
