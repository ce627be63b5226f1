"""`cellhold kernel install|list|remove`: the kernelspecs that Jupyter reads.

    DIRECTORY/kernels/NAME/
        kernel.json     argv, and `metadata.cellhold`: the settings of its containers
        logo-*          the picture in the launcher

The settings stand in kernel.json only: argv passes the kernel its own directory.
`commands` is the entry point `cellhold.commands`, called by the runtime's command line,
which knows nothing of Jupyter.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cellhold import image
from cellhold.errors import CellholdError, InvalidSpec
from cellhold.linux import hostpath
from cellhold.spec.image_names import is_oci
from cellhold.spec.units import parse_seconds
from cellhold.store.home import open_home
from cellhold_kernel.gate.authorize import authorize
from cellhold_kernel.gate.request import ContainerRequest
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings import environment, settings, sources
from cellhold_kernel.settings.notebook import METADATA
from cellhold_kernel.settings.policy import Policy

if TYPE_CHECKING:
    import argparse

    from cellhold.spec.spec import Spec

DEFAULT_NAME = "cellhold"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_LOGOS = ("logo-64x64.png", "logo-svg.svg")


def commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `kernel ...` to the command line."""
    kernel = subparsers.add_parser("kernel", help="the Jupyter kernels whose cells run in containers")
    actions = kernel.add_subparsers(required=True, metavar="ACTION")
    install = actions.add_parser("install", help="write a kernelspec, so that Jupyter offers the kernel")
    install.add_argument("--name", default=DEFAULT_NAME, help="its name, as in --kernel_name (default: %(default)s)")
    install.add_argument("--display-name", help="its name in menus (default: made from the settings)")
    for key, word in settings.KEYS.items():
        action = "append" if key in settings.REPEATED else "store"
        install.add_argument(f"--{key}", dest=_flag(key), metavar="VALUE", action=action, help=word.meaning.replace("%", "%%"))
    install.add_argument(
        "--env-passthrough",
        metavar="NAME",
        action="append",
        default=[],
        help="a variable of the Jupyter server's that its containers get; NAME* for several",
    )
    install.add_argument("--cull-idle-timeout", metavar="TIME", help="have jupyter_server end kernels that are idle for this long: 30m, 8h")
    _where(install)
    install.set_defaults(run=_install)
    listing = actions.add_parser("list", help="list the installed kernelspecs of Cellhold")
    listing.set_defaults(run=_list)
    remove = actions.add_parser("remove", help="remove a kernelspec of Cellhold")
    remove.add_argument("name")
    remove.set_defaults(run=_remove)


def _where(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--user", action="store_true", help="for this user, in any environment")
    group.add_argument("--sys-prefix", action="store_true", help="in this Python's environment (default in a virtual environment)")
    group.add_argument("--prefix", type=Path, help="below PREFIX/share/jupyter")


def _flag(key: str) -> str:
    return f"key_{key.replace('-', '_')}"


def _install(given: argparse.Namespace) -> int:
    texts = {key: _text(value) for key in settings.KEYS if (value := getattr(given, _flag(key))) is not None}
    idle = None if given.cull_idle_timeout is None else parse_seconds(given.cull_idle_timeout, key="cull-idle-timeout")
    directory = install(
        data_directory(given),
        name=given.name,
        display_name=given.display_name,
        texts=texts,
        server=Server(idle, tuple(given.env_passthrough)),
    )
    print(f"installed kernel {given.name} in {directory}")  # noqa: T201  # a command's output
    return 0


def _text(value: str | list[str]) -> str:
    return value if isinstance(value, str) else shlex.join(value)


def _list(_given: argparse.Namespace) -> int:
    for name, directory in installed().items():
        texts = sources.of_kernelspec(directory).texts()
        print(f"{name}  {' '.join(f'{key}={text}' for key, text in texts.items()) or '(no limits)'}  {directory}")  # noqa: T201
    return 0


def _remove(given: argparse.Namespace) -> int:
    directory = installed().get(given.name)
    if directory is None:
        raise CellholdError(f"cannot remove kernel {given.name}: Cellhold installed no such kernel", hint="cellhold kernel list")
    shutil.rmtree(directory)
    print(f"removed kernel {given.name} from {directory}")  # noqa: T201
    return 0


def data_directory(given: argparse.Namespace) -> Path:
    """Return the Jupyter data directory to install to, by Jupyter's own rules.

    Source: https://docs.jupyter.org/en/latest/use/jupyter-directories.html.
    """
    from jupyter_core.paths import jupyter_data_dir  # noqa: PLC0415  # the other commands of `cellhold` need not wait for it

    if given.prefix is not None:
        return Path(given.prefix) / "share" / "jupyter"
    if given.sys_prefix or (not given.user and sys.prefix != sys.base_prefix):
        return Path(sys.prefix) / "share" / "jupyter"
    return Path(jupyter_data_dir())


class Server(NamedTuple):
    """What a kernelspec says of the Jupyter server.

    cull_idle_timeout: seconds, for jupyter_server, which prefers it to its own setting.
    env_passthrough: names of its variables that containers get.
    """

    cull_idle_timeout: float | None = None
    env_passthrough: tuple[str, ...] = ()


_NOTHING = Server()


def install(
    data: Path,
    *,
    name: str = DEFAULT_NAME,
    display_name: str | None = None,
    texts: dict[str, str],
    server: Server = _NOTHING,
) -> Path:
    """Write a kernelspec below a Jupyter data directory; return its directory.

    texts: key -> text as in `%container`, which are checked first. Raises InvalidSpec,
    or OSError if nothing can be written.
    """
    if not _NAME.fullmatch(name):
        raise InvalidSpec(
            f"cannot use name={name}: a name has lower-case letters, digits, '_', '.' and '-'", hint="--name cellhold-small, for example"
        )
    try:
        environment.patterns(list(server.env_passthrough))
    except ValueError as error:
        raise InvalidSpec(f"cannot install kernel {name}: {error}", hint="--env-passthrough 'JUPYTERHUB_*'") from None
    granted = authorize(ContainerRequest(words=texts), settings.Trust.HOST, Policy())  # the machine's policy is applied when it runs
    described = _describe(granted.spec, granted.kernel)
    directory = data / "kernels" / name
    directory.mkdir(parents=True, exist_ok=True)
    written = directory / "kernel.json.new"
    menu_name = display_name or title(texts, described.kernel)
    content = kernelspec(menu_name, texts, server, language=described.language)
    written.write_text(json.dumps(content, indent=1) + "\n")
    written.replace(directory / "kernel.json")
    for logo in _LOGOS:
        source = resources.files("cellhold_kernel.images") / "logos" / logo
        (directory / logo).write_bytes(source.read_bytes())
    if described.logo is not None:
        (directory / _LOGOS[0]).write_bytes(described.logo)
        (directory / _LOGOS[1]).unlink()  # which front ends prefer
    return directory


class Described(NamedTuple):
    """What menus show of a kernelspec.

    kernel: for people. language: the kernelspec's. logo: a PNG from the image, or None
    for ours.
    """

    kernel: str = "Python"
    language: str = "python"
    logo: bytes | None = None


def _describe(spec: Spec, kernel: str | None) -> Described:
    """Return what runs in the image, if that is on this machine.

    Otherwise, or if it cannot be determined, it is called Python; the first cell
    reports what is wrong.
    """
    if not is_oci(spec.image) or not image.is_here(spec.image):
        return Described()
    from cellhold_kernel.images import finding  # noqa: PLC0415  # only for images
    from cellhold_kernel.images.choosing import NATIVE, OwnKernel, Shell, choose  # noqa: PLC0415

    local = image.find(spec.image, open_home())
    layers = local.stacks[0].layers
    try:
        choice = choose(finding.find(layers, env=local.env, user=local.user, cwd=local.cwd), kernel)
    except CellholdError:
        return Described()
    if isinstance(choice, Shell):
        return Described("Shell", "bash")
    if isinstance(choice, OwnKernel) and choice.spec.name != NATIVE:
        return Described(
            escape(choice.spec.display_name, most=60) or choice.spec.name,
            escape(choice.spec.language, most=40) or "python",
            finding.logo(layers, choice.spec),
        )
    return Described()


def kernelspec(
    display_name: str,
    texts: dict[str, str],
    server: Server = _NOTHING,
    *,
    language: str = "python",
) -> dict[str, Any]:
    """Return the content of kernel.json."""
    idle = {} if server.cull_idle_timeout is None else {"cull_idle_timeout": round(server.cull_idle_timeout)}
    passed = {environment.PASSTHROUGH: list(server.env_passthrough)} if server.env_passthrough else {}
    return {
        "argv": [*_python(), "-f", "{connection_file}", "--kernelspec", "{resource_dir}"],
        "display_name": display_name,
        "language": language,
        "interrupt_mode": "message",
        "kernel_protocol_version": "5.5",
        "metadata": {"debugger": True, "supported_encryption": ["curve"], **idle, METADATA: {**texts, **passed}},
    }


def _python() -> list[str]:
    """Return the command of the host kernel, which must not import from its directory.

    It starts in the notebook's folder. An empty or relative entry of PYTHONPATH is that
    folder, even with -P; so variables are ignored (-E), and the absolute entries that
    this Python has are written into the kernelspec.
    """
    flags = ["-E", "-P", *(["-s"] if sys.flags.no_user_site else [])]
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    absolute = [] if sys.flags.ignore_environment else [entry for entry in entries if os.path.isabs(entry)]
    if not absolute:
        return [sys.executable, *flags, "-m", "cellhold_kernel"]
    code = f"import sys; sys.path[:0] = {absolute!r}; from cellhold_kernel.__main__ import main; main()"
    return [sys.executable, *flags, "-c", code]


def title(texts: dict[str, str], kernel: str = "Python") -> str:
    """Return the name in menus, such as "Python (container, memory 512m)"."""
    settings_text = ", ".join(["container", *(f"{key} {text}" for key, text in texts.items() if key != "env")])
    return f"{kernel} ({settings_text})"


def installed() -> dict[str, Path]:
    """Return name -> directory of Cellhold's kernelspecs that Jupyter finds."""
    from jupyter_client.kernelspec import KernelSpecManager  # noqa: PLC0415  # only these commands need it

    specs = {name: Path(directory) for name, directory in KernelSpecManager().find_kernel_specs().items()}
    return {name: directory for name, directory in sorted(specs.items()) if _is_ours(directory)}


def _is_ours(directory: Path) -> bool:
    try:
        return METADATA in json.loads(hostpath.read(directory / "kernel.json", sources.LARGEST_KERNELSPEC)).get("metadata", {})
    except (OSError, ValueError, AttributeError, RecursionError, TypeError):
        return False
