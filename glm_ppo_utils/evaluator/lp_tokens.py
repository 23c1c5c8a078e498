r"""From a model's response to the words, numbers and signs of the LP text in it.

Whatever is not part of the language is an error that says where it stands and what to write.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

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
SECTIONS = {"minimize", "maximize", "subject to", "bounds", "general", "binary"}
# How sections of CPLEX's format begin that have no meaning here.
FOREIGN = {
    **dict.fromkeys(["semi", "semis"], "semi-continuous variables"),
    **dict.fromkeys(["sos", "sos1", "sos2"], "special ordered sets"),
    **dict.fromkeys(["lazy", "user"], "lazy constraints and user cuts"),
    **dict.fromkeys(["constraints", "gencons", "pwlobj"], "general constraints"),
    **dict.fromkeys(["scenario", "multi"], "scenarios and several objectives"),
}
OPERATORS = {"<=": "<=", "=<": "<=", "<": "<=", ">=": ">=", "=>": ">=", ">": ">=", "=": "="}
OPERATORS["=="] = "="

# A name starts with a letter or `_`. Brackets, as in x[1,2] or ship_('A',_1), and a few other
# signs belong to it when nothing but its own characters is in between. Every piece starts with
# another character, so that matching takes time proportional to the length.
INSIDE = r"[^\s()\[\]{}<>=+*^/\\;:]"
GROUP = rf"\[{INSIDE}+\]|\({INSIDE}+\)|\{{{INSIDE}+\}}"
PIECE = rf"(?:{INSIDE}|{GROUP})+"
NAME = rf"""[^\W\d](?:\w|[.\#@~?|$&!%'"](?=\w)|\[{PIECE}\]|\({PIECE}\)|\{{{PIECE}\}})*"""
TOKEN = re.compile(
    rf"""
    (?:[^\S\n]+|\\[^\n]*)*  # spaces and comments, then one of
    (?:
      (?P<newline>\n)
    | (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<keyword>(?i:(?:subject|such)[^\S\n]+(?:to|that)\b|s\.t\.(?!\w)|st\.(?!\w))(?:[^\S\n]*:)?)
    | (?P<name>{NAME})(?P<label>[^\S\n]*:)?
    | (?P<operator><=|>=|=<|=>|==|<|>|=)
    | (?P<unknown>->|//)
    | (?P<sign>[+-])
    | (?P<comma>,)
    | (?P<end_of_text>\Z)
    | (?P<other>.)
    )
    """,
    re.VERBOSE | re.DOTALL,
)
HINTS = {
    **dict.fromkeys("*×·⋅∗", "write a coefficient before its variable, with no sign between them"),
    **dict.fromkeys("^²³⁴", "only linear terms are allowed"),
    **dict.fromkeys("−–—", "write - for minus"),
    "#": "a comment starts with \\",
    "%": "write a percentage as a number, as in 0.3",
    **dict.fromkeys("½⅓⅔¼¾⅕⅛", "write the fraction as a number, as in 0.5"),
    **dict.fromkeys("∑∀∈", "write out every row and every term"),
    **dict.fromkeys("`~", "only a fenced block marked `lp`, or not marked at all, counts"),
    **dict.fromkeys("!≠", "the operators are <=, >= and ="),
    "≤": "write <=",
    "≥": "write >=",
    "∞": "write inf",
    "/": "write the quotient as one number",
    "//": "a comment starts with \\",
    "->": "indicator constraints are not part of this language",
    "(": "multiply out; brackets in a name contain no space and no sign, as in x(1)",
    "[": "only linear terms are allowed; brackets in a name contain no space, as in x[1]",
    ",": "separate by spaces; numbers have no thousands separator",
    ";": "a row ends with its line: leave out the semicolon",
    "$": "amounts have no currency sign, and formulas no LaTeX",
    ":": "a colon stands only after the name of a row or section",
}
NUMERIC = set("0123456789.")
FUNCTIONS = {"abs", "ceil", "exp", "floor", "ln", "log", "max", "min", "round", "sqrt", "sum"}

# LaTeX after text on the same line, where the LP format would begin a comment ...
LATEX = re.compile(r"\\(?:\\\s*\S|[,;:!()\[\]{}]|[a-z]+)")
# ... and at the start of a line, where people do write comments without a space.
LATEX_LINE = re.compile(
    r"\\(?:[()\[\]]|[a-z]+[{_^]|(?:leq?|geq?|lt|gt|neq?|cdot|q?quad|forall|[cl]?dots|infty)(?![a-z]))"
)
LATEX_HINTS = {"leq": "<=", "le": "<=", "lt": "<=", "geq": ">=", "ge": ">=", "gt": ">="}


@dataclass(frozen=True)
class Limits:
    """How large a text may be; beyond, it is an error.

    Attributes
    ----------
    response : int
        Characters of a whole response, of which the LP may be a part.
    characters, variables, rows, nonzeros : int
        Of the LP; ``nonzeros`` counts the terms written, before repeated ones are added up.
    smallest, largest : float
        Range of the absolute value of a nonzero number: HiGHS drops coefficients below 1e-9 and
        rejects those above 1e15. As a bound or right-hand side, 1e20 and more is infinite.
    """

    response: int = 1_000_000
    characters: int = 500_000
    variables: int = 500
    rows: int = 500
    nonzeros: int = 20_000
    smallest: float = 1e-9
    largest: float = 1e15


class LPError(ValueError):
    """Text that is not an LP, with the place (both counted from 1) and what was expected."""

    def __init__(self, problem: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {problem}")
        self.problem, self.line, self.column = problem, line, column


class TooLarge(LPError):
    """A text beyond a limit; ``setting`` is the attribute of `Limits` to raise."""

    def __init__(self, problem: str, setting: str, line: int = 1, column: int = 1) -> None:
        super().__init__(problem, line, column)
        self.setting = setting


class Token(NamedTuple):
    """A piece of the text; ``value`` is a keyword's or operator's standard form."""

    kind: str
    value: str
    start: int


def extract_lp(response: str, limits: Limits | None = None) -> str:
    """The LP text within a response.

    The last fenced block marked ``lp``; where there is none the last block without a mark; where
    there is none of these the whole response. A block that is never closed reaches to the end.

    Raises
    ------
    TooLarge
        An `LPError`, if the response is too long to look at.
    """
    most = (limits or Limits()).response
    if len(response) > most:
        raise TooLarge(f"the response is longer than {most} characters", "response")
    if "```" not in response and "~~~" not in response:
        return response
    blocks: dict[str, list[str]] = {}
    fence, mark = "", ""
    for line in response.split("\n"):
        stripped = line.strip()
        ticks = fence_of(line, stripped)
        if not fence and ticks:
            fence, mark = ticks, stripped[len(ticks) :].strip().lower()
            blocks[mark] = []
        elif fence and ticks.startswith(fence) and stripped == ticks:
            fence = ""
        elif fence:
            blocks[mark].append(line)
    chosen = blocks.get("lp", blocks.get(""))
    return response if chosen is None else "\n".join(chosen)


def fence_of(line: str, stripped: str) -> str:
    """The three or more backticks or tildes that a line begins with, or ""."""
    if not stripped.startswith(("```", "~~~")) or line.find(stripped[0]) > 3:
        return ""
    return stripped[: len(stripped) - len(stripped.lstrip(stripped[0]))]


def error_at(text: str, problem: str, position: int) -> LPError:
    """The error for a place in the text, counted from 0; it quotes the start of a long word."""
    problem = re.sub(r"(\S{40})\S+", r"\1...", problem)
    line = text.count("\n", 0, position) + 1
    return LPError(problem, line, position - text.rfind("\n", 0, position))


def tokenize(text: str) -> list[Token]:
    """The tokens of a text, the last of them its end.

    Raises
    ------
    LPError
        At the first character that is not part of an LP.
    """
    refuse_latex(text)
    tokens: list[Token] = []
    for match in TOKEN.finditer(text):
        kind = match.lastgroup or ""
        named = "name" if kind == "label" else kind
        value, start = match[named], match.start(named)
        if kind in ("name", "label"):
            keyword = KEYWORDS.get(value.lower())
            if keyword is None:
                check_name(text, value, start)
            elif kind == "label" and keyword not in SECTIONS:
                raise error_at(text, f"`{value}` is a keyword: remove the colon after it", start)
            else:
                kind, value = "keyword", keyword
            # A digit right before it belongs to a number.
            if kind == "name" and value[0] == "_" and tokens and text[start - 1] in NUMERIC:
                number = tokens[-1]
                problem = f"`{number.value}{value}` is neither a number nor a name: "
                raise error_at(text, f"{problem}numbers have no `_`", number.start)
        elif kind == "keyword":
            value = KEYWORDS.get(" ".join(value.lower().rstrip(":").split()), "")
            if not value:
                raise error_at(text, "expected `subject to` or `such that`", start)
        elif kind == "operator":
            value = OPERATORS[value]
        elif kind in ("unknown", "other"):
            raise error_at(text, f"unexpected {value!r}: {hint(value)}", start)
        tokens.append(Token(kind, value, start))
    refuse_ambiguous_exponents(text, tokens)
    return tokens


def hint(sign: str) -> str:
    """What to write instead of a character that is not part of the language."""
    plain = unicodedata.normalize("NFKC", sign)
    written = f"write {plain}" if plain != sign and plain.isascii() else "not part of an LP"
    return HINTS.get(sign, written)


def check_name(text: str, name: str, start: int) -> None:
    """Refuse ``nan``, function calls and numbers such as a superscript 2 within a name."""
    if name.lower() == "nan":
        raise error_at(text, f"`{name}` is neither a number nor a name", start)
    if "(" in name and name.split("(")[0].lower() in FUNCTIONS:
        raise error_at(text, f"`{name}` is a function: only linear terms are allowed", start)
    if not name.isascii():
        for k, sign in enumerate(name):
            if sign.isnumeric() and not sign.isdecimal() and not sign.isalpha():
                raise error_at(text, f"unexpected {sign!r}: {hint(sign)}", start + k)


def refuse_ambiguous_exponents(text: str, tokens: list[Token]) -> None:
    """``2e1`` is the number 20: refuse it where ``e1`` is a variable."""
    exponents = {
        "e" + token.value.lower().split("e")[1]: token
        for token in tokens
        if token.kind == "number" and "e" in token.value.lower()
    }
    for token in tokens:
        number = exponents.get(token.value.lower())
        if number and token.kind == "name":
            problem = f"`{number.value}` is a number, but `{token.value}` is a variable"
            raise error_at(text, f"{problem}: rename the variable", number.start)


def refuse_latex(text: str) -> None:
    r"""Refuse LaTeX, whose ``\`` begins a comment here: it would hide the rest of the line."""
    for comment in re.finditer(r"\\[^\n]*", text):
        start = comment.start()
        before = text[text.rfind("\n", 0, start) + 1 : start].strip()
        found = (LATEX if before else LATEX_LINE).match(comment[0])
        if found:
            word = found[0][1:]
            instead = f"write {LATEX_HINTS[word]}" if word in LATEX_HINTS else "leave it out"
            problem = f"`{found[0]}` is LaTeX: {instead} (a \\ and a space begin a comment)"
            raise error_at(text, problem, start)
