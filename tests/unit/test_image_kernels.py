"""Which kernel an image has, told from its files alone: on directory trees made for it, some of them by somebody hostile."""

from __future__ import annotations

import json
import os
import stat
import struct
from typing import TYPE_CHECKING, Any

import pytest

from cellhold.errors import CellholdError, ImageRefused, InvalidSpec, NotSupported
from cellhold_kernel.images import finding
from cellhold_kernel.images.choosing import KernelLayer, OwnKernel, Shell, choose
from cellhold_kernel.images.finding import find
from cellhold_kernel.images.found import Found, KernelSpec, LeftOut, Python
from cellhold_kernel.images.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PATH = "/usr/local/bin:/usr/bin:/bin"
ENV = {"PATH": PATH}
LINUX = "/lib64/ld-linux-x86-64.so.2"
MUSL = "/lib/ld-musl-x86_64.so.1"


def program(loader: str = LINUX, machine: int = 62) -> bytes:
    """The beginning of an ELF file that has this dynamic loader."""
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    name = loader.encode() + b"\0"
    return header + struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(name), len(name), 1) + name


def kernel_json(*argv: str, **more: object) -> bytes:
    return json.dumps({"argv": [*argv, "-f", "{connection_file}"], "display_name": "A kernel", "language": "a", **more}).encode()


def layer(root: Path, content: Mapping[str, object]) -> Path:
    """bytes: a file that can be run; text: a link; None: a whiteout; dict: an opaque directory with that in it."""
    root.mkdir(parents=True, exist_ok=True)
    for path, what in content.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, bytes):
            place.write_bytes(what)
            place.chmod(0o755)
        elif isinstance(what, str):
            place.symlink_to(what)
        elif isinstance(what, dict):
            layer(place, what)
            os.setxattr(place, "user.overlay.opaque", b"y")
        else:
            os.mknod(place, stat.S_IFCHR, os.makedev(0, 0))
    return root


def python(version: str = "3.11", *, at: str = "usr", loader: str = LINUX) -> dict[str, object]:
    return {
        f"{at}/bin/python3": f"python{version}",
        f"{at}/bin/python{version}": program(loader),
        f"{at}/lib/python{version}/os.py": b"",
    }


def found(tmp_path: Path, *layers: Mapping[str, object], env: Mapping[str, str] = ENV, user: str = "", cwd: str = "/") -> Found:
    """What is found in these layers, the lowest first."""
    stack = [layer(tmp_path / str(number), content) for number, content in enumerate(layers)]
    return find(stack[::-1], env=env, user=user, cwd=cwd)


# ------------------------------------------------------------------------------------------------------------------- kernelspecs


def test_a_kernelspec_says_all_that_starting_it_takes(tmp_path: Path) -> None:
    spec = kernel_json("R", "--from={resource_dir}", interrupt_mode="message", env={"R_HOME": "${ROOT}/R"})
    at = "usr/share/jupyter/kernels/ir"
    (ir,) = found(tmp_path, {"usr/bin/R": b"#!", f"{at}/kernel.json": spec, f"{at}/logo-64x64.png": b"\x89PNG\r\n\x1a\nx"}).kernelspecs
    assert (ir.name, ir.display_name, ir.language, ir.interrupt_mode) == ("ir", "A kernel", "a", "message")
    assert ir.command("/run/c.json") == ("R", "--from=/usr/share/jupyter/kernels/ir", "-f", "/run/c.json")
    assert ir.environment({"ROOT": "/opt"}) == {"ROOT": "/opt", "R_HOME": "/opt/R"}
    assert finding.logo([tmp_path / "0"], ir) == b"\x89PNG\r\n\x1a\nx"


def test_of_two_kernelspecs_of_one_name_the_one_that_jupyter_finds_first_is_taken(tmp_path: Path) -> None:
    image = {
        "bin/k": b"#!",
        **{
            f"{at}/kernels/{name}/kernel.json": kernel_json("k", display_name=at)
            for at in ("first", "home/me/.local/share/jupyter", "usr/local/share/jupyter", "usr/share/jupyter")
            for name in ("a", "B" if at == "first" else "b")
        },
        "home/me/.local/share/jupyter/kernels/mine/kernel.json": kernel_json("k"),
        "etc/passwd": b"root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n",
    }
    env = {**ENV, "JUPYTER_PATH": "/nowhere:/first/"}
    specs = {spec.name: spec for spec in found(tmp_path, image, env=env, user="1000:100").kernelspecs}
    assert {name: spec.display_name for name, spec in specs.items()} == {"a": "first", "b": "first", "mine": "A kernel"}
    assert specs["b"].resource_dir == "/first/kernels/B"
    assert {spec.name for spec in found(tmp_path / "2", image).kernelspecs} == {"a", "b"}, "another user's are not this one's"


def test_a_later_layer_takes_a_kernelspec_away_or_replaces_it(tmp_path: Path) -> None:
    at = "usr/share/jupyter/kernels"
    below = {f"{at}/{name}/kernel.json": kernel_json("k") for name in ("gone", "hidden", "stays")} | {"bin/k": b"#!"}
    assert [spec.name for spec in found(tmp_path / "1", below, {f"{at}/gone": None}).kernelspecs] == ["hidden", "stays"]
    above = {at: {"new/kernel.json": kernel_json("k")}}
    assert [spec.name for spec in found(tmp_path / "2", below, above).kernelspecs] == ["new"]


def test_a_bare_python_is_that_of_the_installation_that_has_the_kernelspec(tmp_path: Path) -> None:
    spec = kernel_json("python3", "-m", "ipykernel_launcher")
    image = {**python(), **python("3.12", at="opt/conda"), "opt/conda/share/jupyter/kernels/python3/kernel.json": spec}
    (taken,) = found(tmp_path, image).kernelspecs
    assert taken.argv[0] == "/opt/conda/bin/python3"
    assert taken.prefix == "/opt/conda"
    (taken,) = found(tmp_path / "2", {**python(), "usr/local/share/jupyter/kernels/p/kernel.json": spec}).kernelspecs
    assert taken.argv[0] == "/usr/bin/python3"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (kernel_json("/opt/gone/bin/python"), "its program '/opt/gone/bin/python' is not in the image"),
        (kernel_json("julia"), "its program 'julia' is not on the image's PATH"),
        (kernel_json("k").replace(b"{connection_file}", b"x"), "does not have {connection_file}"),
        (kernel_json("k", interrupt_mode="sometimes"), "'sometimes' is neither signal nor message"),
        (kernel_json("k", env={"A": 1}), "1 is not text"),
        (kernel_json("k", env={"A=B": "1"}), "no environment variable"),
        (b'{"argv": []}', "0 words"),
        (b'{"argv": "k {connection_file}"}', "is not a list"),
        (b'{"argv": ["k\\u0000", "{connection_file}"]}', "characters that no text may have"),
        (b"[" * 60_000, "nested too deeply"),
        (b'{"a":' * 10_000, "nested too deeply"),
        (b" " * 10_000_000, "are more than 65536"),
        (b"\xff\xfe", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"null", "not a JSON object"),
    ],
)
def test_a_kernelspec_that_cannot_be_used_is_left_out_with_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    at = "usr/share/jupyter/kernels"
    seen = found(tmp_path, {"bin/k": b"#!", f"{at}/bad/kernel.json": content, f"{at}/good/kernel.json": kernel_json("k")})
    assert [spec.name for spec in seen.kernelspecs] == ["good"]
    (left,) = seen.left_out
    assert left.name == "bad"
    assert reason in left.reason
    assert len(left.reason) < 300


def test_links_lead_nowhere_but_into_the_image(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    layer(outside, {"kernel.json": kernel_json("k"), "bin": b"", "passwd": b""})
    at = "usr/share/jupyter/kernels"
    image = {
        "bin/k": b"#!",
        f"{at}/absolute": str(outside),
        f"{at}/relative/kernel.json": "../" * 20 + str(outside) + "/kernel.json",
        f"{at}/loop": "loop",
        f"{at}/circle/kernel.json": "../round/kernel.json",
        f"{at}/round/kernel.json": "../circle/kernel.json",
        f"{at}/own/kernel.json": "/opt/k/kernel.json",
        f"{at}/up/kernel.json": "../" * 30 + "opt/k/kernel.json",
        "opt/k/kernel.json": kernel_json("k"),
        "usr/bin/bash": "/proc/self/exe",
        "usr/bin/sh": "../" * 30 + "bin/sh",
    }
    seen = found(tmp_path, image)
    assert [spec.name for spec in seen.kernelspecs] == ["own", "up"]
    assert seen.shells == ()


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    at = tmp_path / "0/usr/share/jupyter/kernels"
    for name in ("fifo", "directory"):
        (at / name).mkdir(parents=True)
    os.mkfifo(at / "fifo/kernel.json")
    (at / "directory/kernel.json").mkdir()
    os.mkfifo(tmp_path / "0/passwd")
    seen = found(tmp_path, {"etc/passwd": "/passwd"}, user="somebody")
    assert [left.name for left in seen.left_out] == ["directory", "fifo"]
    assert all("not a regular file" in left.reason for left in seen.left_out)


def test_names_that_make_no_name_are_told_in_one_line(tmp_path: Path) -> None:
    at = "usr/share/jupyter/kernels"
    names = ("new\nline", "\x1b[31m", "a b", "x" * 200, "\N{GREEK SMALL LETTER ALPHA}")
    seen = found(tmp_path, {"bin/k": b"#!", **{f"{at}/{name}/kernel.json": kernel_json("k") for name in names}})
    assert seen.kernelspecs == ()
    assert len(seen.left_out) == len(names)
    assert not any("\n" in left.reason or "\x1b" in left.reason for left in seen.left_out)


def test_a_hundred_kernelspecs_are_no_more_than_some_dozens(tmp_path: Path) -> None:
    at = "usr/share/jupyter/kernels"
    seen = found(tmp_path, {"bin/k": b"#!", **{f"{at}/k{number}/kernel.json": kernel_json("k") for number in range(100)}})
    assert len(seen.kernelspecs) == 64


def test_a_way_made_to_be_endless_is_refused_soon(tmp_path: Path) -> None:
    deep = "/".join("d" * 90)
    (tmp_path / "0" / deep).mkdir(parents=True)
    again = "d/../" * 700
    image = {f"l{number}": f"{deep}/{'../' * 90}{again}l{number + 1}" for number in range(45)}
    try:
        seen = found(tmp_path, image, env={"PATH": ":".join(f"/l{number % 45}/x{number}" for number in range(64))})
    except ImageRefused as error:
        assert "look-ups of names" in str(error)  # noqa: PT017  # either is right: what matters is that it ends
    else:
        assert seen == Found()


# ----------------------------------------------------------------------------------------------------------------------- Pythons


def test_a_python_is_known_by_where_it_lies(tmp_path: Path) -> None:
    debian = {"lib64": "usr/lib64", "usr/lib64/ld-linux-x86-64.so.2": b"", "usr/lib64/libc.so.6": "libc-2.31.so", "bin": "usr/bin"}
    (seen,) = found(tmp_path, {**debian, "usr/lib64/libc-2.31.so": b"", **python("3.9")}).pythons
    assert seen == Python(
        path="/usr/bin/python3",
        real="/usr/bin/python3.9",
        prefix="/usr",
        version=(3, 9),
        libc="glibc",
        glibc=(2, 31),
        machine="x86_64",
    )


def test_a_musl_python_is_told_from_a_glibc_one(tmp_path: Path) -> None:
    (seen,) = found(tmp_path, python("3.12", loader=MUSL)).pythons
    assert (seen.libc, seen.glibc, seen.machine) == ("musl", None, "x86_64")
    arm = {"usr/bin/python3.8": program("/lib/ld-linux-aarch64.so.1", machine=183), "usr/lib/python3.8/os.py": b""}
    (seen,) = found(tmp_path / "arm", {**arm, "lib/aarch64-linux-gnu/libc.so.6": b""}).pythons
    assert (seen.libc, seen.glibc, seen.machine) == ("glibc", (2, 34), "aarch64")


@pytest.mark.parametrize(
    "packages",
    [
        "usr/lib/python3.11/site-packages",
        "usr/lib64/python3.11/site-packages",
        "usr/lib/python3/dist-packages",
        "usr/local/lib/python3.11/dist-packages",
        "srv/modules",
    ],
)
def test_an_ipykernel_is_seen_wherever_the_python_would_import_it_from(tmp_path: Path, packages: str) -> None:
    image = {**python(), f"{packages}/ipykernel/__init__.py": b""}
    (seen,) = found(tmp_path, image, env={**ENV, "PYTHONPATH": "/srv/modules"}).pythons
    assert seen.has_ipykernel


@pytest.mark.parametrize(("base", "sees"), [("true", True), ("false", False)])
def test_a_virtual_environment_has_its_own_packages_and_its_base_ones_only_if_it_says_so(tmp_path: Path, base: str, sees: bool) -> None:  # noqa: FBT001
    image = {
        **python(),
        "usr/lib/python3/dist-packages/ipykernel/__init__.py": b"",
        "opt/venv/bin/python3": "/usr/bin/python3",
        "opt/venv/pyvenv.cfg": f"home = /usr/bin\ninclude-system-site-packages = {base}\nversion = 3.11.2\n".encode(),
    }
    seen = found(tmp_path, image, env={"PATH": f"/opt/venv/bin:{PATH}"}).pythons
    assert [(one.prefix, one.version, one.has_ipykernel) for one in seen] == [("/opt/venv", (3, 11), sees), ("/usr", (3, 11), True)]


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ({"usr/bin/python3": "python3.11"}, "link to python3.11, which is not in the image"),
        ({"usr/bin/python3/x": b""}, "not an executable file"),
        ({"usr/bin/python3.11": program()}, "its standard library is not where"),
        (python("3.5"), "it is Python 3.5, and Python 3.6 is the oldest"),
        ({"usr/bin/python": "python2.7", "usr/bin/python2.7": program(), "usr/lib/python2.7/os.py": b""}, "it is Python 2.7"),
    ],
)
def test_a_python_that_no_kernel_can_run_on_is_told_and_the_shell_is_offered(tmp_path: Path, image: dict[str, Any], reason: str) -> None:
    seen = found(tmp_path, {**image, "bin/sh": b"#!"})
    with pytest.raises(CellholdError, match=reason) as caught:
        choose(seen)
    assert caught.value.hint == "%container kernel=shell"
    assert choose(seen, "shell") == Shell(path="/bin/sh")


def test_a_file_that_only_looks_like_a_program_tells_nothing(tmp_path: Path) -> None:
    huge = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, (1 << 64) - 1, 0, 0, 64, 56, 65535, 0, 0, 0)
    for number, content in enumerate((b"", b"\x7fELF", huge, b"\x7fELF\x01\x01" + b"\0" * 90)):
        (seen,) = found(tmp_path / str(number), {"usr/bin/python3.11": content, "usr/lib/python3.11/os.py": b""}).pythons
        assert (seen.machine, seen.version, seen.fault) == (None, (3, 11), None)


def test_shells_are_those_on_path_in_the_order_in_which_they_are_taken(tmp_path: Path) -> None:
    busybox = {"bin/busybox": b"x", "bin/sh": "busybox", "bin/ash": "/bin/busybox", "opt/bash": b"x"}
    assert found(tmp_path, busybox).shells == ("/bin/ash", "/bin/sh")


def test_a_large_image_is_no_more_work_than_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    count = Tree._count

    def counted(tree: Tree, more: int) -> None:
        nonlocal looks
        looks += more + 1
        count(tree, more)

    monkeypatch.setattr(Tree, "_count", counted)
    image = {**python(), "usr/share/jupyter/kernels/k/kernel.json": kernel_json("python3")}
    taken = []
    for number in (1, 3000):
        looks = 0
        found(tmp_path / str(number), image, {f"usr/lib/python3.11/site-packages/p{name // 100}/m{name}.py": b"" for name in range(number)})
        taken.append(looks)
    assert taken[0] == taken[1] > 0


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    found(tmp_path, {**python(), "usr/share/jupyter/kernels/k/kernel.json": b"["})
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_the_small_program_without_root_tells_is_the_same(tmp_path: Path) -> None:
    at = "usr/share/jupyter/kernels"
    image = {**python(), "bin/sh": b"", f"{at}/k/kernel.json": kernel_json("python3", env={"A": "1"}), f"{at}/bad/kernel.json": b""}
    seen = found(tmp_path, image)
    assert finding._from_json(finding.look_leniently([(str(tmp_path / "0"), None)], ENV, "", "/")) == seen


# ---------------------------------------------------------------------------------------------------------------------- choosing

IR = KernelSpec(name="ir", argv=("R", "{connection_file}"))
JULIA = KernelSpec(name="julia-1.9", argv=("julia", "{connection_file}"))
PYTHON3 = KernelSpec(name="python3", argv=("/opt/python", "{connection_file}"))
PLAIN = Python(path="/usr/bin/python3", real="/usr/bin/python3", prefix="/usr", version=(3, 11))
WITH = Python(path="/opt/bin/python3", real="/opt/bin/python3", prefix="/opt", version=(3, 11), has_ipykernel=True)
OLD = Python(path="/usr/bin/python", real="/usr/bin/python2.7", prefix="/usr", version=(2, 7), fault="it is old")
SH = ("/bin/sh",)


@pytest.mark.parametrize(
    ("seen", "wanted", "choice"),
    [
        (Found(kernelspecs=(IR, PYTHON3), pythons=(PLAIN,), shells=SH), None, OwnKernel(spec=PYTHON3)),
        (Found(kernelspecs=(IR, PYTHON3), pythons=(PLAIN,), shells=SH), "IR", OwnKernel(spec=IR)),
        (Found(kernelspecs=(IR,), pythons=(PLAIN,), shells=SH), None, OwnKernel(spec=IR)),
        (Found(kernelspecs=(IR,), pythons=(PLAIN,), shells=SH), "python3", KernelLayer(python=PLAIN)),
        (Found(kernelspecs=(IR,), pythons=(PLAIN,), shells=SH), "shell", Shell(path="/bin/sh")),
        (Found(pythons=(OLD, PLAIN), shells=SH), None, KernelLayer(python=PLAIN)),
        (Found(shells=SH), None, Shell(path="/bin/sh")),
    ],
)
def test_the_kernel_is_chosen(seen: Found, wanted: str | None, choice: object) -> None:
    assert choose(seen, wanted) == choice


def test_an_ipykernel_without_a_kernelspec_is_started_as_what_it_would_install() -> None:
    choice = choose(Found(kernelspecs=(IR,), pythons=(PLAIN, WITH)))
    assert isinstance(choice, OwnKernel)
    assert choice.spec.command("/c.json") == ("/opt/bin/python3", "-m", "ipykernel_launcher", "-f", "/c.json")


def test_of_several_kernels_the_user_chooses() -> None:
    with pytest.raises(InvalidSpec, match=r"it has ir, julia-1\.9") as caught:
        choose(Found(kernelspecs=(IR, JULIA), pythons=(PLAIN,)))
    assert caught.value.hint == "%container kernel=ir"


def test_a_kernel_that_is_not_there_is_refused_with_what_is() -> None:
    seen = Found(kernelspecs=(IR,), pythons=(PLAIN,), shells=SH, left_out=(LeftOut(name="bad", reason="cannot use it: it is bad"),))
    with pytest.raises(InvalidSpec, match="kernel=scala: the image has no such kernel") as caught:
        choose(seen, "scala")
    assert caught.value.hint == "%container kernel=ir or %container kernel=python3 or %container kernel=shell"
    with pytest.raises(CellholdError, match="it is bad"):
        choose(seen, "bad")


def test_an_image_with_nothing_to_run_cells_in_is_told_in_one_sentence() -> None:
    with pytest.raises(NotSupported, match="no Jupyter kernel, no Python and no shell"):
        choose(Found())
