"""Notebook 05: the PPO loop, around TRL's classic ``PPOTrainer``."""

from glm_ppo_utils.ppo.run import PPORun, PPOSettings, ResponseTrainer, read_jsonl

__all__ = ["PPORun", "PPOSettings", "ResponseTrainer", "read_jsonl"]
