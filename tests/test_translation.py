"""The Chinese notebooks: every text translated and fresh, the code that of the English ones."""

import re
from pathlib import Path

import nbformat
import pytest
import translate
import write_setup_cells
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
CHINESE = sorted((ROOT / "notebooks/zh").glob("0*.ipynb"))
CODE = re.compile(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|<[^>]*>|\]\([^)]*\)", re.S)

each_notebook = pytest.mark.parametrize("path", CHINESE, ids=lambda p: p.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def english(path: Path) -> nbformat.NotebookNode:
    return read(ROOT / "notebooks" / path.name)


def prose(path: Path) -> dict[str, str]:
    """The translated texts without code, formulas and targets of links."""
    blocks = translate.read_catalogue(path.with_suffix(".md"))
    return {name: CODE.sub(" ", block.text) for name, block in blocks.items()}


def test_each_catalogue_has_its_notebook():
    assert CHINESE
    assert [p.stem for p in CHINESE] == sorted(
        p.stem for p in (ROOT / "notebooks/zh").glob("0*.md")
    )


@each_notebook
def test_every_text_is_translated_and_fresh(path):
    blocks = translate.read_catalogue(path.with_suffix(".md"))
    assert not translate.complaints(translate.english_texts(english(path)), blocks)


@each_notebook
def test_the_notebook_is_what_the_tool_writes(path):
    blocks, stored = translate.read_catalogue(path.with_suffix(".md")), read(path)
    made = translate.translated(english(path), blocks, path.name, stored)
    assert [(c.id, c.source, c.metadata) for c in stored.cells] == [
        (c.id, c.source, c.metadata) for c in made.cells
    ], "run python tools/translate.py"


@each_notebook
def test_code_cells_are_the_english_ones(path):
    def code(notebook):
        cells = [c for c in notebook.cells if c.cell_type == "code"]
        return [(c.id, c.source, c.metadata.get("tags")) for c in cells]

    assert code(read(path)) == code(english(path))


@each_notebook
def test_the_prose_is_chinese_and_written_as_chinese(path):
    for name, text in prose(path).items():
        assert re.search("[\u4e00-\u9fff]", text), name
        assert not re.search(r"\d %", text), f"{name}: a space before %"
        found = re.search("[\u4e00-\u9fff][,;:!?]|[,;:!?][\u4e00-\u9fff]", text)
        assert not found, f"{name}: punctuation of Latin texts in {found[0]}"


@each_notebook
def test_emphasis_is_understood(path):
    """Beside Chinese punctuation, Markdown may take ** for two stars."""
    for cell in (c for c in read(path).cells if c.cell_type == "markdown"):
        blocks = MarkdownIt("commonmark").enable("table").parse(cell.source)
        texts = [t.content for b in blocks for t in b.children or [] if t.type == "text"]
        formulas_apart = CODE.sub(" ", "\n".join(texts))
        assert "**" not in formulas_apart, cell.id


@each_notebook
def test_numbers_and_code_are_those_of_the_english_text(path):
    """Each number in backticks, in a block of code or in a formula, that is."""
    blocks = translate.read_catalogue(path.with_suffix(".md"))
    for name, text in translate.english_texts(english(path)).items():
        for pattern in (r"\$\$(.*?)\$\$", r"```python\n(.*?)```"):
            ours, theirs = (
                [
                    re.sub(r"#.*|\\text\{[^}]*\}|\s", "", found)
                    for found in re.findall(pattern, t, re.S)
                ]
                for t in (blocks[name].text, text)
            )
            assert ours == theirs, name


@each_notebook
def test_the_parts_of_a_notebook(path):
    cells = read(path).cells
    card, closing = cells[0].source, cells[-2].source
    link = write_setup_cells.colab_link(path.name, "zh")
    for part in (
        "本篇要回答的问题：",
        "学完之后你会有",
        "用时",
        f"| **在 Colab 中打开** | {link} |",
    ):
        assert part in card
    assert closing.startswith("## 小结") and re.search(r"\*\*(下一篇|从头再来)：\*\* \[", closing)
    for before, cell in zip(cells, cells[1:], strict=False):
        if "exercise" in cell.metadata.get("tags", []):
            assert re.search(r"^\*\*\d（(容易|中等|困难)，\d+ 分钟）。\*\*", before.source, re.M)
            for fold in ("提示", "答案"):
                assert before.source.count(f"<details><summary>{fold}</summary>") == 1
    for cell, below in zip(cells, cells[1:], strict=False):
        if any("image/png" in o.get("data", {}) for o in cell.get("outputs", [])):
            assert re.search("[\u4e00-\u9fff]{10}", cell.metadata.alt.replace("，", "")), cell.id
            assert "正常" in below.source and "异常" in below.source, cell.source


# -- the tool, on a notebook of two texts


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """`notebooks/zh` of a series with one notebook, translated."""
    cells = [
        nbformat.v4.new_markdown_cell("# One", id="one"),
        nbformat.v4.new_code_cell("draw()", id="two", metadata={"alt": "A line."}),
    ]
    (tmp_path / "zh").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "01_a.ipynb")
    (tmp_path / "zh/01_a.md").write_text("<!-- one -->\n# 一\n\n<!-- two -->\n一条线。\n")
    monkeypatch.setattr(translate, "FOLDER", tmp_path / "zh")
    assert run("--accept", "all") == 0
    return tmp_path / "zh"


def run(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["translate.py", *arguments])
        return translate.main()


def change(folder: Path, number: int, source: str) -> None:
    path = folder.parent / "01_a.ipynb"
    notebook = read(path)
    notebook.cells[number].source = source
    nbformat.write(notebook, path)


def test_a_changed_english_text_is_named_until_it_is_accepted(folder, capsys):
    assert run() == 0
    change(folder, 0, "# One and a half")
    assert run() == 1
    assert "01_a.md: one translates another English text" in capsys.readouterr().err
    assert run("--accept", "two") == 1
    assert run("--accept", "one") == 0
    assert run() == 0


def test_missing_and_superfluous_texts_and_unknown_ids_are_named(folder, capsys):
    text = (folder / "01_a.md").read_text()
    (folder / "01_a.md").write_text(text.replace("<!-- one", "<!-- ten"))
    assert run("--accept", "six") == 1
    error = capsys.readouterr().err
    for line in ("one has no translation", "ten is no text of the notebook", "block six"):
        assert line in error


def test_blocks_stand_in_the_notebooks_order(folder, capsys):
    first, second = (folder / "01_a.md").read_text().split("\n\n")
    (folder / "01_a.md").write_text(f"{second.strip()}\n\n{first}\n")
    assert run() == 1
    assert "order" in capsys.readouterr().err


def test_links_lead_to_the_english_notebook_where_there_is_no_chinese_one(folder):
    text = "[一](01_a.ipynb#x) [二](02_b.ipynb) [果](../../RESULTS.md)"
    assert translate.to_sisters(text) == text.replace("02_b", "../02_b")


def test_outputs_are_kept_as_long_as_the_code_is_the_same(folder):
    path = folder / "01_a.ipynb"
    notebook = read(path)
    assert (notebook.metadata.language, notebook.cells[1].metadata.alt) == ("zh", "一条线。")
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="drawn")]
    notebook.cells[1].execution_count = 1
    nbformat.write(notebook, path)
    assert run() == 0 and read(path).cells[1].outputs[0].text == "drawn"
    change(folder, 1, "draw(2)")
    assert run() == 0
    cell = read(path).cells[1]
    assert (cell.source, cell.outputs, cell.execution_count) == ("draw(2)", [], None)
