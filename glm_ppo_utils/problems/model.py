"""A small linear program as people write it: names, rows in order, LP text.

This is the generator's own view of a program. The evaluator never sees it: it parses the LP text
on its own, so that a slip here cannot hide there.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import permutations

Number = int | Decimal
Term = tuple[Number, str]  # coefficient, variable

_LABEL = re.compile(r"^[^\s:]+:")
_TERM = re.compile(r"([+-]?)\s*(\d+(?:\.\d+)?)?\s*([^\W\d]\w*)\s*")
_ROW = re.compile(r"(.*?)\s*(<=|>=|=)\s*(-?\s*\d+(?:\.\d+)?)$")


@dataclass(frozen=True)
class Row:
    """One constraint: ``terms sense rhs``, with `sense` one of ``<=``, ``>=``, ``=``."""

    terms: tuple[Term, ...]
    sense: str
    rhs: Number


@dataclass(frozen=True)
class Model:
    """A linear or integer program whose variables are at least 0 and continuous by default."""

    sense: str  # "maximize" or "minimize"
    objective: tuple[Term, ...]
    rows: tuple[Row, ...]
    general: tuple[str, ...] = ()
    binary: tuple[str, ...] = ()

    @property
    def variables(self) -> list[str]:
        """The variables in the order in which they first appear."""
        terms = [*self.objective, *(term for row in self.rows for term in row.terms)]
        return list(dict.fromkeys(name for _, name in terms))


def write(model: Model) -> str:
    """The LP text of `model`, one row a line, indented by one space."""
    lines = [model.sense, f" {_write_terms(model.objective)}", "subject to"]
    lines += [f" {_write_terms(row.terms)} {row.sense} {row.rhs}" for row in model.rows]
    for section in ("general", "binary"):
        if names := getattr(model, section):
            lines += [section, " " + " ".join(names)]
    return "\n".join([*lines, "end"])


def _write_terms(terms: Iterable[Term]) -> str:
    words = []
    for coefficient, name in terms:
        sign = "-" if coefficient < 0 else "+" if words else ""
        size = "" if abs(coefficient) == 1 else str(abs(coefficient))
        words += [word for word in (sign, size, name) if word]
    return " ".join(words)


def read(text: str) -> Model:
    """Read LP text in the plain layout that `write` produces; row labels are allowed.

    Raises
    ------
    ValueError
        If a line does not fit that layout.
    """
    lines = [_LABEL.sub("", line.strip()).strip() for line in text.strip().splitlines()]
    heads = [line.lower() for line in lines]
    if len(lines) < 4 or heads[0] not in ("maximize", "minimize") or heads[2] != "subject to":
        raise ValueError(
            "the LP text is not in the plain layout: 'maximize' or 'minimize', one line of"
            " objective, 'subject to', one row a line, 'general'/'binary', 'end'"
        )
    rows, names, section = [], {"general": [], "binary": []}, ""
    for line, head in zip(lines[3:], heads[3:], strict=True):
        if head == "end":
            break
        if head in names:
            section = head
        elif section:
            names[section] += line.split()
        else:
            rows.append(_read_row(line))
    sections = {key: tuple(value) for key, value in names.items()}
    return Model(heads[0], _read_terms(lines[1]), tuple(rows), **sections)


def _read_row(line: str) -> Row:
    match = _ROW.fullmatch(line)
    if not match:
        raise ValueError(f"not a row of the plain layout 'terms <= number': {line!r}")
    return Row(_read_terms(match[1]), match[2], Decimal(match[3].replace(" ", "")))


def _read_terms(text: str) -> tuple[Term, ...]:
    terms, end = [], 0
    while end < len(text):
        match = _TERM.match(text, end)
        if not match or (terms and not match[1]):
            raise ValueError(f"not a sum of terms such as '3 x + 2 y': {text!r}")
        size = Decimal(match[2] or 1)
        terms.append((-size if match[1] == "-" else size, match[3]))
        end = match.end()
    return tuple(terms)


def canonical(model: Model) -> tuple:
    """A value equal for two models that differ only in names, in order or in scale.

    The least over all orders of the variables, so meant for a handful of them. It is what decides
    a problem's split, and what a spoiled answer must differ in.
    """
    names = model.variables
    return min(_arrays(model, order) for order in permutations(names))


def _arrays(model: Model, order: tuple[str, ...]) -> tuple:
    sign = -1 if model.sense == "maximize" else 1
    objective = _dense(model.objective, order)
    whole = set(order) <= {*model.general, *model.binary}
    rows = [
        _scaled(_dense(row.terms, order), row.sense, Fraction(row.rhs), whole) for row in model.rows
    ]
    kinds = tuple((name in model.general) + 2 * (name in model.binary) for name in order)
    return kinds, tuple(sign * value for value in objective), tuple(sorted(set(rows)))


def _dense(terms: Iterable[Term], order: tuple[str, ...]) -> list[Fraction]:
    values = dict.fromkeys(order, Fraction(0))
    for coefficient, name in terms:
        values[name] += Fraction(coefficient)
    return list(values.values())


def _scaled(values: list[Fraction], sense: str, rhs: Fraction, whole: bool) -> tuple:
    """The row as ``<=`` or ``=`` with coprime whole coefficients, tightened if all is whole."""
    if sense == ">=" or (sense == "=" and next((v for v in values if v), 1) < 0):
        values, rhs = [-value for value in values], -rhs
    unit = Fraction(
        math.gcd(*(value.numerator for value in values)) or 1,
        math.lcm(*(value.denominator for value in values)),
    )
    rhs /= unit
    if whole and sense != "=":
        rhs = Fraction(math.floor(rhs))
    return sense == "=", tuple(value / unit for value in values), rhs
