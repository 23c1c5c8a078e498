"""NL4Opt's annotations as LP text.

The competition (Ramamonjison et al., 2022) published each problem as a ``document`` with an
``obj_declaration`` and ``const_declarations``, whose numbers are quoted from the text: "15%",
"4,000", "three times". Six kinds of constraints occur, with x, y variables, p, b numbers and the
operator <= or >=:

==================  =============================
linear              p1 x1 + p2 x2 + ... <= b
sum                 x1 + x2 + ... <= b
upper-, lowerbound  x <= b
xy                  x <= y
xby                 x <= p y
ratio               x <= p (x1 + x2 + ...)
==================  =============================

All variables are whole numbers: nearly all of them count things.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from glm_ppo_utils.errors import BadInput
from glm_ppo_utils.problems.plain_lp import PlainLP, Row, Term, write_plain_lp

_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
_UNITS += "fifteen sixteen seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
WORDS = {
    **{word: n for n, word in enumerate(_UNITS.split())},
    **{word: 10 * n for n, word in enumerate(_TENS.split(), 2)},
    **{"once": 1, "twice": 2, "double": 2, "thrice": 3, "triple": 3, "dozen": 12},
}
PARTS = {"half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "tenth": 10}
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6}
OPERATORS = {"LESS_OR_EQUAL": "<=", "GREATER_OR_EQUAL": ">="}
MINIMIZE = ("min", "reduc", "decreas", "low", "least", "small")  # how such directions begin


def number(text: str) -> Decimal:
    """The number that a quotation begins with: "4,000", "15%", "1/3", "three times", "a third".

    Raises
    ------
    BadInput
        If it is none.
    """
    plain = text.lower().replace(",", "").replace("$", "").strip()
    percent = Decimal("0.01") if re.search(r"%|\bper ?cent", plain) else Decimal(1)
    if found := re.match(r"(-?\d*\.?\d+)(?:\s*/\s*(\d+))?", plain):
        value = Decimal(found[1])
        return (value if not found[2] else _fraction(value, int(found[2]))) * percent
    total = part = Decimal(0)
    words = re.findall("[a-z]+", plain)
    for before, word in zip(["", *words], words, strict=False):
        if word in SCALES:
            part = Decimal((part or 1) * SCALES[word])
            if word != "hundred":
                total, part = total + part, Decimal(0)
        elif parts := PARTS.get(word.removesuffix("s")):
            # "two thirds", but "two and a half".
            part = _fraction(part, parts) if before in WORDS else part + _fraction(1, parts)
        else:
            part += WORDS.get(word, 0)
    if not {word.removesuffix("s") for word in words} & {*WORDS, *SCALES, *PARTS}:
        raise BadInput(f"no number: {text!r}")
    return (total + part) * percent


def _fraction(value: Decimal | int, parts: int) -> Decimal:
    """A fraction, to the digits that LP text needs."""
    return Decimal(repr(round(float(value) / parts, 12)))


def annotated_lp(record: Mapping[str, Any]) -> str:
    """The LP text of an annotated problem.

    Raises
    ------
    BadInput
        If the annotation has an empty row, or a number or a kind of constraint that is not known.
    KeyError, TypeError, AttributeError
        If it has not the form above.
    """
    names = _names(record["order_mapping"])
    objective = record["obj_declaration"]
    terms = _terms(objective.get("terms") or dict.fromkeys(objective.get("vars", ()), "1"), names)
    rows = tuple(_row(constraint, names) for constraint in record["const_declarations"])
    if not terms or not all(row.terms for row in rows):
        raise BadInput("an empty row")
    down = objective["direction"].lower().startswith(MINIMIZE)
    lp = PlainLP("minimize" if down else "maximize", terms, rows)
    return write_plain_lp(replace(lp, general=tuple(lp.variables)))


def _names(order: Mapping[str, int]) -> dict[str, str]:
    """For each mention of a variable, such as "large cars", the name made of its first mention."""
    first: dict[int, str] = {}
    for mention, place in order.items():
        name = re.sub(r"\W+", "_", mention.strip().lower()).strip("_")
        # A name must not begin with a digit, or as a number in scientific notation does.
        first.setdefault(place, f"n_{name}" if re.match(r"\d|e\d", name) else name)
    return {mention: first[place] for mention, place in order.items()}


def _row(constraint: Mapping[str, Any], names: Mapping[str, str]) -> Row:
    kind, sense = constraint["type"], OPERATORS[constraint["operator"]]
    every = tuple(dict.fromkeys(names.values()))
    terms: tuple[Term, ...]
    if kind == "linear":
        terms = _terms(constraint["terms"], names)
    elif kind == "sum":
        terms = tuple((1, name) for name in every)
    elif kind in ("upperbound", "lowerbound"):
        terms = ((1, names[constraint["var"]]),)
    elif kind in ("xy", "xby"):
        factor = number(constraint["param"]) if kind == "xby" else Decimal(1)
        terms = ((1, names[constraint["x_var"]]), (-factor, names[constraint["y_var"]]))
    elif kind == "ratio":
        share, part = number(constraint["limit"]), names[constraint["var"]]
        terms = tuple(((name == part) - share, name) for name in every)
    else:
        raise BadInput(f"no such kind of constraint: {kind!r}")
    return Row(terms, sense, 0 if kind in ("xy", "xby", "ratio") else number(constraint["limit"]))


def _terms(numbers: Mapping[str, str], names: Mapping[str, str]) -> tuple[Term, ...]:
    return tuple((number(text), names[mention]) for mention, text in numbers.items())
