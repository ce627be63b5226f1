"""What the hand-out of files adds to a cell: mount=new beside mount=ro, their cells in turn.

python tests/bench/files.py [ROUNDS]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

CELLS = {
    "nothing": "1",
    "one small file, anew": "open('f{n}.txt', 'w').write('x' * 4096)",
    "one small file, changed": "open('same.txt', 'w').write(str({n}))",
}


def main() -> None:
    """Print the medians, in milliseconds."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as place, ExitStack() as closing:
        os.environ.setdefault("CELLHOLD_HOME", f"{place}/store")
        Path(os.environ["CELLHOLD_HOME"]).mkdir(mode=0o700, exist_ok=True)
        from kernels import real, running  # noqa: PLC0415  # which read the environment

        books = {}
        for way in ("ro", "new"):
            folder = Path(place, way)
            folder.mkdir()
            environment = {**os.environ, "JPY_SESSION_NAME": str(folder / "lab.ipynb")}
            books[way] = closing.enter_context(running(real(mount=way), cwd=str(folder), env=environment))
        for what, code in CELLS.items():
            took: dict[str, list[float]] = {way: [] for way in books}
            for number in range(rounds):
                for way, book in books.items():
                    text = code.replace("{n}", str(number))
                    began = time.perf_counter()
                    book.run(text)
                    took[way].append((time.perf_counter() - began) * 1000)
            medians = {way: statistics.median(times) for way, times in took.items()}
            line = f"{what:24} ro {medians['ro']:6.2f} ms  new {medians['new']:6.2f} ms  {medians['new'] - medians['ro']:+.2f} ms\n"
            sys.stdout.write(line)
        measure_alone(Path(place), rounds)


def measure_alone(place: Path, rounds: int) -> None:
    """Print what the hand-out itself takes, between plain directories, in milliseconds."""
    from written import Box, cell  # noqa: PLC0415  # as above

    (place / "alone").mkdir()
    box = Box(place / "alone")
    with box.handing() as made:
        cell(made)
        for what, count in (("nothing", 0), ("one small file, anew", 1), ("nothing beside 1000 files", 1000)):
            took = []
            for number in range(rounds if count < 2 else 3):  # a thousand are made once
                for file in range(count):
                    (box.upper / f"{count}-{number if count == 1 else 0}-{file}").write_text("x" * 4096)
                if count > 1:
                    cell(made)
                began = time.perf_counter()
                cell(made)
                took.append((time.perf_counter() - began) * 1000)
            sys.stdout.write(f"{what:28} {statistics.median(took):6.3f} ms\n")


if __name__ == "__main__":
    main()
