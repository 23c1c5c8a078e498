"""Rewards of any scale, on the one scale that PPO's settings are meant for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass
class RewardScale:
    """Running mean and spread of all rewards that a run has seen.

    PPO learns from ``(reward - mean) / spread``. So the value head always has returns of about -1
    to 1 to learn, the KL coefficient is a price in spreads of the reward per nat, and a reward
    function in points from 0 to 100 teaches what one from 0 to 1 does. A single reward, however
    large, ends at most ``sqrt(count)`` spreads from the mean.
    """

    count: int = 0  # of the rewards seen
    mean: float = 0.0
    squares: float = 0.0  # sum of the squared distances from the mean; LARGEST_REWARD squared fits

    @property
    def spread(self) -> float:
        """Standard deviation of the rewards seen; 0 where they differ by rounding only."""
        spread = float(np.sqrt(self.squares / max(self.count, 1)))
        return spread if spread > 1e-9 * abs(self.mean) else 0.0

    def add(self, rewards: Sequence[float]) -> None:
        """Count in the rewards of a step, those of all processes (Chan et al. 1983, eq. 2.1)."""
        new = np.asarray(rewards, dtype=np.float64)
        count, gap = self.count + len(new), new.mean() - self.mean
        self.squares += float(
            ((new - new.mean()) ** 2).sum() + gap**2 * self.count * len(new) / count
        )
        self.mean += float(gap * len(new) / count)
        self.count = count

    def normalised(self, rewards: Sequence[float]) -> list[float]:
        """The rewards as their distance from the mean, in spreads; 0 where nothing varies."""
        spread = self.spread
        return [(reward - self.mean) / spread if spread else 0.0 for reward in rewards]


def without_others(rewards: Sequence[float], group: int) -> list[float]:
    """Each reward minus the mean of the others in its group.

    The baseline of REINFORCE leave-one-out (Ahmadian et al. 2024, section 2): what the policy's
    other answers to the same problem earned, in place of a learnt value. The `group` answers to a
    problem, at least 2, stand side by side.
    """
    r = np.asarray(rewards, dtype=np.float64).reshape(-1, group)
    return ((r - r.mean(axis=1, keepdims=True)) * group / (group - 1)).flatten().tolist()
