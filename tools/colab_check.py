"""Run the notebooks as Colab would: with its packages, from its folder, with ``google.colab``.

    python tools/colab_check.py [--python python3.12] [--keep]

Makes a virtual environment with the packages of ``colab_2026.07.txt`` in ``build/colab`` (5 GB with
torch as PyPI has it for Linux), adds an empty module ``google.colab``, copies the repository into a
folder as an upload would, and executes every notebook with few training steps. The set-up cell of
the first one installs the pins. Fails if a notebook fails, or if the set-up cell has replaced a
package of the runtime. ``--keep`` resets the existing environment instead of making a new one.
"""

import argparse
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from write_setup_cells import ROOT, RUNTIME

PACKAGES = Path(__file__).with_name("colab_2026.07.txt")
BUILD = ROOT / "build" / "colab"


def make_environment(interpreter: str, folder: Path, keep: bool) -> Path:
    """Make a virtual environment like the runtime, or reset the present one; return its Python."""
    if not keep:
        subprocess.run([interpreter, "-m", "venv", "--clear", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", PACKAGES], check=True)
    site = next(folder.glob("lib/python3*/site-packages"))
    (site / "google" / "colab").mkdir(parents=True, exist_ok=True)
    (site / "google" / "colab" / "__init__.py").touch()
    (site / "sitecustomize.py").write_text("import google.colab\n")
    return python


def upload(content: Path) -> list[Path]:
    """Copy the repository into `content`, and each notebook next to it; return the notebooks."""
    shutil.rmtree(content, ignore_errors=True)
    leave = shutil.ignore_patterns(".*", "build", "runs", "__pycache__", "tests")
    shutil.copytree(ROOT, content / "glm-ppo", ignore=leave)
    shutil.copytree(ROOT / "notebooks" / "runs", content / "glm-ppo" / "notebooks" / "runs")
    notebooks = sorted((content / "glm-ppo" / "notebooks").glob("0*.ipynb"))
    return [Path(shutil.copy(notebook, content)) for notebook in notebooks]


def versions(python: Path) -> dict[str, str]:
    """The version of every package installed for `python`, by name in lower case."""
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True
    )
    return {p["name"].lower(): p["version"] for p in json.loads(listed.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--python", default="python3.12")
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    python = make_environment(args.python, BUILD / "venv", args.keep)
    before = versions(python)
    few = {
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "GLM_PPO_QUICK": "1",
        "GLM_PPO_PROFILE": "tiny",
        "TQDM_DISABLE": "1",
    }
    for notebook in upload(BUILD / "content"):
        clock = time.perf_counter()
        execute = ["nbconvert", "--to", "notebook", "--execute", "--log-level=ERROR"]
        place = ["--output-dir", BUILD / "out", notebook]
        subprocess.run([python, "-m", *execute, *place], check=True, env={**os.environ, **few})
        print(f"[ok] {notebook.name}, {time.perf_counter() - clock:.0f} s", flush=True)
    after = versions(python)
    replaced = {name: after[name] for name in sorted(RUNTIME) if after[name] != before[name]}
    print("the runtime's own:", {name: after[name] for name in sorted(RUNTIME)})
    assert not replaced, f"the set-up cell replaced {replaced}"


if __name__ == "__main__":
    main()
