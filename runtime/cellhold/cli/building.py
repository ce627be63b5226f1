"""cellhold build: make an image from a Dockerfile; cellhold builder prune."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellhold.cli import bars, files, options, signals, steps
from cellhold.cli.copying import say
from cellhold.cli.screen import sentences
from cellhold.container.recovery import tidy
from cellhold.errors import BuildFailed, CellholdError, InvalidSpec
from cellhold.spec import units
from cellhold.store.home import open_home

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from cellhold.build.options import Options

FAILED = 1  # docker's for a build whose program failed


def add(commands: Any) -> None:
    """Add the commands and their flags."""
    command = commands.add_parser(
        "build", help="make an image from a Dockerfile", description="Make an image from a Dockerfile and a directory of files."
    )
    command.add_argument("-t", "--tag", metavar="NAME[:TAG]", action="append", default=[], help="a name for the image (repeatable)")
    command.add_argument("-f", "--file", metavar="FILE|-", help="the Dockerfile (default: DIR/Dockerfile)")
    command.add_argument(
        "--build-arg", metavar="NAME[=VALUE]", action="append", default=[], help="a value for an ARG (without =VALUE: the caller's)"
    )
    command.add_argument("--target", metavar="STAGE", help="the stage to build (default: the last)")
    command.add_argument("--no-cache", action="store_true", help="run every step again")
    command.add_argument("--pull", action="store_true", help="pull each base image, also if it is in the store")
    command.add_argument("--platform", metavar="OS/ARCH[/VARIANT]", help="the platform to build for (default: this machine's)")
    command.add_argument("--label", metavar="NAME=VALUE", action="append", default=[], help="a label for the image")
    command.add_argument("--iidfile", metavar="FILE", help="write the image's id to this file")
    command.add_argument("-q", "--quiet", action="store_true", help="print only the image's id")
    command.add_argument(
        "--progress", choices=steps.KINDS, default="auto", help="the form of progress (default: tty in a terminal, else plain)"
    )
    options.add_limits(command)
    command.add_argument("context", metavar="DIR", help="the directory that COPY and ADD take files from")
    command.set_defaults(run=build)
    group = commands.add_parser("builder", help="commands for the build cache", description="Commands for the build cache.")
    below = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    pruning = below.add_parser("prune", help="remove the build cache", description="Remove the build cache, and free its space.")
    pruning.set_defaults(run=prune)


@signals.interruptible()
def build(arguments: argparse.Namespace) -> int:
    """Build the image; print its id."""
    from cellhold.build.builder import build as build_image  # noqa: PLC0415  # what only builds need is not loaded for containers
    from cellhold.build.context import Context  # noqa: PLC0415

    kind = "none" if arguments.quiet else arguments.progress
    to = sys.stdout if kind == "json" else sys.stderr
    try:
        text, name, path = _dockerfile(arguments)
        with ExitStack() as closing:
            pulls = {"tty": "bars", "plain": "lines"}.get(kind, kind)
            tell_pull = closing.enter_context(bars.display("lines" if pulls == "auto" else pulls, to))
            tell = closing.enter_context(steps.display(kind, to))
            image = build_image(
                text, name, Context(Path(arguments.context), path), open_home(), _options(arguments), tell=tell, tell_pull=tell_pull
            )
    except CellholdError as error:
        return _report_failure(error, kind)
    if arguments.iidfile:
        with files.writing(arguments.iidfile) as file:
            file.write(str(image.id).encode())
    print(json.dumps({"event": "built", "id": str(image.id), "names": image.names}) if kind == "json" else image.id, flush=True)
    return 0


def prune(_arguments: argparse.Namespace) -> int:
    """Remove the build cache; print the space freed."""
    from cellhold.image import tags  # noqa: PLC0415

    home = open_home()
    left = tidy(home)
    freed = tags.forget_builds(home)
    print(f"Total reclaimed space: {units.size(left + freed.size_bytes)}" if freed else tags.hindrance(home))
    return 0


def _report_failure(error: CellholdError, kind: str) -> int:
    """Report why there is no image; return the status.

    A program's failure is printed here, with its last lines; the rest is raised.
    """
    last = error.last if isinstance(error, BuildFailed) else ()
    if kind == "json":
        status = error.status if isinstance(error, BuildFailed) else None
        failure = {"error": type(error).__name__, "sentence": str(error), "hint": error.hint, "last": last, "status": status}
        print(json.dumps({"event": "failed", **failure}), flush=True)
    if not isinstance(error, BuildFailed):
        raise error
    lines = "".join(f"    {steps.printable(line)}\n" for line in last)
    sentence, *hint = sentences(error).splitlines(keepends=True)
    say("".join([sentence, lines, *hint]))
    return FAILED


def _dockerfile(arguments: argparse.Namespace) -> tuple[str, str, Path | None]:
    """Return the Dockerfile's text, its name for errors, and its path."""
    from cellhold.build import context  # noqa: PLC0415

    if arguments.context == "-" or "://" in arguments.context:
        raise InvalidSpec(
            f"cannot build {arguments.context}: the context must be a directory in this version",
            hint="cellhold build -f - DIR < Dockerfile",
        )
    if arguments.file == "-":
        return context.read(sys.stdin.buffer, "standard input"), "Dockerfile", None
    path = Path(arguments.file) if arguments.file else Path(arguments.context) / "Dockerfile"
    return context.text(path), str(path), path


def _options(arguments: argparse.Namespace) -> Options:
    from cellhold.build.builder import EPOCH  # noqa: PLC0415
    from cellhold.build.options import Options  # noqa: PLC0415
    from cellhold.image.platform import Platform  # noqa: PLC0415

    build_args = {EPOCH: os.environ[EPOCH]} if os.environ.get(EPOCH) else {}
    return Options(
        names=tuple(arguments.tag),
        build_args={**build_args, **options.environment(arguments.build_arg)},
        target=arguments.target,
        platform=Platform.parse(arguments.platform) if arguments.platform else Platform.host(),
        cache=not arguments.no_cache,
        pull=arguments.pull,
        limits=options.limits(arguments),
        labels=_labels(arguments.label),
    )


def _labels(texts: Iterable[str]) -> dict[str, str]:
    return dict(text.partition("=")[::2] for text in texts)
