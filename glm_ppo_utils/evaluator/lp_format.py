r"""LP text to `LinearProgram`, strictly, and back.

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
from typing import NamedTuple

import numpy as np

from glm_ppo_utils.evaluator.program import LinearProgram

KEYWORDS = {
    **dict.fromkeys(["min", "minimize", "minimise", "minimum"], "minimize"),
    **dict.fromkeys(["max", "maximize", "maximise", "maximum"], "maximize"),
    **dict.fromkeys(["st", "s.t.", "st.", "subject to", "such that"], "subject to"),
    **dict.fromkeys(["bounds", "bound"], "bounds"),
    **dict.fromkeys(["general", "generals", "gen", "integer", "integers", "int"], "general"),
    **dict.fromkeys(["binary", "binaries", "bin"], "binary"),
    "free": "free",
    "inf": "infinity",
    "infinity": "infinity",
    "end": "end",
}
OPERATORS = {"<=": "<=", "=<": "<=", "<": "<=", ">=": ">=", "=>": ">=", ">": ">=", "=": "="}
OPERATORS["=="] = "="
FLIPPED = {"<=": ">=", ">=": "<=", "=": "="}

NAME = r"[^\W\d]\w*(?:\.\w+)*"
TOKEN = re.compile(
    rf"""
    (?:[^\S\n]|\\[^\n]*)*  # spaces and comments, then one of
    (?:
      (?P<newline>\n)
    | (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)
    | (?P<keyword>(?:subject|such)[^\S\n]+(?:to|that)\b|s\.t\.(?!\w)|st\.(?!\w))
    | (?P<label>{NAME}[^\S\n]*:)
    | (?P<name>{NAME})
    | (?P<operator><=|>=|=<|=>|==|<|>|=)
    | (?P<sign>[+-])
    | (?P<end_of_text>\Z)
    | (?P<unknown>.)
    )
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
HINTS = {
    "*": "a coefficient is written before its variable without `*`",
    "^": "only linear terms are allowed",
    "/": "write the quotient as one number",
    "(": "brackets are not allowed; multiply out",
    "[": "only linear terms are allowed, and names have no brackets",
    "%": "write a percentage as a number, as in 0.3",
    ",": "separate by spaces; numbers have no thousands separator",
    "!": "the operators are <=, >= and =",
    "≤": "write <=",
    "≥": "write >=",
    "$": "amounts have no currency sign",
    ":": "a colon stands only after the name of a row",
}


@dataclass(frozen=True)
class Limits:
    """How large a text may be; beyond, it is an error.

    Attributes
    ----------
    characters, variables, rows, nonzeros : int
        ``nonzeros`` counts the terms written, before repeated ones are added up.
    smallest, largest : float
        Range of the absolute value of a nonzero number: HiGHS drops coefficients below 1e-9 and
        rejects those above 1e15.
    """

    characters: int = 20_000
    variables: int = 100
    rows: int = 100
    nonzeros: int = 5_000
    smallest: float = 1e-9
    largest: float = 1e15


class LPError(ValueError):
    """Text that is not an LP, with the place (both counted from 1) and what was expected."""

    def __init__(self, problem: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {problem}")
        self.problem, self.line, self.column = problem, line, column


class Token(NamedTuple):
    """A piece of the text; ``value`` is a keyword's or operator's standard form."""

    kind: str
    value: str
    start: int


@dataclass
class Expression:
    """A sum of terms: coefficients by variable and a constant, each as the numbers added."""

    terms: dict[str, list[float]] = field(default_factory=dict)
    constants: list[float] = field(default_factory=list)


def extract_lp(response: str) -> str:
    """The answer within a response: the last fenced block marked ``lp`` or unmarked, else all.

    A block that is never closed reaches to the end.
    """
    blocks: list[list[str]] = []
    fence: str | None = None
    for line in response.split("\n"):
        mark = re.match(r"\s{0,3}(`{3,}|~{3,})\s*(.*?)\s*$", line)
        if fence is None and mark:
            fence = mark[1]
            wanted = mark[2].lower() in ("", "lp")
            if wanted:
                blocks.append([])
        elif fence is not None and mark and mark[1].startswith(fence) and not mark[2]:
            fence = None
        elif fence is not None and wanted:
            blocks[-1].append(line)
    return "\n".join(blocks[-1]) if blocks else response


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
        self.text, self.limits = text, limits
        if len(text) > limits.characters:
            raise LPError(f"the text is longer than {limits.characters} characters", 1, 1)
        self.tokens = self.tokenize()
        self.at = 0
        self.columns: dict[str, int] = {}
        self.nonzeros = 0
        self.rows: list[tuple[str, dict[int, float], float, float]] = []
        self.lower: dict[str, float] = {}
        self.upper: dict[str, float] = {}
        self.integer: set[str] = set()
        self.binary: set[str] = set()

    # -- tokens

    def tokenize(self) -> list[Token]:
        tokens: list[Token] = []
        for match in TOKEN.finditer(self.text):
            kind = match.lastgroup or ""
            value, start = match.group(kind), match.start(kind)
            if kind in ("name", "keyword"):
                keyword = KEYWORDS.get(" ".join(value.lower().split()))
                if keyword:
                    kind, value = "keyword", keyword
                elif kind == "keyword":
                    raise self.error("expected `subject to` or `such that`", start)
                elif value.lower() == "nan":
                    raise self.error("`nan` is neither a number nor a name", start)
            elif kind == "operator":
                value = OPERATORS[value]
            elif kind == "label":
                value = value[:-1].rstrip()
                if value.lower() in KEYWORDS:
                    raise self.error(f"`{value}` is a keyword: remove the colon after it", start)
            elif kind == "unknown":
                hint = HINTS.get(value, "not part of an LP")
                raise self.error(f"unexpected {value!r}: {hint}", start)
            tokens.append(Token(kind, value, start))
        return tokens

    def error(self, problem: str, position: int) -> LPError:
        line = self.text.count("\n", 0, position) + 1
        return LPError(problem, line, position - self.text.rfind("\n", 0, position))

    def expected(self, what: str) -> LPError:
        token = self.token
        found = f"`{token.value}`" if token.value.strip() else token.kind.replace("_", " ")
        return self.error(f"expected {what}, found {found}", token.start)

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def is_keyword(self, *values: str) -> bool:
        return self.token.kind == "keyword" and self.token.value in values

    def skip_newlines(self) -> None:
        while self.token.kind == "newline":
            self.at += 1

    def take(self) -> Token:
        token = self.token
        self.at += 1
        return token

    # -- grammar

    def parse(self) -> LinearProgram:
        self.skip_newlines()
        if not self.is_keyword("minimize", "maximize"):
            raise self.expected("`minimize` or `maximize`")
        maximize = self.take().value == "maximize"
        self.skip_newlines()
        if self.token.kind == "label":
            self.take()
            self.skip_newlines()
        objective, start = Expression(), self.token.start
        if not self.is_keyword("subject to"):
            objective = self.expression(one_line=False)
        if not self.is_keyword("subject to"):
            raise self.expected("an operator + or -, or `subject to`")
        self.take()
        self.skip_newlines()
        while self.token.kind not in ("keyword", "end_of_text") or self.is_keyword("infinity"):
            self.constraint()
        self.sections()
        return self.build(maximize, objective, start)

    def sections(self) -> None:
        while self.token.kind != "end_of_text":
            if self.is_keyword("end"):
                self.take()
                self.skip_newlines()
                if self.token.kind != "end_of_text":
                    raise self.expected("nothing after `end`")
                return
            if not self.is_keyword("bounds", "general", "binary"):
                raise self.expected("`bounds`, `general`, `binary` or `end`")
            section = self.take().value
            self.skip_newlines()
            while self.token.kind not in ("keyword", "end_of_text") or self.is_keyword("infinity"):
                if section == "bounds":
                    self.bound()
                else:
                    if self.token.kind != "name":
                        raise self.expected("a variable's name")
                    (self.integer if section == "general" else self.binary).add(self.variable())
                self.skip_newlines()

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
            raise self.error(
                f"{token.value} is too large: at most {self.limits.largest:g}", token.start
            )
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
                named = self.token.kind == "name"
            elif self.token.kind == "name":
                coefficient, named = sign or 1.0, True
            else:
                raise self.expected("a number or a variable's name")
            self.nonzeros += 1
            if self.nonzeros > self.limits.nonzeros:
                raise self.error(f"more than {self.limits.nonzeros} terms", start)
            if named:
                result.terms.setdefault(self.variable(), []).append(coefficient)
            else:
                result.constants.append(coefficient)
            first = False

    def variable(self) -> str:
        token = self.take()
        if token.value not in self.columns:
            if len(self.columns) == self.limits.variables:
                raise self.error(f"more than {self.limits.variables} variables", token.start)
            self.columns[token.value] = len(self.columns)
        return token.value

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
            raise self.error(f"more than {self.limits.rows} constraints", start)
        # `c2: >= 5` is a row whose terms are all gone; without a name it would be a stray operator.
        empty = bool(name) and self.token.kind == "operator"
        left = Expression() if empty else self.expression(one_line=False)
        sense = self.operator()
        right = self.expression(one_line=True)
        if self.token.kind == "operator":
            self.range_row(name, start, left, sense, right)
        else:
            self.row(name, start, left, sense, right)
        if self.token.kind not in ("newline", "keyword", "label", "end_of_text"):
            raise self.expected("an operator or the end of the constraint")
        self.skip_newlines()

    def row(self, name: str, start: int, left: Expression, sense: str, right: Expression) -> None:
        """Collect variables on the left and constants on the right."""
        terms = {n: list(values) for n, values in left.terms.items()}
        for n, values in right.terms.items():
            terms.setdefault(n, []).extend(-v for v in values)
        coefficients = {self.columns[n]: self.add_up(v, start) for n, v in terms.items()}
        value = self.add_up(right.constants + [-v for v in left.constants], start)
        low = -math.inf if sense == "<=" else value
        high = math.inf if sense == ">=" else value
        self.rows.append((name, coefficients, low, high))

    def range_row(
        self, name: str, start: int, left: Expression, sense: str, middle: Expression
    ) -> None:
        second = self.token
        if self.operator() != sense or sense == "=":
            raise self.error("a range needs <= twice or >= twice", second.start)
        right = self.expression(one_line=True)
        if left.terms or right.terms:
            raise self.error("a range is number <= variables <= number", start)
        coefficients = {self.columns[n]: self.add_up(v, start) for n, v in middle.terms.items()}
        ends = [
            self.add_up(side.constants + [-v for v in middle.constants], start)
            for side in ((left, right) if sense == "<=" else (right, left))
        ]
        self.rows.append((name, coefficients, ends[0], ends[1]))

    def add_up(self, values: list[float], start: int) -> float:
        """The sum, 0 where the numbers cancel up to rounding."""
        total = math.fsum(values)
        size = max(map(abs, values), default=0.0)
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
        if self.token.kind == "number":
            value = (sign or 1.0) * self.number()
            if self.token.kind == "name":
                raise self.expected("a bound on a variable without coefficient")
            return value
        if self.is_keyword("infinity"):
            self.take()
            return (sign or 1.0) * math.inf
        if self.token.kind == "name" and sign is None:
            return self.variable()
        raise self.expected("a number, `inf` or a variable's name")

    def apply_bound(self, sides: list[float | str], senses: list[str], start: int) -> None:
        names = [side for side in sides if isinstance(side, str)]
        if len(sides) == 2 and isinstance(sides[0], str):
            sides, senses = sides[::-1], [FLIPPED[senses[0]]]
        if len(names) != 1 or len(sides) == 1 or not isinstance(sides[1], str):
            raise self.error("expected a bound: number <= variable <= number", start)
        if len(senses) == 2 and (senses[0] != senses[1] or senses[0] == "="):
            raise self.error("a range needs <= twice or >= twice", start)
        low = high = None
        # Each number as `variable sense number`.
        numbers = [side for side in sides if not isinstance(side, str)]
        for value, sense in zip(numbers, (FLIPPED[senses[0]], *senses[1:]), strict=True):
            low = value if sense in (">=", "=") else low
            high = value if sense in ("<=", "=") else high
        self.set_bounds(names[0], low, high, start)

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


# -- LinearProgram to text


def format_number(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def format_terms(coefficients: np.ndarray, names: tuple[str, ...]) -> str:
    """``3 chairs - tables``; ``0`` where there is no term."""
    text = ""
    for value, name in zip(coefficients.tolist(), names, strict=True):
        if value:
            sign = ("- " if value < 0 else "+ ") if text else ("- " if value < 0 else "")
            number = "" if abs(value) == 1 else format_number(abs(value)) + " "
            text += (" " if text else "") + sign + number + name
    return text or "0"


def format_row(program: LinearProgram, i: int, names: tuple[str, ...] | None = None) -> str:
    """Row ``i`` as text, with other names for the variables if given."""
    low, high = program.row_lower[i], program.row_upper[i]
    terms = format_terms(program.matrix[i], names or program.names)
    if low == high:
        return f"{terms} = {format_number(high)}"
    if np.isinf(low):
        return f"{terms} <= {format_number(high)}"
    if np.isinf(high):
        return f"{terms} >= {format_number(low)}"
    return f"{format_number(low)} <= {terms} <= {format_number(high)}"


def format_lp(program: LinearProgram) -> str:
    """LP text that `parse_lp` reads back as the same program."""
    binary = program.integer & (program.lower == 0) & (program.upper == 1)
    objective = format_terms(program.objective, program.names)
    if program.offset:
        sign = "-" if program.offset < 0 else "+"
        objective += f" {sign} {format_number(abs(program.offset))}"
    lines = ["maximize" if program.maximize else "minimize", f" {objective}", "subject to"]
    for i, name in enumerate(program.row_names):
        lines.append(f" {name}: {format_row(program, i)}" if name else f" {format_row(program, i)}")
    bounds = [
        format_bound(name, low, high)
        for name, low, high, skip in zip(
            program.names, program.lower.tolist(), program.upper.tolist(), binary, strict=True
        )
        if not skip and (low != 0 or high != math.inf)
    ]
    lines += ["bounds", *(f" {line}" for line in bounds)] if bounds else []
    for section, members in (("general", program.integer & ~binary), ("binary", binary)):
        if members.any():
            chosen = (n for n, m in zip(program.names, members, strict=True) if m)
            lines += [section, " " + " ".join(chosen)]
    return "\n".join([*lines, "end"])


def format_bound(name: str, low: float, high: float) -> str:
    """A variable's bounds as a line of the bounds section, where 0 is the default from below."""
    if low == high:
        return f"{name} = {format_number(low)}"
    if math.isinf(low) and math.isinf(high):
        return f"{name} free"
    if math.isinf(high):
        return f"{name} >= {format_number(low)}"
    left = "-inf <= " if math.isinf(low) else f"{format_number(low)} <= " if low else ""
    return f"{left}{name} <= {format_number(high)}"
