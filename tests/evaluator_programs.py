"""What the evaluator's tests share: random programs, and an oracle that knows no canonical form."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np

from glm_ppo_utils.evaluator.graph import match
from glm_ppo_utils.evaluator.program import LinearProgram
from glm_ppo_utils.evaluator.solver import solve

NAMES = ("chairs", "tables", "desks", "beds", "lamps", "shelves", "doors", "stools")


def random_program(random: Random, variables: int | None = None) -> LinearProgram:
    """Two to five variables, one to four rows, every kind of row, bound and integrality.

    Every variable has a cost, so none is a slack whose scale means nothing.
    """
    n = variables or random.randint(2, 5)
    m = random.randint(1, 4)
    matrix = np.array(
        [[float(random.choice([0, 1, 1, 2, 3, -1])) for _ in range(n)] for _ in range(m)]
    )
    right = np.array([float(random.randint(0, 60)) for _ in range(m)])
    kind = [random.choice(["<=", "<=", ">=", "=", "range"]) for _ in range(m)]
    low = [-np.inf if k == "<=" else r for k, r in zip(kind, right, strict=True)]
    high = [
        np.inf if k == ">=" else r + 7.0 * (k == "range") for k, r in zip(kind, right, strict=True)
    ]
    return LinearProgram(
        maximize=random.random() < 0.5,
        objective=np.array([float(random.choice([1, 2, 3, 5, -1, 8])) for _ in range(n)]),
        offset=float(random.choice([0, 0, 0, 10])),
        matrix=matrix,
        row_lower=np.array(low),
        row_upper=np.array(high),
        lower=np.array([float(random.choice([0, 0, 0, 1])) for _ in range(n)]),
        upper=np.array([random.choice([np.inf, np.inf, 1.0, 30.0]) for _ in range(n)]),
        integer=np.array([random.random() < 0.5 for _ in range(n)]),
        names=NAMES[:n],
        row_names=tuple(random.choice(["", f"c{i}", "wood" + "abcd"[i]]) for i in range(m)),
    )


def nl4opt_texts(path: Path) -> list[str]:
    """The NL4Opt file's references, but for one whose ``general`` names an unknown variable."""
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [entry["lp"] for entry in entries if entry["id"] != "nl4opt-dev-19"]


def distance(p: LinearProgram, q: LinearProgram) -> int:
    """Edits between two programs in canonical form."""
    return match(p, q).distance


def feasible_outside(inner: LinearProgram, outer: LinearProgram) -> bool:
    """Whether a point of ``inner`` breaks a row, a bound or the integrality of ``outer``.

    By solving: the largest violation of each row and bound of ``outer`` over ``inner``. The two
    must have the same variables in the same order.
    """
    eye = np.eye(len(outer.names))
    rows = np.vstack([outer.matrix, eye])
    low = np.concatenate([outer.row_lower, outer.lower])
    high = np.concatenate([outer.row_upper, outer.upper])
    for row, least, greatest in zip(rows, low, high, strict=True):
        for maximize, limit in ((True, greatest), (False, least)):
            if np.isfinite(limit):
                found = solve(replace(inner, objective=row, offset=0.0, maximize=maximize))
                if found.status == "unbounded":
                    return True
                if found.objective is not None and abs(found.objective - limit) > 1e-6:
                    if (found.objective > limit) == maximize:
                        return True
    return False


def really_different(p: LinearProgram, q: LinearProgram) -> bool:
    """Whether objective or feasible set differ; False also where integrality alone hides it."""
    mine, theirs = p.cost, q.cost
    if not np.allclose(mine, theirs) or (p.maximize, p.offset) != (q.maximize, q.offset):
        return True
    return feasible_outside(p, q) or feasible_outside(q, p)


def market_split(rows: int = 5, variables: int = 40, seed: int = 0) -> str:
    """A small integer program that no branch and bound solves (Cornuejols and Dawande, 1998)."""
    random = Random(seed)
    lines = []
    for _ in range(rows):
        weights = [random.randrange(1, 100) for _ in range(variables)]
        terms = " + ".join(f"{w} x{j}" for j, w in enumerate(weights))
        lines.append(f" {terms} = {sum(weights) // 2}")
    names = " ".join(f"x{j}" for j in range(variables))
    return "\n".join(["max x0", "subject to", *lines, "binary", f" {names}", "end"])


PIECES = [
    *("maximize", "min", "st", "subject to", "bounds", "general", "binary", "end", "free", "inf"),
    *("<=", ">=", "=", "<", "!=", "+", "-", "*", "/", "^", "(", "[", ":", ",", "%", "\\", "```"),
    *(
        "\n",
        " ",
        "\t",
        "\0",
        "\ud800",
        "é",
        "变量",
        "−",
        "1e400",
        "1e-400",
        "nan",
        "-inf",
        "0",
        "9" * 40,
    ),
    *(
        "x",
        "y",
        "3 x",
        "x y",
        "2 <= x <= 1",
        "1e20 x",
        "x >= 1e15",
        "(((((((",
        "c1:",
        "99999999999 x",
    ),
]


def garble(text: str, random: Random) -> str:
    """Delete, repeat, swap and insert pieces at random places."""
    for _ in range(random.choice([1, 1, 2, 3, 8])):
        at, width = random.randrange(len(text) + 1), random.choice([1, 1, 3, 10, 40])
        piece = text[at : at + width]
        action = random.randrange(5)
        if action == 0:
            text = text[:at] + text[at + width :]
        elif action == 1:
            text = text[:at] + piece * random.choice([2, 3, 50]) + text[at + width :]
        elif action == 2:
            text = text[:at] + piece[::-1] + text[at + width :]
        elif action == 3:
            text = text[:at] + random.choice(PIECES) + text[at:]
        else:
            text = text[:at] + chr(random.choice([random.randrange(128), random.randrange(0x3000)]))
            text += piece
    return text
