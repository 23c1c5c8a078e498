"""Exact answers that the policy has sampled, kept to learn from again."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from accelerate.utils import gather_object

from glm_ppo_utils.profiles import PPOSettings
from glm_ppo_utils.rollout import Rollout

Pair = tuple[torch.Tensor, torch.Tensor]  # token ids of a prompt and of an answer to it


class Replay:
    """The newest exact answer to each problem; the same ones on all processes.

    Parameters
    ----------
    settings : PPOSettings
        Its ``replay`` knobs, and the seed.
    """

    def __init__(self, settings: PPOSettings):
        self.settings = settings
        self.answers: dict[tuple[int, ...], list[int]] = {}  # answer by prompt, as token ids

    def add(self, rollouts: Sequence[Rollout], rewards: Sequence[float]) -> None:
        """Keep the exact ones of a step, those of all processes."""
        least = self.settings.replay_reward - 1e-9 * abs(self.settings.replay_reward)
        pairs = zip(rollouts, rewards, strict=True)
        exact = [(r.query.tolist(), r.response.tolist()) for r, reward in pairs if reward >= least]
        self.answers |= {tuple(query): response for query, response in gather_object(exact)}

    def batches(self, step: int) -> Iterator[list[Pair]]:
        """The batches of a step's supervised updates; they follow from the seed and the step."""
        s, kept = self.settings, list(self.answers.items())
        rng = np.random.default_rng([s.seed, step, s.replay])
        for _ in range(s.replay if kept else 0):
            chosen = [kept[i] for i in rng.integers(len(kept), size=s.replay_batch_size)]
            yield [(torch.tensor(query), torch.tensor(response)) for query, response in chosen]

    def state(self) -> dict[str, torch.Tensor]:
        """For a checkpoint: all token ids in a row, and the lengths of the pieces."""
        pieces = [ids for pair in self.answers.items() for ids in pair]
        return {
            "ids": torch.tensor([i for ids in pieces for i in ids], dtype=torch.int32),
            "lengths": torch.tensor([len(ids) for ids in pieces], dtype=torch.int32),
        }

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Go back to a stored state."""
        pieces = [ids.tolist() for ids in state["ids"].split(state["lengths"].tolist())]
        self.answers = {tuple(q): r for q, r in zip(pieces[::2], pieces[1::2], strict=True)}
