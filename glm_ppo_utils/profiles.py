"""Every knob, in one place: what a run trains, on what, how, and what that costs in memory.

A profile is data. Notebooks and commands ask it and never branch on its name.
"""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from glm_ppo_utils.errors import BadInput


@dataclass(frozen=True)
class SFTSettings:
    """Knobs of supervised fine-tuning."""

    # Optimiser steps.
    steps: int = 300
    # Demonstrations per step.
    batch_size: int = 8
    # Peak of AdamW's learning rate, after the warm-up and before cosine decay to zero.
    learning_rate: float = 5e-4
    # Peak of Muon's learning rate, which then trains the matrices inside the layers; None leaves
    # them to AdamW. Meant for training from random weights; see `sft.muon_and_adamw`.
    muon_lr: float | None = None
    # Share of the steps in which the learning rate rises linearly.
    warmup: float = 0.05
    # AdamW's weight decay.
    weight_decay: float = 0.01
    # Demonstrations to generate.
    problems: int = 300
    # Steps between two measurements of the loss on held-out demonstrations.
    eval_every: int = 100
    # Keep only the input of each layer and compute the rest again in the backward pass.
    gradient_checkpointing: bool = False
    # Decides the order of the batches.
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self, "steps batch_size problems eval_every", at_least=1)
        _require(self, "learning_rate weight_decay", at_least=0)
        _require(self, "muon_lr", above=0)
        _require(self, "warmup", at_least=0, at_most=1)
        _require(self, "seed", at_least=0, at_most=LARGEST_SEED)

    def memory_advice(self) -> str:
        """The knobs that lower the memory of a step."""
        return f"{_recompute(self)}lower batch_size (now {self.batch_size})"


@dataclass(frozen=True)
class PPOSettings:
    """Knobs of PPO, named as in Schulman et al. (2017) and TRL's ``PPOConfig`` where possible.

    All sizes are those of the whole run: several processes share each batch equally, so the same
    settings train the same way on any number of processes.

    Notes
    -----
    Memory that the knobs cost on each device, computed and not measured on a GPU, for R responses
    at a time, T tokens of prompt and response, and b bytes per number (2 in bfloat16):

    - generation, R = `rollout_batch_size`: ``2 * layers * groups * kv_channels * R * T * b`` of
      keys and values. ChatGLM3-6B: 28 KiB per token, 0.23 GB at R = 16 and T = 512.
    - optimisation, R = `mini_batch_size` / processes: the logits of the responses,
      ``R * max_new_tokens * vocabulary * (b + 4)`` with TRL's copy in float32; the same again for
      their gradients; and several times ``R * max_new_tokens * vocabulary * 4`` for
      log-probabilities and entropy. ChatGLM3-6B: 0.40 GB for the first at R = 4 and 256 new tokens.
    - the layers' inputs, ``layers * R * T * hidden * b``, which `gradient_checkpointing` keeps:
      0.47 GB there. Without it ``46 * hidden`` bytes a token and layer under LoRA in bfloat16,
      11 GB there, and ``65 * hidden`` where every parameter is trained (counted for the stand-in
      in tests/test_chatglm_real_size.py; the published code keeps a little more).
    - `batch_size` and `epochs`: next to nothing, only token ids and a few numbers per token.
    """

    # PPO steps: sample a batch, score it, learn from it.
    steps: int = 50
    # Responses sampled per PPO step.
    batch_size: int = 128
    # Responses per optimiser step.
    mini_batch_size: int = 32
    # Responses to each problem of a batch; a batch of 128 with 4 has 32 problems.
    samples_per_problem: int = 1
    # What a reward is compared with: "value" is what the value head predicts, "group" the mean
    # reward of the other responses to the same problem (REINFORCE leave-one-out, Ahmadian et al.
    # 2024; GRPO, Shao et al. 2024, also counts the response itself). With "group" the value head
    # does not learn, and its knobs have no effect.
    baseline: Literal["value", "group"] = "value"
    # Passes over a batch. One pass over a large batch suits a policy that samples fast; where
    # sampling is slow, more passes get more out of each response.
    epochs: int = 1
    # Length limit of a response.
    max_new_tokens: int = 96
    # Adam's learning rate for the policy.
    policy_lr: float = 3e-4
    # Adam's learning rate for the value head. It is much higher than the policy's, because the head
    # starts untrained and has to keep up with a changing policy.
    value_lr: float = 5e-3
    # Number of steps at the start in which only the value head learns.
    value_warmup: int = 5
    # Share of both learning rates that is left in the last step. They fall linearly after the value
    # warm-up, so that the last steps average out noise instead of adding to it. If a run is resumed
    # with more steps, the rates fall more slowly from then on.
    lr_end: float = 0.1
    # Weight of the value loss; small, because value head and policy share all layers.
    value_coef: float = 0.05
    # How far the ratio of new to old probability may move from 1 before it is clipped.
    clip: float = 0.2
    # How far a value may move from its old one before it is clipped, in spreads of the reward.
    value_clip: float = 0.6
    # Discount per token.
    gamma: float = 1.0
    # Lambda of generalised advantage estimation. It is 1 because the reward comes at the end of a
    # short response: below 1, the errors of a value head that is still learning would enter every
    # advantage.
    lam: float = 1.0
    # Coefficient of the KL penalty, in spreads of the reward per nat; the spread is that of all
    # rewards seen. At 0 the reference model is not asked, and the log's KL null; 1e-9 shows it.
    kl_coef: float = 0.05
    # KL in nats per response that the coefficient is adapted towards (Ziegler et al. 2019,
    # section 2.2); None keeps the coefficient fixed.
    kl_target: float | None = None
    # Gradient norm above which a gradient is scaled down; the policy's and the value head's are
    # measured apart.
    max_grad_norm: float = 1.0
    # Supervised updates after each PPO step, on exact answers that the policy has sampled so far:
    # self-imitation (Oh et al. 2018), most often on those that the policy finds least likely. PPO
    # looks at each answer only once. Fewer updates are made while few answers are kept. 0 is plain
    # PPO.
    replay: int = 0
    # Answers per such update; they cost memory as those of `mini_batch_size` do.
    replay_batch_size: int = 8
    # Adam's learning rate for these updates; it falls as the others do.
    replay_lr: float = 3e-4
    # Reward from which on an answer is exact: 1 for the evaluator. The newest such answer to each
    # problem is kept.
    replay_reward: float = 1.0
    # PPO steps between evaluations on held-out problems; 0 turns them off.
    eval_every: int = 25
    # How many of the held-out problems are evaluated.
    eval_problems: int = 200
    # PPO steps between checkpoints.
    checkpoint_every: int = 25
    # Responses that one process generates at a time.
    rollout_batch_size: int = 64
    # Keep only the input of each layer and compute the rest again in the backward pass.
    gradient_checkpointing: bool = False
    # Together with the number of a step, it decides everything random in that step.
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self, "steps batch_size mini_batch_size epochs max_new_tokens", at_least=1)
        _require(self, "checkpoint_every rollout_batch_size", at_least=1)
        _require(self, "samples_per_problem replay_batch_size", at_least=1)
        _require(self, "value_warmup eval_every eval_problems replay", at_least=0)
        _require(self, "policy_lr value_lr value_coef kl_coef replay_lr", at_least=0)
        _require(self, "replay_reward", at_least=-math.inf)
        _require(self, "clip value_clip kl_target max_grad_norm", above=0)
        _require(self, "gamma lam lr_end", at_least=0, at_most=1)
        _require(self, "seed", at_least=0, at_most=LARGEST_SEED)
        for part in ("mini_batch_size", "samples_per_problem"):
            if self.batch_size % getattr(self, part):
                raise BadInput(
                    f"batch_size {self.batch_size} is not a multiple of {part} "
                    f"{getattr(self, part)}; change one of them"
                )
        allowed = ("value", "group") if self.samples_per_problem > 1 else ("value",)
        if self.baseline not in allowed:
            raise BadInput(
                f"baseline is {self.baseline!r} with samples_per_problem "
                f"{self.samples_per_problem}; it must be 'value', or 'group' with at least 2"
            )

    def memory_advice(self, phase: str) -> str:
        """The knobs that lower the memory of a phase, named as in the log."""
        shorter = f"max_new_tokens (now {self.max_new_tokens})"
        if phase in ("generate", "evaluate"):
            return f"lower rollout_batch_size (now {self.rollout_batch_size}) or {shorter}"
        if phase in ("optimise", "replay"):
            size = "replay_batch_size" if phase == "replay" else "mini_batch_size"
            return f"{_recompute(self)}lower {size} (now {getattr(self, size)}) or {shorter}"
        return "the reward function needs less, or a GPU of its own"


LARGEST_SEED = 2**32 - 1  # numpy takes no larger one


def _require(
    settings: SFTSettings | PPOSettings,
    names: str,
    at_least: float = 0,
    above: float | None = None,
    at_most: float = math.inf,
) -> None:
    """Check that each named knob is a finite number in its range, or None where that is allowed.

    Raises
    ------
    BadInput
        For the first knob that is not, with its name, value and range.
    """
    kinds = {f.name: f.type for f in fields(settings)}
    wanted = f"of at least {at_least}" if above is None else f"above {above}"
    wanted += "" if at_most == math.inf else f" and at most {at_most}"
    for name in names.split():
        value = getattr(settings, name)
        if value is None and "None" in str(kinds[name]):
            continue
        kind = "a whole number" if kinds[name] is int else "a number"
        good = isinstance(value, int if kinds[name] is int else (int, float))
        good = good and abs(value) < math.inf and value <= at_most  # nan is not
        if not good or not (value >= at_least if above is None else value > above):
            raise BadInput(f"{name} is {value}; it must be {kind} {wanted}")


def _recompute(settings: SFTSettings | PPOSettings) -> str:
    return "" if settings.gradient_checkpointing else "turn gradient_checkpointing on, or "


@contextmanager
def memory_advice(phase: str, advice: str) -> Iterator[None]:
    """If the GPU runs out of memory in the block, add `advice` on what to lower to the error.

    Raises
    ------
    torch.cuda.OutOfMemoryError
        With the advice, in place of the one without.
    """
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise torch.cuda.OutOfMemoryError(
            f"out of GPU memory in the phase '{phase}'; {advice} ({str(error).splitlines()[0]})"
        ) from error


@dataclass(frozen=True)
class Profile:
    """One way to run the series. Sizes in memory are computed, as in `PPOSettings`."""

    # Its key in ``PROFILES``.
    name: str
    # Published checkpoint to start from; None starts from the small base model of `base_model/`.
    checkpoint: str | None = None
    # Commit of the checkpoint on the hub; None takes the one that is pinned for it, if any.
    revision: str | None = None
    # Parameter type, a name in ``torch``. The weights are held once under LoRA and twice without
    # it: ChatGLM3-6B takes 12.5 GB in bfloat16, GLM-4-9B 18.8 GB.
    dtype: str = "float32"
    # Arguments of ``peft.LoraConfig``; None trains every parameter. An adapter of rank 16 on
    # ChatGLM3-6B has 3.9 million parameters: 62 MB with gradients and Adam's state in float32.
    lora: dict | None = None
    # Put a description of the LP format before each problem, for a chat model that does not know
    # it.
    instruct: bool = False
    # Problems for PPO, and held-out problems for evaluation.
    train_problems: int = 6400
    heldout_problems: int = 200
    # Threads that torch computes with; None leaves it to torch. The tiny profile takes one: its
    # matrices are so small that two threads mostly wait for each other, and wait long when another
    # process keeps a core busy.
    threads: int | None = None
    # Knobs of the two stages of training.
    sft: SFTSettings = field(default_factory=SFTSettings)
    ppo: PPOSettings = field(default_factory=PPOSettings)

    def quick(self) -> "Profile":
        """The same profile with only a few steps, enough to see that everything runs."""
        return replace(
            self,
            train_problems=min(self.train_problems, 500),
            heldout_problems=min(self.heldout_problems, 16),
            sft=replace(self.sft, steps=12, problems=200, eval_every=6),
            ppo=replace(
                self.ppo,
                steps=3,
                batch_size=16,
                mini_batch_size=8,
                eval_every=3,
                eval_problems=16,
                checkpoint_every=2,
            ),
        )


CHATGLM3 = Profile(
    name="chatglm3-6b",
    checkpoint="THUDM/chatglm3-6b",
    dtype="bfloat16",
    lora={"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": ["query_key_value"]},
    instruct=True,
    sft=SFTSettings(steps=60, batch_size=16, learning_rate=2e-4, gradient_checkpointing=True),
    ppo=PPOSettings(
        batch_size=32,
        mini_batch_size=4,
        epochs=2,
        policy_lr=1e-5,
        value_lr=1e-4,
        max_new_tokens=256,
        gradient_checkpointing=True,
    ),
)

PROFILES = {
    # Few demonstrations, and many problems with a grade. Replay makes the most of each answer.
    "tiny": Profile(
        name="tiny", threads=1, ppo=PPOSettings(value_warmup=0, replay=18, eval_every=10)
    ),
    # This profile and the next have not been run on the published weights yet.
    "chatglm3-6b": CHATGLM3,
    "glm-4-9b-chat": replace(
        CHATGLM3,
        name="glm-4-9b-chat",
        checkpoint="THUDM/glm-4-9b-chat",
        sft=SFTSettings(steps=120, batch_size=8, learning_rate=2e-4),
        # Some of its published code ignores gradient checkpointing.
        ppo=replace(CHATGLM3.ppo, batch_size=16, mini_batch_size=2, gradient_checkpointing=False),
    ),
}


# GPU memory that SFT of ChatGLM3-6B needs, in GB; PPO needs less. Computed like the sizes in
# `PPOSettings`, for 16 demonstrations of 512 tokens: weights 12.5, logits and their gradients 6.4,
# inputs of the layers 1.9, one recomputed layer 1.1.
CHATGLM3_GPU_GB = 22


def get_profile(name: str | None = None) -> Profile:
    """The profile called `name`.

    Without a name: the one in the environment variable ``GLM_PPO_PROFILE``, else ``chatglm3-6b``
    if there is a GPU with enough free memory, else ``tiny``. ``GLM_PPO_QUICK=1`` cuts every profile
    down to a few steps. Also sets torch's number of threads to the profile's, unless the
    environment variable ``OMP_NUM_THREADS`` is set.

    Raises
    ------
    BadInput
        When there is no such profile.
    """
    import torch  # here, because the commands read the settings before they need torch

    name = name or os.environ.get("GLM_PPO_PROFILE") or _profile_for_this_machine()
    if name not in PROFILES:
        raise BadInput(f"there is no profile {name!r}; choose one of {', '.join(PROFILES)}")
    profile = PROFILES[name]
    if profile.threads and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(profile.threads)
    return profile.quick() if os.environ.get("GLM_PPO_QUICK") == "1" else profile


def _profile_for_this_machine() -> str:
    """``chatglm3-6b`` where it fits, else ``tiny``; prints why if that leaves a GPU unused."""
    import torch

    if not torch.cuda.is_available():
        return "tiny"
    free = torch.cuda.mem_get_info()[0] / 1e9
    if free >= CHATGLM3_GPU_GB:
        return "chatglm3-6b"
    print(
        f"profile tiny: the GPU has {free:.1f} GB free, and chatglm3-6b needs about "
        f"{CHATGLM3_GPU_GB} GB; set GLM_PPO_PROFILE=chatglm3-6b to use it anyway",
        file=sys.stderr,
    )
    return "tiny"
