"""Samples per second of our PPO loop and of TRL's own, on ChatGLM and on a GPT-2 of its size.

    python benchmarks/ppo.py

All loops have the same policy, problems, evaluator and ``PPOConfig``. They take turns in one
process, a step each, so that a busy machine slows all of them down. The evaluator reads the
references before the clock starts.
TRL's loop is that of its documentation: ``PPOTrainer.generate`` on a list of queries, decode,
score, ``PPOTrainer.step``; once with its default of four queries at a time, and once with the
whole batch. The first step of each loop does not count. Writes ``ppo_speed.csv``
into ``build/runs``, or ``--out``.

``ppo_needs.csv`` has what our steps of the ChatGLM need (see ``needs.py``) beside the seconds that
they took: the share of the machine's limit is the operations that a phase needs per second, divided
by those that a large matrix product gets at the same number of threads. ``--policy`` takes a
trained policy, instead of training one.
"""

import argparse
import platform
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from needs import Shape, peak_flops, step_needs
from transformers import GPT2Config, GPT2LMHeadModel, set_seed
from trl import PPOTrainer

from glm_ppo_utils.chatglm import add_value_head, load_policy, load_tokenizer
from glm_ppo_utils.evaluator import Evaluator
from glm_ppo_utils.pipeline import ROOT, sft_policy, training_problems
from glm_ppo_utils.ppo import PPORun
from glm_ppo_utils.profiles import get_profile
from glm_ppo_utils.rollout import decode_answer, encode_prompt, stop_ids

PHASES = ["generate", "score", "logprobs", "optimise"]
NEEDS = ["tokens", "flop", "bytes"]


def chatglm(folder, tokenizer) -> torch.nn.Module:
    """The SFT policy, from which PPO starts."""
    return load_policy(folder, dtype="float32")


def gpt2(folder, tokenizer) -> torch.nn.Module:
    """A GPT-2 of the same width and depth with random weights: its answers reach the limit."""
    set_seed(0)
    size = {"n_embd": 128, "n_layer": 3, "n_head": 4, "n_inner": 512, "n_positions": 512}
    return GPT2LMHeadModel(GPT2Config(vocab_size=1280, bos_token_id=1, eos_token_id=2, **size))


def ours(run: PPORun, steps: int) -> Iterator[dict]:
    """Seconds of each phase of our steps."""
    for step in range(steps):
        row = run.step(step)
        needs = step_needs(run.shape, run.prompts, run.responses, run.settings) if run.shape else {}
        yield {
            **{p: row[f"seconds_{p}"] for p in PHASES},
            "tokens": row["response_tokens"],
            **{f"{p} {n}": getattr(x, n) for p, x in needs.items() for n in NEEDS},
        }


def stock(run: PPORun, steps: int, generate_batch: int) -> Iterator[dict]:
    """Seconds of each phase of TRL's loop, with the trainer settings of `run`."""
    inner, s, tokenizer = run.trainer, run.settings, run.tokenizer
    trainer = PPOTrainer(inner.config, run.policy, None, tokenizer, optimizer=inner.optimizer)
    choice = {"do_sample": True, "top_k": 0, "top_p": 1.0, "max_new_tokens": s.max_new_tokens}
    ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": stop_ids(tokenizer)}
    for step in range(steps):
        set_seed(step)
        problems = run.batch(step)
        clock = [time.perf_counter()]
        queries = [torch.tensor(encode_prompt(tokenizer, p.text)) for p in problems]
        responses = trainer.generate(
            queries, batch_size=generate_batch, return_prompt=False, **choice, **ends
        )
        clock.append(time.perf_counter())
        texts = [decode_answer(tokenizer, r) for r in responses]
        rewards = run.reward_fn([""] * len(texts), texts, [p.reference for p in problems])
        clock.append(time.perf_counter())
        stats = trainer.step(queries, responses, [torch.tensor(r) for r in rewards])
        clock.append(time.perf_counter())
        generate, score, rest = np.diff(clock)
        logprobs = stats["time/ppo/forward_pass"]
        tokens = float(np.mean([len(r) for r in responses]))
        yield dict(zip(PHASES, (generate, score, logprobs, rest - logprobs), strict=True)) | {
            "tokens": tokens
        }


def new_run(model: str, settings, problems, folder, out_dir: Path) -> PPORun:
    """A run of the SFT policy or of a random GPT-2, with the references already read."""
    tokenizer, evaluator = load_tokenizer(folder), Evaluator()
    set_seed(0)
    policy = add_value_head(MODELS[model](folder, tokenizer))
    evaluator.prepare(p.reference for p in problems)
    return Run(policy, tokenizer, evaluator, problems, settings, out_dir, progress=False)


class Run(PPORun):
    """A run that remembers the lengths of its last batch."""

    @property
    def shape(self) -> Shape | None:
        """The policy's shape, if it is a ChatGLM."""
        config = self.policy.pretrained_model.config
        return Shape.of(config) if hasattr(config, "multi_query_group_num") else None

    def rollout(self, problems, temperature=1.0):
        found = super().rollout(problems, temperature)
        self.prompts, self.responses = (
            [len(r.query) for r in found],
            [len(r.response) for r in found],
        )
        return found


def needs_of(mean: pd.Series) -> pd.DataFrame:
    """What the phases need beside their seconds, and how near that is to the machine's limit."""
    peak = peak_flops()
    rows = []
    for phase in PHASES:
        if f"{phase} flop" in mean:
            rows.append({"phase": phase} | {n: mean[f"{phase} {n}"] for n in NEEDS})
            rows[-1]["seconds"] = mean[phase]
    table = pd.DataFrame(rows)
    table["share_of_peak"] = table.flop / table.seconds / peak
    table["gflop"], table["gigabytes"] = table.flop / 1e9, table.bytes / 1e9
    columns = ["phase", "tokens", "gflop", "gigabytes", "seconds", "share_of_peak"]
    return table[columns].assign(peak_gflop_per_s=peak / 1e9)


def measure(model: str, steps: int, settings, problems, folder, needs: list) -> Iterator[dict]:
    """For each loop: samples per second, seconds per step, and the share of each phase."""
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = {
            name: loop(new_run(model, settings, problems, folder, Path(scratch) / name), steps + 1)
            for name, loop in LOOPS.items()
        }
        turns = [{name: next(rows) for name, rows in made.items()} for _ in range(steps + 1)]
    for name in LOOPS:
        mean = pd.DataFrame([turn[name] for turn in turns[1:]]).mean()
        if "generate flop" in mean:
            needs.append(needs_of(mean))
        ratios = [seconds_of(turn[name]) / seconds_of(turn["ours"]) for turn in turns[1:]]
        seconds = mean[PHASES].sum()
        yield {
            "model": model,
            "loop": name,
            "samples_per_second": settings.batch_size / seconds,
            "seconds_per_step": seconds,
            "response_tokens": mean["tokens"],
            **{f"{p}_share": mean[p] / seconds for p in PHASES},
            "ours_is_times_as_fast": float(np.median(ratios)),
        }


def seconds_of(row: dict) -> float:
    """Seconds of a whole step."""
    return sum(row[p] for p in PHASES)


MODELS = {"ChatGLM": chatglm, "GPT-2": gpt2}
LOOPS = {
    "ours": ours,
    "TRL, generating 4 at a time": lambda run, steps: stock(run, steps, 4),
    "TRL, generating the whole batch": lambda run, steps: stock(run, steps, 10**6),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "runs")
    parser.add_argument("--policy", type=Path, help="folder of a trained ChatGLM")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    args = parser.parse_args()
    profile = get_profile("tiny")
    folder = args.policy or sft_policy(profile, progress=False)
    problems = training_problems(profile)
    settings = replace(profile.ppo, eval_every=0, value_warmup=0, replay=0)
    needs: list[pd.DataFrame] = []
    rows = [measure(m, args.steps, settings, problems, folder, needs) for m in args.models]
    table = pd.DataFrame(chain(*rows))
    made = {"device": platform.machine() + " CPU", "threads": torch.get_num_threads()}
    table = table.assign(**made, torch=torch.__version__, date=date.today())
    args.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out / "ppo_speed.csv", index=False, float_format="%.4f")
    print(table.drop(columns=["device", "torch", "date"]).round(3).to_string(index=False))
    for table in needs:
        table.assign(**made).to_csv(args.out / "ppo_needs.csv", index=False, float_format="%.4f")
        print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
