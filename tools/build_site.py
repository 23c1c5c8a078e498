"""README and the notebooks as a static site: no script, no network, mathematics as MathML.

``python tools/build_site.py [FOLDER]`` writes ``build/site`` when FOLDER is left out. Outputs are
those stored in the notebooks. A link that leads nowhere ends the build with an error.
"""

import os
import shutil
import sys
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import unquote, urlsplit

import nbformat
from bs4 import BeautifulSoup
from fontTools import subset
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

ROOT = Path(__file__).resolve().parents[1]
STYLE = Path(__file__).with_name("site.css")
FONT = ROOT / "glm_ppo_utils" / "plotting" / "fonts" / "NotoSansCJKsc-common.otf"
FRONT, CHINESE = Path("README.md"), Path("README.zh-CN.md")
CONTRIBUTING = Path("CONTRIBUTING.md")

PAGE = Template("""\
<!DOCTYPE html>
<html lang="$language">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<link rel="stylesheet" href="$style">
</head>
<body>
<nav class="pages">$pages</nav>
<main>
$contents
$body
</main>
<nav class="turn">$turn</nav>
</body>
</html>
""")


def sources(root: Path = ROOT) -> list[Path]:
    """The pages in reading order, as paths relative to the repository."""
    notebooks = sorted(p.relative_to(root) for p in (root / "notebooks").glob("0*.ipynb"))
    return [FRONT, *notebooks, CHINESE, CONTRIBUTING]


def page_of(source: Path) -> Path:
    """Where a source's page lies in the site."""
    return Path("index.html") if source == FRONT else source.with_suffix(".html")


class _Renderer(IPythonRenderer):
    """Markdown whose formulas a browser shows by itself."""

    def inline_math(self, body: str) -> str:
        return convert(body.strip())

    def block_math(self, body: str) -> str:
        return convert(body.strip(), display="block")


def _body(path: Path) -> BeautifulSoup:
    """The inside of a page; a Markdown file is a notebook of one cell."""
    exporter = HTMLExporter(template_name="basic")
    markdown = lambda text: MarkdownWithMath(renderer=_Renderer(escape=False)).render(text)  # noqa: E731
    exporter.register_filter("markdown2html", markdown)
    if path.suffix == ".ipynb":
        notebook = nbformat.read(path, as_version=4)
    else:
        cell = nbformat.v4.new_markdown_cell(path.read_text(encoding="utf-8"))
        notebook = nbformat.v4.new_notebook(cells=[cell])
    return BeautifulSoup(exporter.from_notebook_node(notebook)[0], "html.parser")


def _point_into_site(body: BeautifulSoup, source: Path, root: Path, folder: Path) -> None:
    """Lead links to pages of the site; bring along every other file that is linked."""
    for tag in body.select("a[href], img[src]"):
        name = "href" if tag.name == "a" else "src"
        link = urlsplit(tag[name])
        if link.scheme in ("http", "https") and tag.name == "img":
            tag.replace_with(tag.get("alt", ""))  # a badge of another host
        if link.scheme or link.netloc or not link.path:
            continue
        target = Path(os.path.normpath(source.parent / unquote(link.path)))
        if target in sources(root):
            target = page_of(target)
        elif (root / target).is_file():
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / target, folder / target)
        tag[name] = link._replace(path=_relative(target, page_of(source))).geturl()


def _relative(target: Path, page: Path) -> str:
    return Path(os.path.relpath(target, page.parent)).as_posix()


def _labels(front: BeautifulSoup) -> dict[Path, str]:
    """Short names of the pages: of a notebook what the map in README calls it."""
    names = {FRONT: "Start", CHINESE: "中文", CONTRIBUTING: "Contributing"}
    for link in front.select('td a[href^="notebooks/0"]'):
        number, name = escape(link.get_text()).split(" ", 1)
        names.setdefault(Path(link["href"]), f"{number}<span> {name}</span>")
    return names


def _link(source: Path, here: Path, label: str) -> str:
    current = ' aria-current="page"' if source == here else ""
    return f'<a href="{_relative(page_of(source), page_of(here))}"{current}>{label}</a>'


def _contents(body: BeautifulSoup) -> str:
    """A folded list of the page's sections."""
    links = []
    for heading in body.select("h2[id]"):
        text = heading.get_text().removesuffix("¶")
        links.append(f'<li><a href="#{escape(heading["id"])}">{escape(text)}</a></li>')
    return f"<details><summary>On this page</summary><ul>{''.join(links)}</ul></details>"


def _write_font(path: Path, characters: str) -> None:
    """Write the package's font, cut to `characters`."""
    options = subset.Options(flavor="woff")
    font, cutter = subset.load_font(FONT, options), subset.Subsetter(options)
    cutter.populate(text=characters)
    cutter.subset(font)
    subset.save_font(font, path, options)


def build(folder: Path, root: Path = ROOT) -> None:
    """Write the site to `folder`, which is emptied first.

    Raises
    ------
    ValueError
        If a page links to what is not there, or loads anything from another host.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    bodies = {source: _body(root / source) for source in sources(root)}
    _write_font(folder / "chinese.woff", "".join(b.get_text() for b in bodies.values()))
    style = STYLE.read_text(encoding="utf-8")
    style += HtmlFormatter(style="friendly").get_style_defs(".highlight")
    (folder / "site.css").write_text(style + "\n", encoding="utf-8")
    titles = {s: escape(b.h1.get_text().removesuffix("¶")) for s, b in bodies.items()}
    labels, order = _labels(bodies[FRONT]), list(bodies)
    for place, (source, body) in enumerate(bodies.items()):
        _point_into_site(body, source, root, folder)
        for table in body.select("table"):  # a wide table scrolls alone
            table.wrap(body.new_tag("div", attrs={"class": "wide"}))
        before = [_link(s, source, f"← {titles[s]}") for s in order[:place][-1:]]
        after = [_link(s, source, f"{titles[s]} →") for s in order[place + 1 :][:1]]
        page = PAGE.substitute(
            language="zh-CN" if source == CHINESE else "en",
            title=titles[source],
            style=_relative(Path("site.css"), page_of(source)),
            pages=" ".join(_link(s, source, labels.get(s, titles[s])) for s in order),
            contents=_contents(body),
            body=body,
            turn=" ".join(before + after),
        )
        (folder / page_of(source)).parent.mkdir(parents=True, exist_ok=True)
        (folder / page_of(source)).write_text(page, encoding="utf-8")
    if faults := broken(folder):
        raise ValueError("the site has broken links:\n" + "\n".join(faults))


def broken(folder: Path) -> list[str]:
    """One line per link that leads nowhere, and per thing loaded from another host."""
    pages = {
        p: BeautifulSoup(p.read_text(encoding="utf-8"), "html.parser")
        for p in sorted(folder.rglob("*.html"))
    }
    sections = {p: {tag["id"] for tag in soup.select("[id]")} for p, soup in pages.items()}
    faults = []
    for page, soup in pages.items():
        for tag in soup.select("[href], [src]"):
            address = tag.get("href") or tag.get("src") or ""
            link = urlsplit(address)
            if link.scheme == "data" or (tag.name == "a" and link.scheme):
                continue
            target = page
            if link.path:
                target = Path(os.path.normpath(page.parent / unquote(link.path)))
            wanted = {link.fragment, unquote(link.fragment)}  # a browser tries both
            if link.scheme or link.netloc:
                fault = "is loaded from another host"
            elif not target.is_file():
                fault = "is not there"
            elif link.fragment and not wanted & sections.get(target, set()):
                fault = "has no such section"
            else:
                continue
            faults.append(f"{page.relative_to(folder)}: {address} {fault}")
    return faults


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "site"
    build(target)
    print(target / "index.html")
