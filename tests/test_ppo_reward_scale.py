"""One scale for the rewards of any reward function, and the baseline of a group."""

import numpy as np
import pytest

from glm_ppo_utils.ppo.reward_scale import RewardScale, without_others


def test_the_scale_of_parts_is_that_of_the_whole():
    rewards = np.random.default_rng(0).normal(3, 0.2, size=60)
    scale = RewardScale()
    for part in np.split(rewards, [1, 7, 30]):
        scale.add(part)
    assert scale.mean == pytest.approx(rewards.mean())
    assert scale.spread == pytest.approx(rewards.std())
    again = scale.normalised(rewards)
    assert (np.mean(again), np.std(again)) == pytest.approx((0, 1), abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3e8, 3e38])
def test_where_nothing_varies_nothing_is_learnt(value):
    scale = RewardScale()
    for count in (7, 3):
        scale.add([value] * count)
    assert scale.spread == 0
    assert scale.normalised([value, value]) == [0, 0]


def test_the_largest_rewards_and_single_outliers_stay_in_range():
    scale = RewardScale()
    scale.add([3e38, -3e38, 0.0, 1e38])
    assert max(map(abs, scale.normalised([3e38, -3e38]))) < 2
    scale = RewardScale()
    scale.add([0.5] * 99 + [1e30])
    assert scale.normalised([1e30])[0] == pytest.approx(99**0.5)


def test_a_groups_baseline_is_the_mean_of_the_others():
    assert without_others([1, 0, 0, 1, 1, 1], 3) == pytest.approx([1, -0.5, -0.5, 0, 0, 0])
    assert without_others([2, 5], 2) == [-3, 3]
