"""Write the Chinese notebooks from the English ones and the catalogues of their translations.

    python tools/translate.py                     # writes notebooks/zh/NAME.ipynb for each NAME.md
    python tools/translate.py --accept ID ...     # first: these translations fit the English again
    python tools/translate.py --accept all

A catalogue has a block for each Markdown cell and each figure's description (``alt``), in order: a
line ``<!-- ID HASH -->`` with the cell's id and a hash of the English text, then the Chinese. Code
cells are those of the English notebook. Exits with status 1, and names the cells, when one has no
translation (it stays English), or when its English changed after it was translated.
"""

import argparse
import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
import write_setup_cells
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parents[1] / "notebooks" / "zh"
MARK = re.compile(r"^<!-- ([\w-]+)(?: ([0-9a-f]{8}))? -->\n", re.M)


@dataclass
class Block:
    """The Chinese of one text, and the hash of the English that it translates."""

    text: str
    digest: str = ""


def english_texts(notebook: NotebookNode) -> dict[str, str]:
    """Cell id to what is to be translated: Markdown, or the description of a figure."""
    texts = {c.id: c.metadata.get("alt", "") for c in notebook.cells}
    texts |= {c.id: c.source for c in notebook.cells if c.cell_type == "markdown"}
    return {name: text for name, text in texts.items() if text}


def digest(text: str) -> str:
    """Of an English text without its Colab link, which `write_setup_cells` writes."""
    text = re.sub(r"^\| \*\*Open in Colab\*\* \|.*$", "", text, flags=re.M)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def read_catalogue(path: Path) -> dict[str, Block]:
    """Cell id to its translation, in the order of the file."""
    _, *parts = MARK.split(path.read_text(encoding="utf-8"))
    blocks = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    return {name: Block(text.strip(), mark or "") for name, mark, text in blocks}


def write_catalogue(path: Path, blocks: dict[str, Block]) -> None:
    parts = (f"<!-- {f'{name} {b.digest}'.strip()} -->\n{b.text}\n" for name, b in blocks.items())
    path.write_text("\n".join(parts), encoding="utf-8")


def complaints(english: dict[str, str], blocks: dict[str, Block]) -> list[str]:
    """What has to be done before the translation is one of this notebook."""
    found = [f"{name} has no translation" for name in english if name not in blocks]
    found += [f"{name} is no text of the notebook" for name in blocks if name not in english]
    both = [name for name in english if name in blocks]
    if [name for name in blocks if name in english] != both:
        found.append("the blocks are not in the notebook's order")
    changed = [name for name in both if blocks[name].digest != digest(english[name])]
    return found + [
        f"{name} translates another English text: revise it, then --accept {name}"
        for name in changed
    ]


def to_sisters(text: str) -> str:
    """The text with its links to notebooks that are not translated leading to the English ones."""

    def link(found: re.Match) -> str:
        return found[0] if (FOLDER / f"{found[1]}.md").exists() else f"](../{found[1]}.ipynb"

    return re.sub(r"\]\((0\w+)\.ipynb", link, text)


def translated(
    notebook: NotebookNode, blocks: dict[str, Block], name: str, old: NotebookNode | None = None
) -> NotebookNode:
    """The Chinese notebook; code cells that `old` has, too, keep their outputs from there."""
    result = nbformat.from_dict(notebook)
    result.metadata["language"] = "zh"
    known = {c.source: c for c in old.cells if c.cell_type == "code"} if old else {}
    for cell in result.cells:
        text = blocks[cell.id].text if cell.id in blocks else None
        if cell.cell_type == "code":
            stored = known.get(cell.source)
            cell.outputs = stored.outputs if stored else []
            cell.execution_count = stored.execution_count if stored else None
            if text:
                cell.metadata["alt"] = text
        elif text:
            link = f"| **在 Colab 中打开** | {write_setup_cells.colab_link(name, 'zh')} |"
            text = re.sub(r"^\| \*\*在 Colab 中打开\*\* \|.*$", link, text, flags=re.M)
            cell.source = to_sisters(text)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--accept", nargs="+", default=[], metavar="ID", help="or: all")
    accept = parser.parse_args().accept
    failed, unknown = False, {*accept} - {"all"}
    for path in sorted(FOLDER.glob("0*.md")):
        target = path.with_suffix(".ipynb")
        notebook = nbformat.read(FOLDER.parent / target.name, as_version=4)
        english, blocks = english_texts(notebook), read_catalogue(path)
        unknown -= blocks.keys()
        accepted = blocks if "all" in accept else accept
        for name in (name for name in blocks if name in english and name in accepted):
            blocks[name].digest = digest(english[name])
        write_catalogue(path, blocks)
        old = nbformat.read(target, as_version=4) if target.exists() else None
        nbformat.write(translated(notebook, blocks, target.name, old), target)
        for line in complaints(english, blocks):
            print(f"{path.name}: {line}", file=sys.stderr)
            failed = True
    for name in sorted(unknown):
        print(f"no catalogue has a block {name}", file=sys.stderr)
    return int(failed or bool(unknown))


if __name__ == "__main__":
    sys.exit(main())
