"""The bounds of unpacking a layer that nobody trusts, and the walls around the process that does it."""

from __future__ import annotations

import errno
import gzip
import os
import signal
import subprocess
import sys
import textwrap
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard

from boxes import RUNTIME, eventually
from cellhold.errors import ImageRefused, NotSupported
from cellhold.layer.bounds import Bounds
from cellhold.layer.unpack import Unpacking
from cellhold.seccomp.cache import cached_program
from tars import Tar, names, record
from unpacking import refused, unpack

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.requires("root", "user-namespace", "mount-api", "overlayfs")

MIB = 1 << 20


# -------------------------------------------------------------------------------------------------------------------- bounds


def test_a_decompression_bomb_is_refused_before_it_fills_the_disk(layer: Path) -> None:
    bomb = zstandard.compress(Tar().add("f", bytes(64 * MIB)).content())
    bounds = Bounds(ratio=100, ratio_floor_bytes=8 * MIB)
    assert "decompression bomb" in refused(layer, bomb, bounds=bounds)
    assert sum(path.stat().st_size for path in layer.iterdir()) < 20 * MIB


@pytest.mark.parametrize(
    ("bounds", "sentence"),
    [
        (Bounds(unpacked_bytes=MIB), "unpacks to more than 1048576 bytes"),
        (Bounds(entries=50), "more than 50 entries"),
        (Bounds(depth=3), "3 are allowed"),
        (Bounds(name_bytes=6), "6 are allowed"),
        (Bounds(header_bytes=10), "10 are allowed"),
    ],
)
def test_each_bound_is_a_sentence(layer: Path, bounds: Bounds, sentence: str) -> None:
    tar = Tar()
    for number in range(60):
        tar.add(f"{number}", b"x")
    assert sentence in refused(layer, tar.add("a/b/c/d/e", bytes(2 * MIB), pax={"comment": "x" * 20}), bounds=bounds)


def test_directories_that_names_imply_count_as_entries(layer: Path) -> None:
    tar = Tar().add("/".join("abcdefgh") + "/f").add("/".join("ijklmnop") + "/f")
    assert "more than 12 entries" in refused(layer, tar, bounds=Bounds(entries=12))


def test_a_sparse_file_of_an_exabyte_is_refused(layer: Path) -> None:
    records = (record(b"GNU.sparse.size", b"1152921504606846975"), record(b"GNU.sparse.map", b"0,0"))
    assert "are allowed" in refused(layer, Tar().records(*records).raw())


@pytest.mark.parametrize("numbers", [b"5", b"5,1", b"0,2", b"3,1,0,1", b"-1,1", b"x,1", b"0,1,9,1"])
def test_a_sparse_map_that_does_not_fit_is_refused(layer: Path, numbers: bytes) -> None:
    tar = Tar().records(record(b"GNU.sparse.size", b"4"), record(b"GNU.sparse.map", numbers)).raw(b"f", b"x")
    assert "sparse" in refused(layer, tar)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress], ids=["none", "gzip", "zstd"])
def test_data_that_ends_too_early_is_refused(layer: Path, compress: Callable[[bytes], bytes]) -> None:
    data = compress(Tar().add("f", os.urandom(100_000)).content())
    assert "too early" in refused(layer, data[: len(data) * 2 // 3])


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.ZstdCompressor(write_checksum=True).compress], ids=["gzip", "zstd"])
def test_damaged_data_and_data_after_the_end_are_refused(layer: Path, compress: Callable[[bytes], bytes]) -> None:
    data = bytearray(compress(Tar().add("f", os.urandom(100_000)).content()))
    assert "damaged" in refused(layer, bytes(data) + b"what is this")
    data[50_000:50_900] = bytes(900)
    assert "damaged" in refused(layer.with_name("other"), bytes(data))


def test_zstd_that_wants_more_memory_than_allowed_is_refused(layer: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=25, compression_level=1)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()  # of unknown size: the window counts
    data = compressor.compress(Tar().add("f", b"x" * MIB).content()) + compressor.flush()
    assert "16 MiB of memory" in refused(layer, data, bounds=Bounds(window_bytes=16 * MIB))
    unpack(layer.with_name("other"), data)


def test_a_lone_block_of_zeros_between_entries_is_refused_and_what_follows_the_end_is_only_hashed(layer: Path) -> None:
    data = Tar().add("f", b"x").content()
    assert "block of zeros" in refused(layer, data[:-512] + data)
    done = unpack(layer.with_name("other"), data + b"anything" * 100)
    assert str(done.diff_id) == f"sha256:{sha256(data + b'anything' * 100).hexdigest()}"


def test_feeding_stops_as_soon_as_the_child_has_refused(layer: Path) -> None:
    layer.mkdir()
    with Unpacking(layer) as unpacking, pytest.raises(ImageRefused, match="leads out"):  # noqa: PT012  # which of the pieces is not known
        unpacking.feed(Tar().add("../f").content())
        for _ in range(10_000):
            unpacking.feed(bytes(MIB))


def test_a_full_disk_is_the_error_of_the_system(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import os, sys
        from pathlib import Path
        from cellhold.layer.unpack import Unpacking
        os.system("mount -t tmpfs -o size=2m,mode=755 small {tmp_path}")
        try:
            with Unpacking(Path({str(tmp_path)!r})) as unpacking:
                for _ in range(64):
                    unpacking.feed(sys.stdin.buffer.read(65536))
                unpacking.finish()
        except OSError as error:
            print(error.errno, error)
    """)
    ran = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", script],
        input=Tar().add("f", os.urandom(4 * MIB)).content(),
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(RUNTIME)},
    )
    assert ran.stdout.decode().startswith(f"{errno.ENOSPC} "), ran


# -------------------------------------------------------------------------------------------------------------------- walls


def test_the_child_works_under_the_filter_of_containers(layer: Path) -> None:
    program = cached_program(frozenset(), Path(os.environ["CELLHOLD_HOME"]) / "seccomp")
    assert unpack(layer, Tar().add("d/f", b"x", uid=5).gzip(), seccomp=program).entries == 1


def test_while_it_works_it_is_nobody_on_the_host_with_nothing_in_sight(layer: Path) -> None:
    layer.mkdir()
    with Unpacking(layer) as unpacking:
        unpacking.feed(Tar().add("f", bytes(3 * MIB)).content()[:MIB])
        supervisor = unpacking._child._pid
        assert eventually((layer / "f").exists)
        inner = int(Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()[0])
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{inner}/status").read_text().splitlines() if ":\t" in line)
        assert int(status["Uid"].split()[0]) > 65535
        assert status["NoNewPrivs"] == "1"
        assert int(status["CapBnd"], 16) == int(status["CapEff"], 16) == 0b1000_0000_0000_0000_0000_0000_0001_1011
        assert len(Path(f"/proc/{inner}/mountinfo").read_text().splitlines()) == 1
        assert {os.readlink(f"/proc/{inner}/ns/{name}") for name in ("net", "ipc", "pid", "mnt", "user")}.isdisjoint(
            {os.readlink(f"/proc/self/ns/{name}") for name in ("net", "ipc", "pid", "mnt", "user")}
        )
        assert "Max processes             0" in Path(f"/proc/{inner}/limits").read_text()


def test_a_caller_that_is_killed_takes_the_child_with_it(layer: Path) -> None:
    layer.mkdir()
    script = f"from pathlib import Path; from cellhold.layer.unpack import Unpacking; u = Unpacking(Path({str(layer)!r}))\n"
    script += "import time; u.feed(b'x' * 100); print(u._child._pid, flush=True); time.sleep(100)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(RUNTIME)}) as caller:
        assert caller.stdout is not None
        supervisor = int(caller.stdout.readline())
        caller.kill()
    assert eventually(lambda: not Path(f"/proc/{supervisor}").exists())


def test_a_child_that_is_killed_is_told_of(layer: Path) -> None:
    layer.mkdir()
    with Unpacking(layer) as unpacking:
        unpacking.feed(Tar().add("f", bytes(MIB)).content()[: MIB // 2])
        supervisor = unpacking._child._pid
        assert eventually((layer / "f").exists)
        inner = int(Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()[0])
        os.kill(inner, signal.SIGKILL)
        with pytest.raises(ImageRefused, match="the process that read it ended"):
            unpacking.finish()


def test_leaving_without_an_end_leaves_nothing_running(layer: Path) -> None:
    layer.mkdir()
    with Unpacking(layer) as unpacking:
        unpacking.feed(Tar().add("f", bytes(MIB)).content()[: MIB // 2])
        supervisor = unpacking._child._pid
    assert not Path(f"/proc/{supervisor}").exists()


def test_a_directory_that_is_not_there_is_an_error_of_its_own(layer: Path) -> None:
    with Unpacking(layer / "missing") as unpacking, pytest.raises((NotSupported, OSError), match="No such file"):
        unpacking.finish()


def test_a_million_entries_are_read_in_bounded_memory_up_to_the_bound(layer: Path) -> None:
    entry = Tar().raw(b"d/", kind=b"5").content()[:512]
    data = gzip.compress(entry * 1_000_000, 1)
    assert "more than 200000 entries" in refused(layer, data, bounds=Bounds(entries=200_000, ratio=1000))
    assert names(layer) == {"d"}
