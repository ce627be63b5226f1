"""Helper processes on the host: the one way to start one.

Whoever starts us may be in a directory that a notebook writes to (a Jupyter kernel is),
and have tokens in its environment. So a helper starts in `/`, with an environment of
what is named here, in a session of its own, and a Python finds modules where this one
has them and nowhere else: not in the working directory, nor where PYTHON* variables
point. It ends with us, however we end (lifeline.py). Its memory and its time may be
bounded. docs/architecture/processes.md lists them all, with those that cannot begin
here.

Not its business: what runs in a container (init/steps/program.py), and what a process
of ours does once it runs.
"""

from __future__ import annotations

import os
import signal
import sys
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from cellhold.linux import lifeline

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence

DIRECTORY = "/"  # where every helper starts: nobody but root writes there

# Names of variables; one that ends in an underscore stands for all that begin so.
_XDG = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")
BASE = ("HOME", "USER", "LOGNAME", "PATH", "LANG", "LANGUAGE", "LC_", "TZ", "TMPDIR", "CELLHOLD_", *_XDG)
PROXIES = tuple(name for word in ("http", "https", "ftp", "all", "no") for name in (f"{word}_proxy", f"{word}_proxy".upper()))
NETWORK = (*PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PIP = (*NETWORK, "PIP_", "NETRC")
# Logins at registries: docker's configuration, and what the programs that keep secrets
# for it find theirs by.
_KEEPERS: tuple[str, ...] = ("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "GNUPGHOME", "GPG_TTY")
_KEEPERS += ("PASSWORD_STORE_", "AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_")
REGISTRIES = (*NETWORK, "DOCKER_CONFIG", *_KEEPERS)
# A value of these is a path, and a relative one would lead to wherever the helper, or
# we, happen to be.
_PATHS = {"HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC", *_XDG}
_PATHS |= {"DOCKER_CONFIG", "GNUPGHOME", "PASSWORD_STORE_DIR", "XAUTHORITY", "PIP_CONFIG_FILE"}


class Bounds(NamedTuple):
    """What a helper that is a Python of ours may use; None: as much as we may.

    memory_bytes: of address space (RLIMIT_AS), a soft limit: its launcher takes it back
    for containers. seconds: of wall time, after which the kernel ends it (alarm(2));
    not of what it has started.
    """

    memory_bytes: int | None = None
    seconds: int | None = None


_UNBOUNDED = Bounds()
_HOLD = "from cellhold.linux.lifeline import hold; hold(); "
_PACKAGES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # where this package is found


def environment(*names: str, **own: str) -> dict[str, str]:
    """Return a helper's environment: BASE and `names` of ours, with `own` on top.

    names: written as in BASE.
    """
    wanted = (*BASE, *names)
    whole = {name for name in wanted if not name.endswith("_")}
    beginnings = tuple(name for name in wanted if name.endswith("_"))
    made = {
        name: value
        for name, value in os.environ.items()
        if (name in whole or name.startswith(beginnings)) and (name not in _PATHS or os.path.isabs(value))
    }
    if home := made.get("CELLHOLD_HOME"):
        made["CELLHOLD_HOME"] = os.path.abspath(home)  # as store/home.py understands it
    return {**made, "PATH": search_path(), **own}


def search_path() -> str:
    """Return our PATH without entries that depend on the working directory.

    Those are relative ones, and empty ones, which mean it.
    """
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(entry for entry in entries if os.path.isabs(entry))


def find(program: str) -> str | None:
    """Return the absolute path of a program on search_path(), or None."""
    from shutil import which  # noqa: PLC0415  # 5 ms, and not everybody asks

    return which(program, path=search_path())


def python(module: str, *arguments: str, bounds: Bounds = _UNBOUNDED) -> list[str]:
    """Return the command line of a Python that runs main() of a module.

    The module is ours or of an installed package; bounds hold from the start.
    """
    return [*python_code(f"from {module} import main; sys.exit(main())", bounds=bounds), *arguments]


def python_code(code: str, *, bounds: Bounds = _UNBOUNDED, has_site: bool = True) -> list[str]:
    """Return the command line of a Python that runs `code` with `sys` imported.

    has_site: it finds what was installed beside us; otherwise it finds this package
    alone, and starts sooner.
    """
    flags = ["-I"] if has_site else ["-I", "-S"]
    beginning = _beginning(bounds, _places() if has_site else [_PACKAGES])
    return [sys.executable, *flags, "-c", f"{beginning}{_HOLD}{code}"]


def start(
    words: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    has_session: bool = True,
    is_tied: bool = True,
    **values: Any,
) -> subprocess.Popen[bytes]:
    """Start a helper; its standard input is empty unless `values` (Popen's) name one.

    env: environment() of what it needs; None: of nothing more. has_session: of its own:
    signals to all of a notebook's or a terminal's processes do not reach it; a helper
    that asks a person at the terminal has none. is_tied: it ends when we do, or when
    nobody refers to what is returned; in a session of its own with all that it has
    started there. Raises OSError.
    """
    import subprocess  # noqa: PLC0415  # the launcher is started without it, before anything else is imported

    values.setdefault("stdin", subprocess.DEVNULL)
    env = environment() if env is None else env
    if not is_tied:
        return subprocess.Popen(words, cwd=DIRECTORY, env=env, start_new_session=has_session, **values)
    line = os.pipe2(os.O_CLOEXEC)
    try:
        values["pass_fds"] = (*values.get("pass_fds", ()), line[0])
        env = {**env, lifeline.VARIABLE: str(line[0])}
        process = subprocess.Popen(words, cwd=DIRECTORY, env=env, start_new_session=has_session, **values)
        lifeline.tie(line[0], -process.pid if has_session else process.pid)
    except BaseException:
        lifeline.cut(*line)
        raise
    weakref.finalize(process, lifeline.cut, *line)
    return process


def run(
    words: Sequence[str], *, given: bytes | None = None, seconds: float | None = None, **values: Any
) -> subprocess.CompletedProcess[bytes]:
    """Start a helper and wait; return its exit status and its output.

    given: its standard input; values: as of start(). Raises OSError, and TimeoutError
    if it did not end within that time: it is killed then.
    """
    import subprocess  # noqa: PLC0415  # as above

    if given is not None:
        values["stdin"] = subprocess.PIPE
    values = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **values}
    with start(words, **values) as process:
        try:
            output, errors = process.communicate(given, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"it did not end within {seconds:g} s") from None
        finally:
            process.kill()  # nothing where it has ended
    return subprocess.CompletedProcess(words, process.returncode, output, errors)


def spawn(code: str, descriptors: Mapping[int, int], *, env: Mapping[str, str], places: Sequence[str] = ()) -> int:
    """Start a small Python on `code` by posix_spawn(3); return its pid.

    No fork: with threads and gigabytes it is neither safe nor fast. descriptors: its
    number -> ours; 0, 1 and 2 are empty unless named. places: where it finds modules,
    besides this package. It does not inherit signals that we ignore or block.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    named = {0: null, 1: null, 2: null, **descriptors}
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", _beginning(_UNBOUNDED, [_PACKAGES, *places]) + _unbound() + code],
            env,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, ours, number)
                for number, ours in named.items()
                if number > 2 or number != ours  # noqa: PLR2004
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
    finally:
        os.close(null)


def _places() -> list[str]:
    """Return where modules are looked for, without the working directory.

    PYTHONPATH may have an empty entry, which means that directory.
    """
    try:
        here = os.getcwd()
    except FileNotFoundError:
        here = ""
    return [_PACKAGES, *(place for place in sys.path if os.path.isabs(place) and place not in (_PACKAGES, here))]


def _beginning(bounds: Bounds, places: Sequence[str]) -> str:
    """Return the code that each Python of ours runs first."""
    code = f"import os, sys; os.chdir({DIRECTORY!r}); sys.path += [at for at in {list(places)!r} if at not in sys.path]; "
    if bounds.memory_bytes is not None:
        code += f"import resource; _soft, hard = resource.getrlimit(resource.RLIMIT_AS); most = {bounds.memory_bytes}; "
        code += "resource.setrlimit(resource.RLIMIT_AS, (most if hard < 0 else min(most, hard), hard)); "
    if bounds.seconds is not None:
        code += f"import signal; signal.alarm({bounds.seconds}); "
    return code


def _unbound() -> str:
    """Return code that undoes our own memory bound, if we have one.

    The limit is ours, and not that of what runs in a container.
    """
    import resource  # noqa: PLC0415  # as above

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    return "" if soft == hard else f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({hard}, {hard})); "
