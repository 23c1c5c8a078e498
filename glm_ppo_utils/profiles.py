"""Every knob, in one place: what a run trains, on what, and how.

A profile is data. Notebooks and commands ask it and never branch on its name.
"""

import os
from dataclasses import dataclass, field, replace

import torch

from glm_ppo_utils.ppo import PPOSettings
from glm_ppo_utils.sft import SFTSettings


@dataclass(frozen=True)
class Profile:
    """One way to run the series.

    Attributes
    ----------
    name : str
    checkpoint : str or None
        Published checkpoint to start from; None starts from the small base model of `base.py`.
    dtype : str
        Parameter type, a name in ``torch``. The weights are held once under LoRA and twice
        without it: ChatGLM3-6B takes 12.5 GB in bfloat16, GLM-4-9B 18.8 GB.
    lora : dict or None
        Arguments of ``peft.LoraConfig``; None trains every parameter. An adapter of rank 16 on
        ChatGLM3-6B has 3.9 million parameters; with gradient and Adam's state, in float32, 62 MB.
    instruct : bool
        Put the description of the LP format before every problem, for a chat model that has not
        been taught it.
    train_problems, heldout_problems : int
        Problems for PPO, and held-out problems for evaluation.
    sft, ppo : SFTSettings, PPOSettings

    Notes
    -----
    The sizes in memory are computed, not measured on a GPU; see `PPOSettings` for its knobs.
    """

    name: str
    checkpoint: str | None = None
    revision: str | None = None
    dtype: str = "float32"
    lora: dict | None = None
    instruct: bool = False
    train_problems: int = 8000
    heldout_problems: int = 200
    sft: SFTSettings = field(default_factory=SFTSettings)
    ppo: PPOSettings = field(default_factory=PPOSettings)

    def quick(self) -> "Profile":
        """The same profile with so few steps that it only shows that everything runs."""
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


LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": ["query_key_value"]}

PROFILES = {
    # Errors enough that most sampled answers are wrong, and most greedy ones right.
    "tiny": Profile(
        name="tiny",
        sft=SFTSettings(steps=1200, problems=9600, error_rate=0.44, eval_every=400),
    ),
    # Not run by the authors on the published weights: no GPU and no hub was at hand.
    "chatglm3-6b": Profile(
        name="chatglm3-6b",
        checkpoint="THUDM/chatglm3-6b",
        dtype="bfloat16",
        lora=LORA,
        instruct=True,
        sft=SFTSettings(
            steps=300,
            batch_size=16,
            learning_rate=2e-4,
            problems=4800,
            gradient_checkpointing=True,
        ),
        ppo=PPOSettings(
            batch_size=32,
            mini_batch_size=4,
            epochs=2,
            policy_lr=1e-5,
            value_lr=1e-4,
            max_new_tokens=256,
            gradient_checkpointing=True,
        ),
    ),
    "glm-4-9b-chat": Profile(
        name="glm-4-9b-chat",
        checkpoint="THUDM/glm-4-9b-chat",
        dtype="bfloat16",
        lora=LORA,
        instruct=True,
        sft=SFTSettings(steps=300, batch_size=8, learning_rate=2e-4, problems=2400),
        ppo=PPOSettings(
            batch_size=16,
            mini_batch_size=2,
            epochs=2,
            policy_lr=1e-5,
            value_lr=1e-4,
            max_new_tokens=256,
            gradient_checkpointing=False,  # its published code would ignore it
        ),
    ),
}


def get_profile(name: str | None = None) -> Profile:
    """The profile called `name`.

    Without a name: the one in the environment variable ``GLM_PPO_PROFILE``, else ``chatglm3-6b``
    where there is a GPU and ``tiny`` where there is none. ``GLM_PPO_QUICK=1`` cuts every profile
    down to a few steps.

    Raises
    ------
    ValueError
        When there is no such profile.
    """
    default = "chatglm3-6b" if torch.cuda.is_available() else "tiny"
    name = name or os.environ.get("GLM_PPO_PROFILE") or default
    if name not in PROFILES:
        raise ValueError(f"there is no profile {name!r}; choose one of {', '.join(PROFILES)}")
    profile = PROFILES[name]
    return profile.quick() if os.environ.get("GLM_PPO_QUICK") == "1" else profile
