"""Our decoding loop against ``generate`` and full passes, and what it spares PPO."""

import copy
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
import torch
from tiny import WORDS, letters, policy_with_value_head

from glm_ppo_utils import decoding
from glm_ppo_utils.decoding import Layout, draw, find_layout
from glm_ppo_utils.errors import BadInput
from glm_ppo_utils.ppo import PPORun
from glm_ppo_utils.profiles import PPOSettings
from glm_ppo_utils.rollout import respond

PROMPTS = [w.text for w in WORDS]
SETTINGS = PPOSettings(
    batch_size=12, mini_batch_size=4, max_new_tokens=12, value_warmup=0, eval_every=0
)


@pytest.fixture(params=["chatglm", "gpt2"])
def policy(request, tiny_folder, tokenizer):
    return spread(policy_with_value_head(request.param, tiny_folder, len(tokenizer)))


def spread(policy):
    """Untrained weights made so large that answers differ, and values that are not all 0."""
    with torch.no_grad():
        for parameter in policy.pretrained_model.parameters():
            parameter *= 4 if parameter.ndim > 1 else 1
        policy.v_head.summary.weight.normal_()
    return policy


@pytest.fixture
def many_ends(monkeypatch, tokenizer):
    """Every third token ends an answer, so that answers have many lengths."""
    ends = [tokenizer.eos_token_id, *range(3, len(tokenizer), 3)]
    monkeypatch.setattr("glm_ppo_utils.rollout.stop_ids", lambda _: ends)


def ids(rollouts) -> list[list[int]]:
    return [r.response.tolist() for r in rollouts]


def test_greedy_answers_are_those_of_generate(policy, tokenizer, many_ends):
    """GPT-2 makes its own positions; those of this tokenizer would lead it astray."""
    found = respond(policy, tokenizer, PROMPTS, 12, temperature=0, batch_size=5)
    batch = tokenizer.pad([{"input_ids": r.query.tolist()} for r in found], return_tensors="pt")
    if not find_layout(policy.pretrained_model).last_only:
        batch.pop("position_ids")
    whole = policy.eval().generate(**batch, do_sample=False, max_new_tokens=12, pad_token_id=0)
    theirs = whole[:, batch["input_ids"].shape[1] :].tolist()
    assert all(ours == row[: len(ours)] for ours, row in zip(ids(found), theirs, strict=True))
    assert len({len(answer) for answer in ids(found)}) > 1


def test_a_token_is_drawn_as_often_as_its_probability_says():
    logits, evenly = torch.tensor([1.0, -30.0, 0.0, 2.0]), torch.arange(0.0005, 1, 0.001)
    for temperature in (1.0, 0.5):
        drawn = draw(logits.expand(1000, 4), temperature, evenly.double())
        wanted = 1000 * (logits / temperature).softmax(0)
        assert (drawn.bincount(minlength=4) - wanted).abs().max() < 1.01
    assert draw(logits[None], 0, evenly[:1]).tolist() == [3]


def test_no_answer_depends_on_when_others_are_dropped(policy, tokenizer, many_ends, monkeypatch):
    answers = []
    for fullest in (0, 0.8, 1):
        monkeypatch.setattr(decoding, "FULLEST", fullest)
        torch.manual_seed(0)
        answers.append(ids(respond(policy, tokenizer, PROMPTS, 12)))
    assert answers[0] == answers[1] == answers[2]


def test_equal_prompts_are_encoded_once(policy, tokenizer):
    shapes, model = [], policy.pretrained_model
    embedding = model.get_input_embeddings()
    hook = embedding.register_forward_hook(lambda *args: shapes.append(set(args[1][0].shape)))
    rollouts = respond(policy, tokenizer, PROMPTS[:2] * 4, 4)
    hook.remove()
    longest = max(len(r.query) for r in rollouts)
    assert shapes[1:3] == [{2, longest}, {8, 1}]  # before it, the two rows of `find_layout`
    assert len({tuple(answer) for answer in ids(rollouts)}) > 2


def test_layouts_are_found(tiny_folder, tokenizer):
    for kind, layout in (("chatglm", Layout(1, 1, True)), ("gpt2", Layout(0, 0, False))):
        policy = policy_with_value_head(kind, tiny_folder, len(tokenizer))
        assert find_layout(policy.pretrained_model) == layout
    assert find_layout(torch.nn.Linear(1, 1)) is None


def test_weights_that_have_diverged_are_told_in_a_line(policy, tokenizer):
    policy.pretrained_model.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(BadInput, match="weights have diverged; go back"):
        respond(policy, tokenizer, PROMPTS[:2], 4)


# -- what PPO need not compute again ----------------------------------------------------------


def make_run(policy, tokenizer, folder, **changes) -> PPORun:
    settings = replace(SETTINGS, **changes)
    return PPORun(policy, tokenizer, letters, WORDS, settings, folder, progress=False)


def test_what_sampling_knows_is_what_a_pass_gives(policy, tokenizer, many_ends, tmp_path):
    run = make_run(policy, tokenizer, tmp_path)
    rollouts = run.rollout(WORDS)
    queries, responses = [r.query for r in rollouts], [r.response for r in rollouts]
    inputs = run.trainer.prepare_model_inputs(queries, responses)
    arguments = (run.policy, queries, responses, inputs)
    run.trainer.spare_passes(rollouts)
    with torch.no_grad():
        known, passed = (run.trainer.batched_forward_pass(*arguments) for _ in range(2))
    mask = passed[3].bool()
    assert torch.equal(known[3], passed[3])
    for mine, theirs in ((known[0], passed[0]), (known[2], passed[2])):
        assert not torch.equal(mine[mask], theirs[mask])  # it was not computed again
        assert torch.allclose(mine[mask], theirs[mask], atol=1e-4)
        assert theirs[mask].std() > 0.1


def noting(count, *_):
    """A forward hook that counts the calls, with a gradient (True) and without."""
    count[torch.is_grad_enabled()] += 1


def flat(policy) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in policy.parameters()])


@pytest.mark.parametrize("kl_coef", [0.05, 0.0])
def test_passes_that_are_spared_change_nothing(policy, tokenizer, tmp_path, monkeypatch, kl_coef):
    """The reference is asked as long as its answer counts; the policy never before it learns."""
    rows, weights, passes = [], [], []
    for spared in (True, False):
        run = make_run(copy.deepcopy(policy), tokenizer, tmp_path / str(spared), kl_coef=kl_coef)
        if not spared:
            monkeypatch.setattr(run.trainer, "spare_passes", lambda _: None)
        count = Counter()
        for model in (run.policy, run.trainer.ref_model):
            model.register_forward_hook(partial(noting, count))
        rows.append(run.step(0))
        weights.append(flat(run.policy))
        passes.append(count[False])
    assert passes == [3 if kl_coef else 0, 6]
    moved, apart = (weights[0] - flat(policy)).abs().mean(), (weights[0] - weights[1]).abs().mean()
    assert moved > 1e-5 and apart < 0.01 * moved  # not 0: Adam's first step has rounding's sign too
    assert rows[0]["kl"] == (pytest.approx(0, abs=1e-4) if kl_coef else None)
    for name in ("policy_loss", "value_loss", "entropy", "explained_variance"):
        assert rows[0][name] == pytest.approx(rows[1][name], abs=1e-4), name
