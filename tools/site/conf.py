"""Sphinx settings of the site that ``make site`` writes to ``build/site``.

README, RESULTS, CONTRIBUTING and the notebooks with their stored outputs. Nothing is loaded from
another host: formulas become MathML, which browsers show by themselves.
"""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

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


def setup(app: Any) -> None:
    app.add_html_math_renderer("mathml", (inline_formula, None), (block_formula, None))
    app.connect("html-page-context", finish)
    app.connect("build-finished", name_landmarks)
