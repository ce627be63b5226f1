"""Builds without root: by real users of this machine, one with subordinate ids and one without."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from boxes import eventually
from people import person

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from people import Person

# root: to make the users
pytestmark = [
    pytest.mark.requires("root", "rootless", "subordinate-ids", "user-namespace", "overlayfs", "mount-api", "seccomp"),
    pytest.mark.timeout(900),
]

# Without a range there is one id only, and nothing can be given away.
DOCKERFILE = """\
FROM scratch AS first
COPY rootfs /
RUN mkdir -m 700 /shut && echo secret > /shut/file && (chown -R 1000:1000 /shut || true) 2>/dev/null
WORKDIR /shut/below/deeper
RUN pwd > /where; id -u >> /where
FROM first
COPY --from=first /shut /copied
COPY --from=first /shut/file /bin/sh* /several/
COPY --chmod=640 rootfs/etc/passwd /passwd
ADD archive.tar /unpacked/
RUN <<EOF
cat /copied/file /unpacked/passwd > /read
ls -A / > /names
EOF
CMD cat /where /read /names
"""


@pytest.fixture(params=["ranged", "single"])
def anybody(request: pytest.FixtureRequest, busybox_root: Path) -> Iterator[Person]:
    """A user with a range of ids, and one without; each with a context to build."""
    with person(f"b{request.param[0]}", subordinate=request.param == "ranged") as who:
        context = who.place / "context"
        shutil.copytree(busybox_root, context / "rootfs", symlinks=True)
        for path in (context, *context.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755)
        for name in ("chown", "pwd"):
            (context / "rootfs/bin" / name).symlink_to("busybox")
        shutil.make_archive(str(context / "archive"), "tar", context / "rootfs/etc", "passwd")
        (context / "archive.tar").chmod(0o644)
        (context / "Dockerfile").write_text(DOCKERFILE)
        yield who
        assert eventually(lambda: not who.processes()), who.processes()
        assert who.containers() == []


def test_a_user_builds_runs_and_builds_again_from_the_cache(anybody: Person) -> None:
    built = anybody.run("build", "-t", "mine:1", str(anybody.place / "context"))
    assert built.returncode == 0, built.stderr
    ran = anybody.run("run", "--rm", "mine:1")
    assert ran.returncode == 0, ran.stderr
    where, uid, secret, user, *names = ran.stdout.splitlines()
    assert (where, uid, secret) == ("/shut/below/deeper", "0", "secret")
    assert user.startswith("root:x:0:0:")
    assert {"copied", "several", "passwd", "unpacked", "where"} <= set(names)
    assert not {".dockerenv", "resolv.conf"} & set(names)
    again = anybody.run("build", "--progress", "json", str(anybody.place / "context"))
    assert again.returncode == 0, again.stderr
    assert '"cached": false' not in again.stdout
    assert built.stdout.strip() in again.stdout
