"""Sphinx settings of the site that ``make site`` writes to ``build/site``.

README, RESULTS, CONTRIBUTING and the notebooks with their stored outputs. Nothing is loaded from
another host: formulas become MathML, which browsers show by themselves.
"""

import re
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from docutils import nodes
from latex2mathml.converter import convert
from PIL import Image

project = html_title = "PPO on ChatGLM"
extensions = ["myst_nb", "sphinx_external_toc"]
external_toc_path = "tools/site/toc.yml"
include_patterns = ["*.md", "notebooks/0*.ipynb", "notebooks/zh/0*.ipynb"]
exclude_patterns = ["build", "runs", ".*", "CHANGELOG.md"]
html_theme = "furo"
html_static_path = ["site.css", "../../glm_ppo_utils/plotting/fonts"]
html_css_files = ["site.css"]
html_copy_source = html_show_copyright = False
pygments_style = "a11y-light"  # the theme's default has too little contrast
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
# "$28 and costs $2" is money, as on GitHub.
myst_dmath_allow_space = myst_dmath_allow_digits = False
myst_heading_anchors = 4
html_math_renderer = "mathml"


def inline_formula(translator: Any, node: nodes.math) -> None:
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block_formula(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(convert(node.astext(), display="block"))
    raise nodes.SkipNode


def finish(app: Any, page: str, template: str, context: dict, doctree: Any) -> None:
    """Let the keyboard reach scrolling blocks, make empty headers cells, mark Chinese pages."""
    body = context.get("body", "")
    body = re.sub(
        r'<(pre|math [^>]*"block"|div class="table-wrapper[^>]*)>', r'<\1 tabindex="0">', body
    )
    context["body"] = re.sub(r"<th[^>]*>(<p></p>)?</th>", "<td></td>", body)
    if "zh" in page:
        context["language"] = "zh-CN"


def name_landmarks(app: Any, exception: Exception | None) -> None:
    """Name the theme's two asides, which its templates leave alike to a screen reader."""
    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for kind, name in (("sidebar-drawer", "Site"), ("toc-drawer", "This page")):
            text = text.replace(
                f'<aside class="{kind}', f'<aside aria-label="{name}" class="{kind}'
            )
        path.write_text(text, encoding="utf-8")


def describe_figures(app: Any, doctree: Any) -> None:
    """Give a notebook's figures the descriptions of their cells; MyST-NB names the file instead."""
    path = Path(app.env.doc2path(app.env.docname))
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, as_version=4).cells
        drawn = [(c, o.get("data", {})) for c in cells for o in c.get("outputs", [])]
        alts = [c.metadata["alt"] for c, data in drawn if "image/png" in data]
        for node, alt in zip(doctree.findall(nodes.image), alts, strict=True):
            node["alt"] = alt


def panels(path: Path) -> list[tuple[str, int]]:
    """Cut a figure where a white gap goes from top to bottom: file name and width of each panel."""
    with Image.open(path) as image:
        white = (np.asarray(image.convert("L")) == 255).all(axis=0)  # [width]
        turns = np.flatnonzero(np.diff(white)) + 1
        cuts = [0]
        for start, end in zip(turns, turns[1:], strict=False):
            # Labels and legends have gaps too, but cut off less than a panel.
            if white[start] and end - start >= 10 and (start + end) // 2 - cuts[-1] >= 150:
                cuts.append(int(start + end) // 2)
        cuts = [cut for cut in cuts if image.width - cut >= 150] or [0]
        found = []
        for left, right in zip(cuts, [*cuts[1:], image.width], strict=True):
            found.append((f"{path.stem}-{left}.png", right - left))
            image.crop((left, 0, right, image.height)).save(path.parent / found[-1][0])
    return found


def stack_panels(app: Any, exception: Exception | None) -> None:
    """Show each panel of a wide figure as an image of its own, so that a phone can stack them."""

    def cut(match: re.Match) -> str:
        alt, folder, name = match.groups()
        found = panels(Path(app.outdir) / "_images" / name)
        images = "".join(
            f'<img alt="{alt if i == 0 else ""}" src="{folder}{panel}" style="--width: {width}" />'
            for i, (panel, width) in enumerate(found)
        )
        total = sum(width for _, width in found)
        return f'<span class="panels" style="max-width: {total}px">{images}</span>'

    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        image = r'<img alt="([^"]*)" src="([./]*_images/)([^"]+[.]png)" />'
        path.write_text(re.sub(image, cut, text), encoding="utf-8")


def setup(app: Any) -> None:
    app.add_html_math_renderer("mathml", (inline_formula, None), (block_formula, None))
    app.connect("html-page-context", finish)
    app.connect("doctree-read", describe_figures)
    app.connect("build-finished", name_landmarks)
    app.connect("build-finished", stack_panels)
