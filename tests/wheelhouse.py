"""Small wheels, made on the fly, and an index of them on loopback (PEPs 427, 503, 691, 700)."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import threading
import warnings
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PUBLISHED = "2026-01-01T00:00:00Z"


def wheel(  # noqa: PLR0913  # each is a way to lie
    name: str,
    version: str = "1.0",
    *,
    modules: Mapping[str, str | bytes] | None = None,
    requires: Sequence[str] = (),
    scripts: Mapping[str, str] | None = None,
    metadata_name: str | None = None,
    info: str | None = None,
    record: Mapping[str, str] | None = None,
    members: Sequence[tuple[zipfile.ZipInfo, bytes]] = (),
    without: Sequence[str] = (),
) -> bytes:
    """A wheel's bytes.

    modules: path -> content; {NAME.py: VERSION = "..."} unless given. scripts: entry points. metadata_name, info: what its
    METADATA and its directory say instead of the truth. record: path -> hash, instead. members: as they are. without: of RECORD.
    """
    module = name.replace("-", "_")
    info = info or f"{module}-{version}.dist-info"
    contents: dict[str, bytes] = {
        path: text.encode() if isinstance(text, str) else text
        for path, text in (modules if modules is not None else {f"{module}.py": f"VERSION = {version!r}\n"}).items()
    }
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    contents[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {metadata_name or name}\nVersion: {version}\n{needs}".encode()
    contents[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: wheelhouse\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if scripts:
        lines = "".join(f"{key} = {value}\n" for key, value in scripts.items())
        contents[f"{info}/entry_points.txt"] = f"[console_scripts]\n{lines}".encode()
    made = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # of a name that is there twice
        rows = []
        for path, content in contents.items():
            archive.writestr(path, content)
            if path not in without:
                rows.append(f"{path},{(record or {}).get(path) or hashed(content)},{len(content)}")
        for member, content in members:
            archive.writestr(member, content)
            rows.append(f'"{member.filename}",{hashed(content)},{len(content)}')
        rows.append(f"{info}/RECORD,,")
        archive.writestr(f"{info}/RECORD", "\n".join(rows) + "\n")
    return made.getvalue()


def hashed(content: bytes) -> str:
    """As a RECORD has it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def filename(name: str, version: str = "1.0", tag: str = "py3-none-any") -> str:
    """A wheel's name."""
    return f"{name.replace('-', '_')}-{version}-{tag}.whl"


@dataclass
class Index:
    """An index. files: what it serves; a test puts some in, and takes some out. asked: what it was asked for, in order.

    sha256: filename -> what it says instead of the truth. published: likewise when. login: USER:PASSWORD that it wants.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    sha256: dict[str, str] = field(default_factory=dict)
    published: dict[str, str] = field(default_factory=dict)
    login: str = ""

    def add(self, name: str, version: str = "1.0", *, tag: str = "py3-none-any", content: bytes | None = None, **options: object) -> None:
        """Publish a wheel. options: of wheel()."""
        self.files[filename(name, version, tag)] = content if content is not None else wheel(name, version, **options)  # type: ignore[arg-type]

    def of(self, name: str) -> list[str]:
        """The names of a project's files."""
        return [file for file in self.files if re.sub(r"[-_.]+", "-", file.split("-")[0]).lower() == name]

    def page(self, name: str) -> bytes:
        """A project's page (PEP 691)."""
        files = [
            {
                "filename": file,
                "url": f"/files/{file}",
                "hashes": {"sha256": self.sha256.get(file) or hashlib.sha256(self.files[file]).hexdigest()},
                "size": len(self.files[file]),
                "upload-time": self.published.get(file, PUBLISHED),
            }
            for file in self.of(name)
        ]
        return json.dumps({"meta": {"api-version": "1.1"}, "name": name, "versions": [], "files": files}).encode()


@contextmanager
def serving() -> Iterator[Index]:
    """An empty index, on loopback."""
    index = Index()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_words: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            index.asked.append(self.path)
            wants = f"Basic {base64.b64encode(index.login.encode()).decode()}"
            _, kind, name, *_rest = [*self.path.split("/"), "", ""]
            if index.login and self.headers.get("Authorization") != wants:
                self.reply(401, b"")
            elif kind == "simple" and index.of(name):
                self.reply(200, index.page(name), "application/vnd.pypi.simple.v1+json")
            elif kind == "files" and name in index.files:
                self.reply(200, index.files[name])
            else:
                self.reply(404, b"")

        def reply(self, status: int, content: bytes, kind: str = "application/octet-stream") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            if status == 401:
                self.send_header("WWW-Authenticate", "Basic")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    index.url = f"http://127.0.0.1:{server.server_address[1]}/simple"
    try:
        yield index
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
