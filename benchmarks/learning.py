"""SFT, then PPO, over several seeds: the numbers and the figure of the README.

    python benchmarks/learning.py --seeds 0 1 2

A run that was interrupted, or a seed that is done, is taken up where it stands in ``runs/``.
Writes ``notebooks/runs/learning.csv`` (a row per seed) and ``notebooks/runs/learning_curve.csv``
(held-out evaluations during PPO), and draws ``notebooks/runs/learning.png``.
"""

import argparse
import json
import platform
from datetime import date
from pathlib import Path

import pandas as pd
import torch
from transformers import set_seed

from glm_ppo_utils import plotting
from glm_ppo_utils.chatglm import add_value_head, load_policy, load_tokenizer
from glm_ppo_utils.evaluator import Evaluator
from glm_ppo_utils.pipeline import (
    ROOT,
    heldout_problems,
    ppo_settings,
    runs_dir,
    sft_policy,
    training_problems,
)
from glm_ppo_utils.ppo import PPORun, read_jsonl
from glm_ppo_utils.profiles import Profile, get_profile

OUT = ROOT / "notebooks" / "runs"


def one_seed(profile: Profile, seed: int) -> tuple[dict, pd.DataFrame]:
    """SFT (unless it is at hand) and PPO with one seed; its row of numbers and its curve."""
    folder = sft_policy(profile, seed, progress=False)
    sft_seconds = json.loads((folder.parent / "sft_log.json").read_text())[-1]["seconds"]
    out_dir = runs_dir(profile) / f"learning-seed{seed}"
    set_seed(seed)  # the value head starts from random weights
    run = PPORun(
        add_value_head(load_policy(folder)),
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    profile = get_profile(args.profile)
    rows, curves = [], []
    for seed in args.seeds:
        row, curve = one_seed(profile, seed)
        rows.append(row)
        curves.append(curve)
        print(row, flush=True)
    device = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine() + " CPU"
    )
    made = {"device": device, "threads": torch.get_num_threads(), "torch": torch.__version__}
    table, curve = pd.DataFrame(rows).assign(**made, date=date.today()), pd.concat(curves)
    args.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out / "learning.csv", index=False, float_format="%.4f")
    curve.to_csv(args.out / "learning_curve.csv", index=False, float_format="%.4f")
    plotting.learning(curve).savefig(args.out / "learning.png", dpi=120)
    numbers = table.select_dtypes("number").drop(columns="seed")
    print(pd.DataFrame({"mean": numbers.mean(), "sd": numbers.std()}).round(3))


if __name__ == "__main__":
    main()
