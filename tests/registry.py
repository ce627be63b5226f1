"""A registry for the tests: Debian's docker-registry on a free port of 127.0.0.1.

It ends with the session.

    def test_something(registry: Registry) -> None: ...                 anybody may pull and push
    def test_something(registry_with_password: Registry) -> None: ...   only USER with PASSWORD may (HTTP basic authentication)
    def test_something(registry_with_tls: Registry) -> None: ...        its certificate is signed by nobody else; `ca` is its file

Nothing is in it at first; `peers.push()` brings images there. Deleting is switched on.
Its log stays among pytest's temporary files.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER, PASSWORD = "reader", "cellhold-test"
_HTPASSWD = f"{USER}:$2y$05$abcdefghijklmnopqrstuuVotgFqtBItYPz44w8GzWyeK8XN3NKa6\n"  # PASSWORD by bcrypt: all that it accepts
_LISTENING = re.compile(r"listening on (127\.0\.0\.1:\d+)")
_PATIENCE_SECONDS = 60.0
_INTERVAL_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A running registry.

    host: the part before the first slash of a reference, "127.0.0.1:40001".
    """

    host: str
    log: Path
    user: str | None = None
    password: str | None = None
    ca: Path | None = None  # over TLS; None: plain HTTP

    def reference(self, name: str) -> str:
        """Return the name of an image there: "127.0.0.1:40001/busybox:1"."""
        return f"{self.host}/{name}"


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that everybody may pull from and push to."""
    with serve(tmp_path_factory.mktemp("registry")) as served:
        yield served


@pytest.fixture(scope="session")
def registry_with_password(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that asks for a user and a password, even to pull."""
    with serve(tmp_path_factory.mktemp("registry-with-password"), user=USER, password=PASSWORD) as served:
        yield served


@pytest.fixture(scope="session")
def registry_with_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Yield a registry with TLS and a certificate that no machine trusts."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt install openssl")
    directory = tmp_path_factory.mktemp("registry-with-tls")
    with serve(directory, ca=_certificate(directory)) as served:
        yield served


@contextmanager
def serve(directory: Path, *, user: str | None = None, password: str | None = None, ca: Path | None = None) -> Iterator[Registry]:
    """Run a registry on the content of `directory`, which may be empty.

    Skips if docker-registry is not installed.
    """
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed: apt install docker-registry")
    log = directory / "log"
    command = ["setpriv", "--pdeathsig", "KILL", program, "serve", str(_configure(directory, basic=user is not None, ca=ca))]
    with log.open("wb") as output, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as process:
        try:
            yield Registry(host=_host(process, log), log=log, user=user, password=password, ca=ca)
        finally:
            process.terminate()
    shutil.rmtree(directory / "storage", ignore_errors=True)  # the log stays


def _certificate(directory: Path) -> Path:
    """Make a self-signed certificate for 127.0.0.1, with its key beside it."""
    form = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=the tests", "-days", "2")
    files = ("-keyout", str(directory / "key.pem"), "-out", str(directory / "certificate.pem"))
    subprocess.run(["openssl", "req", "-x509", *form, "-addext", "subjectAltName=IP:127.0.0.1", *files], check=True, capture_output=True)
    return directory / "certificate.pem"


def _configure(directory: Path, *, basic: bool, ca: Path | None) -> Path:
    """Write its configuration. That is YAML, which JSON is a part of."""
    storage = {"filesystem": {"rootdirectory": str(directory / "storage")}, "delete": {"enabled": True}}
    http: dict[str, object] = {"addr": "127.0.0.1:0", "secret": "of the tests"}
    if ca is not None:
        http["tls"] = {"certificate": str(ca), "key": str(directory / "key.pem")}
    config: dict[str, object] = {"version": "0.1", "storage": storage, "http": http}
    if basic:
        (directory / "htpasswd").write_text(_HTPASSWD, encoding="ascii")
        config["auth"] = {"htpasswd": {"realm": "the tests' registry", "path": str(directory / "htpasswd")}}
    (directory / "config.yml").write_text(json.dumps(config), encoding="ascii")
    return directory / "config.yml"


def _host(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return the host and port, from the log: Linux chooses a free port."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if found := _LISTENING.search(log.read_text(errors="replace")):
            return found[1]
        time.sleep(_INTERVAL_SECONDS)
    raise RuntimeError(f"cannot start docker-registry: status {process.poll()}; its log:\n{log.read_text(errors='replace')[-2000:]}")
