"""The style of every figure; importing this module sets it.

One colour for each role, the same in all notebooks, from Okabe and Ito's palette, which readers
with any colour vision can tell apart. Sizes are chosen for a projector; a panel is at most 7.5
inches wide, so that its words can be read on a phone, where panels are stacked.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib import font_manager

POLICY = "#0072B2"
REFERENCE = "#7F7F7F"
REWARD = "#D55E00"
KL = "#CC79A7"
VALUE = "#009E73"
EXACT = "#E69F00"

# The package brings a font for Chinese names, so that they appear on every machine.
CHINESE_FONT = Path(__file__).parent / "fonts" / "NotoSansCJKsc-common.otf"
font_manager.fontManager.addfont(CHINESE_FONT)

plt.rcParams.update(
    {
        "figure.dpi": 100,
        # A white gap between panels, at which the site cuts figures for phones.
        "figure.constrained_layout.w_pad": 0.12,
        "font.family": ["DejaVu Sans", font_manager.get_font(CHINESE_FONT).family_name],
        "font.size": 12,
        "axes.titlesize": 13,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "lines.linewidth": 2,
        "legend.frameon": False,
    }
)


def by_step(rows: Sequence[dict[str, Any]], name: str) -> pd.Series:
    """The values called `name` in a log, indexed by step; rows without one are left out."""
    return pd.Series({row["step"]: row[name] for row in rows if name in row}, dtype=float)
