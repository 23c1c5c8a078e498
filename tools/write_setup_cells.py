"""Write the set-up cell and the Colab links into the notebooks, and the badges into the READMEs.

    python tools/write_setup_cells.py

The cell carries the pins of ``pyproject.toml``, so run this after a change of pins, and then
``tools/translate.py``, which writes the Chinese notebooks.
"""

import argparse
import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]

# Where this repository is on GitHub, as "owner/name"; "" while that is not known. Set only here.
REPOSITORY = ""
BRANCH = "main"

# What a hosted runtime has already; replacing it while the kernel runs would break the kernel.
RUNTIME = {"torch", "numpy", "pandas", "pyarrow", "scipy", "matplotlib", "tensorboard", "tqdm"}

SETUP_CELL = """\
import subprocess, sys
from pathlib import Path

REPOSITORY = "{repository}"
PINS = \"\"\"
{pins}
\"\"\".split()
COLAB = "google.colab" in sys.modules
REMEDY = "Tools > Command palette > Change runtime version > 2026.07" if COLAB else "use `make lab`"
assert (3, 10) <= sys.version_info < (3, 13), f"Python 3.10, 3.11 or 3.12 is needed: {{REMEDY}}"
places = [Path(".."), Path("../.."), Path("."), *Path(".").glob("*"), *Path("drive").glob("*/*")]
folder = next((p for p in places if (p / "glm_ppo_utils").is_dir()), None)
if COLAB:  # elsewhere `make lab` has installed everything
    # pip then lists conflicts with other packages of the runtime; none of them is used here.
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", *PINS], check=True)
    if REPOSITORY and not folder:
        source, folder = f"https://github.com/{{REPOSITORY}}", Path("glm-ppo")
        subprocess.run(["git", "clone", "-q", "--depth=1", source, str(folder)], check=True)
assert folder, "No glm_ppo_utils here: upload the repository's folder, or mount the Drive it is on"
sys.path.insert(0, str(folder.resolve()))

from glm_ppo_utils.environment import check

check(PINS)\
"""

# What an opening card says under "Open in Colab": without a badge, and beside one.
BY_HAND = {
    "en": "upload the repository's folder or mount it from Drive, then open this file",
    "zh": "上传整个仓库文件夹，或从 Drive 挂载，然后打开本文件",
}
OR = {"en": ", or ", "zh": "，或者"}
BADGE = "[![Open {name} in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({url})"


def direct_pins(root: Path = ROOT) -> dict[str, str]:
    """Exact direct pins of ``pyproject.toml``: name to version."""
    text = (root / "pyproject.toml").read_text()
    block = re.search(r"^series = \[(.*?)^\]", text, re.S | re.M)
    return dict(re.findall(r'"([\w-]+)==([\w.]+);', block.group(1)))


def setup_cell(root: Path = ROOT) -> str:
    """Source of the set-up cell: what a hosted runtime lacks, at the exact direct pins."""
    pins = [f"{n}=={v}" for n, v in direct_pins(root).items() if n not in RUNTIME]
    lines = [" ".join(pins[i : i + 4]) for i in range(0, len(pins), 4)]
    return SETUP_CELL.format(pins="\n".join(lines), repository=REPOSITORY)


def colab_link(name: str, language: str = "en") -> str:
    """What the opening card of notebook `name` says under "Open in Colab"."""
    if not REPOSITORY:
        return BY_HAND[language]
    return f"{colab_badge(name, language)}{OR[language]}{BY_HAND[language]}"


def colab_badge(name: str, language: str = "en") -> str:
    """Markdown of the badge that opens notebook `name` in Colab."""
    folder = "notebooks" if language == "en" else f"notebooks/{language}"
    place = f"https://colab.research.google.com/github/{REPOSITORY}/blob/{BRANCH}"
    return BADGE.format(name=name[:2], url=f"{place}/{folder}/{name}")


def with_badges(readme: str, names: list[str]) -> str:
    """The text of a README with a badge per notebook between its two ``colab`` comments."""
    badges = "".join(f"{colab_badge(name)}\n" for name in names) if REPOSITORY else ""
    marks = r"(<!-- colab -->\n).*?(<!-- /colab -->)"
    return re.sub(marks, lambda found: found[1] + badges + found[2], readme, flags=re.S)


def write_notebooks(folder: Path = ROOT / "notebooks") -> None:
    """Put the set-up cell (tagged ``setup``) and the Colab link into every notebook."""
    for path in sorted(folder.glob("0*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        cell = next(c for c in notebook.cells if "setup" in c.metadata.get("tags", []))
        cell.source = setup_cell()
        card, row = notebook.cells[0], f"| **Open in Colab** | {colab_link(path.name)} |"
        card.source = re.sub(r"^\| \*\*Open in Colab\*\* \|.*$", row, card.source, flags=re.M)
        nbformat.write(notebook, path)


def write_readmes(root: Path = ROOT) -> None:
    """Put the badges into every README."""
    names = [path.name for path in sorted((root / "notebooks").glob("0*.ipynb"))]
    for path in sorted(root.glob("README*.md")):
        path.write_text(with_badges(path.read_text(), names))


if __name__ == "__main__":
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    ).parse_args()
    write_notebooks()
    write_readmes()
