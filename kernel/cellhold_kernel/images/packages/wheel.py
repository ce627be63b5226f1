"""Unpack a wheel as data.

Nothing of it is run, and nothing is written outside of its layer.

    LAYER/lib/python3.12/site-packages/     purelib and platlib
    LAYER/bin/                              scripts and entry points
    LAYER/...                               what it has for its prefix: share, etc

A member becomes a regular file of mode 644 or 755, or it is refused: no link, no
device, no absolute path, no "..". Each file is opened beneath the layer's descriptor,
without following a link (of which there are none). As the wheel's RECORD lists it, with
its hash, it comes; what is not listed, or has another hash, is refused.

https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import stat
import zipfile
import zlib
from configparser import ConfigParser, Error
from dataclasses import dataclass
from email.parser import HeaderParser
from typing import IO, TYPE_CHECKING

from cellhold.errors import InvalidSpec
from cellhold.spec.units import size
from cellhold_kernel.images.packages.target import site_packages
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.requirements import normalize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cellhold_kernel.images.packages.lock import Wheel
    from cellhold_kernel.images.packages.target import PythonTarget

MOST_ENTRIES = 200_000  # members of one wheel
_PIECE = 1 << 20
_LARGEST_TEXT = 32 << 20  # RECORD; of other metadata a share
_DEEPEST = 64
_LONGEST_NAME = 1000
_SCRIPT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}", re.ASCII)
_OBJECT = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)[ ]*:[ ]*([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?: *\[[^\]\n]*\])?", re.ASCII)
_UNLISTED = ("RECORD", "RECORD.jws", "RECORD.p7s")
_HASHES = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
_STUB = """#!{python}
import sys
from {module} import {first}
if __name__ == "__main__":
    sys.exit({call}())
"""
_SHORT_LINE = 120  # of a first line that every kernel reads


@dataclass
class Room:
    """What may still be written; shared by the wheels of a layer."""

    bytes_left: int
    most_bytes: int
    written_bytes: int = 0
    files: int = 0

    def take(self, count: int, wheel: Wheel) -> None:
        """Count what is written. Raises InvalidSpec when it is too much."""
        self.bytes_left -= count
        self.written_bytes += count
        if self.bytes_left < 0:
            raise _refused(wheel, f"it unpacks to more than is left of {size(self.most_bytes)}")


def unpack(path: Path, wheel: Wheel, layer: int, target: PythonTarget, room: Room) -> None:
    """Unpack the file `path` into the directory that `layer` is a descriptor of.

    Raises InvalidSpec for a wheel that lies or does not stay in its place, OSError.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _Unpacking(archive, wheel, layer, target, room).run()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise _refused(wheel, f"it cannot be unpacked: {escape(str(error), most=200)}") from error


class _Unpacking:
    def __init__(self, archive: zipfile.ZipFile, wheel: Wheel, layer: int, target: PythonTarget, room: Room) -> None:
        self.archive, self.wheel, self.layer, self.target, self.room = archive, wheel, layer, target, room
        self.site = site_packages(target)
        members = archive.infolist()
        if len(members) > MOST_ENTRIES:
            raise _refused(wheel, f"it has more than {MOST_ENTRIES} files")
        self.members: dict[str, zipfile.ZipInfo] = {}
        for member in members:
            if member.is_dir():
                continue
            name = self._checked(member)
            if name in self.members:
                raise _refused(wheel, f"it has {escape(name, most=100)} twice")
            self.members[name] = member
        self.info, self.data = self._directories()
        self.made: dict[str, tuple[str, int]] = {}  # path in the layer -> hash, size
        self.directories: set[str] = set()

    def _checked(self, member: zipfile.ZipInfo) -> str:
        """Return a member's name.

        Raises InvalidSpec for what is no plain file below the wheel's root.
        """
        name = member.orig_filename
        parts = name.split("/")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise _refused(self.wheel, f"{escape(name, most=100)} is no regular file")
        if name != member.filename or "\\" in name or "\0" in name or not all(parts) or {".", ".."} & set(parts):
            raise _refused(self.wheel, f"its file {escape(name, most=100)!r} leads out of it")
        if len(parts) > _DEEPEST or len(name.encode()) > _LONGEST_NAME or any(len(part.encode()) > 255 for part in parts):  # noqa: PLR2004  # NAME_MAX
            raise _refused(self.wheel, f"the name of its file {escape(name, most=60)} is too long")
        if member.flag_bits & 1:
            raise _refused(self.wheel, f"its file {escape(name, most=100)} is encrypted")
        return name

    def _directories(self) -> tuple[str, str]:
        """Return its .dist-info and its .data directory, by their names.

        Raises InvalidSpec.
        """
        tops = {name.split("/")[0] for name in self.members if "/" in name}
        infos = [top for top in tops if top.endswith(".dist-info")]
        datas = [top for top in tops if top.endswith(".data")]
        if len(infos) != 1 or len(datas) > 1:
            raise _refused(self.wheel, f"it has {len(infos)} directories of metadata and {len(datas)} of data")
        for top in (*infos, *datas):
            name, _, version = top.rpartition(".")[0].partition("-")
            if normalize(name) != self.wheel.name or not _is_same_version(version, self.wheel.version):
                raise _refused(self.wheel, f"its {escape(top, most=100)} is another package's")
        return infos[0], datas[0] if datas else ""

    def run(self) -> None:
        """Unpack all of it, then write its RECORD."""
        self._check_metadata()
        record = self._record()
        unlisted = {f"{self.info}/{name}" for name in _UNLISTED}
        for name, member in self.members.items():
            if name not in unlisted:
                self._unpack(name, member, record)
        self._write_entry_points()
        self._write_text(f"{self.site}/{self.info}/INSTALLER", b"cellhold\n")
        self._write_record()

    def _check_metadata(self) -> None:
        wheel = HeaderParser().parsestr(self._text("WHEEL"))
        if not str(wheel.get("Wheel-Version", "")).startswith("1."):
            raise _refused(self.wheel, f"its format is {escape(str(wheel.get('Wheel-Version')), most=40)}, and 1.x is what is known")
        metadata = HeaderParser().parsestr(self._text("METADATA"))
        name, version = str(metadata.get("Name", "")), str(metadata.get("Version", ""))
        if normalize(name.strip()) != self.wheel.name or not _is_same_version(version.strip(), self.wheel.version):
            raise _refused(self.wheel, f"its metadata is of {escape(name, most=60)} {escape(version, most=40)}")

    def _text(self, name: str) -> str:
        member = self.members.get(f"{self.info}/{name}")
        if member is None:
            raise _refused(self.wheel, f"it has no {name}")
        if member.file_size > _LARGEST_TEXT:
            raise _refused(self.wheel, f"its {name} is too large")
        with self.archive.open(member) as file:
            content = file.read(_LARGEST_TEXT + 1)
        if len(content) > _LARGEST_TEXT:
            raise _refused(self.wheel, f"its {name} is too large")
        return content.decode()

    def _record(self) -> dict[str, str]:
        """Return name -> hash of each file that RECORD lists with one."""
        try:
            rows = list(csv.reader(io.StringIO(self._text("RECORD"))))
        except csv.Error as error:
            raise _refused(self.wheel, f"its RECORD cannot be read: {escape(str(error), most=100)}") from error
        return {row[0]: row[1] for row in rows if len(row) > 1 and row[1]}

    def _unpack(self, name: str, member: zipfile.ZipInfo, record: dict[str, str]) -> None:
        where, is_script = self._destination(name)
        listed = record.get(name, "")
        kind, _, expected = listed.partition("=")
        if kind not in _HASHES:
            raise _refused(self.wheel, f"its RECORD does not list {escape(name, most=100)} with a hash")
        is_program = is_script or bool(member.external_attr >> 16 & 0o111)
        digest = _HASHES[kind]()
        with self.archive.open(member) as source:
            pieces = self._pieces(source)
            written = self._write(where, self._hashed(pieces, digest, is_script=is_script), is_program=is_program)
        if _encoded(digest.digest()) != expected.rstrip("="):
            raise _refused(self.wheel, f"its file {escape(name, most=100)} has another hash than its RECORD says")
        self.made[where] = ("" if is_script else listed, written)

    def _hashed(self, pieces: Iterator[bytes], digest: hashlib._Hash, *, is_script: bool) -> Iterator[bytes]:
        first = is_script
        for piece in pieces:
            digest.update(piece)
            yield self._named_python(piece) if first else piece
            first = False

    def _named_python(self, piece: bytes) -> bytes:
        """Return the beginning of a script with our Python in its first line (PEP 427)."""
        if not piece.startswith((b"#!python\n", b"#!python\r", b"#!pythonw", b"#!python ")):
            return piece
        return self._first_line().encode() + piece.partition(b"\n")[2]

    def _first_line(self) -> str:
        if len(self.target.path) < _SHORT_LINE and " " not in self.target.path:
            return f"#!{self.target.path}\n"
        return f"#!/bin/sh\n'''exec' '{self.target.path}' \"$0\" \"$@\"\n' '''\n"

    def _pieces(self, source: IO[bytes]) -> Iterator[bytes]:
        while piece := source.read(_PIECE):
            self.room.take(len(piece), self.wheel)
            yield piece

    def _destination(self, name: str) -> tuple[str, bool]:
        """Return where a member belongs in the layer, and whether it is a script."""
        if not self.data or not name.startswith(f"{self.data}/"):
            return f"{self.site}/{name}", False
        _, scheme, *rest = name.split("/")
        place = "/".join(rest)
        if not place:
            raise _refused(self.wheel, f"its file {escape(name, most=100)} is of no kind")
        if scheme in ("purelib", "platlib"):
            return f"{self.site}/{place}", False
        if scheme == "scripts":
            return f"bin/{place}", True
        if scheme == "headers":
            return f"include/{self.wheel.name}/{place}", False
        if scheme == "data":
            return place, False
        raise _refused(self.wheel, f"its file {escape(name, most=100)} is of no kind that is known")

    def _write_entry_points(self) -> None:
        if f"{self.info}/entry_points.txt" not in self.members:
            return
        parser = ConfigParser(delimiters=("=",), interpolation=None, strict=False)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        try:
            parser.read_string(self._text("entry_points.txt"))
        except Error as error:
            raise _refused(self.wheel, f"its entry points cannot be read: {escape(str(error), most=100)}") from error
        for section in ("console_scripts", "gui_scripts"):
            for name, value in parser.items(section) if parser.has_section(section) else ():
                call = _OBJECT.fullmatch(value.strip())
                if not _SCRIPT.fullmatch(name) or call is None:
                    raise _refused(self.wheel, f"its entry point {escape(name, most=60)} = {escape(value, most=60)} is none")
                text = _STUB.format(python="", module=call[1], first=call[2].partition(".")[0], call=call[2])
                self._write_text(f"bin/{name}", (self._first_line() + text.partition("\n")[2]).encode(), is_program=True)

    def _write_text(self, where: str, content: bytes, *, is_program: bool = False) -> None:
        self.room.take(len(content), self.wheel)
        self._write(where, iter([content]), is_program=is_program)
        self.made[where] = (f"sha256={_encoded(hashlib.sha256(content).digest())}", len(content))

    def _write_record(self) -> None:
        """Write RECORD, with paths relative to site-packages."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        for where, (listed, count) in sorted(self.made.items()):
            rows.writerow([os.path.relpath(where, self.site), listed, count])
        rows.writerow([f"{self.info}/RECORD", "", ""])
        self._write(f"{self.site}/{self.info}/RECORD", iter([text.getvalue().encode()]))

    def _write(self, where: str, pieces: Iterator[bytes], *, is_program: bool = False) -> int:
        """Write a new file in the place of one that another wheel has put there.

        Return its size.
        """
        directory, _, name = where.rpartition("/")
        above = self._open_directory(directory)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            mode = 0o755 if is_program else 0o644
            try:
                fd = os.open(name, flags, mode, dir_fd=above)
            except FileExistsError:
                os.unlink(name, dir_fd=above)
                fd = os.open(name, flags, mode, dir_fd=above)
            with os.fdopen(fd, "wb", buffering=0) as file:
                os.fchmod(file.fileno(), mode)
                written = 0
                for piece in pieces:
                    written += len(piece)
                    file.write(piece)
        except (IsADirectoryError, PermissionError) as error:
            raise _refused(self.wheel, f"its file {escape(where, most=100)} is a directory of another package") from error
        finally:
            os.close(above)
        self.room.files += 1
        return written

    def _open_directory(self, path: str) -> int:
        """Open a directory of the layer, which is made if it is missing.

        Part by part, and never through a link.
        """
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        if path in self.directories:
            return os.open(path, flags, dir_fd=self.layer)  # we alone write here, and we make no link
        here = os.dup(self.layer)
        for part in path.split("/") if path else ():
            try:
                os.mkdir(part, 0o755, dir_fd=here)
                os.chmod(part, 0o755, dir_fd=here)  # noqa: S103  # whatever our umask is
            except FileExistsError:
                pass
            try:
                below = os.open(part, flags, dir_fd=here)
            except NotADirectoryError as error:
                raise _refused(self.wheel, f"its directory {escape(path, most=100)} is a file of another package") from error
            finally:
                os.close(here)
            here = below
        self.directories.add(path)
        return here


def _is_same_version(one: str, other: str) -> bool:
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415  # a set that is not here

    try:
        return Version(one.replace("_", "-")) == Version(other) or one == other
    except InvalidVersion:
        return one == other


def _encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _refused(wheel: Wheel, reason: str) -> InvalidSpec:
    return InvalidSpec(f"cannot install {wheel.name} {escape(wheel.version, most=60)}: {reason}", hint="it is not what a wheel has to be")
