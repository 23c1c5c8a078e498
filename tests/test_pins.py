"""The versions of pyproject.toml, constraints.txt, environment.yml and the set-up cells agree."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from write_setup_cells import RUNTIME, direct_pins, setup_cell

from glm_ppo_utils import __version__

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("0*.ipynb"))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, set[str]]:
    """The versions of each package; more than one where they depend on Python or the platform."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    versions: dict[str, set[str]] = {}
    for name, version in (re.split("==| ;", line)[:2] for line in lines if line[0] not in " #"):
        versions.setdefault(normal(name), set()).add(version)
    return versions


def all_pins() -> list[tuple[str, str]]:
    return re.findall(r'^ +"([\w-]+)==([\w.]+)[;"]', (ROOT / "pyproject.toml").read_text(), re.M)


@pytest.mark.parametrize(("name", "version"), all_pins())
def test_the_lock_has_every_direct_pin(name, version):
    assert locked()[normal(name)] == {version}


def test_the_given_packages_are_pinned():
    names = {name for name, _ in all_pins()}
    assert {"torch", "transformers", "trl", "peft", "jupyterlab", "matplotlib", "nbval"} <= names
    assert dict(all_pins())["transformers"] == "4.40.0"


def test_the_lock_names_no_local_build_and_no_index():
    text = (ROOT / "constraints.txt").read_text()
    assert "+" not in "".join(set().union(*locked().values()))
    assert "://" not in text


def test_the_conda_environment_points_at_the_package_and_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert "python=3.11" in environment["dependencies"]
    pip = next(d for d in environment["dependencies"] if isinstance(d, dict))["pip"]
    assert pip == ["-c constraints.txt", "-e .[series,notebooks,tests]"]


def test_there_are_five_notebooks():
    assert [p.name[:2] for p in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_first_code_cell_is_the_set_up_cell(path):
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    assert cells[0].source == setup_cell()


def test_the_set_up_cell_installs_the_pins_but_never_the_runtimes_own():
    wanted = {f"{n}=={v}" for n, v in direct_pins().items() if n not in RUNTIME}
    found = set(re.search(r'PINS = """(.*?)"""', setup_cell(), re.S).group(1).split())
    assert found == wanted
    assert not any(pin.split("==")[0] in {"torch", "numpy"} for pin in found)


def test_the_version_is_the_same_everywhere():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_make_without_a_fitting_python_says_the_ways_out_and_makes_nothing(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    newer = tmp_path / "newer"
    newer.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 13)\n$2"\n'
    )
    newer.chmod(0o755)
    # Not the environment of the make that runs this test.
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    for python in (newer, "no-such-python"):
        made = ["make", "check", f"PYTHON={python}"]
        done = subprocess.run(made, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stdout.startswith("Python 3.10, 3.11 or 3.12 is needed")
        assert f"; {python} is none of them" in done.stdout
        assert "environment.yml" in done.stdout
    assert not (tmp_path / ".venv").exists()


def test_the_core_has_ranges_and_the_series_exact_pins_only_where_they_install():
    text = (ROOT / "pyproject.toml").read_text()
    core = re.search(r"^dependencies = \[(.*)\]$", text, re.M)[1]
    assert re.findall(r'"(\w+)>=[\d.]+"', core) == ["numpy", "scipy", "highspy"]
    series = re.search(r"^series = \[\n(.*?)^\]", text, re.S | re.M)[1].splitlines()
    for line in series:
        assert re.fullmatch(r""" +"[\w-]+==[\w.]+; python_version < '3.13'",""", line)


def test_the_containers_have_the_python_of_conda_and_make_what_is_there():
    """They were not built here: that wants a registry of images."""
    docker = (ROOT / "Dockerfile").read_text()
    dev = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert "\nFROM python:3.11\n" in docker and dev["image"] == "python:3.11"
    assert f"\nRUN {dev['postCreateCommand']}\n" in docker
    makefile = (ROOT / "Makefile").read_text()
    assert dev["postCreateCommand"] == "make .overlays/.ready"
    assert "\nOVERLAYS := .overlays/.ready\n" in makefile
    assert 'CMD ["make", "run"]' in docker and "\nrun: " in makefile


@pytest.mark.parametrize(("home", "used"), [("/proc/none", "build/home"), (".", ".")])
def test_a_home_that_cannot_be_written_is_replaced(tmp_path, home, used):
    (tmp_path / "Makefile").write_text(
        (ROOT / "Makefile").read_text() + "\nwhere:\n\t@echo $$HOME\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    made = subprocess.run(
        ["make", "where"], cwd=tmp_path, env={**env, "HOME": home}, capture_output=True, text=True
    )
    assert made.stdout == f"{used if used == '.' else tmp_path / used}\n"
    assert used == "." or (tmp_path / used).is_dir()
