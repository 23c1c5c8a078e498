"""What `benchmarks/needs.py` computes from shapes is what torch counts."""

from dataclasses import replace
from pathlib import Path

import pytest
from tiny import WORDS, letters, policy_with_value_head
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from glm_ppo_utils.decoding import Layout
from glm_ppo_utils.ppo import PPORun
from glm_ppo_utils.profiles import PPOSettings

PAIRS = [("one", "two"), ("two", "one"), ("one", "six"), ("six", "one")]
SETTINGS = PPOSettings(
    batch_size=4, mini_batch_size=2, max_new_tokens=5, value_warmup=0, eval_every=0
)


@pytest.fixture
def needs(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import needs

    return needs


def counted(action) -> int:
    """Operations that torch counts, attention as plain matrix products."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        action()
    return counter.get_total_flops()


@pytest.mark.parametrize(("kl_coef", "epochs", "copies"), [(0.05, 1, 1), (0.0, 2, 1), (0.05, 1, 2)])
def test_operations_are_those_that_torch_counts(
    needs, tiny_folder, tokenizer, tmp_path, monkeypatch, kl_coef, epochs, copies
):
    """Without padding: four prompts of equal length, and answers that all reach the limit."""
    monkeypatch.setattr("glm_ppo_utils.rollout.stop_ids", lambda _: [tokenizer.pad_token_id])
    monkeypatch.setattr("glm_ppo_utils.rollout.find_layout", lambda _: Layout(1, 1, True))
    settings = replace(SETTINGS, kl_coef=kl_coef, epochs=epochs, samples_per_problem=copies)
    policy = policy_with_value_head("chatglm", tiny_folder, len(tokenizer))
    problems = [replace(WORDS[0], text=f"say {x} say {y} ") for x, y in PAIRS]
    batch = [p for p in problems[: 4 // copies] for _ in range(copies)]
    run = PPORun(policy, tokenizer, letters, problems, settings, tmp_path, progress=False)
    rollouts = run.rollout(batch)
    prompts, responses = ([len(getattr(r, n)) for r in rollouts] for n in ("query", "response"))
    assert len(set(prompts)) == len(set(responses)) == 1
    shape = needs.Shape.of(policy.pretrained_model.config)
    found = needs.step_needs(shape, prompts, responses, settings)
    assert counted(lambda: run.rollout(batch)) == found["generate"].flop
    learning = found["logprobs"].flop + found["optimise"].flop
    assert counted(lambda: run.optimise(rollouts, [0.0, 1.0, 0.5, 0.2])) == learning


def test_tokens_and_bytes_of_a_small_step(needs):
    shape = needs.Shape(layers=2, attention=4, cached=4, body=100, head=50, hidden=4, vocabulary=10)
    found = needs.step_needs(shape, [3, 3, 3, 3], [2, 1, 2, 2], SETTINGS)
    assert [n.tokens for n in found.values()] == [12 + 7, 12 + 7, 12 + 7]
    read = 3 * (3 + 1)  # for the second token of three answers: its prompt and the first token
    assert found["generate"].bytes == 2 * 150 * 4 + 2 * 4 * 4 * read
    assert found["logprobs"].bytes == 2 * 150 * 4
    assert found["optimise"].bytes == 3 * 2 * 150 * 4


def test_the_peak_is_a_speed(needs):
    assert needs.peak_flops(size=64) > 0
