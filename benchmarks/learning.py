"""SFT, then PPO and its alternatives: the numbers and figures of the README.

    python benchmarks/learning.py --seeds 0 1 2

Interrupted runs are resumed, and finished ones read, from ``runs/``.
Writes into ``build/runs``, or ``--out``: ``learning.csv`` (a row per seed), ``learning_curve.csv``
(held-out evaluations during PPO) and the figure ``learning.png``. ``--alternatives`` adds rejection
sampling and best of n, each with as many sampled answers as PPO: more columns in ``learning.csv``,
``best_of_n.csv`` and ``alternatives.png``.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date
from itertools import cycle, islice
from pathlib import Path

import pandas as pd
import torch
from transformers import set_seed

from glm_ppo_utils import plotting
from glm_ppo_utils.baselines import best_of, exact_counts, rejection_sampling
from glm_ppo_utils.chatglm import load_policy, load_tokenizer
from glm_ppo_utils.evaluator import Evaluator
from glm_ppo_utils.pipeline import (
    ROOT,
    heldout_problems,
    ppo_policy,
    ppo_settings,
    runs_dir,
    sft_policy,
    training_problems,
)
from glm_ppo_utils.ppo import PPORun, PPOSettings, read_jsonl
from glm_ppo_utils.profiles import Profile, get_profile
from glm_ppo_utils.rollout import DECODINGS, evaluate

OUT = ROOT / "build" / "runs"


def one_seed(profile: Profile, seed: int) -> tuple[dict, pd.DataFrame]:
    """SFT (unless it is stored) and PPO with one seed: the row of numbers, and the evaluations."""
    folder = sft_policy(profile, seed, progress=False)
    sft_seconds = json.loads((folder.parent / "sft_log.json").read_text())[-1]["seconds"]
    out_dir = runs_dir(profile) / f"learning-seed{seed}"
    run = PPORun(
        ppo_policy(profile, folder, seed),
        load_tokenizer(folder),
        Evaluator(),
        training_problems(profile),
        ppo_settings(profile, seed),
        out_dir,
        heldout=heldout_problems(profile),
        progress=False,
    )
    log = run.train()
    ppo_seconds = sum(v for r in log for k, v in r.items() if k.startswith("seconds"))
    evals = read_jsonl(out_dir / "eval.jsonl")
    row = {"seed": seed, "sft_seconds": sft_seconds, "ppo_seconds": ppo_seconds}
    for name, values in (("sft", evals[0]), ("ppo", evals[-1])):
        row |= {f"{name}_{k}": values[k] for k in ("sampled_exact", "greedy_exact")}
    row["largest_kl"] = max(r["kl"] for r in log)
    return row, pd.DataFrame(evals).assign(seed=seed)


def kept(path: Path, settings: PPOSettings, make: Callable[[], dict]) -> dict:
    """The result of `make`, stored at `path`; made again only if the settings have changed."""
    made_with = json.loads(json.dumps(asdict(settings)))
    stored = json.loads(path.read_text()) if path.exists() else {}
    if stored.get("settings") != made_with:
        stored = {"settings": made_with, "result": make()}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(stored))
    return stored["result"]


def rejection_sampled(profile: Profile, seed: int, rounds: int = 3) -> dict:
    """In each round sample with the current policy, keep the exact answers, fine-tune on them."""
    folder, settings = sft_policy(profile, seed, progress=False), ppo_settings(profile, seed)
    out_dir = runs_dir(profile) / f"rejection-seed{seed}"
    policy, tokenizer = load_policy(folder, dtype=profile.dtype), load_tokenizer(folder)
    evaluator = Evaluator()
    answers = settings.steps * settings.batch_size  # as many as PPO samples
    sampled = list(islice(cycle(training_problems(profile)), answers))
    share = len(sampled) // rounds

    def make() -> dict:
        start = time.perf_counter()
        for k in range(rounds):
            tuning = replace(profile.sft, seed=seed * rounds + k, learning_rate=3e-4, steps=300)
            rejection_sampling(
                policy,
                tokenizer,
                sampled[k * share : (k + 1) * share],
                evaluator,
                tuning,
                out_dir,
                settings.max_new_tokens,
            )
        seconds = time.perf_counter() - start
        row = {"rejection_answers": rounds * share, "rejection_seconds": seconds}
        held = heldout_problems(profile)[: settings.eval_problems]
        for way, temperature in DECODINGS.items():
            set_seed(seed)
            rates = evaluate(
                policy, tokenizer, held, evaluator, settings.max_new_tokens, temperature
            )
            row[f"rejection_{way}_exact"] = rates["exact"]
        return row

    return kept(out_dir / "result.json", settings, make)


def best_of_n(profile: Profile, seed: int) -> tuple[dict, pd.DataFrame]:
    """Best of n samples of the SFT policy, up to the n that needs as many answers as PPO."""
    settings, held = ppo_settings(profile, seed), heldout_problems(profile)
    held = held[: settings.eval_problems]
    n = settings.steps * settings.batch_size // len(held)
    folder = sft_policy(profile, seed, progress=False)

    def make() -> dict:
        policy, tokenizer = load_policy(folder, dtype=profile.dtype), load_tokenizer(folder)
        set_seed(seed)
        start = time.perf_counter()
        counts = exact_counts(policy, tokenizer, held, Evaluator(), n, settings.max_new_tokens)
        return {"counts": counts, "seconds": time.perf_counter() - start}

    stored = kept(runs_dir(profile) / f"best-of-seed{seed}.json", settings, make)
    curve = pd.DataFrame(
        [{"n": k, "exact": best_of(stored["counts"], n, k)} for k in range(1, n + 1)]
    )
    row = {f"best_of_{k}_exact": best_of(stored["counts"], n, k) for k in (4, n)}
    return {**row, "best_of_seconds": stored["seconds"]}, curve.assign(seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--alternatives", action="store_true", help="also rejection sampling and best-of-n"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder of what is written")
    args = parser.parse_args()
    profile = get_profile(args.profile)
    rows, curves, best = [], [], []
    for seed in args.seeds:
        row, curve = one_seed(profile, seed)
        if args.alternatives:
            chosen, samples = best_of_n(profile, seed)
            row |= rejection_sampled(profile, seed) | chosen
            best.append(samples)
        rows.append(row)
        curves.append(curve)
        print(rows[-1], flush=True)
    device = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine() + " CPU"
    )
    made = {"device": device, "threads": torch.get_num_threads(), "torch": torch.__version__}
    table, curve = pd.DataFrame(rows).assign(**made, date=date.today()), pd.concat(curves)
    args.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out / "learning.csv", index=False, float_format="%.4f")
    curve.to_csv(args.out / "learning_curve.csv", index=False, float_format="%.4f")
    plotting.learning(curve).savefig(args.out / "learning.png", dpi=120)
    if best:
        best = pd.concat(best)
        best.to_csv(args.out / "best_of_n.csv", index=False, float_format="%.4f")
        plotting.alternatives(table, best).savefig(args.out / "alternatives.png", dpi=120)
    numbers = table.select_dtypes("number").drop(columns="seed")
    print(pd.DataFrame({"mean": numbers.mean(), "sd": numbers.std()}).round(3))


if __name__ == "__main__":
    main()
