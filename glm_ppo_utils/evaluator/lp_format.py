r"""LP text to `LinearProgram`, strictly.

The language is the part of the CPLEX LP format that people and language models write::

    \ a comment
    maximize
     profit: 3 chairs + 5 tables
    subject to
     wood: 2 chairs + tables <= 40
     tables >= 2 chairs
    bounds
     1 <= chairs <= 10
    general
     chairs tables
    end

Anything outside it is an error with its place: a reward must not rest on a guess. Where layout
decides, it decides alone: a constraint ends with its line once its right side has begun.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from glm_ppo_utils.evaluator.lp_tokens import (
    FOREIGN,
    Limits,
    LPError,
    Token,
    TooLarge,
    error_at,
    extract_lp,
    hint,
    tokenize,
)
from glm_ppo_utils.evaluator.program import LinearProgram

__all__ = ["LPError", "Limits", "extract_lp", "parse_lp"]

FLIPPED = {"<=": ">=", ">=": "<=", "=": "="}
# A bound or right-hand side of this size is infinite, as in CPLEX, Gurobi and HiGHS.
INFINITE = 1e20
SIDE_ENDS = ("operator", "newline", "keyword", "label", "end_of_text")


@dataclass
class Expression:
    """A sum of terms: coefficients by variable and a constant, each as the numbers added."""

    terms: dict[str, list[float]] = field(default_factory=dict)
    constants: list[float] = field(default_factory=list)


def parse_lp(text: str, limits: Limits | None = None) -> LinearProgram:
    """Read LP text.

    Raises
    ------
    LPError
        With line, column and what was expected.
    """
    return _Parser(text, limits or Limits()).parse()


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str, limits: Limits) -> None:
        if len(text) > limits.characters:
            problem = f"the text is longer than {limits.characters} characters"
            raise TooLarge(problem, "characters")
        self.text, self.limits = text.removeprefix("\ufeff"), limits
        self.tokens = tokenize(self.text)
        self.move(0)
        self.columns: dict[str, int] = {}
        self.nonzeros = 0
        self.rows: list[tuple[str, dict[int, float], float, float]] = []
        self.lower: dict[str, float] = {}
        self.upper: dict[str, float] = {}
        self.integer: set[str] = set()
        self.binary: set[str] = set()

    # -- tokens

    def error(self, problem: str, position: int) -> LPError:
        return error_at(self.text, problem, position)

    def too_large(self, what: str, setting: str, position: int) -> TooLarge:
        place = self.error("", position)
        problem = f"more than {getattr(self.limits, setting)} {what}"
        return TooLarge(problem, setting, place.line, place.column)

    def expected(self, what: str) -> LPError:
        token = self.token
        if token.kind == "comma":
            return self.error(f"unexpected ',': {hint(',')}", token.start)
        found = f"`{token.value}`" if token.value.strip() else token.kind.replace("_", " ")
        return self.error(f"expected {what}, found {found}", token.start)

    def move(self, at: int) -> None:
        """Look at the token in that place."""
        self.at, self.token = at, self.tokens[at]

    def is_keyword(self, *values: str) -> bool:
        return self.token.kind == "keyword" and self.token.value in values

    def skip_newlines(self) -> None:
        while self.token.kind == "newline":
            self.move(self.at + 1)

    def take(self) -> Token:
        token = self.token
        self.move(self.at + 1)
        return token

    # -- grammar

    def parse(self) -> LinearProgram:
        self.skip_newlines()
        if not self.is_keyword("minimize", "maximize"):
            raise self.expected("`minimize` or `maximize`")
        maximize = self.take().value == "maximize"
        self.skip_newlines()
        name = self.objective_name()
        objective, start = Expression(), self.token.start
        if not self.is_keyword("subject to"):
            objective = self.expression(one_line=False)
        if not self.is_keyword("subject to"):
            raise self.expected("an operator + or -, or `subject to`")
        self.take()
        self.skip_newlines()
        while self.continues() and not self.foreign_section():
            self.constraint()
        if name and name.value in self.columns:
            raise self.error(f"`{name.value}` is the objective, but a variable too", name.start)
        self.sections()
        return self.build(maximize, objective, start)

    def objective_name(self) -> Token | None:
        """Skip ``profit:``, or ``Z =``, which is returned."""
        name = None
        if self.token.kind == "label":
            self.take()
        elif self.token.kind == "name" and self.tokens[self.at + 1].value == "=":
            name = self.take()
            self.take()
        self.skip_newlines()
        return name

    def continues(self) -> bool:
        """Whether the section goes on."""
        return self.token.kind not in ("keyword", "end_of_text") or self.is_keyword("infinity")

    def sections(self) -> None:
        while self.token.kind != "end_of_text":
            if self.foreign_section():
                self.skip_foreign_section()
                continue
            if not self.is_keyword("bounds", "general", "binary", "end"):
                raise self.expected("`bounds`, `general`, `binary` or `end`")
            section = self.take().value
            self.skip_newlines()
            if section == "end":
                if self.token.kind != "end_of_text":
                    raise self.expected("nothing after `end`")
                return
            while self.continues() and not self.foreign_section():
                if section == "bounds":
                    self.bound()
                else:
                    self.members(self.integer if section == "general" else self.binary)
                self.skip_newlines()

    def members(self, chosen: set[str]) -> None:
        """One name of a list, and the comma after it."""
        if self.token.kind != "name":
            raise self.expected("a variable's name")
        chosen.add(self.known_variable())
        if self.token.kind == "comma":
            self.take()
            self.skip_newlines()
            if self.token.kind != "name":
                raise self.expected("a variable's name")

    def foreign_section(self) -> bool:
        """Whether a section of CPLEX's format begins that means nothing here."""
        token = self.token
        if token.kind != "name" or token.value.lower() not in FOREIGN:
            return False
        # Followed by a sign or an operator it is a variable: `semi + x`, not `semi-continuous`
        following = self.tokens[self.at + 1 : self.at + 3]
        alone = following[0].kind not in ("sign", "operator")
        return token.value not in self.columns and (
            alone or following[-1].value.lower().startswith("continuous")
        )

    def skip_foreign_section(self) -> None:
        """Skip the empty ``semi`` with which HiGHS ends a text; others have no meaning here."""
        head = self.take()
        while self.token.kind in ("newline", "sign") or self.token.value.lower() == "continuous":
            self.take()
        if self.token.kind not in ("keyword", "end_of_text"):
            what = FOREIGN[head.value.lower()]
            raise self.error(f"`{head.value}`: {what} are not part of this language", head.start)

    def signs(self, one_line: bool) -> float | None:
        """The product of a run of signs; None where there is none."""
        sign = None
        while self.token.kind == "sign":
            sign = (sign or 1.0) * (-1.0 if self.take().value == "-" else 1.0)
            if not one_line:
                self.skip_newlines()
        return sign

    def number(self) -> float:
        token = self.take()
        value = float(token.value)
        if value > self.limits.largest:
            problem = f"{token.value} is too large: at most {self.limits.largest:g}"
            raise self.error(problem, token.start)
        if value < self.limits.smallest and re.search("[1-9]", re.split("[eE]", token.value)[0]):
            raise self.error(
                f"{token.value} is too small: 0 or at least {self.limits.smallest:g}", token.start
            )
        return value

    def expression(self, one_line: bool) -> Expression:
        """Terms up to whatever can't continue the sum; a newline ends it where ``one_line``."""
        result = Expression()
        first = True
        while True:
            if not one_line:
                self.skip_newlines()
            start = self.token.start
            sign = self.signs(one_line=False)
            if sign is None and not first:
                return result
            if self.token.kind == "number":
                coefficient = (sign or 1.0) * self.number()
                if not one_line:
                    self.skip_newlines()
                named = self.token.kind == "name"
            elif self.token.kind == "name":
                coefficient, named = sign or 1.0, True
            else:
                raise self.expected("a number or a variable's name")
            self.nonzeros += 1
            if self.nonzeros > self.limits.nonzeros:
                raise self.too_large("terms", "nonzeros", start)
            if named:
                result.terms.setdefault(self.variable(), []).append(coefficient)
            else:
                result.constants.append(coefficient)
            first = False

    def variable(self) -> str:
        token = self.take()
        if token.value not in self.columns:
            if len(self.columns) == self.limits.variables:
                raise self.too_large("variables", "variables", token.start)
            self.columns[token.value] = len(self.columns)
        return token.value

    def known_variable(self) -> str:
        token = self.take()
        if token.value not in self.columns:
            problem = f"`{token.value}` is not a variable of the objective or a row"
            raise self.error(problem, token.start)
        return token.value

    def infinite(self) -> bool:
        """Whether the next token stands for infinity."""
        token = self.token
        return self.is_keyword("infinity") or (
            token.kind == "number" and float(token.value) >= INFINITE
        )

    def side(self, one_line: bool) -> Expression:
        """One side of a row: a sum, or infinity alone."""
        start = self.at
        sign = self.signs(one_line)
        if self.infinite() and self.tokens[self.at + 1].kind in SIDE_ENDS:
            self.take()
            if not one_line:
                self.skip_newlines()
            return Expression(constants=[(sign or 1.0) * math.inf])
        self.move(start)
        return self.expression(one_line)

    def operator(self) -> str:
        if self.token.kind != "operator":
            raise self.expected("a sign + or - or one of <=, >=, =")
        value = self.take().value
        self.skip_newlines()
        return value

    def constraint(self) -> None:
        name = self.take().value if self.token.kind == "label" else ""
        self.skip_newlines()
        start = self.token.start
        if len(self.rows) == self.limits.rows:
            raise self.too_large("constraints", "rows", start)
        # `c2: >= 5` is a row whose terms are all gone; without a name it would be a stray operator.
        empty = bool(name) and self.token.kind == "operator"
        left = Expression() if empty else self.side(one_line=False)
        sense = self.operator()
        right = self.side(one_line=True)
        if self.token.kind != "operator":
            row = left
            for variable, values in right.terms.items():
                row.terms.setdefault(variable, []).extend(-value for value in values)
            low = right if sense in (">=", "=") else None
            high = right if sense in ("<=", "=") else None
        else:
            last = self.range_end(sense)
            if left.terms or last.terms:
                raise self.error("a range is number <= variables <= number", start)
            row = right
            low, high = (left, last) if sense == "<=" else (last, left)
        self.add_row(name, start, row, low, high)
        if self.token.kind not in ("newline", "keyword", "label", "end_of_text"):
            raise self.expected("an operator or the end of the constraint")
        self.skip_newlines()

    def range_end(self, sense: str) -> Expression:
        """The third side of a range, after the second of its equal operators."""
        second = self.token
        if self.operator() != sense or sense == "=":
            raise self.error("a range needs <= twice or >= twice", second.start)
        return self.side(one_line=True)

    def add_row(
        self,
        name: str,
        start: int,
        row: Expression,
        low: Expression | None,
        high: Expression | None,
    ) -> None:
        """Keep ``low <= row <= high``, constants moved to the ends, unless both ends are open."""
        coefficients = {self.columns[n]: self.add_up(v, start) for n, v in row.terms.items()}
        moved = [-value for value in row.constants]
        lower = self.add_up(low.constants + moved, start) if low else -math.inf
        upper = self.add_up(high.constants + moved, start) if high else math.inf
        if lower == math.inf or upper == -math.inf:
            raise self.error("no values keep this constraint: infinity is on its wrong side", start)
        if lower > -math.inf or upper < math.inf:
            self.rows.append((name, coefficients, lower, upper))

    def add_up(self, values: list[float], start: int) -> float:
        """The sum, 0 where the numbers cancel up to rounding."""
        size = max(map(abs, values), default=0.0)
        if size == math.inf:
            if {math.inf, -math.inf} <= set(values):
                raise self.error("infinity on both sides says nothing", start)
            return math.copysign(math.inf, sum(values))
        total = math.fsum(values)
        if abs(total) > self.limits.largest:
            raise self.error(f"numbers add up to more than {self.limits.largest:g}", start)
        return 0.0 if abs(total) <= 1e-14 * size else total

    def bound(self) -> None:
        """``x <= 5``, ``2 <= x <= 5``, ``x free``, with the variable alone and numbers or inf."""
        start = self.token.start
        sides: list[float | str] = [self.bound_side()]
        senses: list[str] = []
        if isinstance(sides[0], str) and self.is_keyword("free"):
            self.take()
            self.set_bounds(sides[0], -math.inf, math.inf, start)
        else:
            while self.token.kind == "operator" and len(sides) < 3:
                senses.append(self.take().value)
                sides.append(self.bound_side())
            self.apply_bound(sides, senses, start)
        if self.token.kind not in ("newline", "keyword", "end_of_text"):
            raise self.expected("the end of the bound")

    def bound_side(self) -> float | str:
        sign = self.signs(one_line=True)
        if self.infinite():
            self.take()
            return (sign or 1.0) * math.inf
        if self.token.kind == "number":
            value = (sign or 1.0) * self.number()
            if self.token.kind == "name":
                raise self.expected("a bound on a variable without coefficient")
            return value
        if self.token.kind == "name" and sign is None:
            return self.known_variable()
        raise self.expected("a number, `inf` or a variable's name")

    def apply_bound(self, sides: list[Any], senses: list[str], start: int) -> None:
        if len(sides) == 2 and isinstance(sides[0], str):
            sides, senses = sides[::-1], [FLIPPED[senses[0]]]
        is_name = [isinstance(side, str) for side in sides]
        if is_name not in ([False, True], [False, True, False]):
            raise self.error("expected a bound: number <= variable <= number", start)
        if len(senses) == 2 and (senses[0] != senses[1] or senses[0] == "="):
            raise self.error("a range needs <= twice or >= twice", start)
        first, name, *others = sides
        last = others[0] if others else None
        ends = {"<=": (first, last), ">=": (last, first), "=": (first, first)}
        self.set_bounds(name, *ends[senses[0]], start)

    def set_bounds(self, name: str, low: float | None, high: float | None, start: int) -> None:
        if low == math.inf or high == -math.inf:
            raise self.error(f"no value of `{name}` keeps this bound", start)
        for kept, value in ((self.lower, low), (self.upper, high)):
            if value is not None:
                if kept.get(name, value) != value:
                    raise self.error(f"`{name}` already has another bound on this side", start)
                kept[name] = value

    # -- arrays

    def build(self, maximize: bool, objective: Expression, start: int) -> LinearProgram:
        names = tuple(self.columns)
        matrix = np.zeros((len(self.rows), len(names)))
        for i, (_, coefficients, _, _) in enumerate(self.rows):
            for j, value in coefficients.items():
                matrix[i, j] = value
        cost = np.zeros(len(names))
        for name, values in objective.terms.items():
            cost[self.columns[name]] = self.add_up(values, start)
        lower = np.array([self.lower.get(n, 0.0) for n in names])
        upper = np.array([self.upper.get(n, math.inf) for n in names])
        binary = np.array([n in self.binary for n in names], dtype=bool)
        return LinearProgram(
            maximize=maximize,
            objective=cost,
            offset=self.add_up(objective.constants, start),
            matrix=matrix,
            row_lower=np.array([row[2] for row in self.rows]),
            row_upper=np.array([row[3] for row in self.rows]),
            lower=np.where(binary, np.maximum(lower, 0.0), lower),
            upper=np.where(binary, np.minimum(upper, 1.0), upper),
            integer=binary | np.array([n in self.integer for n in names], dtype=bool),
            names=names,
            row_names=tuple(row[0] for row in self.rows),
        )
