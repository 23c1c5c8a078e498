"""Random checks of the evaluator, in any number; fails on the first thing that is wrong.

    python benchmarks/evaluator_fuzz.py certificate --count 20000
    python benchmarks/evaluator_fuzz.py texts --count 100000 --workers 2

``exact``, ``certificate`` and ``reduction`` are compared with an enumeration of all integer points,
``equivalent`` must all score 1, and ``texts`` are damaged, random and oversized answers for the
workers. Case k of a run has the seed ``seed + k``.
"""

import argparse
import math
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

from glm_ppo_utils.evaluator import Evaluator, format_lp, parse_lp
from glm_ppo_utils.evaluator.workers import PATIENCE, processor_time
from glm_ppo_utils.problems import generate

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from evaluator_edges import check_edge_text, check_whole_interval
from evaluator_oracle import (
    check_certificate,
    check_equivalent,
    check_exact_is_equal,
    check_reduction,
)
from evaluator_programs import PIECES, garble
from evaluator_rewrites import EDITS, spell

BATCH = 2000


def hostile(random: Random, reference: str) -> str:
    """A damaged, wrong, random or oversized answer."""
    kind = random.random()
    if kind < 0.6:
        return garble(reference, random)
    if kind < 0.8:
        program = parse_lp(reference)
        changed = random.choice(list(EDITS.values()))(program, random) or program
        return garble(spell(changed, random), random)
    if kind < 0.9:
        return " ".join(random.choice(PIECES) for _ in range(random.randrange(80)))
    if kind < 0.997:
        return random.randbytes(random.randrange(300)).decode("latin-1")
    return large(random)


def large(random: Random) -> str:
    """An integer program as large as the limits allow, or a text beyond them."""
    n = random.choice([10, 30, 90])
    rows = [
        " " + " + ".join(f"{random.randrange(1, 99)} x{j}" for j in range(n)) + f" = {50 * n}"
        for _ in range(random.choice([1, 5, 20]))
    ]
    names = " ".join(f"x{j}" for j in range(n))
    return "\n".join(["max x0", "st", *rows, random.choice(["binary", "general"]), names, "end"])


CHECKS = {
    "exact": check_exact_is_equal,
    "certificate": check_certificate,
    "reduction": check_reduction,
    "equivalent": check_equivalent,
    "edges": check_edge_text,
    "wholes": check_whole_interval,
}


def check_many(name: str, count: int, seed: int) -> None:
    """Run a check ``count`` times and print how often each outcome came."""
    start = time.monotonic()
    outcomes: Counter[str] = Counter()
    for k in range(seed, seed + count):
        try:
            outcomes[CHECKS[name](Random(k))] += 1
        except AssertionError as error:
            raise SystemExit(
                f"{name}: wrong at seed {k}\n" + "\n".join(map(str, error.args[0]))
            ) from None
    print(f"{name}: {count} cases from seed {seed}, none wrong, {time.monotonic() - start:.0f} s")
    print("; ".join(f"{outcome}: {n}" for outcome, n in outcomes.most_common()))


def check_texts(count: int, seed: int, workers: int, time_limit: float) -> None:
    """Every text gets one finite score, within its time."""
    random = Random(seed)
    references = [problem.reference for problem in generate(500, seed=seed)]
    references = [format_lp(parse_lp(text)) for text in references]
    statuses: Counter[str] = Counter()
    longest = 0.0
    done = 0
    start = time.monotonic()
    with Evaluator(workers=workers, time_limit=time_limit) as evaluator:
        while done < count:
            chosen = random.choices(references, k=min(BATCH, count - done))
            texts = [hostile(random, reference) for reference in chosen]
            scores = evaluator.score_batch(texts, chosen)
            assert len(scores) == len(texts), "an item was lost"
            for text, score in zip(texts, scores, strict=True):
                healthy = math.isfinite(score.reward) and 0 <= score.reward <= 1
                assert healthy and (score.reward == 1) == score.exact, (text, score)
                statuses["exact" if score.exact else score.status] += 1
            longest = max(longest, evaluator.longest)
            done += len(texts)
    seconds = time.monotonic() - start
    print(f"{done} texts in {seconds:.0f} s ({done / seconds:.0f}/s), {workers} workers")
    print("; ".join(f"{name}: {count}" for name, count in statuses.most_common()))
    print(f"longest item {longest:.2f} s by the clock, limit {time_limit:.2f} s of processor time")
    most = PATIENCE * processor_time(time_limit) + 1.0
    assert longest <= most, f"an item took more than {most:.1f} s by the clock"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("check", choices=[*CHECKS, "texts"])
    parser.add_argument("--count", type=int, default=20_000, help="how many cases (20,000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first case (0)")
    parser.add_argument("--workers", type=int, default=2, help="for texts: processes (2)")
    parser.add_argument("--time-limit", type=float, default=2.0, help="for texts: seconds (2)")
    settings = parser.parse_args()
    if settings.check == "texts":
        check_texts(settings.count, settings.seed, settings.workers, settings.time_limit)
    else:
        check_many(settings.check, settings.count, settings.seed)


if __name__ == "__main__":
    main()
