"""Run a notebook headless, through the kernel that its users will have, and print what its cells printed.

Called by `make demo`. The exit status is 0 when every cell did what the notebook says it does: a cell that is meant to fail
carries the tag "raises-exception", as nbclient has it. Where this host cannot enforce the notebook's limits (without root, on cgroup
v1), it is said, and what needs them is left out: a limit is never dropped without a word.
"""

from __future__ import annotations

import re
import statistics
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from cellhold import Container, Spec, doctor

if TYPE_CHECKING:
    from collections.abc import Collection

KERNEL = "cellhold"
STARTS = 5
LIMITS = {"memory": "cgroup-memory", "cpus": "cgroup-cpu", "pids": "cgroup-pids"}  # key -> what doctor calls it
NEEDS_MEMORY_LIMIT = "needs-memory-limit"  # a cell's tag
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Printed(NotebookClient):
    """A client that prints each cell as soon as it has run."""

    async def async_execute_cell(self, cell: Any, cell_index: int, *arguments: Any, **options: Any) -> Any:
        """Run one cell, then print it with its outputs."""
        started = time.monotonic()
        try:
            return await super().async_execute_cell(cell, cell_index, *arguments, **options)
        finally:
            if cell.cell_type == "code":
                show(cell, time.monotonic() - started)


def show(cell: Any, seconds: float) -> None:
    """Print a cell as a person would read it: its source behind a prompt, then its outputs, and how long it took."""
    prompt = f"[{cell.execution_count or '*'}] "
    print(prompt + cell.source.replace("\n", "\n" + "." * (len(prompt) - 1) + " "))
    for output in cell.outputs:
        print(textwrap.indent(_COLOURS.sub("", text_of(output)).rstrip(), "    "))
    print(f"    ({seconds:.2f} s)\n", flush=True)


def text_of(output: Any) -> str:
    """The text of one output; an error's is its last line, the rest is a traceback."""
    if output.output_type == "stream":
        return str(output.text)
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    return str(output.data.get("text/plain", f"<{', '.join(output.data)}>"))


def leave_out(keys: Collection[str], notebook: Any) -> None:
    """Take these limits out of %container lines, and the cells that show what the memory limit does."""
    if "memory" in keys:
        notebook.cells = [cell for cell in notebook.cells if NEEDS_MEMORY_LIMIT not in cell.metadata.get("tags", ())]
    for cell in notebook.cells:
        if cell.source.startswith("%container"):
            cell.source = " ".join(word for word in cell.source.split() if word.partition("=")[0] not in keys)


def main(path: str) -> int:
    """Run the notebook at `path`; 0 when all of it ran as it should."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # nbformat ships no types for it
    missing = {key: found for key, feature in LIMITS.items() if not (found := doctor.look(feature)).ok}
    if missing and doctor.can_run():
        leave_out(missing, notebook)
        advice = "\n".join(f"  {text}" for text in dict.fromkeys(found.advice() for found in missing.values()))
        print(f"Without limits on {', '.join(missing)}, and without the cells that show the memory limit:\n{advice}\n")
    client = Printed(notebook, kernel_name=KERNEL, timeout=120, resources={"metadata": {"path": str(Path(path).parent)}})
    print(f"{path}, run by the kernel {KERNEL!r}:\n", flush=True)
    try:
        client.execute()
    except CellExecutionError as error:
        print(f"A cell failed: {error.ename}: {error.evalue}", file=sys.stderr)
        if not doctor.can_run():
            print(f"\n{doctor.report()}", file=sys.stderr)
        return 1
    print(f"All {sum(cell.cell_type == 'code' for cell in notebook.cells)} cells ran. A container alone starts in {start_ms():.0f} ms.")
    print("To open the notebook in JupyterLab: make lab")
    return 0


def start_ms() -> float:
    """Milliseconds from a library call until a container's program is exec'd: the median of a few."""
    found = []
    for _number in range(STARTS):
        started = time.monotonic()
        with Container.create(Spec(args=("true",))) as box:
            box.start()
            found.append((time.monotonic() - started) * 1000)
    return statistics.median(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
