"""Few demonstrations, many problems with a grade: what each method makes of the same answers.

    python benchmarks/why_rl.py --start few --method replay --grader evaluator --seed 0

The start is SFT on a few clean demonstrations. Then each method samples the same number of answers
to problems without demonstrations, has them graded, and learns from the grades: PPO with the
profile's settings (``ppo``), with replay of the exact answers (``replay``), with replay and the
other answers to a problem as baseline (``group-replay``), or rejection sampling. ``none`` is the
start itself, and ``references`` the upper line: SFT on the references of all those problems.
The grader ``optimum`` knows only the optimum of each problem.

Appends a row per run to ``why_rl.csv``, and the exact rate of what was sampled to
``why_rl_curve.csv``, in ``build/runs`` or ``--out``. A run that has its row is not repeated, and an
interrupted one is resumed. ``--set replay=9`` changes a knob of PPO.
"""

import argparse
import json
import platform
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import pandas as pd
import torch
from transformers import set_seed

from glm_ppo_utils.baselines import rejection_sampling
from glm_ppo_utils.chatglm import load_policy, load_tokenizer
from glm_ppo_utils.errors import BadInput
from glm_ppo_utils.evaluator import Evaluator
from glm_ppo_utils.evaluator.optimum import NOT_COMPARED
from glm_ppo_utils.pipeline import (
    ROOT,
    heldout_problems,
    is_checkpoint,
    ppo_policy,
    prepare,
    runs_dir,
    train_sft_policy,
    training_problems,
)
from glm_ppo_utils.ppo import PPORun
from glm_ppo_utils.problems import generate
from glm_ppo_utils.profiles import get_profile
from glm_ppo_utils.rollout import RewardFn, evaluate, sampled_and_greedy
from glm_ppo_utils.sft import train_sft

STARTS = {"few": (300, 300), "rare": (12, 15)}  # demonstrations, and steps of SFT
PPO = {
    "ppo": {},
    "replay": {"replay": 18},
    "group-replay": {"replay": 18, "samples_per_problem": 4, "baseline": "group"},
}
METHODS = ["none", *PPO, "rejection", "references"]
ROUNDS = 3  # of rejection sampling
KEY = ["start", "method", "grader", "seed", "answers", "set", "demonstrations", "sft_steps"]


def start_policy(profile, args) -> Path:
    """Folder of the policy after SFT on clean demonstrations, trained now if it is missing."""
    count, steps = args.demonstrations, args.sft_steps
    folder = runs_dir(profile) / "why-rl" / f"sft-{count}-{steps}-seed{args.seed}"
    if not is_checkpoint(folder / "policy"):
        shown = prepare(profile, generate(count, seed=3 + 10 * args.seed))
        short = replace(profile, sft=replace(profile.sft, steps=steps))
        pairs = [(p.text, p.reference) for p in shown]
        train_sft_policy(short, args.seed, False, folder, pairs)
    return folder / "policy"


def reward_of(grader: str, evaluator: Evaluator) -> RewardFn:
    """The evaluator itself, or what it says when it knows only the optimum, 1 for the right one."""
    if grader == "evaluator":
        return evaluator

    def optimum(prompts, completions, reference, **_):
        optima = [evaluator.score(r, r).objective_value for r in reference]
        return [r / NOT_COMPARED for r in evaluator(prompts, completions, optimum=optima)]

    return optimum


def by_ppo(profile, args, start: Path, problems: list) -> tuple[torch.nn.Module, list[dict]]:
    """The policy that PPO makes of the start, and its curve."""
    changes = PPO[args.method] | dict(args.set)
    settings = replace(profile.ppo, seed=args.seed, eval_every=0, **changes)
    settings = replace(settings, steps=args.answers // settings.batch_size)
    name = "-".join([*(str(getattr(args, key)) for key in KEY[:5]), json.dumps(args.set)])
    out_dir = runs_dir(profile) / "why-rl" / "".join(c if c.isalnum() else "-" for c in name)
    policy, tokenizer, evaluator = (
        ppo_policy(profile, start, args.seed),
        load_tokenizer(start),
        Evaluator(),
    )
    reward = reward_of(args.grader, evaluator)
    run = PPORun(
        policy, tokenizer, reward, problems, settings, out_dir, grader=evaluator, progress=False
    )
    log = run.train()
    size = settings.batch_size
    curve = [{"after": (r["step"] + 1) * size, "exact": r["exact"], "kl": r["kl"]} for r in log]
    return policy.pretrained_model, curve


def by_rejection(profile, args, start: Path, problems: list) -> tuple[torch.nn.Module, list[dict]]:
    """In each round sample with the policy, keep the exact answers, and fine-tune on them."""
    policy, tokenizer = load_policy(start, dtype=profile.dtype), load_tokenizer(start)
    reward, share, curve = reward_of(args.grader, Evaluator()), args.answers // ROUNDS, []
    for k in range(ROUNDS):
        tuning = replace(profile.sft, seed=args.seed * ROUNDS + k, learning_rate=3e-4, steps=300)
        part, out_dir = problems[k * share : (k + 1) * share], start.parent / "rejection"
        length = profile.ppo.max_new_tokens
        try:
            kept = rejection_sampling(policy, tokenizer, part, reward, tuning, out_dir, length)
        except BadInput:  # no answer was exact
            kept = []
        curve.append({"after": (k + 1) * share, "exact": len(kept) / share})
    return policy, curve


def by_sft(profile, args, start: Path, problems: list) -> tuple[torch.nn.Module, list[dict]]:
    """The start, or for "references" trained on with all references of the problems."""
    policy, tokenizer = load_policy(start, dtype=profile.dtype), load_tokenizer(start)
    if args.method == "references":
        pairs = [(p.text, p.reference) for p in problems]
        steps = 2 * len(pairs) // profile.sft.batch_size
        settings = replace(profile.sft, seed=args.seed, steps=steps)
        train_sft(policy, tokenizer, pairs, [], settings, start.parent / "references", False)
    return policy, []


def run(profile, args) -> tuple[dict, list[dict]]:
    """One run: its row, and its curve."""
    start = start_policy(profile, args)
    problems = training_problems(profile)[: args.answers]
    begin = time.perf_counter()
    by = by_ppo if args.method in PPO else by_rejection if args.method == "rejection" else by_sft
    policy, curve = by(profile, args, start, problems)
    seconds = time.perf_counter() - begin
    held = heldout_problems(profile)[:200]
    set_seed(args.seed)
    tokenizer, grader, length = load_tokenizer(start), Evaluator(), profile.ppo.max_new_tokens

    def rates(temperature: float) -> dict[str, float]:
        asked = held * (args.samples if temperature else 1)
        return evaluate(policy, tokenizer, asked, grader, length, temperature)

    found = sampled_and_greedy(rates)
    row = {name: found[name] for name in ("sampled_exact", "greedy_exact")}
    row["largest_kl"] = max((p["kl"] for p in curve if p.get("kl") is not None), default=None)
    return {**row, "samples": args.samples, "seconds": round(seconds, 1)}, curve


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
    parser.add_argument("--grader", choices=["evaluator", "optimum"], default="evaluator")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--answers", type=int, default=6400, help="sampled answers in all")
    parser.add_argument("--samples", type=int, default=8, help="answers per held-out problem")
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
    row, curve = run(get_profile(args.profile), args)
    made = {"device": f"{platform.machine()} CPU", "threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        made["device"] = torch.cuda.get_device_name()
    append(
        args.out / "why_rl_curve.csv",
        [{**key, "after": 0, "exact": 0, "kl": None} | point for point in curve],
    )
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
