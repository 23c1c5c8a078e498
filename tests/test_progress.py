"""That one sees what is going on: TensorBoard, bars in a notebook, and the cell that runs."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from torch.utils.tensorboard import SummaryWriter

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


def test_tensorboard_starts_and_serves_a_scalar(tmp_path):
    with SummaryWriter(tmp_path / "tensorboard") as writer:
        for step in range(3):
            writer.add_scalar("reward", step / 4, step)
    command = [sys.executable, "-m", "tensorboard.main", "--host=127.0.0.1", "--port=0"]
    with (tmp_path / "said").open("w") as said:
        board = subprocess.Popen([*command, f"--logdir={tmp_path}"], stdout=said, stderr=said)
    try:
        values = _scalars(board, tmp_path / "said")
    finally:
        board.terminate()
        board.wait()
    assert [(step, value) for _, step, value in values] == [(0, 0.0), (1, 0.25), (2, 0.5)]


def _scalars(board: subprocess.Popen, said: Path) -> list:
    """What TensorBoard answers, once it is up and has read the events."""
    while board.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:\d+", said.read_text())
        try:
            if found:
                query = "/data/plugin/scalars/scalars?run=tensorboard&tag=reward"
                return json.load(urlopen(found[0] + query))
        except URLError:  # not up, or the events are not read yet
            pass
        time.sleep(0.5)
    raise AssertionError(said.read_text())


def notebook(path: Path, *sources: str) -> Path:
    cells = [new_code_cell(source) for source in sources]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
    return path


def test_lab_shows_bars(monkeypatch, tmp_path):
    """`make lab` leaves TQDM_DISABLE alone: tqdm takes even "0" for yes."""
    lab = ["make", "-n", "lab", "ARGS=--ip=0.0.0.0 --allow-root"]
    told = subprocess.run(lab, cwd=ROOT, capture_output=True, text=True)
    assert "jupyter lab" in told.stdout and "--ip=0.0.0.0 --allow-root" in told.stdout
    assert "TQDM_DISABLE" not in told.stdout
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    path = notebook(tmp_path / "bar.ipynb", "from tqdm.auto import tqdm\nfor _ in tqdm([1]): pass")
    executed = NotebookClient(nbformat.read(path, as_version=4), timeout=None).execute()
    shown = [output.data for output in executed.cells[0].outputs if "data" in output]
    assert any("application/vnd.jupyter.widget-view+json" in data for data in shown)


def run_notebooks(*arguments: object) -> subprocess.CompletedProcess:
    tool = [sys.executable, ROOT / "tools" / "run_notebooks.py", *arguments]
    return subprocess.run(tool, capture_output=True, text=True)


def test_run_shows_the_cell_that_runs_and_stores_what_came_out(tmp_path):
    path = notebook(tmp_path / "a.ipynb", "import os", "print(os.environ['TQDM_DISABLE'])")
    before = path.read_bytes()
    done = run_notebooks("--out", tmp_path / "out", path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"2/2 \d:\d\d:\d\d a\n", done.stdout)
    assert path.read_bytes() == before
    assert nbformat.read(tmp_path / "out" / "a.ipynb", 4).cells[1].outputs[0].text == "1\n"
    assert run_notebooks("--inplace", path).returncode == 0
    assert nbformat.read(path, 4).cells[1].outputs[0].text == "1\n"


def test_run_in_a_terminal_names_the_running_cell(tmp_path):
    """Before the cell ends: the cell itself reads what the terminal was shown."""
    shown = tmp_path / "shown"
    wait = f"import time\nwhile 'import time' not in open({str(shown)!r}).read(): time.sleep(0.2)"
    path = notebook(tmp_path / "a.ipynb", wait)
    tool = f"{sys.executable} {ROOT}/tools/run_notebooks.py --out {tmp_path} {path}"
    done = subprocess.run(
        ["script", "-qefc", tool, str(shown)],
        env={**os.environ, "TERM": "xterm"},
        stdout=subprocess.DEVNULL,
        timeout=120,
    )
    assert done.returncode == 0
