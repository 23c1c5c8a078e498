"""Demonstrations for the warm start, some of them spoiled, so that PPO has something to mend."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from .plain_lp import Model, Row, Term, canonical, read, write
from .problem import Problem


@dataclass(frozen=True)
class Demonstration:
    """A problem with the answer that the policy is shown; `error` names its flaw, "" if none."""

    problem: Problem
    answer: str
    error: str = ""


def demonstrations(
    problems: Sequence[Problem], error_rate: float, seed: int
) -> list[Demonstration]:
    """One demonstration a problem, each spoiled with probability `error_rate` by one error.

    The errors are those of ``ERRORS``, with equal chance where they apply. A spoiled answer is
    never the reference in disguise: its canonical form differs.

    Raises
    ------
    ValueError
        If `error_rate` is not in [0, 1], or a reference that is to be spoiled is not LP text in
        the plain layout (one row a line).
    """
    if not 0 <= error_rate <= 1:
        raise ValueError(f"error_rate is {error_rate}; it is a probability, from 0 to 1")
    rng = random.Random(f"demonstrations {seed}")
    return [
        spoil(problem, rng)
        if rng.random() < error_rate
        else Demonstration(problem, problem.reference)
        for problem in problems
    ]


def spoil(problem: Problem, rng: random.Random) -> Demonstration:
    """A demonstration of `problem` with one error."""
    try:
        model = read(problem.reference)
    except ValueError as reason:
        raise ValueError(f"problem {problem.id}: {reason}") from None
    truth = canonical(model)
    for error in rng.sample(list(ERRORS), len(ERRORS)):
        for _ in range(5):
            spoiled = ERRORS[error](model, rng)
            if spoiled and canonical(spoiled) != truth:
                return Demonstration(problem, write(spoiled), error)
    raise ValueError(f"problem {problem.id}: no single error changes its reference; leave it out")


def _wrong_sense(model: Model, rng: random.Random) -> Model:
    place = rng.randrange(-1, len(model.rows))
    if place < 0:
        return replace(model, sense="minimize" if model.sense == "maximize" else "maximize")
    row = model.rows[place]
    flipped = {"<=": ">=", ">=": "<=", "=": rng.choice(("<=", ">="))}[row.sense]
    return _with_row(model, place, replace(row, sense=flipped))


def _dropped_row(model: Model, rng: random.Random) -> Model | None:
    if len(model.rows) < 2:
        return None
    place = rng.randrange(len(model.rows))
    return replace(model, rows=model.rows[:place] + model.rows[place + 1 :])


def _wrong_number(model: Model, rng: random.Random) -> Model:
    """One number of the text misread: another digit, or a digit too many or too few."""
    place = rng.randrange(-1, len(model.rows))
    if place >= 0 and model.rows[place].rhs and rng.random() < 0.5:
        row = model.rows[place]
        return _with_row(model, place, replace(row, rhs=_misread(row.rhs, rng)))
    terms = list(_terms(model, place))
    number = rng.randrange(len(terms))
    terms[number] = (_misread(terms[number][0], rng), terms[number][1])
    return _with_terms(model, place, tuple(terms))


def _misread(number, rng: random.Random) -> Decimal:
    digits = list(str(number))
    place = rng.choice([i for i, digit in enumerate(digits) if digit.isdigit()])
    digits[place] = rng.choice([digit for digit in "123456789" if digit != digits[place]])
    return Decimal("".join(digits))


def _swapped(model: Model, rng: random.Random) -> Model | None:
    """Two coefficients of one row, or of the objective, on each other's variable."""
    place = rng.randrange(-1, len(model.rows))
    terms = list(_terms(model, place))
    if len(terms) < 2:
        return None
    i, j = rng.sample(range(len(terms)), 2)
    (a, x), (b, y) = terms[i], terms[j]
    # "at least twice as many x as y" the wrong way round still begins with its positive term.
    terms[i], terms[j] = ((a, y), (b, x)) if a * b < 0 else ((b, x), (a, y))
    return _with_terms(model, place, tuple(terms))


def _no_integrality(model: Model, rng: random.Random) -> Model:
    return replace(model, general=(), binary=())


def _terms(model: Model, place: int) -> tuple[Term, ...]:
    return model.objective if place < 0 else model.rows[place].terms


def _with_terms(model: Model, place: int, terms: tuple[Term, ...]) -> Model:
    if place < 0:
        return replace(model, objective=terms)
    return _with_row(model, place, replace(model.rows[place], terms=terms))


def _with_row(model: Model, place: int, row: Row) -> Model:
    return replace(model, rows=(*model.rows[:place], row, *model.rows[place + 1 :]))


ERRORS: dict[str, Callable[[Model, random.Random], Model | None]] = {
    "wrong sense": _wrong_sense,
    "dropped constraint": _dropped_row,
    "wrong number": _wrong_number,
    "swapped coefficients": _swapped,
    "missing integrality": _no_integrality,
}
