"""Calling reward functions, and what they may and may not return."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny import WORDS

from glm_ppo_utils.problems import Problem
from glm_ppo_utils.rollout import (
    RewardError,
    as_prompts,
    call_reward,
    reward_statistics,
    sampled_and_greedy,
)


def test_rates_are_counted_from_rewards():
    rates = reward_statistics([1.0, 1.0, 0.5, 0.0])
    assert rates == {"reward": 0.625, "reward_sd": pytest.approx(0.4146, abs=1e-4)} | {
        "exact": 0.5,
        "parsed": 0.75,
    }


def test_every_field_of_a_problem_reaches_the_reward_function():
    seen = {}

    def reward(prompts, completions, **columns):
        seen.update(columns, prompts=prompts)
        return [0.0] * len(prompts)

    assert call_reward(reward, WORDS[:2], ["a", "b"]) == [0, 0]
    assert seen == {"prompts": [w.text for w in WORDS[:2]], "reference": ["one", "one"]}


def test_rows_of_a_data_set_and_problems_with_other_fields_are_columns_too():
    """A field that only some have is None for the others."""
    rows = Dataset.from_list([{"text": "How many?", "optimum": 3.0, "prompts": "mine"}])
    problem = Problem("a", "How much?", extra={"source": "me"})
    seen = {}

    def reward(**columns):
        seen.update(columns)
        return [0.0, 0.0]

    call_reward(reward, as_prompts([*rows, problem]), ["a", "b"])
    assert seen == {
        "prompts": ["How many?", "How much?"],
        "completions": ["a", "b"],
        "optimum": [3.0, None],
        "source": [None, "me"],
        "id": [None, "a"],
        "family": [None, ""],
        "reference": [None, None],
    }
    for bad in ({"question": "How many?"}, "How many?"):
        with pytest.raises(ValueError, match="problem 1 has no text"):
            as_prompts([problem, bad])


def test_both_decodings_are_evaluated_by_name():
    rates = sampled_and_greedy(lambda temperature: {"exact": temperature})
    assert rates == {"sampled_exact": 1.0, "greedy_exact": 0.0}


@pytest.mark.parametrize(
    "returned",
    [[0.5, 1], (0.5, 1), np.array([0.5, 1]), torch.tensor([0.5, 1.0]), [np.float32(0.5), True]],
    ids=lambda r: type(r).__name__,
)
def test_anything_that_holds_one_number_per_response_is_taken(returned):
    assert call_reward(lambda **_: returned, WORDS[:2], ["a", "b"]) == [0.5, 1.0]


def test_a_generator_is_taken():
    assert call_reward(lambda **_: (r for r in (0.5, 1)), WORDS[:2], ["a", "b"]) == [0.5, 1.0]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned None, not a list of 2 numbers"),
        (0.5, "returned 0.5, not a list of 2 numbers"),
        ("ab", "returned 'ab', not a list of 2 numbers"),
        ({"a": 1, "b": 2}, "not a list of 2 numbers"),
        (torch.tensor(0.5), "returned 1 rewards for 2 responses"),
        ([0.5] * 3, "returned 3 rewards for 2 responses"),
        ([], "returned 0 rewards for 2 responses"),
        ([0.5, None], "returned None as the reward of response 1"),
        ([[0.5], [1.0]], r"returned \[0.5\] as the reward of response 0"),
        (["0.5", "1"], "returned '0.5' as the reward of response 0"),
        (torch.zeros(2, 2), r"returned tensor\(\[0., 0.\]\) as the reward of response 0"),
        ([0.5, float("nan")], "returned nan as the reward of response 1"),
        ([0.5, float("-inf")], "returned -inf as the reward of response 1"),
        ([10**400, 0], r"returned 10+\.\.\. \(int\) as the reward of response 0"),
        ([1e39, 0], r"returned 1e\+39 as the reward of response 0"),
        ([1j, 0], "returned 1j as the reward of response 0"),
    ],
    ids=str,
)
def test_what_cannot_be_learnt_from_is_named_with_function_and_place(returned, message):
    def judge(**_):
        return returned

    with pytest.raises(RewardError, match=f"the reward function .*judge .*{message}"):
        call_reward(judge, WORDS[:2], ["a", "b"])


def test_an_async_function_is_named():
    async def judge(**_):
        return [0.0, 0.0]

    with pytest.raises(RewardError, match="judge is async"):
        call_reward(judge, WORDS[:2], ["a", "b"])


def test_a_function_that_does_not_take_the_columns_is_told_which():
    def judge(prompts, completions):
        return [0.0, 0.0]

    with pytest.raises(RewardError, match=r"'reference'.*\(prompts, completions, \*\*columns\)"):
        call_reward(judge, WORDS[:2], ["a", "b"])


def test_what_the_function_itself_raises_passes_through():
    def judge(**_):
        return [1 / 0]

    with pytest.raises(ZeroDivisionError):
        call_reward(judge, WORDS[:1], ["a"])
