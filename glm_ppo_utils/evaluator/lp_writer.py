"""`LinearProgram` to LP text."""

from __future__ import annotations

import math
from itertools import compress

import numpy as np

from glm_ppo_utils.evaluator.program import LinearProgram


def format_number(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def format_terms(coefficients: np.ndarray, names: tuple[str, ...]) -> str:
    """``3 chairs - tables``; ``0`` where there is no term."""
    words: list[str] = []
    for value, name in zip(coefficients.tolist(), names, strict=True):
        if value:
            sign = "-" if value < 0 else "+" if words else ""
            number = "" if abs(value) == 1 else format_number(abs(value))
            words += [word for word in (sign, number, name) if word]
    return " ".join(words) or "0"


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
    """LP text that `parse_lp` reads back as the same program, variables as they first occur."""
    binary = program.integer & (program.lower == 0) & (program.upper == 1)
    objective = format_terms(program.objective, program.names)
    # A variable without any term still is one.
    unused = ~program.matrix.any(axis=0) & (program.objective == 0)
    objective += "".join(f" + 0 {name}" for name in compress(program.names, unused))
    if program.offset:
        sign = "-" if program.offset < 0 else "+"
        objective += f" {sign} {format_number(abs(program.offset))}"
    lines = ["maximize" if program.maximize else "minimize", f" {objective}", "subject to"]
    for i, name in enumerate(program.row_names):
        lines.append(f" {name}: {format_row(program, i)}" if name else f" {format_row(program, i)}")
    bounds = [
        f" {format_bound(name, low, high)}"
        for name, low, high, skip in zip(
            program.names, program.lower, program.upper, binary, strict=True
        )
        if not skip and (low != 0 or high != math.inf)
    ]
    lines += ["bounds", *bounds] if bounds else []
    for section, members in (("general", program.integer & ~binary), ("binary", binary)):
        if members.any():
            lines += [section, " " + " ".join(compress(program.names, members))]
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
