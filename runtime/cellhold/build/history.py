"""The history of an image: created_by, word for word as BuildKit writes it.

So tools find what they know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellhold.build import gotext, health, ports
from cellhold.build.command import args_of, run_command, shell_of
from cellhold.build.instruction import Heredoc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cellhold.build.instruction import Instruction

_MADE_LAYER = " # buildkit"


def history(instruction: Instruction, config: Mapping[str, Any], *, run_key: Sequence[str] = ()) -> str | None:
    """Return created_by of an instruction, whose variables have been replaced.

    None for instructions that the history leaves out (ONBUILD, FROM).

    config: the settings after it.
    run_key: `Scope.run_key`, for RUN.
    """
    if instruction.keyword == "RUN":
        words = run_command(instruction, shell_of(config)).args
        return " ".join(("RUN", *((f"|{len(run_key)}", *run_key) if run_key else ()), *words)) + _MADE_LAYER
    text = _TEXTS.get(instruction.keyword)
    return f"{instruction.keyword} {text(instruction, config)}" if text else None


def _words(instruction: Instruction, _config: Mapping[str, Any]) -> str:
    return " ".join(instruction.words)


def _in_brackets(instruction: Instruction, _config: Mapping[str, Any]) -> str:
    return f"[{' '.join(instruction.words)}]"


def _pairs(instruction: Instruction, _config: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in instruction.pairs)


def _copied(instruction: Instruction, _config: Mapping[str, Any]) -> str:
    flags = (f"--{name}={instruction.flag(name)}" for name in ("chown", "chmod") if instruction.flag(name))
    paths = (one for one in instruction.sources if not isinstance(one, Heredoc))
    texts = (f"<<{one.name}" for one in instruction.sources if isinstance(one, Heredoc))
    return " ".join((*flags, *paths, *texts, instruction.destination)) + _MADE_LAYER


def _command(instruction: Instruction, config: Mapping[str, Any]) -> str:
    return gotext.quoted_list(args_of(instruction, shell_of(config)))


def _exposed(instruction: Instruction, _config: Mapping[str, Any]) -> str:
    return f"[{' '.join(ports.exposed(instruction))}]"


_TEXTS: dict[str, Callable[[Instruction, Mapping[str, Any]], str]] = {
    "ADD": _copied,
    "ARG": _words,
    "CMD": _command,
    "COPY": _copied,
    "ENTRYPOINT": _command,
    "ENV": _pairs,
    "EXPOSE": _exposed,
    "HEALTHCHECK": lambda _instruction, config: health.format_healthcheck(config["Healthcheck"]),
    "LABEL": _pairs,
    "MAINTAINER": _words,
    "SHELL": _in_brackets,
    "STOPSIGNAL": _words,
    "USER": _words,
    "VOLUME": _in_brackets,
    "WORKDIR": lambda _instruction, config: str(config["WorkingDir"]),
}
