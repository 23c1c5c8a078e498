"""References spoiled by deliberate mistakes: answers that a judge must tell from right ones."""

import random
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from glm_ppo_utils.errors import BadInput

from .plain_lp import Number, PlainLP, Row, fingerprint, read_plain_lp, write_plain_lp
from .problem import Problem


def worsen(problem: Problem, errors: int, rng: random.Random) -> str:
    """The reference of `problem` with `errors` errors put in one after the other.

    No error undoes an earlier one.
    """
    answer, seen = problem.reference, {fingerprint(read_plain_lp(problem.reference))}
    while len(seen) <= errors:
        spoiled = spoil(replace(problem, reference=answer), rng)[0]
        if (key := fingerprint(read_plain_lp(spoiled))) not in seen:
            answer = spoiled
            seen.add(key)
    return answer


def spoil(problem: Problem, rng: random.Random) -> tuple[str, str]:
    """The reference of `problem` with one error, and the error's name in ``ERRORS``.

    Those that apply to the problem are equally likely. The result is never just the reference
    written differently: its fingerprint differs.

    Raises
    ------
    BadInput
        If the reference is not in the plain layout, or no error changes it.
    """
    try:
        lp = read_plain_lp(problem.reference)
    except BadInput as reason:
        raise BadInput(f"problem {problem.id}: {reason}") from None
    truth = fingerprint(lp)
    for error in rng.sample(list(ERRORS), len(ERRORS)):
        for _ in range(5):
            spoiled = ERRORS[error](lp, rng)
            if spoiled and fingerprint(spoiled) != truth:
                return write_plain_lp(spoiled), error
    raise BadInput(f"problem {problem.id}: no single error changes its reference; leave it out")


def _parts(lp: PlainLP) -> list[Row]:
    """The rows, and last, in place -1, the objective as if it were one, with right side 0."""
    return [*lp.rows, Row(lp.objective, "", 0)]


def _changed(lp: PlainLP, place: int, **fields: Any) -> PlainLP:
    """The program with other `fields` of the row, or of the objective, in that place."""
    parts = _parts(lp)
    parts[place] = replace(parts[place], **fields)
    *rows, objective = parts
    return replace(lp, rows=tuple(rows), objective=objective.terms)


def _wrong_sense(lp: PlainLP, rng: random.Random) -> PlainLP:
    place = rng.randrange(-1, len(lp.rows))
    if place < 0:
        return replace(lp, sense="minimize" if lp.sense == "maximize" else "maximize")
    flipped = {"<=": ">=", ">=": "<=", "=": rng.choice(("<=", ">="))}[lp.rows[place].sense]
    return _changed(lp, place, sense=flipped)


def _dropped_row(lp: PlainLP, rng: random.Random) -> PlainLP | None:
    if len(lp.rows) < 2:
        return None
    place = rng.randrange(len(lp.rows))
    return replace(lp, rows=lp.rows[:place] + lp.rows[place + 1 :])


def _wrong_number(lp: PlainLP, rng: random.Random) -> PlainLP:
    """One digit of one number changed, as if misread."""
    place = rng.randrange(-1, len(lp.rows))
    part = _parts(lp)[place]
    if part.rhs and rng.random() < 0.5:
        return _changed(lp, place, rhs=_misread(part.rhs, rng))
    terms = list(part.terms)
    number = rng.randrange(len(terms))
    terms[number] = (_misread(terms[number][0], rng), terms[number][1])
    return _changed(lp, place, terms=tuple(terms))


def _misread(number: Number, rng: random.Random) -> Decimal:
    digits = list(str(number))
    place = rng.choice([i for i, digit in enumerate(digits) if digit.isdigit()])
    digits[place] = rng.choice([digit for digit in "123456789" if digit != digits[place]])
    return Decimal("".join(digits))


def _swapped(lp: PlainLP, rng: random.Random) -> PlainLP | None:
    """Two coefficients of one row, or of the objective, each on the other's variable."""
    place = rng.randrange(-1, len(lp.rows))
    terms = list(_parts(lp)[place].terms)
    if len(terms) < 2:
        return None
    i, j = rng.sample(range(len(terms)), 2)
    (a, x), (b, y) = terms[i], terms[j]
    # Where the signs differ, as in "x - 2 y >= 0", swap the names and not the coefficients, so that
    # the row still begins with its positive term: "y - 2 x >= 0".
    terms[i], terms[j] = ((a, y), (b, x)) if a * b < 0 else ((b, x), (a, y))
    return _changed(lp, place, terms=tuple(terms))


def _no_integrality(lp: PlainLP, rng: random.Random) -> PlainLP:
    return replace(lp, general=(), binary=())


ERRORS: dict[str, Callable[[PlainLP, random.Random], PlainLP | None]] = {
    "wrong sense": _wrong_sense,
    "dropped constraint": _dropped_row,
    "wrong number": _wrong_number,
    "swapped coefficients": _swapped,
    "missing integrality": _no_integrality,
}
