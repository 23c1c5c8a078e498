"""A small linear program as people write it: names, rows in order, LP text.

The generator builds such programs, and `mistakes.py` spoils them. The evaluator has its own parser
and never uses this module, so a bug here cannot make a wrong answer look right.
"""

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import permutations

from glm_ppo_utils.errors import BadInput

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
class PlainLP:
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


def write_plain_lp(lp: PlainLP) -> str:
    """The LP text of `lp`, one row per line, indented by one space."""
    lines = [lp.sense, f" {_write_terms(lp.objective)}", "subject to"]
    lines += [f" {_write_terms(row.terms)} {row.sense} {row.rhs}" for row in lp.rows]
    for section, names in (("general", lp.general), ("binary", lp.binary)):
        if names:
            lines += [section, " " + " ".join(names)]
    return "\n".join([*lines, "end"])


def _write_terms(terms: Iterable[Term]) -> str:
    words: list[str] = []
    for coefficient, name in terms:
        sign = "-" if coefficient < 0 else "+" if words else ""
        size = "" if abs(coefficient) == 1 else str(abs(coefficient))
        words += [word for word in (sign, size, name) if word]
    return " ".join(words)


def read_plain_lp(text: str) -> PlainLP:
    """Read LP text in the layout that `write_plain_lp` produces; row labels are allowed.

    Raises
    ------
    BadInput
        If a line does not fit that layout.
    """
    lines = [_LABEL.sub("", line.strip()).strip() for line in text.strip().splitlines()]
    heads = [line.lower() for line in lines]
    if len(lines) < 4 or heads[0] not in ("maximize", "minimize") or heads[2] != "subject to":
        raise BadInput(
            "the LP text is not in the plain layout: 'maximize' or 'minimize', one line of"
            " objective, 'subject to', one row a line, 'general'/'binary', 'end'"
        )
    rows: list[Row] = []
    names: dict[str, list[str]] = {"general": [], "binary": []}
    section = ""
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
    return PlainLP(heads[0], _read_terms(lines[1]), tuple(rows), **sections)


def _read_row(line: str) -> Row:
    match = _ROW.fullmatch(line)
    if not match:
        raise BadInput(f"not a row of the plain layout 'terms <= number': {line!r}")
    return Row(_read_terms(match[1]), match[2], Decimal(match[3].replace(" ", "")))


def _read_terms(text: str) -> tuple[Term, ...]:
    terms: list[Term] = []
    end = 0
    while end < len(text):
        match = _TERM.match(text, end)
        if not match or (terms and not match[1]):
            raise BadInput(f"not a sum of terms such as '3 x + 2 y': {text!r}")
        size = Decimal(match[2] or 1)
        terms.append((-size if match[1] == "-" else size, match[3]))
        end = match.end()
    return tuple(terms)


def fingerprint(lp: PlainLP) -> str:
    """A hash that ignores names, the order of variables and rows, and the scale of each row.

    It tries every order of the variables and takes the smallest result, so it is only meant for a
    handful of variables. It decides which split a problem belongs to, and tells a spoiled answer
    from the reference.
    """
    names = lp.variables
    sign = -1 if lp.sense == "maximize" else 1
    costs = [sign * value for value in _dense(lp.objective, names)]
    kinds = [(name in lp.general) + 2 * (name in lp.binary) for name in names]
    rows = [_scaled(_dense(row.terms, names), row, all(kinds)) for row in lp.rows]

    def ordered(order: tuple[int, ...]) -> tuple:
        columns = tuple((kinds[i], costs[i]) for i in order)
        return columns, tuple(
            sorted({_signed(tuple(v[i] for i in order), *row) for v, *row in rows})
        )

    least = min(ordered(order) for order in permutations(range(len(names))))
    return hashlib.sha256(repr(least).encode()).hexdigest()


def _exact(value: Number | Fraction) -> int | Fraction:
    """`value` as an int if it is whole, so that equal values look equal in a fingerprint."""
    if isinstance(value, int):  # the usual case, and much faster than a fraction
        return value
    fraction = Fraction(value)
    return fraction.numerator if fraction.denominator == 1 else fraction


def _dense(terms: Iterable[Term], names: list[str]) -> list[int | Fraction]:
    """The coefficient of every name, 0 where it does not occur."""
    values: dict[str, int | Fraction] = dict.fromkeys(names, 0)
    for coefficient, name in terms:
        values[name] = _exact(values[name] + _exact(coefficient))
    return list(values.values())


def _scaled(values: list[int | Fraction], row: Row, whole: bool) -> tuple:
    """The row as ``<=`` or ``=`` with coprime whole coefficients.

    If all variables are `whole`, the limit of an inequality is rounded down to a whole number.
    """
    multiple = math.lcm(*(value.denominator for value in values))
    if row.sense == ">=":
        multiple = -multiple
    integers = [int(value * multiple) for value in values]
    divisor = math.gcd(*integers) or 1
    rhs = Fraction(row.rhs) * multiple / divisor
    if whole and row.sense != "=":
        rhs = Fraction(math.floor(rhs))
    return [value // divisor for value in integers], _exact(rhs), row.sense == "="


def _signed(values: tuple[int, ...], rhs: int | Fraction, equality: bool) -> tuple:
    """The row, or for an equality the greater of it and its negative, which say the same."""
    if equality:
        values, rhs = max((values, rhs), (tuple(-value for value in values), -rhs))
    return equality, values, rhs
