"""Right and wrong verdicts of three judges on models whose equivalence is known.

    python benchmarks/evaluator_verdicts.py
    python benchmarks/evaluator_verdicts.py --nl4opt nl4opt_dev.jsonl

Each reference is rewritten in every way of `EQUIVALENT` in ``tests/evaluator_rewrites.py`` and
spoiled in every way of its `EDITS`. A spoiled model counts as different if the solver finds a point
that only one of both allows, or another objective. The judges: the evaluator, the optimum alone,
and the colours of the graph after refinement (Weisfeiler and Leman). Writes how many models each
calls the same.
"""

import argparse
import platform
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd

from glm_ppo_utils.evaluator import Evaluator, LinearProgram, format_lp, parse_lp
from glm_ppo_utils.problems import generate, load_nl4opt

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from evaluator_programs import really_different
from evaluator_rewrites import EDITS, EQUIVALENT

REFINEMENTS = 3


def variants(reference: str, seed: int) -> Iterator[tuple[str, LinearProgram]]:
    """The reference's equivalent and different models."""
    program, random = parse_lp(reference), Random(seed)
    for change in EQUIVALENT.values():
        changed = change(program, random)
        if changed is not None:
            yield "equivalent", changed
    for edit in EDITS.values():
        changed = edit(program, random)
        if changed is not None and len(changed.names) == len(program.names):
            if really_different(changed, program):
                yield "different", changed


def colours(program: LinearProgram) -> Counter[int]:
    """Colours of variables and rows, each a hash of its own numbers and its neighbours' colours."""
    columns = list(
        zip(program.cost, program.lower, program.upper, program.integer.tolist(), strict=True)
    )
    rows = list(zip(program.row_lower, program.row_upper, strict=True))
    variable, row = [hash(label) for label in columns], [hash(label) for label in rows]
    used = [np.flatnonzero(line) for line in program.matrix]
    users = [np.flatnonzero(line) for line in program.matrix.T]
    for _ in range(REFINEMENTS):
        around = [
            tuple(sorted((float(program.matrix[i, j]), variable[j]) for j in used[i]))
            for i in range(len(row))
        ]
        row = [hash(pair) for pair in zip(row, around, strict=True)]
        around = [
            tuple(sorted((float(program.matrix[i, j]), row[i]) for i in users[j]))
            for j in range(len(variable))
        ]
        variable = [hash(pair) for pair in zip(variable, around, strict=True)]
    return Counter([*variable, *row, hash(program.offset)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=100, help="generated problems (100)")
    parser.add_argument("--seed", type=int, default=5, help="of the problems (5)")
    parser.add_argument("--nl4opt", type=Path, help="the references of this file instead")
    parser.add_argument("--out", type=Path, default=Path("build/runs"), help="folder (build/runs)")
    settings = parser.parse_args()
    problems = (
        load_nl4opt(settings.nl4opt)
        if settings.nl4opt
        else generate(settings.problems, seed=settings.seed)
    )
    evaluator = Evaluator()
    called_same: Counter[tuple[str, str]] = Counter()
    for seed, problem in enumerate(problems):
        try:
            reference = parse_lp(problem.reference)
        except ValueError as error:
            print(f"left out {problem.id}: {error}")
            continue
        for kind, model in variants(problem.reference, seed):
            score = evaluator.score(format_lp(model), problem.reference)
            called_same[kind, "models"] += 1
            called_same[kind, "evaluator"] += score.exact
            called_same[kind, "objective only"] += score.objective_matches
            called_same[kind, "graph colours"] += colours(model) == colours(reference)
    judges = ["models", "evaluator", "objective only", "graph colours"]
    table = pd.DataFrame(
        [{"kind": k, **{j: called_same[k, j] for j in judges}} for k in ("equivalent", "different")]
    )
    print(table.to_string(index=False))
    settings.out.mkdir(parents=True, exist_ok=True)
    source = "NL4Opt" if settings.nl4opt else f"{len(problems)} generated, seed {settings.seed}"
    table = table.assign(problems=source, device=f"{platform.machine()} CPU", date=date.today())
    name = "evaluator_verdicts_nl4opt.csv" if settings.nl4opt else "evaluator_verdicts.csv"
    table.to_csv(settings.out / name, index=False)


if __name__ == "__main__":
    main()
