"""Exact answers that the policy has sampled, kept to learn from again."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from accelerate.utils import gather_object

from glm_ppo_utils.profiles import PPOSettings
from glm_ppo_utils.rollout import Rollout

Pair = tuple[torch.Tensor, torch.Tensor]  # token ids of a prompt and of an answer to it
Ids = tuple[int, ...]


class Replay:
    """The newest exact answer to each problem; the same ones on all processes.

    An answer comes up in proportion to its surprise, -log of its probability when it was sampled or
    last replayed: one that the policy is sure of has nothing left to teach. It is prioritised
    replay (Schaul et al. 2016) with the loss as priority.
    """

    def __init__(self, settings: PPOSettings):
        self.settings = settings
        self.answers: dict[Ids, list[int]] = {}  # answer by prompt, as token ids
        self.surprises: dict[Ids, float] = {}  # of each answer, in nats, by prompt

    def add(self, rollouts: Sequence[Rollout], rewards: Sequence[float]) -> None:
        """Keep the exact ones of a step, those of all processes."""
        least = self.settings.replay_reward - 1e-9 * abs(self.settings.replay_reward)
        exact = [
            (tuple(r.query.tolist()), r.response.tolist(), _surprise(r))
            for r, reward in zip(rollouts, rewards, strict=True)
            if reward >= least
        ]
        for query, answer, surprise in gather_object(exact):
            self.answers[query], self.surprises[query] = answer, surprise

    def batches(self, step: int) -> Iterator[list[Pair]]:
        """The batches of a step's supervised updates; they follow from the seed and the step.

        At most about two passes over the answers kept, lest a few first ones be learnt by heart.
        Call `note` between two batches.
        """
        s, kept = self.settings, list(self.answers.items())
        rng = np.random.default_rng([s.seed, step, s.replay])
        most = 2 * len(kept) // s.replay_batch_size + 1 if kept else 0
        for _ in range(min(s.replay, most)):
            weights = np.maximum([self.surprises[query] for query, _ in kept], LEAST_SURPRISE)
            twice = len(kept) < s.replay_batch_size  # too few: some come more than once
            chosen = rng.choice(len(kept), s.replay_batch_size, twice, weights / weights.sum())
            yield [(torch.tensor(kept[i][0]), torch.tensor(kept[i][1])) for i in chosen]

    def note(self, pairs: Sequence[Pair], surprises: Sequence[float]) -> None:
        """Note how surprising the answers of this process's share of a batch still were."""
        queries = [tuple(query.tolist()) for query, _ in pairs]
        self.surprises |= dict(gather_object(list(zip(queries, surprises, strict=True))))

    def state(self) -> dict[str, torch.Tensor]:
        """For a checkpoint: all token ids in a row, the lengths of the pieces, the surprises."""
        pieces = [ids for pair in self.answers.items() for ids in pair]
        return {
            "ids": torch.tensor([i for ids in pieces for i in ids], dtype=torch.int32),
            "lengths": torch.tensor([len(ids) for ids in pieces], dtype=torch.int32),
            "surprises": torch.tensor(list(self.surprises.values()), dtype=torch.float64),
        }

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Go back to a stored state."""
        pieces = [ids.tolist() for ids in state["ids"].split(state["lengths"].tolist())]
        self.answers = {tuple(q): r for q, r in zip(pieces[::2], pieces[1::2], strict=True)}
        self.surprises = dict(zip(self.answers, state["surprises"].tolist(), strict=True))


LEAST_SURPRISE = 1e-4  # in nats; what is certain may still come up


def _surprise(rollout: Rollout) -> float:
    """In nats; where sampling did not say, a guess that the first replay puts right."""
    return 1.0 if rollout.logprobs is None else -float(rollout.logprobs.sum())
