"""docker-credential-NAME: a program that keeps secrets.

The protocol is that of docker's credential helpers: `get`, the registry's name on
stdin, {"Username": ..., "Secret": ...} on stdout.
"""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import time
from contextlib import suppress
from threading import Event
from typing import Any

from cellhold import helper
from cellhold.errors import ImageRefused, RegistryFailed
from cellhold.image import fields
from cellhold.image.fields import quote
from cellhold.image.registry.login import Login

SECONDS = 30.0  # it may ask a person to touch a key
_MOST_BYTES = 64 << 10
_LOOK_SECONDS = 0.1
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_TOKEN = "<token>"  # noqa: S105  # the user's name that says: the secret is an identity token
_UNKNOWN = b"credentials not found"


def ask(name: str, registry: str, *, seconds: float = SECONDS, stopped: Event | None = None) -> Login | None:
    """Return the login that the helper `name` has for that registry, or None.

    stopped: once another thread has set it, the helper is not waited for any more.
    Raises RegistryFailed.
    """
    program = helper.find(f"docker-credential-{name}") if _NAME.fullmatch(name) else None
    if program is None:
        raise _failed(name, registry, "there is no such program on PATH")
    status, output = _run([program, "get"], registry.encode(), seconds, stopped or Event())
    if status is None:
        raise _failed(name, registry, f"it gave no answer within {seconds:g} seconds, or too long a one")
    if status != 0:
        if _UNKNOWN in output:
            return None
        raise _failed(name, registry, f"it says {quote(output.decode(errors='replace').strip())} (exit status {status})")
    return _login(name, registry, output)


def _login(name: str, registry: str, output: bytes) -> Login:
    try:
        document = fields.read(output, "answer", most_bytes=_MOST_BYTES)
        username, secret = document["Username"].text(), document["Secret"].text()
    except ImageRefused:
        raise _failed(name, registry, "its answer has no Username and Secret") from None  # what it holds is a secret
    return Login(identity_token=secret) if username == _TOKEN else Login(username=username, password=secret)


def _run(argv: list[str], words: bytes, seconds: float, stopped: Event) -> tuple[int | None, bytes]:
    """Run a helper and return its exit status and standard output.

    The status is None if it was killed for its time or its length.
    """
    # In our session: it may ask a person at the terminal.
    env = helper.environment(*helper.REGISTRIES)
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with helper.start(argv, env=env, has_session=False, **pipes) as process:
        assert process.stdin is not None  # noqa: S101  # for mypy
        assert process.stdout is not None  # noqa: S101
        end = time.monotonic() + seconds
        with suppress(BrokenPipeError):  # it does not read: its answer may be one all the same
            process.stdin.write(words + b"\n")
            process.stdin.close()
        try:
            output = _read(process.stdout.fileno(), end, stopped)
            return (process.wait(max(0.0, end - time.monotonic())), output) if output is not None else (None, b"")
        except subprocess.TimeoutExpired:
            return None, b""
        finally:
            process.kill()  # nothing where it has ended


def _read(fd: int, end: float, stopped: Event) -> bytes | None:
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while len(output) <= _MOST_BYTES and time.monotonic() < end and not stopped.is_set():
            if not selector.select(min(_LOOK_SECONDS, max(0.0, end - time.monotonic()))):
                continue
            data = os.read(fd, _MOST_BYTES)
            if not data:
                return output
            output += data
    return None


def _failed(name: str, registry: str, reason: str) -> RegistryFailed:
    return RegistryFailed(
        f"cannot get the login at {registry} from docker-credential-{name[:80]!r}: {reason}",
        hint="see credHelpers and credsStore in Docker's config.json",
    )
