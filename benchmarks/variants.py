"""PPO that goes wrong: settings and rewards that a user might choose, from one SFT policy.

    python benchmarks/variants.py --steps 30      # all of them
    python benchmarks/variants.py kl-blow-up      # some

All runs are plain PPO, without replay. Each writes ``<name>.csv``: the log, a row per PPO step,
with the held-out rates of the steps that were evaluated, below comments that say how it was made.
``<name>.txt`` has the three held-out answers of the trained policy whose reward exceeds the
evaluator's the most. All goes to ``build/runs``, or ``--out``.
"""

import argparse
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import pandas as pd
import torch
import transformers
import trl

from glm_ppo_utils.chatglm import load_tokenizer
from glm_ppo_utils.evaluator import Evaluator
from glm_ppo_utils.pipeline import (
    ROOT,
    heldout_problems,
    ppo_policy,
    runs_dir,
    sft_policy,
    training_problems,
)
from glm_ppo_utils.ppo import PPORun, read_jsonl
from glm_ppo_utils.profiles import get_profile
from glm_ppo_utils.rollout import RewardFn, call_reward

OUT = ROOT / "build" / "runs"


def uncapped_credit(evaluator: Evaluator) -> RewardFn:
    """The similarity to the reference: an answer with one mistake gets nearly full reward."""

    def reward(prompts, completions, reference, **_):
        return [s.similarity for s in evaluator.score_batch(completions, reference)]

    return reward


def better_optimum(evaluator: Evaluator) -> RewardFn:
    """How many times better the answer's optimum is than the reference's, at most 3.

    A plausible mistake: this asks for good plans, but the answer is the problem that is solved, so
    a policy can raise its reward by stating an easier one.
    """

    def reward(prompts, completions, reference, **_):
        answers = evaluator.score_batch(completions, reference)
        truths = evaluator.score_batch(reference, reference)
        goals = [text.split()[0] for text in reference]
        pairs = zip(answers, truths, goals, strict=True)
        return [times_as_good(a.objective_value, t.objective_value, goal) for a, t, goal in pairs]

    return reward


def times_as_good(value: float | None, truth: float, goal: str) -> float:
    """The reward of `better_optimum`; 0 without a positive optimum."""
    if value is None or value <= 0:
        return 0.0
    return min(3.0, value / truth if goal == "maximize" else truth / value)


@dataclass(frozen=True)
class Variant:
    """What a run changes in the profile, and why."""

    why: str
    changes: dict = field(default_factory=dict)
    reward: Callable[[Evaluator], RewardFn] = lambda evaluator: evaluator
    problems: int | None = None  # train on only this many of the profile's problems


NO_PRICE = 1e-9  # at 0 the reference model is not asked, and the KL would be unknown

VARIANTS = {
    "healthy": Variant("the profile's settings without replay"),
    "kl-blow-up": Variant(
        "steps too large and no price on distance",
        {"policy_lr": 5e-3, "kl_coef": NO_PRICE, "max_grad_norm": 100.0},
    ),
    "memorising": Variant(
        "16 problems again and again, every batch used twice, and no price on distance",
        {"kl_coef": NO_PRICE, "lr_end": 1.0, "epochs": 2},
        problems=16,
    ),
    "uncapped-credit": Variant("similarity, without a cap below 1", reward=uncapped_credit),
    "better-optimum": Variant("pay by how good the optimum is", reward=better_optimum),
}


def folder_of(name: str, profile, seed: int, steps: int) -> Path:
    """A folder for each number of steps, because the learning rates depend on that number."""
    return runs_dir(profile) / "variants" / f"{name}-seed{seed}-steps{steps}"


def run_variant(name: str, profile, seed: int, steps: int | None) -> pd.DataFrame:
    """Train one variant, or resume it, and return its log with the evaluations."""
    variant, folder, evaluator = VARIANTS[name], sft_policy(profile, seed, False), Evaluator()
    settings = replace(profile.ppo, seed=seed, replay=0, **variant.changes)
    settings = replace(settings, steps=steps or settings.steps)
    out_dir = folder_of(name, profile, seed, settings.steps)
    policy = ppo_policy(profile, folder, seed)
    run = PPORun(
        policy,
        load_tokenizer(folder),
        variant.reward(evaluator),
        training_problems(profile)[: variant.problems],
        settings,
        out_dir,
        heldout=heldout_problems(profile),
        grader=evaluator,
        progress=False,
    )
    log = pd.DataFrame(run.train())
    (out_dir / "samples.txt").write_text(overpaid(run, evaluator))
    evals = pd.DataFrame(read_jsonl(out_dir / "eval.jsonl"))
    rates = evals[["step", "sampled_exact", "greedy_exact"]]
    return rates.merge(log.assign(step=log.step + 1), on="step", how="outer").sort_values("step")


def overpaid(run: PPORun, evaluator: Evaluator) -> str:
    """The three held-out answers whose reward exceeds the evaluator's the most, as text."""
    answers = [r.text for r in run.rollout(run.heldout)]
    paid = call_reward(run.reward_fn, run.heldout, answers)
    scores = evaluator.score_batch(answers, [p.reference for p in run.heldout])
    order = sorted(range(len(answers)), key=lambda i: scores[i].reward - paid[i])
    blocks = [
        f"{run.heldout[i].text}\n{answers[i]}\n"
        f"paid {paid[i]:.2f}, evaluator {scores[i].reward:.2f}: {scores[i].message}\n"
        for i in order[:3]
    ]
    return "\n".join(blocks)


def store(name: str, rows: pd.DataFrame, out: Path, seed: int, profile) -> Path:
    """Write rows as CSV, below comment lines that say how they were made."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    steps = int(rows.step.max())
    head = [
        f"{name}: {VARIANTS[name].why}",
        f"python benchmarks/variants.py {name} --seed {seed} --steps {steps}",
        f"profile {profile.name}, seed {seed}, {device}, {torch.get_num_threads()} threads, "
        f"{date.today()}",
        f"torch {torch.__version__}, transformers {transformers.__version__}, "
        f"trl {trl.__version__}",
    ]
    path = out / f"{name}.csv"
    table = rows.to_csv(index=False, float_format="%.5g")
    path.write_text("".join(f"# {line}\n" for line in head) + table)
    samples = folder_of(name, profile, seed, steps) / "samples.txt"
    shutil.copyfile(samples, path.with_suffix(".txt"))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(VARIANTS))
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--out", type=Path, default=OUT, help="folder of what is written")
    args = parser.parse_args()
    unknown = set(args.names) - set(VARIANTS)
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; choose from {', '.join(VARIANTS)}")
    args.out.mkdir(parents=True, exist_ok=True)
    profile = get_profile(args.profile)
    for name in args.names or VARIANTS:
        rows = run_variant(name, profile, args.seed, args.steps)
        path = store(name, rows, args.out, args.seed, profile)
        last = rows.dropna(subset="greedy_exact").iloc[-1]
        print(
            f"{name:20s} sampled {last.sampled_exact:.3f} greedy {last.greedy_exact:.3f} "
            f"reward {rows.reward.iloc[-1]:.3f} KL {rows.kl.max():.2f} -> {path.name}",
            flush=True,
        )


if __name__ == "__main__":
    main()
