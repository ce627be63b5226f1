"""What an instruction changes in an image's settings.

They are the object "config" of its config, in Docker's words (Env, Cmd, WorkingDir
...). The functions are pure: a mapping in, another one out. What OCI has no word for
(Healthcheck, OnBuild, Shell) is kept where Docker keeps it. The texts of the history
are made by history.py, commands by command.py; both are here under the names `history`
and `run_command`.
"""

from __future__ import annotations

import posixpath
import re
import signal
from typing import TYPE_CHECKING, Any

from cellhold.build import health, ports
from cellhold.build.command import SCRIPT, RunCommand, args_of, run_command, shell_of
from cellhold.build.history import history
from cellhold.build.variables import Variables
from cellhold.image.config import MOST, MOST_VOLUMES
from cellhold.image.model import DEFAULT_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cellhold.build.instruction import Instruction

__all__ = ["SCRATCH", "SCRIPT", "RunCommand", "applied", "author", "history", "inherited", "run_command", "shell_of"]

SCRATCH: Mapping[str, Any] = {"Env": [f"PATH={DEFAULT_PATH}"], "WorkingDir": "/"}  # what BuildKit begins FROM scratch with

_MOST_VARIABLE = (128 << 10) - 1  # bytes of NAME=VALUE that execve(2) takes: MAX_ARG_STRLEN
_MOST = {**MOST, "Volumes": MOST_VOLUMES}
_LAST_SIGNAL = 64
_REAL_TIME = re.compile(r"RTM(?:IN(?:\+(?:[1-9]|1[0-5]))?|AX(?:-(?:[1-9]|1[0-4]))?)")
_SIGNALS = {one.name.removeprefix("SIG") for one in signal.Signals} - {"RTMIN", "RTMAX"}


def applied(config: Mapping[str, Any], instruction: Instruction, *, stage_has_cmd: bool) -> Mapping[str, Any]:
    """Return the settings after an instruction, whose variables have been replaced.

    stage_has_cmd: this stage had a CMD before it.
    Instructions that change no settings (RUN, COPY, ADD, ARG, FROM, MAINTAINER) return
    the settings unchanged. Raises InvalidSpec.
    """
    if instruction.keyword == "ENTRYPOINT":
        return _changed(config, {"Entrypoint": _args(config, instruction)} | ({} if stage_has_cmd else {"Cmd": None}))
    change = _CHANGES.get(instruction.keyword)
    if change is None:
        return config
    changes = change(config, instruction)
    for name, value in changes.items():
        if value and len(value) > _MOST.get(name, len(value)):
            raise instruction.refused(f"the image has {len(value)} entries in {name} then, which are more than {_MOST[name]}")
    return _changed(config, changes)


def inherited(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of a stage that begins FROM an image with these.

    Its triggers are run, and are not passed on.
    """
    return _changed(config, {"OnBuild": None})


def author(instruction: Instruction) -> str | None:
    """Return MAINTAINER's text; None for other instructions."""
    return " ".join(instruction.words) if instruction.keyword == "MAINTAINER" else None


def _changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in {**config, **changes}.items() if value is not None}


def _args(config: Mapping[str, Any], instruction: Instruction) -> list[str] | None:
    return list(args_of(instruction, shell_of(config))) or None


def _cmd(config: Mapping[str, Any], instruction: Instruction) -> dict[str, Any]:
    return {"Cmd": _args(config, instruction)}


def _env(config: Mapping[str, Any], instruction: Instruction) -> dict[str, Any]:
    for name, value in instruction.pairs:
        if len(f"{name}={value}".encode()) > _MOST_VARIABLE:
            raise instruction.refused(f"the variable {name[:100]} is longer than any program can have it: {_MOST_VARIABLE} bytes")
    return {"Env": Variables.from_config(config.get("Env")).changed(instruction.pairs)}


def _label(config: Mapping[str, Any], instruction: Instruction) -> dict[str, Any]:
    return {"Labels": {**(config.get("Labels") or {}), **dict(instruction.pairs)}}


def _expose(config: Mapping[str, Any], instruction: Instruction) -> dict[str, Any]:
    return {"ExposedPorts": {**(config.get("ExposedPorts") or {}), **{port: {} for port in ports.exposed(instruction)}}}


def _volume(config: Mapping[str, Any], instruction: Instruction) -> dict[str, Any]:
    directories = [word.strip() for word in instruction.words]
    if not all(directories):
        raise instruction.refused("a directory in VOLUME is empty")
    return {"Volumes": {**(config.get("Volumes") or {}), **{directory: {} for directory in directories}}}


def _user(_config: Mapping[str, Any], instruction: Instruction) -> dict[str, Any]:
    if not instruction.words[0].strip():
        raise instruction.refused("the user is empty once its variables have been replaced")
    return {"User": instruction.words[0]}


def _workdir(config: Mapping[str, Any], instruction: Instruction) -> dict[str, Any]:
    joined = posixpath.join("/", config.get("WorkingDir") or "", instruction.words[0])
    return {"WorkingDir": "/" + posixpath.normpath(joined).lstrip("/")}


def _shell(_config: Mapping[str, Any], instruction: Instruction) -> dict[str, Any]:
    return {"Shell": list(instruction.words)}


def _stopsignal(_config: Mapping[str, Any], instruction: Instruction) -> dict[str, Any]:
    text = instruction.words[0]
    name = text.upper().removeprefix("SIG")
    numbered = text.isascii() and text.isdecimal() and len(text) <= len(str(_LAST_SIGNAL)) and 1 <= int(text) <= _LAST_SIGNAL
    if not (numbered or name in _SIGNALS or _REAL_TIME.fullmatch(name)):
        raise instruction.refused(f"{text[:100]!r} is not a signal", "write SIGTERM, SIGINT, SIGRTMIN+3, 15 ...")
    return {"StopSignal": text}


def _healthcheck(_config: Mapping[str, Any], instruction: Instruction) -> dict[str, Any]:
    return {"Healthcheck": health.healthcheck(instruction)}


def _onbuild(config: Mapping[str, Any], instruction: Instruction) -> dict[str, Any]:
    return {"OnBuild": [*(config.get("OnBuild") or ()), instruction.words[0]]}


_CHANGES: dict[str, Callable[[Mapping[str, Any], Instruction], dict[str, Any]]] = {
    "CMD": _cmd,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
