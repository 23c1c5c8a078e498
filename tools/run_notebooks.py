"""Execute notebooks in order, and show which cell is running and for how long.

    python tools/run_notebooks.py --out build/run notebooks/01_rlhf_background.ipynb ...
    python tools/run_notebooks.py --inplace notebooks/01_rlhf_background.ipynb ...

Stops at the first cell that fails, with its traceback and exit status 1. No cell has a time limit:
training takes minutes on an idle machine and much longer on a busy one.
"""

import argparse
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

# The progress bars of a cell cannot reach the terminal, and must not be stored in its output.
os.environ["TQDM_DISABLE"] = "1"


def execute(path: Path, out: Path) -> None:
    """Run the notebook at `path` in its folder and store it, with its outputs, at `out`.

    Raises
    ------
    CellExecutionError
        When a cell fails that is not tagged ``raises-exception``; nothing is stored then.
    """
    notebook = nbformat.read(path, as_version=4)
    time, said = TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    with Progress(MofNCompleteColumn(), time, said, auto_refresh=sys.stdout.isatty()) as progress:
        cells = progress.add_task(path.stem, total=len(notebook.cells))

        def starts(cell: NotebookNode, cell_index: int) -> None:
            first = cell.source.strip().partition("\n")[0]
            progress.update(cells, completed=cell_index, description=f"{path.stem}: {first}")

        resources = {"metadata": {"path": str(path.parent)}}
        client = NotebookClient(notebook, timeout=None, resources=resources, record_timing=False)
        client.on_cell_start = starts
        client.execute()
        progress.update(cells, completed=len(notebook.cells), description=path.stem)
    out.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, out)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, help="folder for the executed copies")
    where.add_argument("--inplace", action="store_true", help="store the outputs in the notebooks")
    parser.add_argument("notebooks", nargs="+", type=Path)
    args = parser.parse_args()
    for path in args.notebooks:
        try:
            execute(path, path if args.inplace else args.out / path.name)
        except CellExecutionError as error:
            print(f"{path}:\n{error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
