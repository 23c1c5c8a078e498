"""How the evaluator judges the pairs of FormulationBench: two models of one problem, alike or not.

    git clone https://github.com/henryrobbins/formulation-bench
    pip install gurobipy jinja2 networkx
    python benchmarks/formulation_bench.py formulation-bench --out notebooks/runs

Its own code builds the models, and gurobipy (its free licence will do) writes them as LP files. The
second model of a pair is the answer, the first the reference. The verdicts go into
``build/runs/formulation_bench.csv``, or into ``--out``. One core takes about an hour.
"""

import argparse
import multiprocessing
import platform
import queue
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from glm_ppo_utils.evaluator import Evaluator, Limits

LIMITS = Limits(response=10**8, characters=10**8, variables=3000, rows=4000, nonzeros=10**6)
TIME_LIMIT = 30.0  # seconds for the solver, for each model
LONGEST = 200.0  # seconds for a pair


def lp_text(formulation: Any, parameters: Path, file: Path) -> str:
    """A formulation as LP text, with the numbers in ``parameters``."""
    build = formulation.gen_solve_py().split("    # Solve\n")[0]
    scope: dict[str, Any] = {}
    exec(f"{build}    model.update()\n    model.write(solution_path)\n", scope)
    scope["main"](str(parameters), str(file))
    return file.read_text()


def texts(pair: Any, folder: Path) -> tuple[str, str]:
    """Answer and reference of a pair, which share the numbers of their problem."""
    parameters, mapped = folder / "parameters.json", folder / "mapped.json"
    pair.a.run_gen_params(output_path=parameters)
    pair.run_map(parameters, mapped)
    answer = lp_text(pair.b, mapped, folder / "answer.lp")
    return answer, lp_text(pair.a, parameters, folder / "reference.lp")


def judge(answer: str, reference: str, verdicts: Any) -> None:
    """Put the verdict on a pair into a queue."""
    try:
        score = Evaluator(time_limit=TIME_LIMIT, limits=LIMITS).score(answer, reference)
        verdicts.put((score.exact, score.decided_by or "", score.status))
    except ValueError as error:
        verdicts.put((False, "", str(error)))


def verdict(answer: str, reference: str) -> tuple[bool, str, str]:
    """What a process of its own says; not exact if it takes too long."""
    verdicts: Any = multiprocessing.Queue()
    process = multiprocessing.Process(target=judge, args=(answer, reference, verdicts))
    process.start()
    try:
        return verdicts.get(timeout=LONGEST)
    except queue.Empty:
        return False, "", "no verdict in time"
    finally:
        process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clone", type=Path, help="a clone of FormulationBench")
    parser.add_argument("--only", nargs="*", help="pairs, such as p6_a_g")
    parser.add_argument("--out", type=Path, default=Path("build/runs"))
    options = parser.parse_args()
    sys.path.insert(0, str(options.clone / "src"))
    from formulation_bench import Dataset

    folder = Path("build/formulation_bench").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for pair in Dataset(options.clone / "dataset").reformulations:
        name = f"{pair.path.parent.name}_{pair.path.name}"
        if options.only and name not in options.only:
            continue
        exact, how, status = verdict(*texts(pair, folder))
        rows.append((name, pair.is_reformulation, exact, how, status))
        print(*rows[-1], flush=True)
    table = pd.DataFrame(rows, columns=["pair", "same", "exact", "decided_by", "status"])
    print(table.groupby("same")["exact"].agg(["sum", "count"]))
    options.out.mkdir(parents=True, exist_ok=True)
    table = table.assign(device=f"{platform.machine()} CPU", date=date.today())
    table.to_csv(options.out / "formulation_bench.csv", index=False)


if __name__ == "__main__":
    main()
