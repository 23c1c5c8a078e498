"""The static site: every page, every link, and nothing from another host."""

import importlib.util
import re
from functools import cache
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("build_site", ROOT / "tools" / "build_site.py")
build_site = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build_site)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site of this repository, from the outputs that its notebooks store."""
    folder = tmp_path_factory.mktemp("site")
    build_site.build(folder)
    return folder


@pytest.fixture
def small(tmp_path) -> Path:
    """A repository of one notebook."""
    root = tmp_path / "repository"
    (root / "notebooks").mkdir(parents=True)
    (root / "README.md").write_text("# Front\n\n[one](notebooks/01_one.ipynb)\n")
    (root / "README.zh-CN.md").write_text("# 中文\n\n[back](README.md)\n")
    (root / "CONTRIBUTING.md").write_text("# Contributing\n")
    output = new_output("stream", text="8 < 9")
    cells = [
        new_markdown_cell("# One\n\nLet $a < b$ and\n\n$$\\frac{1}{2}$$"),
        new_code_cell("print('8 < 9')", execution_count=1, outputs=[output]),
    ]
    nbformat.write(new_notebook(cells=cells), root / "notebooks" / "01_one.ipynb")
    return root


@cache
def pages(folder: Path) -> dict[str, BeautifulSoup]:
    found = sorted(folder.rglob("*.html"))
    return {
        p.relative_to(folder).as_posix(): BeautifulSoup(p.read_text("utf-8"), "html.parser")
        for p in found
    }


def test_every_page_is_there_and_reached_by_turning_pages(site):
    place, visited = site / "index.html", []
    while place:
        visited.append(place.relative_to(site).as_posix())
        turn = pages(site)[visited[-1]].select("nav.turn a")
        onward = [a["href"] for a in turn if "→" in a.get_text()]
        place = (place.parent / onward[0]).resolve() if onward else None
    notebooks = [f"notebooks/{p.stem}.html" for p in sorted((ROOT / "notebooks").glob("0*.ipynb"))]
    assert notebooks and visited == [
        "index.html",
        *notebooks,
        "README.zh-CN.html",
        "CONTRIBUTING.html",
    ]
    assert set(pages(site)) == set(visited)


def test_nothing_is_broken_or_loaded_from_another_host(site):
    assert build_site.broken(site) == []
    for name, soup in pages(site).items():
        assert not soup.select("script, iframe"), name
    for address in re.findall(r"url\(\"?(.*?)\"?\)", (site / "site.css").read_text()):
        assert (site / address).is_file(), address


def test_outputs_and_figures_are_the_stored_ones(site):
    for path in sorted((ROOT / "notebooks").glob("0*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        outputs = [o for c in cells for o in c.get("outputs", [])]
        soup = pages(site)[f"notebooks/{path.stem}.html"]
        figures = sum("image/png" in o.get("data", {}) for o in outputs)
        assert len(soup.select(".output_png img")) == figures
        streams = [o for o in outputs if o.output_type == "stream"]
        assert len(soup.select(".output_stream")) == len(streams) > 0


def test_formulas_are_mathml(site):
    for path in sorted((ROOT / "notebooks").glob("0*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        blocks = sum(c.source.count("$$") // 2 for c in cells if c.cell_type == "markdown")
        soup = pages(site)[f"notebooks/{path.stem}.html"]
        assert len(soup.select('math[display="block"]')) == blocks
        texts = soup.main.find_all(string=lambda text: "$$" in text or "\\" in text)
        assert [t for t in texts if not t.find_parent(["pre", "code"])] == [], path.name


def test_a_small_site(small, tmp_path):
    build_site.build(tmp_path / "site", small)
    page = pages(tmp_path / "site")["notebooks/01_one.html"]
    assert [m.get("display") for m in page.select("math")] == ["inline", "block"]
    assert page.select_one(".output_stream pre").get_text().strip() == "8 < 9"
    front = pages(tmp_path / "site")["index.html"]
    assert [a["href"] for a in front.select("main p a")] == ["notebooks/01_one.html"]


def test_badges_of_other_hosts_become_text(small, tmp_path):
    (small / "README.md").write_text(
        "# A\n\n[![Run it](https://a.example/b.svg)](https://a.example)"
    )
    build_site.build(tmp_path / "site", small)
    front = pages(tmp_path / "site")["index.html"]
    assert not front.select("img")
    assert front.select_one('a[href="https://a.example"]').get_text() == "Run it"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[a](nowhere.md)", "index.html: nowhere.md is not there"),
        ("[a](#nowhere)", "index.html: #nowhere has no such section"),
        ("[a](CONTRIBUTING.md#b)", "index.html: CONTRIBUTING.html#b has no such section"),
        ("![a](nowhere.png)", "index.html: nowhere.png is not there"),
        (
            '<script src="https://a.example/b.js"></script>',
            "index.html: https://a.example/b.js is loaded from another host",
        ),
    ],
)
def test_a_broken_link_ends_the_build(small, tmp_path, text, fault):
    with (small / "README.md").open("a") as file:
        file.write(f"\n{text}\n")
    with pytest.raises(ValueError, match=re.escape(fault)):
        build_site.build(tmp_path / "site", small)
