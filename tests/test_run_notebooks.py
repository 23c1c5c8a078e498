"""`make run` runs notebooks side by side, and stops all of them together."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
# Waits for what another notebook does, and never for good: run in order, the first would hang.
START = """\
import os, time
from pathlib import Path
def wait_for(name):
    for _ in range(3000):
        if (found := Path(FOLDER, name)).exists() and found.read_text():
            return
        time.sleep(0.1)
    raise TimeoutError(name)
def here(name):
    Path(FOLDER, name).write_text(str(os.getpid()))
"""


def notebook(folder: Path, name: str, *sources: str) -> Path:
    """A notebook in `folder`, whose cells meet those of others in its parent folder."""
    folder.mkdir(exist_ok=True)
    where = repr(str(folder.parent))
    cells = [new_code_cell(source.replace("FOLDER", where)) for source in (START, *sources)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), folder / name)
    return folder / name


def command(*arguments: object) -> list[str]:
    return [sys.executable, *map(str, [ROOT / "tools" / "run_notebooks.py", *arguments])]


def gone(process: Path) -> bool:
    """Whether the process whose number is in a file has ended."""
    try:
        os.kill(int(process.read_text()), 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.slow
def test_two_run_side_by_side_and_05_after_02_and_zh_02_beside_it(tmp_path):
    first = notebook(tmp_path / "n", "01.ipynb", "here('one')", "wait_for('two')")
    second = notebook(tmp_path / "n", "02.ipynb", "wait_for('one')", "here('two')", "here('done')")
    last = notebook(
        tmp_path / "n", "05.ipynb", "print(Path(FOLDER, 'done').exists())", "wait_for('again')"
    )
    again = notebook(tmp_path / "zh", "02.ipynb", "here('again')")
    before = last.read_bytes()
    chinese = notebook(tmp_path / "zh", "05.ipynb", "print(os.environ['GLM_PPO_LANGUAGE'])")
    arguments = ["--jobs", 2, "--out", tmp_path / "out", first, second, last, again, chinese]
    done = subprocess.run(command(*arguments), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert last.read_bytes() == before
    for name, said, cells in (("05", "True", 3), ("zh/05", "zh", 2)):
        stored = nbformat.read(tmp_path / "out" / f"{name}.ipynb", 4)
        assert stored.cells[1].outputs[0].text == f"{said}\n"
        assert re.search(rf"^{name} +{cells}/{cells} ", done.stdout, re.MULTILINE)


@pytest.mark.slow
def test_an_error_stops_the_other(tmp_path):
    bad = notebook(tmp_path / "n", "01.ipynb", "wait_for('other')", "1 / 0")
    other = notebook(
        tmp_path / "n", "02.ipynb", "here('other')\nwait_for('never')", "here('later')"
    )
    arguments = ["--jobs", 2, "--out", tmp_path / "out", bad, other]
    done = subprocess.run(command(*arguments), capture_output=True, text=True)
    assert done.returncode == 1
    assert all(text in done.stderr for text in (f"{bad}:", "1 / 0", "ZeroDivisionError"))
    assert str(other) not in done.stderr
    assert gone(tmp_path / "other") and not (tmp_path / "later").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_ctrl_c_ends_both(tmp_path):
    for name, partner in (("01", "02"), ("02", "01")):
        meet = f"here('{name}')\nwait_for('{partner}')"
        notebook(tmp_path / "n", f"{name}.ipynb", meet, f"here('{name}-sleeps')\nwait_for('never')")
    paths = sorted((tmp_path / "n").iterdir())
    arguments = command("--jobs", 2, "--out", tmp_path / "out", *paths)
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        exec(START.replace("FOLDER", repr(str(tmp_path))), scope := {})
        for path in paths:
            scope["wait_for"](f"{path.stem}-sleeps")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == "stopped\n"
    assert gone(tmp_path / "01") and gone(tmp_path / "02")
