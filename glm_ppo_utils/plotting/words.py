"""The words of the figures in Chinese, for the Chinese notebooks.

They are in ``chinese.json``, by notebook. The character for entropy is not among the common ones
that the package's font has, so the Chinese for it goes around it.
"""

import json
import os
import re
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Text

_BY_NOTEBOOK = json.loads(Path(__file__).with_name("chinese.json").read_text(encoding="utf-8"))
# English to Chinese; # stands for a number.
CHINESE = {text: said for words in _BY_NOTEBOOK.values() for text, said in words.items()}
_NUMBER = re.compile(r"(?<![A-Za-z])[-+]?\d(?:[\d.-]*\d)?")
_JOINTS = {": ": "：", "; ": "；"}


def language() -> str:
    """The language of the figures: ``GLM_PPO_LANGUAGE``, else that of the working folder.

    Jupyter works in the notebook's folder, which is called ``zh`` for the Chinese ones.
    """
    return os.environ.get("GLM_PPO_LANGUAGE") or ("zh" if Path.cwd().name == "zh" else "en")


def in_chinese(text: str) -> str:
    """A text of a figure in Chinese: as a whole, or else its parts; names stay as they are."""
    pattern, numbers = _NUMBER.sub("#", text), _NUMBER.findall(text)
    if text in CHINESE:
        return CHINESE[text]
    if pattern in CHINESE:
        return re.sub("#", lambda _: numbers.pop(0), CHINESE[pattern])
    head, *rest = re.split(r"(: |; |  |\n)", text, maxsplit=1)
    if not rest or (said := [in_chinese(head), in_chinese(rest[1])]) == [head, rest[1]]:
        return text
    return _JOINTS.get(rest[0], rest[0]).join(said)


def localised(figure: Figure) -> Figure:
    """The same figure, its words in the language of the notebook."""
    if language() != "zh":
        return figure
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        labels = [text.get_text() for text in axis.get_ticklabels()]
        if (said := [in_chinese(label) for label in labels]) != labels:
            axis.set_ticks(axis.get_ticklocs(), said)
    for artist in figure.findobj():
        if isinstance(artist, Text):
            artist.set_text(in_chinese(artist.get_text()))
    return figure
