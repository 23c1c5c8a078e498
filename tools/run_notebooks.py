"""Execute notebooks, two at a time, and show which cells are running and for how long.

    python tools/run_notebooks.py --out build/run notebooks/0*.ipynb notebooks/zh/0*.ipynb
    python tools/run_notebooks.py --inplace notebooks/01_rlhf_background.ipynb ...

Notebooks 02 and 05 train, and 05 needs what 02 stores: they run in their order, and beside them the
others in theirs. Stops at the first cell that fails, with its traceback and exit status 1. No cell
has a time limit: training takes minutes on an idle machine and much longer on a busy one.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from glm_ppo_utils import atomic

TRAINING = ("02", "05")
# The progress bars of a cell cannot reach the terminal, and must not be stored in its output.
os.environ["TQDM_DISABLE"] = "1"


def tracks(notebooks: list[Path], jobs: int) -> list[list[Path]]:
    """Which notebooks run one after the other; the lists run side by side.

    zh/02 finds what 02 has stored, and closes the list of the others, which is the shorter one.
    """
    again = [p for p in notebooks if p.parent.name == "zh" and p.name.startswith("02")]
    train = [p for p in notebooks if p.name.startswith(TRAINING) and p not in again]
    others = [p for p in notebooks if p not in train + again] + again
    return [track for track in (train, others) if track] if jobs > 1 else [notebooks]


class NotebookError(Exception):
    """A cell failed; says of which notebook, which cell, and with its traceback."""


async def execute(path: Path, out: Path, progress: Progress, stop: Callable) -> None:
    """Run the notebook at `path` in its folder and store it, with its outputs, at `out`.

    Raises
    ------
    NotebookError
        When a cell fails that is not tagged ``raises-exception``; nothing is stored then.
    """
    notebook = nbformat.read(path, as_version=4)
    name = f"zh/{path.stem}" if path.parent.name == "zh" else path.stem
    number, cells = name.partition("_")[0], len(notebook.cells)
    task = progress.add_task(name, total=cells, number=number)

    def starts(cell: NotebookNode, cell_index: int) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):  # nbclient's handlers end this kernel only
            with suppress(NotImplementedError):  # Windows
                asyncio.get_running_loop().add_signal_handler(number, stop)
        first = cell.source.strip().partition("\n")[0]
        progress.update(task, completed=cell_index, description=f"{name}: {first}")

    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(
        notebook,
        timeout=None,
        resources=resources,
        record_timing=False,
        coalesce_streams=True,  # else what a cell prints is cut at places that depend on the time
    )
    client.shutdown_kernel, client.on_cell_start = "immediate", starts
    language = {"GLM_PPO_LANGUAGE": "zh"} if path.parent.name == "zh" else {}
    try:
        await client.async_execute(env={**os.environ, **language})
    except (CellExecutionError, DeadKernelError) as error:
        raise NotebookError(f"{path}:\n{error}") from error
    progress.update(task, completed=cells, description=name)
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(out, nbformat.writes(notebook) + "\n")


async def execute_all(side_by_side: list[list[Path]], out: Path | None) -> None:
    """Run lists of notebooks side by side; store the outputs in `out`, or in place."""
    stop = asyncio.current_task().cancel

    async def in_order(track: list[Path]) -> None:
        for path in track:
            parts = path.parts[-2:] if path.parent.name == "zh" else path.parts[-1:]
            await execute(path, out.joinpath(*parts) if out else path, progress, stop)

    number, said = (
        TextColumn("{task.fields[number]}"),
        TextColumn("{task.description}", markup=False),
    )
    columns = (number, MofNCompleteColumn(), TimeElapsedColumn(), said)
    with Progress(*columns, auto_refresh=sys.stdout.isatty()) as progress:
        running = [asyncio.create_task(in_order(track)) for track in side_by_side]
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()  # raises what went wrong in it
        finally:
            for task in running:
                task.cancel()  # which shuts its kernel down
            await asyncio.gather(*running, return_exceptions=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, help="folder for the executed copies")
    where.add_argument("--inplace", action="store_true", help="store the outputs in the notebooks")
    cores = min(2, os.cpu_count() or 1)
    what = "notebooks at a time; 1 runs them in the order given (default: %(default)s)"
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=cores, help=what)
    parser.add_argument("notebooks", nargs="+", type=Path)
    args = parser.parse_args()
    try:
        asyncio.run(execute_all(tracks(args.notebooks, args.jobs), args.out))
    except NotebookError as error:
        print(error, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
