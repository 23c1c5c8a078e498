"""Best-of-n and rejection sampling, beside which PPO is measured."""

from itertools import combinations

import pretrain_base
import pytest
import torch
from tiny import Word

from glm_ppo_utils.baselines import best_of, rejection_sampling
from glm_ppo_utils.chatglm import load_policy, load_tokenizer
from glm_ppo_utils.rollout import respond
from glm_ppo_utils.sft import SFTSettings

NAMES = ["chairs", "tables", "corn", "rye"]
TUNING = SFTSettings(steps=500, batch_size=8, learning_rate=1e-4)


@pytest.fixture(scope="module")
def notes():
    return [Word(*pair) for pair in pretrain_base.notes(48, seed=11, names=NAMES)]


@pytest.fixture
def base_policy(base_folder):
    return load_policy(base_folder), load_tokenizer(base_folder)


def same_text(prompts, completions, reference, **_):
    return [float(a == b) for a, b in zip(completions, reference, strict=True)]


def test_best_of_is_the_mean_over_all_subsets_of_the_samples():
    exact = [[1, 0, 0, 1, 0], [0] * 5, [1] * 5]
    for k in (1, 2, 5):
        subsets = [max(s) for row in exact for s in combinations(row, k)]
        assert best_of([sum(row) for row in exact], 5, k) == pytest.approx(
            sum(subsets) / len(subsets)
        )
    with pytest.raises(ValueError, match="best of 6 cannot be estimated from 5 samples"):
        best_of([1], 5, 6)


@pytest.mark.slow
def test_rejection_sampling_keeps_the_exact_answers_and_trains_on_them(
    base_policy, notes, tmp_path
):
    policy, tokenizer = base_policy
    before = {n: p.clone() for n, p in policy.named_parameters()}
    refused = {note.text for note in notes[::3]}

    def strict(prompts, **columns):
        grades = same_text(prompts, **columns)
        return [0.0 if p in refused else g for p, g in zip(prompts, grades, strict=True)]

    pairs = rejection_sampling(policy, tokenizer, notes, strict, TUNING, tmp_path / "out", 96)
    references = {note.text: note.reference for note in notes}
    assert pairs and not refused & {prompt for prompt, _ in pairs}
    assert all(references[prompt] == answer for prompt, answer in pairs)
    assert any(not torch.equal(before[n], p) for n, p in policy.named_parameters())
    # Two passes over a handful of answers make these answers more likely.
    again = respond(policy, tokenizer, [prompt for prompt, _ in pairs], 96, temperature=0)
    assert sum(r.text == a for r, (_, a) in zip(again, pairs, strict=True)) > len(pairs) / 2


def test_rejection_sampling_says_when_nothing_is_exact(base_policy, notes, tmp_path):
    def never(prompts, **_):
        return [0.0] * len(prompts)

    with pytest.raises(ValueError, match="none of 4 answers was exact; sample more"):
        rejection_sampling(*base_policy, notes[:4], never, TUNING, tmp_path, 16)
