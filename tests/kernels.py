"""Kernels and notebooks as the tests hold them: start one, run a cell, look at what came of it."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jupyter_client.blocking.client import BlockingKernelClient

PATIENCE = 100  # seconds; a busy machine takes 30 to start a kernel
_PROGRAMS = Path(__file__).parent


@dataclass
class Cell:
    """What one cell gave: its reply, and what was published for it, in order."""

    reply: dict[str, Any]
    published: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> str:
        return str(self.reply["status"])

    @property
    def count(self) -> int:
        return int(self.reply["execution_count"])

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message["content"] for message in self.published if message["msg_type"] == kind]

    @property
    def states(self) -> list[str]:
        return [content["execution_state"] for content in self.of("status")]

    @property
    def text(self) -> str:
        """Everything that was printed, and the results as text."""
        printed = "".join(content["text"] for content in self.of("stream"))
        shown = [content["data"]["text/plain"] for kind in ("display_data", "execute_result") for content in self.of(kind)]
        return printed + "\n".join(shown)

    @property
    def error(self) -> str:
        """The traceback as a person reads it: without colours."""
        return "\n".join(re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(content["traceback"])) for content in self.of("error"))


class Notebook:
    """A running kernel and a client of it."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client

    @property
    def pid(self) -> int:
        """The host kernel's process."""
        return int(self.manager.provisioner.pid)  # type: ignore[union-attr]

    def run(self, code: str, **options: Any) -> Cell:
        """Run a cell and wait for all of it."""
        return self.collect(self.client.execute(code, **options))

    def collect(self, message_id: str, *, patience: float = PATIENCE) -> Cell:
        """The reply to a request, and what was published for it until the kernel was idle again."""
        cell = Cell(self.reply(message_id, patience=patience)["content"])
        while not cell.states or cell.states[-1] != "idle":
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == message_id:
                cell.published.append(message)
        return cell

    def collect_published(self, message_id: str) -> Cell:
        """What is published for a request until the kernel is idle again, whenever its reply comes, or came."""
        cell = Cell({})
        while not cell.states or cell.states[-1] != "idle":
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == message_id:
                cell.published.append(message)
        return cell

    def reply(self, message_id: str, channel: str = "shell", *, patience: float = PATIENCE) -> dict[str, Any]:
        """The reply to a request."""
        while True:
            reply: dict[str, Any] = getattr(self.client, f"get_{channel}_msg")(timeout=patience)
            if reply["parent_header"].get("msg_id") == message_id:
                return reply

    def ask(self, kind: str, content: dict[str, Any], channel: str = "control") -> dict[str, Any]:
        """Send a request of any type; gives the reply's content."""
        message = self.client.session.msg(kind, content)
        getattr(self.client, f"{channel}_channel").send(message)
        found: dict[str, Any] = self.reply(message["header"]["msg_id"], channel)["content"]
        return found


def descendants(pid: int) -> set[int]:
    """The processes below one, at the moment."""
    found: set[int] = set()
    new = {pid}
    while new:
        children = {
            int(child) for parent in new for file in Path(f"/proc/{parent}/task").glob("*/children") for child in file.read_text().split()
        }
        new = children - found
        found |= new
    return found


def is_gone(pid: int) -> bool:
    """Whether a process is gone, or waits for nothing but its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@contextmanager
def running(manager: KernelManager, *arguments: str, wait: bool = True, **options: Any) -> Iterator[Notebook]:
    """A notebook with a kernel of that manager, shut down in the end. options: of start_kernel (cwd, env)."""
    manager.shutdown_wait_time = PATIENCE  # 5 s otherwise, and then it is killed: the next one has to clear up after it
    manager.start_kernel(extra_arguments=list(arguments), **options)
    client = manager.client()
    client.start_channels()
    try:
        if wait:
            client.wait_for_ready(timeout=PATIENCE)
        yield Notebook(manager, client)
    finally:
        client.stop_channels()
        if manager.has_kernel:
            manager.shutdown_kernel(now=not manager.is_alive())
        manager.cleanup_resources()
        client.context.destroy()


def beside(program: str, **texts: str) -> KernelManager:
    """A manager of the host kernel as standin.py or hostile.py run it, with these settings."""
    return _manager(str(_PROGRAMS / program), texts=texts)


def real(**texts: str) -> KernelManager:
    """A manager of the host kernel with these settings, where no kernelspec is installed."""
    return _manager("-m", "cellhold_kernel", texts=texts)


def _manager(*program: str, texts: Mapping[str, str]) -> KernelManager:
    directory = Path(os.environ["CELLHOLD_HOME"]) / f"spec-{time.monotonic_ns()}"
    directory.mkdir()
    (directory / "kernel.json").write_text(json.dumps({"metadata": {"cellhold": texts}}))
    manager = KernelManager(kernel_name="python3")
    argv = [sys.executable, *program, "-f", "{connection_file}", "--kernelspec", str(directory)]
    manager._kernel_spec = KernelSpec(argv=argv, display_name=program[-1], language="python", interrupt_mode="message")
    return manager


def until(what: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Whether it becomes true within that time."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
