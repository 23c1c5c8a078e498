"""Supervised fine-tuning, rollouts and profiles."""

import json
import warnings
from dataclasses import replace

import pytest
import torch
from tiny import Word
from transformers import DataCollatorForSeq2Seq

from glm_ppo_utils.chatglm import load_policy
from glm_ppo_utils.profiles import PROFILES, get_profile
from glm_ppo_utils.rollout import evaluate, respond
from glm_ppo_utils.sft import (
    IGNORED,
    Demonstrations,
    SFTSettings,
    muon_and_adamw,
    train_sft,
)

PAIRS = [(f"say {w}" + " please" * n, f"{w} {w}") for w in ("one", "two", "six") for n in (0, 1, 3)]
FAST = SFTSettings(steps=60, batch_size=9, learning_rate=1e-2, eval_every=30)


@pytest.fixture(scope="module")
def trained(tiny_folder, tokenizer, tmp_path_factory):
    model = load_policy(tiny_folder)
    out = tmp_path_factory.mktemp("out")
    return model, train_sft(model, tokenizer, PAIRS, PAIRS[:3], FAST, out, progress=False), out


def same(prompts, completions, reference, **_):
    return [
        float(text == f"{word} {word}") for text, word in zip(completions, reference, strict=True)
    ]


WORDS = [Word(prompt, answer.split()[0]) for prompt, answer in PAIRS]


def test_bfloat16_weights_get_a_warning_and_adapters_do_not(tiny_folder, tokenizer, tmp_path):
    once = replace(FAST, steps=1)
    with pytest.warns(UserWarning, match="load them in float32, or train a LoRA adapter"):
        train_sft(load_policy(tiny_folder, dtype="bfloat16"), tokenizer, PAIRS, [], once, tmp_path)
    adapted = load_policy(tiny_folder, dtype="bfloat16", lora={"r": 4})
    assert {p.dtype for p in adapted.parameters() if p.requires_grad} == {torch.float32}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="these weights")
        train_sft(adapted, tokenizer, PAIRS, [], once, tmp_path)


def test_only_the_answers_tokens_carry_loss(tokenizer):
    item = Demonstrations(PAIRS[:1], tokenizer)[0]
    prompt_length = item["labels"].count(IGNORED)
    assert item["labels"][:prompt_length] == [IGNORED] * prompt_length
    answer = item["labels"][prompt_length:]
    assert answer == item["input_ids"][prompt_length:]
    assert answer[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(answer, skip_special_tokens=True).strip() == "one one"
    assert item["input_ids"][prompt_length - 1] == tokenizer.get_command("<|assistant|>")


def test_items_are_padded_on_the_left_with_their_labels(tokenizer):
    items = Demonstrations([PAIRS[0], PAIRS[2]], tokenizer)
    collate = DataCollatorForSeq2Seq(tokenizer)
    batch = collate([items[0], items[1]])
    again = collate([items[0], items[1]])  # as in a second epoch
    assert torch.equal(again["labels"], batch["labels"])
    collate([items[0], items[1]])
    assert len(items[0]["labels"]) == len(items[0]["input_ids"])
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
    padding = batch["attention_mask"][0] == 0
    assert padding.any()
    assert (batch["labels"][0][padding] == IGNORED).all()
    kept = batch["labels"][0] != IGNORED
    assert torch.equal(batch["labels"][0][kept], batch["input_ids"][0][kept])


def test_padding_does_not_change_the_loss(tiny_folder, tokenizer):
    model = load_policy(tiny_folder).eval()
    items = Demonstrations([PAIRS[0], PAIRS[2]], tokenizer)
    collate = DataCollatorForSeq2Seq(tokenizer)
    with torch.no_grad():
        alone = [model(**collate([item])).loss for item in items]
        counts = [sum(label != IGNORED for label in item["labels"]) for item in items]
        together = model(**collate(list(items))).loss
    mean = sum(a * n for a, n in zip(alone, counts, strict=True)) / sum(counts)
    assert torch.allclose(together, mean, atol=1e-5)


@pytest.mark.slow
def test_it_learns_its_demonstrations(trained, tokenizer):
    model, log, out = trained
    losses = [r["loss"] for r in log if "loss" in r]
    assert losses[-1] < losses[0] / 10
    assert [r["step"] for r in log if "eval_loss" in r] == [30, 60]
    assert json.loads((out / "sft_log.json").read_text()) == log
    rates = evaluate(model, tokenizer, WORDS, same, max_new_tokens=12, temperature=0)
    assert rates["exact"] == 1


def test_muon_and_adamw_share_out_every_parameter_once(tiny_folder):
    model = load_policy(tiny_folder)
    optimiser = muon_and_adamw(model, replace(FAST, muon_lr=1e-3))
    muon, adamw = ([p for g in part.param_groups for p in g["params"]] for part in optimiser.parts)
    assert sorted(map(id, muon + adamw)) == sorted(map(id, model.parameters()))
    names = {id(p): name for name, p in model.named_parameters()}
    assert muon and all("layers" in names[id(p)] and p.ndim == 2 for p in muon)
    assert not any("layers" in names[id(p)] and p.ndim == 2 for p in adamw)
    for group in optimiser.param_groups:
        group["lr"] *= 0.5  # as a scheduler does
    optimiser.step()
    rates = [group["lr"] for part in optimiser.parts for group in part.param_groups]
    assert rates == [5e-4, 5e-3]


@pytest.mark.slow
def test_muon_and_adamw_learn_together(tiny_folder, tokenizer, tmp_path):
    model, both = load_policy(tiny_folder), replace(FAST, muon_lr=1e-2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    log = train_sft(model, tokenizer, PAIRS, PAIRS[:3], both, tmp_path, progress=False)
    losses = [r["loss"] for r in log if "loss" in r]
    assert losses[-1] < losses[0] / 10
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.slow
def test_a_probe_is_logged_and_changes_nothing(trained, tiny_folder, tokenizer, tmp_path):
    def probe(model):
        return {"drawn": torch.rand(3).sum().item(), "parameters": model.num_parameters()}

    model = load_policy(tiny_folder)
    log = train_sft(model, tokenizer, PAIRS, PAIRS[:3], FAST, tmp_path, False, probe)
    assert [r["step"] for r in log if "drawn" in r] == [0, 30, 60]
    for ours, theirs in zip(model.parameters(), trained[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.slow
def test_the_order_of_the_responses_is_that_of_the_prompts(trained, tokenizer):
    prompts = [p for p, _ in reversed(PAIRS)]
    rollouts = respond(trained[0], tokenizer, prompts, 12, temperature=0, batch_size=2)
    assert [r.text for r in rollouts] == [a for _, a in reversed(PAIRS)]
    for rollout in rollouts:
        assert rollout.response[-1] == tokenizer.eos_token_id
        assert rollout.query[-1] == tokenizer.get_command("<|assistant|>")


def test_sampling_follows_the_softmax(tiny_folder, tokenizer):
    """An untrained policy samples first tokens with the probabilities that it states."""
    model = load_policy(tiny_folder).eval()
    torch.manual_seed(0)
    rollouts = respond(model, tokenizer, ["say one"] * 4000, 1, batch_size=1000)
    with torch.no_grad():
        logits = model(input_ids=rollouts[0].query[None]).logits[0, -1]
    share = torch.bincount(torch.cat([r.response for r in rollouts]), minlength=len(logits)) / 4000
    likely = logits.softmax(-1).topk(5)
    spread = 4 * (likely.values * (1 - likely.values) / 4000).sqrt()
    assert ((share[likely.indices] - likely.values).abs() < spread).all()
    assert (share > 0).sum() > 50  # no top-k cut


def test_a_response_that_never_ends_is_cut(tiny_folder, tokenizer):
    torch.manual_seed(0)
    rollouts = respond(load_policy(tiny_folder), tokenizer, ["say one"] * 4, 3)
    assert all(1 <= len(r.response) <= 3 for r in rollouts)


@pytest.mark.slow
def test_without_progress_nothing_is_printed(tiny_folder, tokenizer, tmp_path, capsys):
    model, few = load_policy(tiny_folder), replace(FAST, steps=10, eval_every=5)
    train_sft(model, tokenizer, PAIRS, [], few, tmp_path, progress=False)
    assert capsys.readouterr().out == ""


def test_nothing_to_train_on_is_a_clear_error(tiny_folder, tokenizer, tmp_path):
    with pytest.raises(ValueError, match="no demonstrations"):
        train_sft(load_policy(tiny_folder), tokenizer, [], [], FAST, tmp_path)


def test_profiles(monkeypatch):
    monkeypatch.delenv("GLM_PPO_PROFILE", raising=False)
    monkeypatch.delenv("GLM_PPO_QUICK", raising=False)
    assert get_profile("tiny") is PROFILES["tiny"]
    default = "chatglm3-6b" if torch.cuda.is_available() else "tiny"
    assert get_profile().name == default
    monkeypatch.setenv("GLM_PPO_PROFILE", "glm-4-9b-chat")
    assert get_profile().name == "glm-4-9b-chat"
    monkeypatch.setenv("GLM_PPO_QUICK", "1")
    assert get_profile("tiny").ppo.steps < PROFILES["tiny"].ppo.steps
    with pytest.raises(ValueError, match="no profile 'huge'; choose one of tiny, chatglm3-6b"):
        get_profile("huge")


def test_quick_keeps_what_is_not_about_size():
    quick = replace(PROFILES["tiny"], dtype="bfloat16").quick()
    assert quick.dtype == "bfloat16"
    assert quick.ppo.policy_lr == PROFILES["tiny"].ppo.policy_lr
