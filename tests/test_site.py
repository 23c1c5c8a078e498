"""The site shows what the notebooks store, has no broken link and asks nothing of another host."""

import re
import subprocess
import sys
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]
CHINESE = sorted((ROOT / "notebooks/zh").glob("0*.ipynb"))
NOTEBOOKS = [*sorted((ROOT / "notebooks").glob("0*.ipynb")), *CHINESE]
pytestmark = pytest.mark.slow


def build(source: Path, out: Path) -> subprocess.CompletedProcess:
    """What `make site` runs; a warning, such as that of a broken link, is an error."""
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-c",
        ROOT / "tools/site",
        source,
        out,
    ]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "html"
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


def page(site: Path, source: Path) -> BeautifulSoup:
    path = (site / source.relative_to(ROOT)).with_suffix(".html")
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def test_every_page_is_reached_from_the_first(site):
    first = page(site, ROOT / "README.md")
    links = {a["href"] for a in first.select(".sidebar-tree a")}
    sources = [
        *NOTEBOOKS,
        *(ROOT / name for name in ("OWN_DATA", "RESULTS", "CONTRIBUTING", "README.zh-CN")),
    ]
    assert {p.relative_to(ROOT).with_suffix("").as_posix() + ".html" for p in NOTEBOOKS} <= links
    assert len(links) == len(sources)
    assert "README.html" in (site / "index.html").read_text()


def test_nothing_is_loaded_from_another_host(site):
    for path in site.rglob("*.html"):
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        loaded = [t.get("src") or t["href"] for t in soup.select("[src], link[href]")]
        assert [address for address in loaded if re.match("(https?:)?//", address)] == [], path.name
    for path in site.rglob("*.css"):
        assert not re.search(r"url\(\"?(https?:)?//|@import", path.read_text()), path.name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_figures_texts_and_formulas_are_those_of_the_notebook(site, path):
    cells, soup = nbformat.read(path, as_version=4).cells, page(site, path)
    outputs = [o for c in cells for o in c.get("outputs", [])]
    drawn = [(c, o.data) for c in cells for o in c.get("outputs", []) if "data" in o]
    figures = [(c.metadata["alt"], data["image/png"]) for c, data in drawn if "image/png" in data]
    shown = soup.select(".cell_output .panels")
    assert [panels.img["alt"] for panels in shown] == [alt for alt, _ in figures]
    for (_, png), panels in zip(figures, shown, strict=True):
        width = Image.open(BytesIO(b64decode(png))).width
        assert sum(int(img["style"].split()[1]) for img in panels.select("img")) == width
    printed = " ".join(t.get_text() for t in soup.select(".cell_output"))
    for output in outputs:
        if output.output_type == "stream":
            assert output.text.strip().splitlines()[-1].strip() in printed
    blocks = sum(c.source.count("$$") // 2 for c in cells if c.cell_type == "markdown")
    assert len(soup.select('math[display="block"]')) == blocks
    for text in soup.article.find_all(string=re.compile(r"\$\$|\\\w")):
        assert text.find_parent(["pre", "code", "annotation"]), text


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_amounts_of_money_are_no_formulas(site, name):
    source, soup = (ROOT / name).read_text(encoding="utf-8"), page(site, ROOT / name)
    amounts = re.findall(r"\$\d+", source)
    assert len(amounts) > 5 and not soup.select("math")
    assert re.findall(r"\$\d+", soup.article.get_text()) == amounts


def test_what_scrolls_is_reached_by_keyboard_and_chinese_is_named(site):
    soup = page(site, NOTEBOOKS[0])
    assert soup.select("pre") and not soup.select("pre:not([tabindex])")
    assert not [th for th in soup.select("th") if not th.get_text(strip=True)]
    assert soup.html["lang"] == "en"
    for path in (ROOT / "README.zh-CN.md", *CHINESE):
        assert page(site, path).html["lang"] == "zh-CN"


def test_a_wide_figure_is_cut_between_its_panels_only(tmp_path):
    """Panels of 400 pixels, with an axis label cut off by a gap, and a narrow legend at the end."""
    image = Image.new("RGB", (950, 200), "white")
    draw = ImageDraw.Draw(image)
    for left, right in ((0, 20), (40, 400), (430, 450), (470, 830), (860, 900)):
        draw.rectangle((left, 20, right, 180), "black")
    image.save(tmp_path / "a.png")
    (tmp_path / "tools/site").mkdir(parents=True)
    (tmp_path / "tools/site/toc.yml").write_text("root: README")
    (tmp_path / "README.md").write_text("# A\n\n![two panels](a.png)\n")
    assert build(tmp_path, tmp_path / "out").returncode == 0
    soup = BeautifulSoup((tmp_path / "out/README.html").read_text(), "html.parser")
    images = soup.select(".panels img")
    assert [img["alt"] for img in images] == ["two panels", ""]
    widths = [Image.open(tmp_path / "out" / img["src"]).width for img in images]
    assert widths == [415, 535]


def test_a_broken_link_ends_the_build(tmp_path):
    (tmp_path / "tools/site").mkdir(parents=True)
    (tmp_path / "tools/site/toc.yml").write_text("root: README")
    (tmp_path / "README.md").write_text("# A\n\nfine\n")
    assert build(tmp_path, tmp_path / "fine").returncode == 0
    (tmp_path / "README.md").write_text("# A\n\n[a](no.md), [b](#no-section), ![c](no.png)\n")
    done = build(tmp_path, tmp_path / "broken")
    assert done.returncode != 0
    for target in ("no.md", "no-section", "no.png"):
        assert target in done.stderr
