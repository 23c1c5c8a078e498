"""Damaged and random texts through the evaluator's workers; fails on the first thing that breaks.

python benchmarks/evaluator_fuzz.py --texts 100000 --workers 2
"""

import argparse
import math
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

from glm_ppo_utils.evaluator import Evaluator, format_lp, parse_lp
from glm_ppo_utils.evaluator.rewrites import EDITS, spell
from glm_ppo_utils.problems import generate

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from evaluator_programs import PIECES, garble

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--time-limit", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    settings = parser.parse_args()
    random = Random(settings.seed)
    references = [problem.reference for problem in generate(500, seed=settings.seed)]
    references = [format_lp(parse_lp(text)) for text in references]
    statuses: Counter[str] = Counter()
    longest = 0.0
    done = 0
    start = time.monotonic()
    with Evaluator(workers=settings.workers, time_limit=settings.time_limit) as evaluator:
        while done < settings.texts:
            chosen = random.choices(references, k=min(BATCH, settings.texts - done))
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
    print(f"{done} texts in {seconds:.0f} s ({done / seconds:.0f}/s), {settings.workers} workers")
    print("; ".join(f"{name}: {count}" for name, count in statuses.most_common()))
    print(f"longest item {longest:.2f} s, limit {settings.time_limit:.2f} s")
    assert longest <= settings.time_limit + 1.0, "an item went over its limit by more than 1 s"


if __name__ == "__main__":
    main()
