r"""The peers in tests of images: Debian's skopeo, umoci, podman and buildah.

    def test_something(peers: Peers, registry: Registry, busybox_image: Image) -> None:
        reference = peers.push(busybox_image, registry.reference("busybox:1"))
        assert peers.podman_run(reference, "echo", "hello") == "hello\n"

Each test has stores and settings of its own, in its temporary directory, so nothing
that a person has in ~/.config/containers, ~/.docker or /var/lib/containers is read or
changed. podman and buildah run in namespaces of their own for mounts and processes:
whatever they forget there, their monitors too, ends with them. Registries on this
machine are spoken to without TLS.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

import schemas

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from images import Image

_PLAIN_HTTP = ("--src-tls-verify=false", "--dest-tls-verify=false")
# A /run of its own: runc and netavark keep things there wherever podman keeps its own.
# Podman's is there, too, for it is short: with a socket's path above 107 bytes its
# monitor reports no end, and podman waits 20 s for one.
_BY_ITSELF = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh", "-c")
_PRIVATE_RUN = 'mount -t tmpfs tmpfs /run && exec "$@"'
_MOST = {"nofile": (resource.RLIMIT_NOFILE, 20_000), "nproc": (resource.RLIMIT_NPROC, 32_768)}
_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{place}/store"
runroot = "/run/peers"
"""
# crun 1.8 refuses hosts where cgroup v1 and v2 are mixed, and podman's own limits are
# higher than some hosts allow even root.
_CONTAINERS = """\
[containers]
netns = "none"
cgroups = "disabled"
default_ulimits = [{limits}]
[engine]
runtime = "peer"
runtime_supports_nocgroup = ["peer"]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
tmp_dir = "/run/peers/libpod"
[engine.runtimes]
peer = ["{place}/runtime"]
"""
# Without --cgroup-manager=disabled, which only crun knows, runc makes a group for the
# container, and removes it.
_RUNTIME = """\
#!/bin/sh
while [ "$1" = --cgroup-manager ]; do shift 2; done
exec runc "$@"
"""


class PeerFailedError(Exception):
    """A peer failed; the text has its command, its status and its error."""


@pytest.fixture
def peers(tmp_path: Path) -> Peers:
    """The peers, with stores of this test alone."""
    return at(tmp_path / "peers")


def at(place: Path) -> Peers:
    """Make the peers' settings and stores in the new directory `place`."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "storage.conf").write_text(_STORAGE.format(place=place), encoding="ascii")
    (place / "containers.conf").write_text(_CONTAINERS.format(place=place, limits=_limits()), encoding="ascii")
    (place / "auth.json").write_text("{}", encoding="ascii")
    (place / "registries.conf").write_text("unqualified-search-registries = []\n", encoding="ascii")
    (place / "runtime").write_text(_RUNTIME, encoding="ascii")
    (place / "runtime").chmod(0o755)
    return Peers(place=place)


def _limits() -> str:
    hard = {name: min(most, resource.getrlimit(which)[1] % (1 << 64)) for name, (which, most) in _MOST.items()}  # -1: none
    return ", ".join(f'"{name}={value}:{value}"' for name, value in hard.items())


@dataclass(frozen=True, kw_only=True)
class Peers:
    """The programs.

    place: their HOME, with their settings, stores and auth.json for registries.
    """

    place: Path

    def skopeo(self, *arguments: str) -> str:
        """Run `skopeo ARGUMENTS`; returns what it printed. Raises PeerFailedError."""
        return self._run("skopeo", "--insecure-policy", *arguments)

    def skopeo_copy(self, source: str, destination: str, *options: str) -> None:
        """Copy an image.

        Names: "docker://HOST/NAME:TAG", "oci:DIRECTORY:TAG", "oci-archive:FILE:TAG",
        "docker-archive:FILE:NAME:TAG".
        """
        self.skopeo("copy", "--quiet", *_PLAIN_HTTP, *options, source, destination)

    def push(self, image: Image, reference: str, *options: str) -> str:
        """Copy an image of the fixtures to a registry unchanged; return `reference`."""
        self.skopeo_copy(image.source, f"docker://{reference}", *options)
        return reference

    def umoci_unpack(self, layout: Path, tag: str, bundle: Path) -> Path:
        """Unpack an image of an OCI layout; return its root file system.

        bundle: must not exist. As root, owners are kept.
        """
        self._run("umoci", "unpack", "--image", f"{layout}:{tag}", str(bundle))
        return bundle / "rootfs"

    def podman(self, *arguments: str) -> str:
        """Run `podman ARGUMENTS` and return its output. Raises PeerFailedError.

        No container outlives the call.
        """
        return self._run_by_itself("podman", *arguments)

    @contextmanager
    def running(self, script: str) -> Iterator[subprocess.Popen[str]]:
        """Run a shell script with podman's settings, in namespaces of its own.

        All of it ends with the block.
        """
        words = [*_BY_ITSELF, _PRIVATE_RUN, "sh", "sh", "-c", script]
        with subprocess.Popen(words, env=self._environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
            try:
                yield shell
            finally:
                shell.kill()

    def podman_pull(self, reference: str) -> str:
        """Pull an image and return its id: its config's digest without "sha256:"."""
        return self.podman("pull", "--quiet", "--tls-verify=false", reference).strip()

    def podman_run(self, image: str, *command: str, options: tuple[str, ...] = ()) -> str:
        """Run a command, or the image's own, without a network; return its output.

        Pulls an image that is missing.

        Read from the container's log: `podman run` itself now and then prints nothing
        of a program that ends at once.
        """
        log = self.place / "output.log"
        log.unlink(missing_ok=True)
        logged = ("--log-driver", "k8s-file", "--log-opt", f"path={log}")
        self.podman("run", "--rm", "--quiet", "--tls-verify=false", *logged, *options, image, *command)
        return _logged(log.read_text(encoding="utf-8"))

    def buildah(self, *arguments: str) -> str:
        """Run `buildah ARGUMENTS`; returns what it printed. Raises PeerFailedError."""
        return self._run_by_itself("buildah", *arguments)

    def buildah_derive(self, parent: str, destination: str, *, copy: Path, to: str, options: tuple[str, ...] = ()) -> None:
        """Make an image of `parent` with `copy` at `to`, and push it to `destination`.

        `options` are those of buildah-commit(1): ("--format", "docker"),
        ("--disable-compression",).
        """
        container = self.buildah("from", "--quiet", "--tls-verify=false", parent).strip()
        self.buildah("copy", "--quiet", container, str(copy), to)
        self.buildah("commit", "--quiet", "--rm", "--tls-verify=false", *options, container, destination)

    def validate(self, kind: schemas.Kind, raw: bytes) -> None:
        """Check a document against the OCI image specification's own schema.

        Raises jsonschema.ValidationError.
        """
        schemas.validate(kind, raw)

    def log_in(self, host: str, user: str, password: str) -> None:
        """Have the peers send a name and password to a registry, as `docker login`."""
        self.skopeo("login", "--tls-verify=false", "--username", user, "--password", password, host)

    def _run(self, *command: str) -> str:
        _need(command[0])
        return _run(command, self._environment())

    def _run_by_itself(self, program: str, *arguments: str) -> str:
        _need(program)
        return _run((*_BY_ITSELF, _PRIVATE_RUN, "sh", program, *arguments), self._environment())

    def _environment(self) -> dict[str, str]:
        """Return an environment with settings from `place` alone."""
        return {
            **{name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ},
            "HOME": str(self.place),
            "XDG_RUNTIME_DIR": str(self.place),
            "REGISTRY_AUTH_FILE": str(self.place / "auth.json"),
            "CONTAINERS_STORAGE_CONF": str(self.place / "storage.conf"),
            "CONTAINERS_CONF": str(self.place / "containers.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.place / "registries.conf"),
        }


def _logged(text: str) -> str:
    """Return the standard output from a log in the form k8s-file.

    Each line has a time, a stream, F (or P: it goes on) and the text.
    """
    parts = (line.split(" ", 3) for line in text.splitlines())
    return "".join(part[3] + ("\n" if part[2] == "F" else "") for part in parts if part[1] == "stdout")


def _need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: apt install {program}")


def _run(command: tuple[str, ...], environment: dict[str, str]) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise PeerFailedError(f"{' '.join(command)}: status {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout
