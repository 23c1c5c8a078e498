"""The stored notebooks, not executed: parts, cells, outputs, figures, links and Colab."""

import ast
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import write_setup_cells
from bs4 import BeautifulSoup
from IPython.core.inputtransformer2 import TransformerManager
from markdown_it import MarkdownIt
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("0*.ipynb"))
STORED = [*NOTEBOOKS, *sorted((ROOT / "notebooks/zh").glob("0*.ipynb"))]
PAGES = sorted([*STORED, *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PLACES = re.compile(r"/(?:work|tmp|root|home|Users|var|opt|mnt|private)/|[A-Z]:\\")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
each_stored = pytest.mark.parametrize("path", STORED, ids=lambda p: f"{p.parent.name}/{p.stem}")
each_page = pytest.mark.parametrize("path", PAGES, ids=lambda p: f"{p.parent.name}/{p.name}")


def cells(path: Path, kind: str = "code") -> list:
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def outputs(path: Path) -> list:
    return [(cell, output) for cell in cells(path) for output in cell.outputs]


def texts(output) -> list[str]:
    """Every text in an output; a picture's bytes are none."""
    data = {k: v for k, v in output.get("data", {}).items() if not k.startswith("image/")}
    texts = [output.get("text", ""), output.get("evalue", ""), *map(str, data.values())]
    return [*texts, *output.get("traceback", [])]


# -- parts


@each_notebook
def test_a_notebook_is_valid_and_has_every_part(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    card, closing = notebook.cells[0].source, notebook.cells[-2].source
    for part in ("**The question of this notebook:**", "**At the end you have**", "**Time**"):
        assert part in card
    assert "setup" in tags(notebook.cells[1])
    assert closing.startswith("## Recap") and "*Not done" in closing
    assert re.search(r"\*\*(Next|Start again):\*\* \[", closing)
    assert "footer(" in notebook.cells[-1].source


@each_notebook
def test_exercises_say_how_hard_they_are_and_fold_hint_and_solution(path):
    notebook = nbformat.read(path, as_version=4)
    exercises = [i for i, cell in enumerate(notebook.cells) if "exercise" in tags(cell)]
    assert len(exercises) in (3, 4)
    for number, i in enumerate(exercises, start=1):
        text = notebook.cells[i - 1].source
        assert re.search(rf"^\*\*{number} \((easy|medium|hard), \d+ minutes\)\.\*\*", text, re.M)
        for fold in ("Hint", "Solution"):
            assert text.count(f"<details><summary>{fold}</summary>") == 1
        assert text.count("<details>") == text.count("</details>") == 2


# -- reading

LESSON = ("01", "02", "03", "05")  # 04 is a chapter for users of the libraries
NOT_PROSE = re.compile(r"```.*?```|\$\$.*?\$\$|\$[^$\n]*\$|<[^>]*>|\]\([^)]*\)", re.S)


def words(path: Path) -> int:
    """Words of the prose: no code, formulas, tags or targets of links."""
    return len(re.findall(r"\w[\w'./:-]*", NOT_PROSE.sub(" ", markdown(path))))


def test_the_lesson_is_read_in_one_sitting():
    counts = {path.stem: words(path) for path in NOTEBOOKS if path.name[:2] in LESSON}
    print(counts, sum(counts.values()))
    assert sum(counts.values()) <= 9000, counts


def test_words_are_counted_without_code_and_formulas(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("Two words $a + b$ [and a link](there/is/none)\n```\nx = 1\n```\n<details>\n")
    assert words(path) == 5


# Where each term is explained: the notebook and the id of the cell.
EXPLAINED = {
    "01 f5264462": ("policy", "SFT", "PPO"),
    "01 b18cd811": (
        "reference model",
        "KL",
        "value head",
        "reference\\*\\*",
        "integrality",
        "objective",
        "constraint",
        "coefficient",
        "right-hand side",
    ),
    "01 a8a62a06": ("held-out",),
    "01 495c03cd": ("calibration",),
    "01 5d7d636e": ("tokens?\\b",),
    "01 ppo-step-text": ("rollout\\*\\*", "TRL"),
    "01 0fc439f7": ("logits",),
    "01 358fe691": ("advantages?\\b", "GAE", "whiten"),
    "01 f3d91798": ("epoch",),
    "01 b0f06b49": ("RLVR",),
    "02 ce137e84": ("profile", "base model", "LoRA"),
    "02 6f18892e": ("greedily",),
    "02 e6a9f96e": ("nats", "temperature", "\\*exact\\*"),
    "03 4ecb22c7": ("optimum", "infeasible", "unbounded"),
    "03 39da3a84": (r"\bgraph\b",),
    "03 1735021d": ("canonical",),
    "03 ed5c3b49": ("certified", "similarity", "the \\*\\*cap"),
    "03 eb5133c6": ("farm",),
    "05 cells-gradient-text": ("policy gradient", r"baseline\*"),
    "05 96b62b7f": ("explained variance",),
    "05 09d01591": ("entropy",),
    "05 b0174e27": ("rejection sampling", "best of n"),
}


def test_a_term_is_explained_where_it_first_stands():
    """Opening cards and recaps aside."""
    prose = [
        (f"{path.name[:2]} {cell.id}", cell.source)
        for path in NOTEBOOKS
        if path.name[:2] in LESSON
        for cell in cells(path, "markdown")[1:-1]
    ]
    for place, terms in EXPLAINED.items():
        for term in terms:
            case = 0 if term.isupper() else re.IGNORECASE
            first = next(where for where, text in prose if re.search(term, text, case))
            assert first == place, f"{term} stands first in {first}"


@each_notebook
def test_the_card_names_a_short_reading_path(path):
    """At most four files of the package, which exist."""
    card = cells(path, "markdown")[0].source
    line = next(line for line in card.splitlines() if line.startswith("| **Read along** |"))
    files = re.findall(r"`([\w/]+\.py)`", line)
    assert 1 <= len(files) <= 4
    package, room = ROOT / "glm_ppo_utils", re.search(r"`(glm_ppo_utils/[\w/]*)", line)
    rooms = [ROOT, package, (ROOT / room[1]) if room else package]
    assert all(any((r / file).is_file() for r in rooms) for file in files), line


def test_notebook_03_needs_few_files_of_the_package():
    """Its own room through the door, and what makes problems and figures."""
    source = "\n".join(cell.source for cell in cells(NOTEBOOKS[2]) if "setup" not in tags(cell))
    tree = ast.parse(source)
    found = {
        (node.module, name.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    rooms = {f"{m}.{n}" if m == "glm_ppo_utils" else m for m, n in found if "glm_ppo" in m}
    needed = {f"glm_ppo_utils.{name}" for name in ("evaluator", "problems", "plotting", "rollout")}
    assert rooms == needed | {"glm_ppo_utils.environment"}  # the footer


# -- cells


@each_notebook
def test_cells_parse_and_are_short(path):
    for cell in cells(path):
        ast.parse(TransformerManager().transform_cell(cell.source))
        longest = 30 if "setup" in tags(cell) else 12
        assert len(cell.source.splitlines()) <= longest, cell.source


# -- outputs


@each_stored
def test_outputs_come_from_one_run_in_order(path):
    counts = [cell.execution_count for cell in cells(path)]
    assert counts == list(range(1, len(counts) + 1))
    for cell in cells(path):
        if re.search(r"^(print|check)\(|^figure = |^HTML\(", cell.source, re.M):
            assert cell.outputs, f"no output stored of: {cell.source}"
        streams = [output.get("name") for output in cell.outputs]
        assert not any(a and a == b for a, b in pairwise(streams)), cell.source  # not in pieces


@each_stored
def test_outputs_hold_no_noise_and_no_place_of_a_machine(path):
    for cell, output in outputs(path):
        assert output.get("name") != "stderr", output.text
        assert (output.output_type == "error") <= ("raises-exception" in tags(cell)), cell.source
        for text in texts(output):
            assert not PLACES.search(text), text


# -- figures


@each_notebook
def test_figures_are_described_in_words_and_explained_below(path):
    """``alt`` in the cell's metadata is what nbconvert writes into the page for the figure."""
    notebook = nbformat.read(path, as_version=4)
    for cell, below in zip(notebook.cells, notebook.cells[1:], strict=False):
        images = sum("image/png" in o.get("data", {}) for o in cell.get("outputs", []))
        if images:
            assert images == 1 and len(cell.metadata.get("alt", "")) > 40, cell.source
            explained = below.source.lower()
            assert "healthy" in explained and "broken" in explained, cell.source
            assert "knob" in explained or "`" in explained, cell.source  # or the setting's name


@each_page
def test_linked_images_are_described_in_words(path):
    for token in inline_tokens(path):
        if token.type == "image":
            assert len(token.content) > 10, token.attrs["src"]
    for tag in html(path).select("img"):
        assert tag.get("alt"), tag


# -- links


def markdown(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    return "\n\n".join(cell.source for cell in cells(path, "markdown"))


def inline_tokens(path: Path) -> list:
    blocks = MarkdownIt("commonmark").enable("table").parse(markdown(path))
    return [token for block in blocks for token in block.children or []]


def html(path: Path) -> BeautifulSoup:
    """The HTML in a page's Markdown and, of a notebook, in its outputs."""
    parsed = MarkdownIt("commonmark").enable("table").parse(markdown(path))
    parts = [t.content for block in parsed for t in [block, *(block.children or [])]]
    kinds = [t.type for block in parsed for t in [block, *(block.children or [])]]
    raw = [x for x, kind in zip(parts, kinds, strict=True) if kind.startswith("html")]
    if path.suffix == ".ipynb":
        raw += [o.get("data", {}).get("text/html", "") for _, o in outputs(path)]
    return BeautifulSoup("\n".join(raw), "html.parser")


def links(path: Path) -> set[str]:
    found = {t.attrs.get("href") or t.attrs.get("src") for t in inline_tokens(path)}
    found |= {tag.get("href") or tag.get("src") for tag in html(path).select("[href], [src]")}
    return {link for link in found if link and not link.startswith("data:")}


def anchors(path: Path) -> set[str]:
    """The names that a page's headings get: on GitHub, or in Jupyter for a notebook."""
    blocks = MarkdownIt("commonmark").parse(markdown(path))
    headings = [
        b.content for a, b in zip(blocks, blocks[1:], strict=False) if a.type == "heading_open"
    ]
    if path.suffix == ".ipynb":
        return {heading.replace(" ", "-") for heading in headings}
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_links_lead_somewhere(path):
    for link in links(path):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https", link
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        assert target.exists(), f"{path.name} links to {link}"
        if parts.fragment:
            assert unquote(parts.fragment) in anchors(target), f"{path.name} links to {link}"


@each_page
def test_files_named_in_the_text_exist(path):
    for name in re.findall(
        r"`((?:glm_ppo_utils|benchmarks|notebooks|tests|tools)/[\w./]*)`", markdown(path)
    ):
        assert (ROOT / name).exists(), f"{path.name} names {name}"


# -- Colab


@each_stored
def test_metadata_choose_kernel_runtime_and_gpu(path):
    metadata = nbformat.read(path, as_version=4).metadata
    assert metadata.kernelspec.name == "python3"
    assert metadata.accelerator == "GPU"
    assert metadata.colab == {
        "gpuType": "A100",
        "provenance": [],
        "runtime_attributes": {"runtime_version": "2026.07"},  # the last with Python 3.12
    }


@each_notebook
def test_the_opening_card_links_to_colab(path):
    card = nbformat.read(path, as_version=4).cells[0].source
    assert f"| **Open in Colab** | {write_setup_cells.colab_link(path.name)} |" in card.splitlines()


@pytest.mark.parametrize("readme", sorted(ROOT.glob("README*.md")), ids=lambda p: p.name)
def test_the_readmes_carry_the_badges(readme):
    text, names = readme.read_text(encoding="utf-8"), [path.name for path in NOTEBOOKS]
    assert write_setup_cells.with_badges(text, names) == text
    assert "<!-- colab -->\n" in text


def test_one_constant_makes_every_badge(tmp_path, monkeypatch):
    """Set it and run the tool: cells, cards and READMEs follow; unset it: they go back."""
    card = "# T\n\n| | |\n|---|---|\n| **Open in Colab** | old |"
    setup = new_code_cell("old", metadata={"tags": ["setup"]})
    (tmp_path / "notebooks").mkdir()
    path, readme = tmp_path / "notebooks/01_x.ipynb", tmp_path / "README.md"
    nbformat.write(new_notebook(cells=[new_markdown_cell(card), setup]), path)
    readme.write_text("before\n<!-- colab -->\n<!-- /colab -->\nafter\n")

    def made(repository: str) -> tuple[str, str, str]:
        monkeypatch.setattr(write_setup_cells, "REPOSITORY", repository)
        write_setup_cells.write_notebooks(path.parent)
        write_setup_cells.write_readmes(tmp_path)
        return *(c.source for c in nbformat.read(path, as_version=4).cells), readme.read_text()

    unknown = made("")
    assert "upload the repository's folder" in unknown[0]
    assert "https" not in unknown[0] + unknown[2]
    link = "(https://colab.research.google.com/github/a/b/blob/main/notebooks/01_x.ipynb)"
    known = made("a/b")
    assert link in known[0] and 'REPOSITORY = "a/b"' in known[1] and link in known[2]
    assert known[1] == write_setup_cells.setup_cell()
    assert made("") == unknown


# -- the set-up cell, as Colab would run it: another pip, another folder

PROLOGUE = """
import sys, types
sys.modules["google.colab"] = types.ModuleType("google.colab")
sys.version_info = {version}
"""
EPILOGUE = "\nimport glm_ppo_utils\nprint('from', glm_ppo_utils.__file__)"


def on_colab(content: Path, repository: str = "", version: str = "(3, 12)", pip: str = "pass"):
    """Run the set-up cell in `content`, with stand-ins for google.colab, pip and git."""
    stand_ins = content.parent / "stand_ins"
    (stand_ins / "pip").mkdir(parents=True)
    (stand_ins / "pip/__init__.py").touch()
    record = "import sys; print('pip', *sys.argv[1:], flush=True)\n"
    (stand_ins / "pip/__main__.py").write_text(record + pip)
    clone = (
        f'#!/bin/sh\necho git "$@"\nmkdir "$5" && ln -s {ROOT}/glm_ppo_utils "$5/glm_ppo_utils"\n'
    )
    (stand_ins / "git").write_text(clone)
    (stand_ins / "git").chmod(0o755)
    cell = write_setup_cells.setup_cell().replace('REPOSITORY = ""', f'REPOSITORY = "{repository}"')
    source = PROLOGUE.format(version=version) + cell + EPILOGUE
    return subprocess.run(
        [sys.executable, "-c", source],
        cwd=content,
        env={"PATH": f"{stand_ins}:/usr/bin:/bin", "PYTHONPATH": str(stand_ins)},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def content(tmp_path) -> Path:
    (tmp_path / "content" / "sample_data").mkdir(parents=True)
    return tmp_path / "content"


@pytest.mark.parametrize("place", ["glm-ppo", "drive/MyDrive/glm-ppo", "."])
def test_set_up_installs_the_pins_and_takes_the_package_that_was_brought(content, place):
    (content / place).mkdir(parents=True, exist_ok=True)
    (content / place / "glm_ppo_utils").symlink_to(ROOT / "glm_ppo_utils")
    result = on_colab(content, repository="a/b")  # not cloned: it is here
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    pins = [
        f"{n}=={v}"
        for n, v in write_setup_cells.direct_pins().items()
        if n not in write_setup_cells.RUNTIME
    ]
    assert lines[0] == " ".join(["pip install -q", *pins])
    assert len([line for line in lines if line.startswith("[ok]")]) == len(pins)
    assert lines[-1] == f"from {(content / place).resolve()}/glm_ppo_utils/__init__.py"


def test_set_up_behind_a_badge_clones_the_repository(content):
    result = on_colab(content, repository="a/b")
    assert result.returncode == 0, result.stderr
    assert "git clone -q --depth=1 https://github.com/a/b glm-ppo" in result.stdout
    assert result.stdout.splitlines()[-1].startswith(f"from {content}/glm-ppo/")


def test_set_up_says_what_is_missing(content):
    result = on_colab(content)
    assert result.returncode != 0
    assert "upload the repository's folder, or mount the Drive" in result.stderr


@pytest.mark.parametrize("version", ["(3, 9)", "(3, 13)"])
def test_set_up_refuses_a_python_without_wheels_before_it_installs_anything(content, version):
    result = on_colab(content, version=version)
    assert "Command palette > Change runtime version" in result.stderr
    assert "pip" not in result.stdout


def test_set_up_elsewhere_says_nothing_of_colab(content):
    result = on_colab(content, version="(3, 13); del sys.modules['google.colab']")
    assert "Python 3.10, 3.11 or 3.12 is needed: use `make lab`" in result.stderr
    assert "runtime" not in result.stderr.splitlines()[-1]


def test_set_up_stops_when_pip_fails(content):
    (content / "glm_ppo_utils").symlink_to(ROOT / "glm_ppo_utils")
    result = on_colab(content, pip="sys.exit(1)")
    assert result.returncode != 0 and "CalledProcessError" in result.stderr
    assert "[ok]" not in result.stdout


@each_stored
def test_no_bar_is_stored(path):
    """A widget shows nothing without its kernel, and pages with one load code from elsewhere."""
    assert "jupyter.widget" not in path.read_text(encoding="utf-8")
