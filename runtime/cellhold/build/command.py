"""The commands of RUN, CMD and ENTRYPOINT.

A list in JSON is executed; anything else is passed to the stage's shell. Running them
is done elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from cellhold.build.instruction import Instruction

DEFAULT_SHELL = ("/bin/sh", "-c")
SCRIPT = "/dev/shm/heredoc"  # noqa: S108  # a container's own tmpfs: nothing of it gets into a layer


@dataclass(frozen=True, kw_only=True)
class RunCommand:
    """A program to run.

    args: the program and its arguments.
    script: the content of the file SCRIPT, which is shown to the program as an
        executable; None if there is none.
    """

    args: tuple[str, ...]
    script: bytes | None = None


def shell_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the shell of a config: SHELL's, or /bin/sh -c."""
    return tuple(config.get("Shell") or DEFAULT_SHELL)


def args_of(instruction: Instruction, shell: Sequence[str]) -> tuple[str, ...]:
    """Return what CMD or ENTRYPOINT starts; empty for []."""
    return instruction.words if instruction.is_json else (*shell, " ".join(instruction.words))


def run_command(instruction: Instruction, shell: Sequence[str]) -> RunCommand:
    """Return what RUN starts.

    There are three ways to use heredocs, as in BuildKit:

        RUN <<EOF             the text is the command, and the shell gets it
        RUN <<EOF             its first line begins with #!: the text is a file, which
                              is executed
        RUN cat <<A; cat <<B  the shell gets all of it and reads the heredocs itself
    """
    if not instruction.heredocs:
        return RunCommand(args=args_of(instruction, shell))
    words = " ".join(instruction.words)
    alone = instruction.heredoc(words)
    if alone is None:
        texts = (f"\n{one.content}{one.name}" for one in instruction.heredocs)
        return RunCommand(args=(*shell, words + "".join(texts)))
    if alone.content.startswith("#!"):
        return RunCommand(args=(SCRIPT,), script=alone.content.encode())
    return RunCommand(args=(*shell, alone.content))
