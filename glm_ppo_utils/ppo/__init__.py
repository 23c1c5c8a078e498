"""Notebook 05: the PPO loop, around TRL's classic ``PPOTrainer``."""

from glm_ppo_utils.ppo.folder import read_jsonl
from glm_ppo_utils.ppo.run import PPORun
from glm_ppo_utils.ppo.trainer import ResponseTrainer
from glm_ppo_utils.profiles import PPOSettings

__all__ = ["PPORun", "PPOSettings", "ResponseTrainer", "read_jsonl"]
