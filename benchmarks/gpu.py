"""Memory and speed of one PPO step at a published size, with random weights and no download.

    python benchmarks/gpu.py                                   # a GPU with 40 GB or more
    python benchmarks/gpu.py --layers 2 --hidden 64 --ffn 64 --batch 2 --mini-batch 1 \\
        --prompt 24 --response 8 --out build/gpu.csv           # any CPU, to see that it runs

By default a step takes 16 prompts of 256 tokens and as long responses, on ChatGLM3-6B in bfloat16
with LoRA. The table has the seconds and the peak memory of each phase, and the generated tokens per
second beside an upper bound: every decoding step reads all weights once, so with W bytes of weights
and a memory bandwidth of B bytes per second, R rows get at most ``R * B / W`` tokens per second. B
is measured by copying a block of memory.

Not yet run on a GPU, only on a CPU with the small sizes above.
"""

import argparse
import platform
import statistics
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pandas as pd
import torch

from glm_ppo_utils import base_model
from glm_ppo_utils.chatglm import add_value_head, published_config, random_policy
from glm_ppo_utils.chatglm.tokenization_chatglm import ChatGLMTokenizer
from glm_ppo_utils.pipeline import ROOT
from glm_ppo_utils.ppo import PPORun
from glm_ppo_utils.profiles import PROFILES
from glm_ppo_utils.rollout import call_reward, encode_prompt

GPU = torch.cuda.is_available()


@dataclass(frozen=True)
class Prompt:
    """A problem without an answer: only its length matters here."""

    text: str


def prompt_of(tokenizer: ChatGLMTokenizer, tokens: int) -> Prompt:
    """A prompt of exactly `tokens` tokens."""
    text = ""
    while len(encode_prompt(tokenizer, text + " 7")) <= tokens:
        text += " 7"
    length = len(encode_prompt(tokenizer, text))
    if length != tokens:
        raise ValueError(f"no prompt has {tokens} tokens; the next shorter one has {length}")
    return Prompt(text)


class Meter:
    """Seconds and peak GPU memory (GB) of each phase: a list with an entry per step."""

    def __init__(self):
        self.seconds: dict[str, list[float]] = {}
        self.peaks: dict[str, list[float]] = {}

    @contextmanager
    def __call__(self, phase: str):
        if GPU:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        yield
        if GPU:
            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_allocated() / 1e9
            self.peaks.setdefault(phase, []).append(peak)
        self.seconds.setdefault(phase, []).append(time.perf_counter() - start)


def bandwidth(size: int) -> float:
    """Bytes per second that this device reads and writes when it copies `size` bytes."""
    device = "cuda" if GPU else "cpu"
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    meter = Meter()
    for _ in range(5):
        with meter("copy"):
            target.copy_(source)
    return 2 * size / min(meter.seconds["copy"])


def measure(args: argparse.Namespace) -> pd.DataFrame:
    """One row per phase: median seconds, and the highest peak memory."""
    profile = PROFILES[args.profile]
    given = {"num_layers": args.layers, "hidden_size": args.hidden, "ffn_hidden_size": args.ffn}
    config = published_config(args.profile, **{k: v for k, v in given.items() if v})
    policy = add_value_head(random_policy(config, profile.dtype, profile.lora))
    weights = sum(p.numel() * p.element_size() for p in policy.pretrained_model.parameters())
    tokenizer = ChatGLMTokenizer(str(base_model.FOLDER / base_model.VOCABULARY_FILE))
    problems = [prompt_of(tokenizer, args.prompt)] * args.batch
    settings = replace(
        profile.ppo,
        batch_size=args.batch,
        mini_batch_size=args.mini_batch,
        rollout_batch_size=args.batch,
        max_new_tokens=args.response,
        eval_every=0,
        value_warmup=0,
        gradient_checkpointing=not args.no_checkpointing,
    )
    meter, tokens = Meter(), []
    with tempfile.TemporaryDirectory() as scratch:
        run = PPORun(policy, tokenizer, _score, problems, settings, scratch, progress=False)
        for _ in range(args.warmup + args.steps):
            with meter("generate"):
                rollouts = run.rollout(problems)
            with meter("score"):
                rewards = call_reward(_score, problems, [r.text for r in rollouts])
            with meter("optimise"):
                run.optimise(rollouts, rewards)
            tokens.append(sum(len(r.response) for r in rollouts))
    kept = {name: values[args.warmup :] for name, values in meter.seconds.items()}
    rows = [
        {
            "phase": name,
            "seconds": statistics.median(values),
            "peak_gb": max(meter.peaks[name]) if GPU else None,
        }
        for name, values in kept.items()
    ]
    generated = statistics.median(tokens[args.warmup :])
    rows[0]["tokens_per_s"] = generated / rows[0]["seconds"]
    rows[0]["bound_tokens_per_s"] = args.batch * bandwidth(args.copy) / weights
    return pd.DataFrame(rows).assign(
        profile=args.profile,
        layers=config.num_layers,
        hidden=config.hidden_size,
        weights_gb=weights / 1e9,
        dtype=profile.dtype,
        lora_rank=profile.lora["r"],
        gradient_checkpointing=settings.gradient_checkpointing,
        batch=args.batch,
        mini_batch=args.mini_batch,
        epochs=settings.epochs,
        prompt_tokens=args.prompt,
        response_tokens=generated / args.batch,
        steps=args.steps,
        device=torch.cuda.get_device_name() if GPU else f"{platform.machine()} CPU",
        torch=torch.__version__,
        date=date.today().isoformat(),
    )


def _score(prompts, completions, **_):
    """A reward that costs nothing and differs between answers."""
    return [len(text) % 7 / 7 for text in completions]


def main(argv: list[str] | None = None) -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--profile", default="chatglm3-6b", choices=["chatglm3-6b", "glm-4-9b-chat"]
    )
    parser.add_argument("--batch", type=int, default=16, help="responses per step")
    parser.add_argument("--mini-batch", type=int, default=4, help="responses per optimiser step")
    parser.add_argument("--prompt", type=int, default=256, help="tokens of a prompt")
    parser.add_argument("--response", type=int, default=256, help="tokens of a response, at most")
    parser.add_argument("--steps", type=int, default=3, help="steps that are measured")
    parser.add_argument("--warmup", type=int, default=1, help="steps before those")
    parser.add_argument("--layers", type=int, help="instead of the published number")
    parser.add_argument("--hidden", type=int, help="instead of the published width")
    parser.add_argument("--ffn", type=int, help="instead of the published inner width")
    parser.add_argument("--copy", type=int, default=2**30, help="bytes copied for the bandwidth")
    parser.add_argument("--no-checkpointing", action="store_true", help="keep all activations")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "runs" / "gpu.csv")
    args = parser.parse_args(argv)
    table = measure(args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out, index=False)
    print(table.iloc[0, 5:].to_string(), end="\n\n")
    print(table.iloc[:, :5].round(3).to_string(index=False))
    print(f"step {table.seconds.sum():.2f} s; written to {args.out}")


if __name__ == "__main__":
    main()
