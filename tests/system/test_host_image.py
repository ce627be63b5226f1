"""The `host` image: this machine's programs, and nothing that is nobody's business."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from boxes import python, run, shell, spec
from cellhold.image import host

if TYPE_CHECKING:
    from boxes import Ran

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")


@pytest.fixture(scope="module")
def everything() -> Ran:
    """What a program finds of what must not be there; made once for all the tests here."""
    homes = "/home/* /root/.[a-z]* /root/[a-z]* /srv/* /mnt/* /media /boot"
    secrets = "/etc/shadow* /etc/gshadow* /etc/sudoers* /etc/ssh /etc/ssl/private /etc/machine-id"
    data = "/run/* /tmp/* /var/lib/* /var/log/* /var/cache/* /var/tmp/*"
    return shell("host", f"for p in {homes} {secrets} {data}; do test -e $p && echo $p; done")


def test_homes_secrets_sockets_and_data_are_absent(everything: Ran) -> None:
    left = [path for path in everything.out.split() if not any(prefix.startswith(path) for prefix in host.python_prefixes())]
    assert left == []


def test_no_socket_is_reachable() -> None:
    assert not shell("host", "find / -xdev -type s 2>/dev/null").out


def test_people_are_not_in_its_accounts_and_no_password_is() -> None:
    rows = [line.split(":") for line in shell("host", "cat /etc/passwd").out.splitlines()]
    assert {"root", "nobody"} <= {row[0] for row in rows}
    assert all(row[1] == "x" and (int(row[2]) < 1000 or int(row[2]) == 65534) for row in rows)
    assert all(not line.split(":")[3] for line in shell("host", "cat /etc/group").out.splitlines())


def test_the_running_python_runs_inside_with_what_it_has_installed() -> None:
    ran = run(spec("host", sys.executable, "-c", "import sys, pytest; print(sys.prefix, pytest.__version__)"))
    assert ran.out == f"{sys.prefix} {pytest.__version__}\n", ran.err


def test_everyday_programs_run(tmp_path: Path) -> None:
    script = (
        "bash -c 'echo bash' && ls / >/dev/null && date >/dev/null && perl -e 'print 1' >/dev/null && tar --version >/dev/null && echo fine"
    )
    assert shell("host", script, cwd=str(tmp_path)).out == "bash\nfine\n"


def test_names_locale_and_time_zone_are_set_up() -> None:
    assert python("import pwd, time; print(pwd.getpwuid(0).pw_name, time.tzname[0] != '')").out == "root True\n"


def test_usr_can_be_written_inside_and_stays_as_it_is_outside() -> None:
    before = sorted(os.listdir("/usr/bin"))
    facts = Path("/usr/bin/env").stat()
    ran = shell(
        "host", "echo bad > /usr/bin/env; rm /usr/bin/tar; touch /usr/bin/new /opt/new; mkdir /usr/new; ls /usr/bin/new; cat /usr/bin/env"
    )
    assert ran.out == "/usr/bin/new\nbad\n"
    assert sorted(os.listdir("/usr/bin")) == before
    after = Path("/usr/bin/env").stat()
    assert (after.st_size, after.st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    assert not Path("/opt/new").exists()
    assert not Path("/usr/new").exists()


def test_its_environment_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_TOKEN", "secret")
    names = {line.partition("=")[0] for line in run(spec("host", "env")).out.splitlines()}
    assert names == {"PATH", "LANG", "HOME", "HOSTNAME"}


def test_root_inside_is_nobody_on_the_host(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    assert python("import os\nprint(os.getuid(), open('/proc/self/uid_map').read().split()[0])").out == "0 0\n"


def test_a_file_that_only_root_may_read_and_a_fifo_do_not_get_into_the_skeleton(tmp_path: Path) -> None:
    below = tmp_path / "etc/below"
    below.mkdir(parents=True)
    (below / "key").touch(mode=0o600)
    (below / "open").touch(mode=0o644)
    os.mkfifo(below / "fifo", 0o666)
    (below / "link").symlink_to("key")
    (below / "private").mkdir(mode=0o700)
    host.copy(tmp_path / "etc", tmp_path / "skeleton")
    assert sorted(os.listdir(tmp_path / "skeleton/below")) == ["link", "open"]
