"""Random LP texts whose numbers are at the edge of what is read, and what must hold of them."""

import re
from fractions import Fraction
from random import Random

import numpy as np

from glm_ppo_utils.evaluator import Evaluator, LPError, format_lp, parse_lp
from glm_ppo_utils.evaluator.solver import solve

NUMBERS = """0 1 3 0.5 2.5 1e-9 9e-10 1e-5 999999999 1e9 1000000000.5 1000000001 4194304.5 1e12 1e15
1e15 1e15 1.1e15 1e16 1e20 1e30 1e400 inf""".split()
# Of these a program of one integer variable is made, whose points are known exactly.
WHOLES = ["3", "2.5", "1e6", "999999.5", "999999999", "1e9", "1000000000.5", "1000000001", "1e20"]
EVALUATOR = Evaluator(cache_size=1)


def edge_text(random: Random) -> str:
    """One or two variables, up to three rows; most numbers are edges."""

    def number() -> str:
        return random.choice(["", "", "-"]) + random.choice(NUMBERS)

    def terms() -> str:
        x, y = (random.choice(["", "2", *NUMBERS[:14]]) for _ in range(2))
        return f"{random.choice(['', '-'])} {x} x {random.choice(['+', '-'])} {y} y"

    rows = [
        random.choice(
            [
                f"{terms()} {random.choice(['<=', '>=', '='])} {number()}",
                f"{number()} <= {terms()} <= {number()}",
                f"x {random.choice(['<=', '>='])} {number()}",
            ]
        )
        for _ in range(random.randrange(4))
    ]
    bounds = [f"{number()} <= x <= {number()}", f"y <= {number()}", "y free", f"x >= {number()}"]
    lines = [f"{random.choice(['max', 'min'])} {terms()}", "st", *rows]
    lines += ["bounds", random.choice(bounds)] if random.random() < 0.7 else []
    lines += ["general x"] if random.random() < 0.5 else []
    return "\n".join(lines)


def check_edge_text(random: Random) -> str:
    """What is read has numbers within limits, is written back exactly and equals itself."""
    text = edge_text(random)
    try:
        program = parse_lp(text)
    except LPError as error:
        assert EVALUATOR.score(text, "max x st x <= 1").reward == 0, [text]
        return "too large" if "too large" in str(error) else "refused"
    numbers = np.concatenate([program.objective, program.matrix.ravel(), [program.offset]])
    assert (np.abs(numbers) <= 1e15).all(), [text]
    assert not (np.isinf(program.row_lower) & np.isinf(program.row_upper)).any(), [text]
    again = parse_lp(format_lp(program))
    order = [again.names.index(name) for name in program.names]
    for name in ("objective", "lower", "upper", "integer"):
        assert (getattr(again, name)[order] == getattr(program, name)).all(), [text, name]
    assert (again.matrix[:, order] == program.matrix).all(), [text]
    assert (again.row_lower == program.row_lower).all(), [text]
    assert (again.row_upper == program.row_upper).all(), [text]
    score = EVALUATOR.score(re.sub(r"\by\b", "tables", text), text)
    assert score.exact, [text, score.message]
    return score.status


def check_whole_interval(random: Random) -> str:
    """Two programs of one integer variable: 1 only if they have the same points, and their optimum.

    ``max x st a x <= b``, with the last point computed in fractions.
    """
    texts, last = [], []
    for _ in range(2):
        a, b = random.choice(["1", "1", "2", "3"]), random.choice(WHOLES)
        row = random.choice([f"{a} x <= {b}", f"{a} x + 0 y <= {b}", f"- {a} x >= -{b}"])
        texts.append(f"max x\nst\n {row}\n x <= 2000000000\ngeneral\n x")
        last.append(min(Fraction(float(b)) // int(a), 2 * 10**9))
    score = EVALUATOR.score(*texts)
    assert score.exact == (last[0] == last[1]), [*texts, score]
    for text, end in zip(texts, last, strict=True):
        found = solve(parse_lp(text)).objective
        assert found is not None and abs(found - end) < 0.5, [text, found]
    return "equal" if score.exact else "different"
