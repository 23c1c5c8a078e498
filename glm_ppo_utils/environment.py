"""The set-up cell that all notebooks share, and the line that each ends with.

``python -m glm_ppo_utils.environment`` writes the cell, with the pins of ``pyproject.toml``, into
every notebook.
"""

import importlib.metadata
import platform
import re
import warnings
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# What a hosted runtime brings itself; replacing it under a running kernel breaks the kernel.
RUNTIME = {"torch", "numpy", "pandas", "pyarrow", "scipy", "matplotlib", "tensorboard", "tqdm"}

SETUP_CELL = """\
import subprocess, sys
from pathlib import Path

PINS = \"\"\"
{pins}
\"\"\".split()
assert sys.version_info < (3, 13), "Python 3.10-3.12 is needed: Runtime > Change runtime version"
if "google.colab" in sys.modules:  # elsewhere `make lab` has installed everything
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", *PINS], check=True)
places = [Path(".."), Path("."), *Path("/content").glob("*"), *Path("/content/drive").glob("*/*")]
sys.path.insert(0, str(next(p for p in places if (p / "glm_ppo_utils").is_dir()).resolve()))

from glm_ppo_utils.environment import check

check(PINS)\
"""


def direct_pins(root: Path = ROOT) -> dict[str, str]:
    """Exact direct pins of ``pyproject.toml``: name to version."""
    text = (root / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.S | re.M)
    return dict(re.findall(r'"([\w-]+)==([\w.]+)"', block.group(1)))


def setup_cell(root: Path = ROOT) -> str:
    """Source of the set-up cell: what a hosted runtime lacks, at the exact direct pins."""
    pins = [f"{n}=={v}" for n, v in direct_pins(root).items() if n not in RUNTIME]
    lines = [" ".join(pins[i : i + 4]) for i in range(0, len(pins), 4)]
    return SETUP_CELL.format(pins="\n".join(lines))


def check(pins: list[str]) -> None:
    """Print one ``[ok]`` or ``[fail]`` line per pin, and what to do when one fails."""
    # Deprecation notices of the pinned libraries; every one of them is known and harmless.
    warnings.filterwarnings("ignore", category=FutureWarning)
    failed = False
    for pin in pins:
        name, wanted = pin.split("==")
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "not installed"
        good = found == wanted
        failed |= not good
        print(f"[ok]   {name} {found}" if good else f"[fail] {name} {found}, wanted {wanted}")
    if failed:
        print("Run `make lab` in the repository's folder, or on Colab run this cell again.")


def footer(profile: str) -> str:
    """Device, versions, profile and date of a run, for a notebook's last line."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    versions = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("transformers", "trl"))
    return (
        f"{device} ({torch.get_num_threads()} threads), Python {platform.python_version()}, "
        f"torch {torch.__version__}, {versions}, profile {profile}, {date.today()}"
    )


def write_setup_cells(folder: Path = ROOT / "notebooks") -> None:
    """Put the set-up cell into every notebook: the first code cell, tagged ``setup``."""
    import nbformat

    for path in sorted(folder.glob("0*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        cell = next(c for c in notebook.cells if "setup" in c.metadata.get("tags", []))
        if cell.source != setup_cell():
            cell.source = setup_cell()
            nbformat.write(notebook, path)


if __name__ == "__main__":
    write_setup_cells()
