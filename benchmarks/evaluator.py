"""How fast the evaluator is, beside the ways it replaces, on one core.

    python benchmarks/evaluator.py
    python benchmarks/evaluator.py --out notebooks/runs

Writes the rates to ``build/runs/evaluator_speed.csv``, or into ``--out``, and prints the rest. Time
is processor time, so that other processes on the machine do little to it; each rate is the median
of the rounds.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from random import Random

import networkx as nx
import numpy as np
import pandas as pd

from glm_ppo_utils.evaluator import Evaluator, LinearProgram, canonical, format_lp, parse_lp
from glm_ppo_utils.evaluator.graph import match
from glm_ppo_utils.evaluator.reward import Reference, judge
from glm_ppo_utils.evaluator.solver import solve
from glm_ppo_utils.problems import generate

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from evaluator_rewrites import EDITS, rename, reorder_rows, reorder_variables

SUBPROCESS = """
import sys, highspy
highs = highspy.Highs()
highs.setOptionValue("output_flag", False)
highs.readModel(sys.argv[1])
highs.run()
print(highs.getModelStatus(), highs.getObjectiveValue())
"""


def answers(n: int, seed: int = 1) -> list[tuple[str, str]]:
    """Distinct (answer, reference) pairs: half renamed and reordered, half with an edit."""
    random = Random(seed)
    pairs = []
    for k, problem in enumerate(generate(n, seed=seed)):
        program = reorder_rows(parse_lp(problem.reference), random)
        if k % 2:
            changed = random.choice(list(EDITS.values()))(program, random) or program
        else:
            changed = rename(reorder_variables(program, random), random)
        pairs.append((format_lp(changed), problem.reference))
    return pairs


def processor_time() -> float:
    """Seconds of processor time of this process and the processes it has run."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def rate(pairs: list[tuple[str, str]], score: Callable[[str, str], object]) -> float:
    """Calls per second of processor time."""
    start = processor_time()
    for pair in pairs:
        score(*pair)
    return len(pairs) / (processor_time() - start)


def in_subprocess(answer: str, _: str) -> None:
    """One Python process per answer, as solver-reward systems that run candidates do."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "answer.lp")
        path.write_text(answer, encoding="utf-8")
        subprocess.run([sys.executable, "-c", SUBPROCESS, path], capture_output=True, check=True)


def exact_edit_distance(answer: str, reference: str, limit: float = 5.0) -> float | None:
    """networkx's edit distance of the two graphs; None when the limit is reached."""
    start = time.perf_counter()
    found = nx.graph_edit_distance(
        as_networkx(canonical(parse_lp(answer))),
        as_networkx(canonical(parse_lp(reference))),
        node_match=lambda a, b: a == b,
        edge_match=lambda a, b: a == b,
        timeout=limit,
    )
    return found if time.perf_counter() - start < limit else None


def as_networkx(program: LinearProgram) -> nx.Graph:
    graph = nx.Graph()
    for j, cost in enumerate(program.cost.tolist()):
        label = (program.lower[j], program.upper[j], bool(program.integer[j]))
        graph.add_node(f"variable {j}", label=(cost, *label))
    for i, row in enumerate(program.matrix):
        label = (program.row_lower[i], program.row_upper[i])
        graph.add_node(f"row {i}", label=label)
        for j in np.flatnonzero(row):
            graph.add_edge(f"row {i}", f"variable {j}", label=row[j])
    return graph


def dense(n: int, random: Random) -> LinearProgram:
    """n variables, n rows, a third of the coefficients nonzero."""
    matrix = np.array(
        [[random.choice([0, 0, random.randint(1, 9)]) for _ in range(n)] for _ in range(n)]
    )
    return LinearProgram(
        maximize=True,
        objective=np.array([float(random.randint(1, 30)) for _ in range(n)]),
        offset=0.0,
        matrix=matrix.astype(float) + np.eye(n),
        row_lower=np.full(n, -np.inf),
        row_upper=np.array([float(random.randint(20, 400)) for _ in range(n)]),
        lower=np.zeros(n),
        upper=np.full(n, np.inf),
        integer=np.zeros(n, dtype=bool),
        names=tuple(f"x{j}" for j in range(n)),
        row_names=("",) * n,
    )


def milliseconds(call: Callable[[], object], times: int) -> float:
    """Median processor time of a call."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return 1000 * statistics.median(taken)


def one_round(pairs: list[tuple[str, str]]) -> dict[str, float]:
    """Answers per second, by way."""
    evaluator = Evaluator()
    evaluator.prepare(reference for _, reference in pairs)
    for reference in evaluator._references.values():
        # Computed once, by the first answer that needs them.
        _ = reference.can_certify, reference.points
    return {
        "evaluator, distinct answers": rate(pairs, evaluator.score),
        "evaluator, answers seen before": rate(pairs * 20, evaluator.score),
        "objective only, in process": rate(pairs, lambda answer, _: solve(parse_lp(answer))),
        "a Python process per answer": rate(pairs[:20], in_subprocess),
    }


def compare_rates(rounds: int, out: Path) -> None:
    pairs = answers(1000)
    ways = pd.DataFrame([one_round(pairs) for _ in range(rounds)])
    ratios = ways.rdiv(ways["evaluator, distinct answers"], axis=0)
    table = pd.DataFrame(
        {"answers_per_second": ways.median(), "evaluator_is_times_as_fast": ratios.median()}
    )
    table = table.rename_axis("way").reset_index()
    print(table.round(2).to_string(index=False))
    print(f"evaluator / objective only, by round: {ratios.iloc[:, 2].round(3).tolist()}")
    table = table.assign(device=f"{platform.machine()} CPU", date=date.today())
    table.to_csv(out, index=False, float_format="%.4g")


def compare_distances() -> None:
    """Both distances on wrong answers to generated problems, and on three larger programs."""
    random = Random(4)
    larger = []
    for _ in range(3):
        program = dense(8, random)
        wrong = reorder_variables(replace(program, maximize=False), random)
        larger.append((format_lp(wrong), format_lp(program)))
    for size, pairs in (("generated", answers(12)[1::2]), ("8 x 8", larger)):
        for name, distance in (
            ("ours", lambda a, b: match(canonical(parse_lp(a)), canonical(parse_lp(b)))),
            ("networkx", exact_edit_distance),
        ):
            start = time.perf_counter()
            unfinished = sum(distance(*pair) is None for pair in pairs)
            seconds = (time.perf_counter() - start) / len(pairs)
            over = f"{unfinished} of {len(pairs)} over 5 s"
            print(f"distance, {size:9s} {name:9s} {1000 * seconds:9.1f} ms a pair, {over}")


def growth() -> None:
    print("size       parse  canonical  distance     solve     wrong     right   (ms)")
    random = Random(3)
    for n in (2, 4, 5, 6, 10, 20, 40, 60, 100, 200):
        program = dense(n, random)
        right = rename(reorder_variables(reorder_rows(program, random), random), random)
        text, renamed = format_lp(program), format_lp(right)
        answer = format_lp(replace(right, maximize=False))
        read = parse_lp(answer)
        reference = Reference.read(text)
        p, times = canonical(read), 3 if n >= 20 else 30
        parts = [
            milliseconds(lambda t=answer: parse_lp(t), times),
            milliseconds(lambda t=read: canonical(t), times),
            milliseconds(lambda p=p, q=reference.reduced: match(p, q), times),
            milliseconds(lambda t=read: solve(t), times),
            milliseconds(lambda a=answer, r=reference: judge(a, r), times),
            milliseconds(lambda a=renamed, r=reference: judge(a, r), times),
        ]
        print(f"{n:3d} x {n:3d} " + " ".join(f"{part:9.2f}" for part in parts), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="of the rates (3)")
    parser.add_argument("--only-rates", action="store_true", help="no distances, no growth")
    parser.add_argument("--out", type=Path, default=Path("build/runs"), help="folder (build/runs)")
    settings = parser.parse_args()
    settings.out.mkdir(parents=True, exist_ok=True)
    compare_rates(settings.rounds, settings.out / "evaluator_speed.csv")
    if not settings.only_rates:
        compare_distances()
        growth()


if __name__ == "__main__":
    main()
