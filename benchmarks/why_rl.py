"""Few demonstrations, many problems with a grade: what each method makes of the same answers.

    python benchmarks/why_rl.py --start few --method replay --grader evaluator --seed 0

The start is SFT on a few clean demonstrations (``few``), or on a dozen (``rare``). Then each method
samples the same number of answers to problems without demonstrations, has them graded, and learns
from the grades:

- ``ppo``: plain PPO; ``replay``: PPO with replay of the exact answers; ``group-replay``: the same
  with the other answers to a problem as baseline;
- ``rejection``: rejection sampling in three rounds; ``random``: its control, which keeps as many
  answers, chosen at random.

Three methods need no grades: ``none`` is the start itself, ``sft`` goes on with the demonstrations,
and ``references`` is the upper line: SFT on the references of all those problems.

The grader is the evaluator, or ``binary``: 1 for an exact answer and 0 for any other, or
``optimum``, which knows only the optimum of each problem.

Appends a row per run to ``why_rl.csv`` and the exact rate of what was sampled to
``why_rl_curve.csv``, in ``build/runs`` or ``--out``; with ``optimum`` and seed 0 also an answer
that it overpays, in a text file. A run that has its row is not repeated, and an interrupted one is
resumed. ``--set replay=9`` changes a knob of PPO.
"""

import argparse
import json
import platform
import random
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import set_seed

from glm_ppo_utils import atomic
from glm_ppo_utils.baselines import best_of, rejection_sampling
from glm_ppo_utils.chatglm import load_policy, load_tokenizer
from glm_ppo_utils.errors import BadInput
from glm_ppo_utils.evaluator import Evaluator
from glm_ppo_utils.evaluator.optimum import NOT_COMPARED
from glm_ppo_utils.pipeline import (
    ROOT,
    heldout_problems,
    ppo_policy,
    prepare,
    runs_dir,
    train_sft_policy,
    training_problems,
)
from glm_ppo_utils.ppo import PPORun
from glm_ppo_utils.problems import Problem, generate
from glm_ppo_utils.profiles import get_profile
from glm_ppo_utils.rollout import EXACT, RewardFn, call_reward, respond
from glm_ppo_utils.saved_policy import is_policy
from glm_ppo_utils.sft import train_sft

STARTS = {"few": (300, 300), "rare": (12, 15)}  # demonstrations, and steps of SFT
PPO = {
    "ppo": {"replay": 0},
    "replay": {"replay": 18},
    "group-replay": {"replay": 18, "samples_per_problem": 4, "baseline": "group"},
}
METHODS = [*PPO, "rejection", "random", "none", "sft", "references"]
ROUNDS = 3  # of rejection sampling
UPDATES = 900  # supervised updates of `sft`: as many as rejection sampling and replay make
KEY = ["start", "method", "grader", "seed", "answers", "set", "demonstrations", "sft_steps"]


def demonstrations(profile, args) -> list[Problem]:
    """The problems that the start is shown with their references."""
    return prepare(profile, generate(args.demonstrations, seed=3 + 10 * args.seed))


def start_policy(profile, args) -> Path:
    """Folder of the policy after SFT on clean demonstrations, trained now if it is missing."""
    count, steps = args.demonstrations, args.sft_steps
    folder = runs_dir(profile) / "why-rl" / f"sft-{count}-{steps}-seed{args.seed}"
    if not is_policy(folder / "policy"):
        short = replace(profile, sft=replace(profile.sft, steps=steps))
        pairs = [(p.text, p.reference) for p in demonstrations(profile, args)]
        train_sft_policy(short, args.seed, False, folder, pairs)
    return folder / "policy"


def reward_of(grader: str) -> RewardFn:
    """The evaluator; 1 for an exact answer; or 1 for an answer with the right optimum."""
    evaluator = Evaluator()
    if grader == "evaluator":
        return evaluator

    def binary(prompts, completions, reference, **_):
        return [float(r >= EXACT) for r in evaluator(prompts, completions, reference)]

    def optimum(prompts, completions, reference, **_):
        optima = [evaluator.score(r, r).objective_value for r in reference]
        return [r / NOT_COMPARED for r in evaluator(prompts, completions, optimum=optima)]

    return binary if grader == "binary" else optimum


def by_ppo(profile, args, start: Path, problems: list) -> tuple[torch.nn.Module, list[dict]]:
    """The policy that PPO makes of the start, and its curve."""
    changes = PPO[args.method] | dict(args.set)
    settings = replace(profile.ppo, seed=args.seed, eval_every=0, **changes)
    settings = replace(settings, steps=args.answers // settings.batch_size)
    name = "-".join(str(getattr(args, key)) for key in KEY)
    out_dir = runs_dir(profile) / "why-rl" / "".join(c if c.isalnum() else "-" for c in name)
    policy, tokenizer = ppo_policy(profile, start, args.seed), load_tokenizer(start)
    reward, given = reward_of(args.grader), {"grader": Evaluator(), "progress": False}
    log = PPORun(policy, tokenizer, reward, problems, settings, out_dir, **given).train()
    columns = ("exact", "reward", "kl")
    curve = [{"after": r["step"] * settings.batch_size, **{c: r[c] for c in columns}} for r in log]
    return policy.pretrained_model, curve


def by_rejection(profile, args, start: Path, problems: list) -> tuple[torch.nn.Module, list[dict]]:
    """In each round sample with the policy, keep the exact answers, and fine-tune on them."""
    policy, tokenizer = load_policy(start, dtype=profile.dtype), load_tokenizer(start)
    grader, share, curve = reward_of(args.grader), args.answers // ROUNDS, []
    shuffled = random.Random(args.seed)

    def reward(prompts, completions, **columns):
        rewards = grader(prompts, completions, **columns)
        if args.method == "random":
            shuffled.shuffle(rewards)
        return rewards

    for k in range(ROUNDS):
        tuning = replace(profile.sft, seed=args.seed * ROUNDS + k, learning_rate=3e-4, steps=300)
        part, out_dir = problems[k * share : (k + 1) * share], start.parent / "rejection"
        length = profile.ppo.max_new_tokens
        try:
            kept = rejection_sampling(policy, tokenizer, part, reward, tuning, out_dir, length)
        except BadInput:  # no answer was exact
            kept = []
        curve.append({"after": k * share, "exact": len(kept) / share})
    return policy, curve


def by_sft(profile, args, start: Path, problems: list) -> tuple[torch.nn.Module, list[dict]]:
    """The start, trained on with its demonstrations, or with all references of the problems."""
    policy, tokenizer = load_policy(start, dtype=profile.dtype), load_tokenizer(start)
    if args.method == "none":
        return policy, []
    steps = UPDATES
    if args.method == "references":
        steps = 2 * len(problems) // profile.sft.batch_size
    else:
        problems = demonstrations(profile, args)
    pairs = [(p.text, p.reference) for p in problems]
    settings = replace(profile.sft, seed=args.seed, steps=steps, learning_rate=3e-4)
    train_sft(policy, tokenizer, pairs, [], settings, start.parent / args.method, progress=False)
    return policy, []


def held_out(policy, tokenizer, profile, args) -> tuple[dict, str]:
    """What the policy answers to 200 held-out problems, sampled and greedily; and a bad answer.

    The bad answer is the first one with the right optimum that is not exact.
    """
    held, grader = heldout_problems(profile)[:200], Evaluator()
    length, rates, found = profile.ppo.max_new_tokens, {}, ""
    for name, temperature, n in (("sampled", 1.0, args.samples), ("greedy", 0.0, 1)):
        set_seed(args.seed)
        asked = [p for p in held for _ in range(n)]
        answers = [
            r.text for r in respond(policy, tokenizer, [p.text for p in asked], length, temperature)
        ]
        exact = np.array(call_reward(grader, asked, answers)) >= EXACT
        rates[f"{name}_exact"] = exact.mean()
        if temperature:
            right = np.array(call_reward(reward_of("optimum"), asked, answers)) >= EXACT
            rates["only_optimum"] = (right & ~exact).mean()
            counts = exact.reshape(len(held), n).sum(axis=1).tolist()
            rates |= {f"best_of_{k}": best_of(counts, n, k) for k in (4, 32) if k <= n}
            for i in np.flatnonzero(right & ~exact)[:1]:
                message = grader.score(answers[i], asked[i].reference).message
                found = f"{asked[i].text}\n\n{answers[i]}\n\nevaluator: {message}\n"
    return rates, found


def run(profile, args) -> tuple[dict, list[dict], str]:
    """One run: its row, its curve, and an answer with the right optimum that is not exact."""
    start = start_policy(profile, args)
    problems = training_problems(profile)[: args.answers]
    begin = time.perf_counter()
    by = by_ppo if args.method in PPO else by_sft
    by = by_rejection if args.method in ("rejection", "random") else by
    policy, curve = by(profile, args, start, problems)
    seconds = time.perf_counter() - begin
    rates, found = held_out(policy, load_tokenizer(start), profile, args)
    largest = max((p["kl"] for p in curve if p.get("kl") is not None), default=None)
    row = {**rates, "largest_kl": largest, "samples": args.samples, "seconds": round(seconds, 1)}
    return row, curve, found


def knob(text: str) -> tuple[str, object]:
    """``name=value`` of a knob of PPO."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--start", choices=STARTS, default="few")
    parser.add_argument("--method", choices=METHODS, default="replay")
    parser.add_argument("--grader", choices=["evaluator", "binary", "optimum"], default="evaluator")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--answers", type=int, default=6400, help="sampled answers in all")
    parser.add_argument("--samples", type=int, default=32, help="answers per held-out problem")
    parser.add_argument("--demonstrations", type=int, help="in place of the start's number")
    parser.add_argument("--sft-steps", type=int, help="in place of the start's number")
    parser.add_argument("--set", type=knob, nargs="*", default=[], metavar="KNOB=VALUE")
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "runs")
    args = parser.parse_args()
    args.demonstrations = args.demonstrations or STARTS[args.start][0]
    args.sft_steps = args.sft_steps or STARTS[args.start][1]
    key = {name: getattr(args, name) for name in KEY}
    key["set"] = " ".join(f"{name}={value}" for name, value in args.set) or "-"
    args.out.mkdir(parents=True, exist_ok=True)
    table = args.out / "why_rl.csv"
    if table.exists():
        done = pd.read_csv(table)
        same = done[(done[KEY] == pd.Series(key)).all(axis=1)]
        if len(same):
            print(same.to_string(index=False))
            return
    row, curve, found = run(get_profile(args.profile), args)
    made = {"device": f"{platform.machine()} CPU", "threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        made["device"] = torch.cuda.get_device_name()
    append(
        args.out / "why_rl_curve.csv",
        [{**key, "after": 0, "exact": 0, "reward": None, "kl": None} | point for point in curve],
    )
    if args.grader == "optimum" and args.seed == 0 and found:
        atomic.write_text(args.out / f"why_rl-{args.start}-optimum.txt", found)
    append(table, [{**key, **row, **made, "date": date.today()}])
    print({**key, **row}, flush=True)


def append(path: Path, rows: list[dict]) -> None:
    """Add rows to a CSV file."""
    if not rows:
        return
    frame = pd.DataFrame(rows)
    frame.to_csv(path, mode="a", header=not path.exists(), index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
