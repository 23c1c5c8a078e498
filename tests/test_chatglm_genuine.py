"""Parity with the published code, where it is installed (it is no dependency).

python -m glm_ppo_utils.labs.versions install deep_training
"""

import copy
import json
import os
import subprocess
import sys
from functools import partial

import pytest
import torch
from peft import LoraConfig, get_peft_model
from sentencepiece import SentencePieceTrainer

from glm_ppo_utils.chatglm import expose_head, load_tokenizer, save_checkpoint
from glm_ppo_utils.chatglm.configuration_chatglm import ChatGLMConfig
from glm_ppo_utils.chatglm.modeling_chatglm import ChatGLMForConditionalGeneration
from glm_ppo_utils.errors import BadInput
from glm_ppo_utils.gradient_checkpointing import turn_on_gradient_checkpointing
from glm_ppo_utils.labs import versions
from glm_ppo_utils.rollout import encode_answer, encode_prompt, respond, stop_ids

FOLDER = versions.overlays_dir() / versions.GENUINE[0]
needs_published_code = pytest.mark.skipif(
    not FOLDER.is_dir(),
    reason=f"published code not installed; run: {versions.install_command('deep_training')}",
)
pytestmark = [pytest.mark.slow, needs_published_code]

SIZES = {
    "num_layers": 3,
    "padded_vocab_size": 96,
    "hidden_size": 48,
    "ffn_hidden_size": 80,
    "kv_channels": 16,
    "num_attention_heads": 6,
    "multi_query_group_num": 3,
    "seq_length": 64,
    "initializer_range": 0.15,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "original_rope": True,
    "torch_dtype": "float32",
}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def pair(monkeypatch):
    """The published model and ours, with the same weights, which both load strictly."""
    monkeypatch.syspath_prepend(str(FOLDER))
    from deep_training.nlp.models.chatglm3 import configuration_chatglm, modeling_chatglm

    torch.manual_seed(0)
    config = ChatGLMConfig(**SIZES)
    ours = ChatGLMForConditionalGeneration(config)
    genuine_config = configuration_chatglm.ChatGLMConfig(**config.to_dict())
    genuine_config.torch_dtype = torch.float32
    genuine = modeling_chatglm.ChatGLMForConditionalGeneration(genuine_config)
    genuine.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(genuine.state_dict(), strict=True)
    return genuine.eval(), ours.eval()


def left_padded(rows: int = 4, width: int = 12) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 96, (rows, width), generator=generator)
    padding = torch.tensor([0, 3, 7, 10])[:rows, None]
    columns = torch.arange(width)
    mask = (columns >= padding).long()
    return {
        "input_ids": ids * mask,
        "attention_mask": mask,
        "position_ids": (columns - padding).clamp(min=0),
    }


def flat(output) -> list[torch.Tensor]:
    caches = [part for layer in output.past_key_values for part in layer]
    return [output.logits, *output.hidden_states, *caches]


@pytest.mark.parametrize("padded", [False, True])
def test_logits_hidden_states_and_cache(pair, padded):
    batch = left_padded()
    if not padded:
        batch = {"input_ids": batch["input_ids"]}
    genuine, ours = (flat(model(**batch, output_hidden_states=True)) for model in pair)
    assert len(genuine) == len(ours) == 1 + 4 + 6
    for one, other in zip(genuine, ours, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


def test_masks_are_equal(pair):
    genuine, ours = pair
    batch = left_padded()
    caches = ours(batch["input_ids"][:, :5]).past_key_values
    rest = batch["input_ids"][:, 5:]
    for ids, past in ((batch["input_ids"], None), (rest, caches)):
        for mask in (None, batch["attention_mask"]):
            one, other = (model.get_masks(ids, past, mask) for model in (genuine, ours))
            assert torch.equal(one.expand_as(other), other)


def test_several_tokens_after_a_cache(pair):
    batch = left_padded()
    logits = []
    for model in pair:
        head = {key: value[:, :7] for key, value in batch.items()}
        past = model(**head).past_key_values
        tail = {key: value[:, 7:] for key, value in batch.items()}
        tail["attention_mask"] = batch["attention_mask"]
        logits.append(model(**tail, past_key_values=past).logits)
    torch.testing.assert_close(*logits, **CLOSE)


def test_loss_and_every_gradient(pair):
    batch = left_padded()
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    losses = [model.train()(**batch, labels=labels).loss for model in pair]
    torch.testing.assert_close(*losses, **CLOSE)
    for loss in losses:
        loss.backward()
    for (name, one), (_, other) in zip(*(m.named_parameters() for m in pair), strict=True):
        torch.testing.assert_close(one.grad, other.grad, **CLOSE, msg=name)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_beams": 3},
        {"use_cache": False},
        {"do_sample": True},
        {"do_sample": True, "top_k": 5},
    ],
    ids=str,
)
def test_generation(pair, options):
    tokens = []
    for model in pair:
        torch.manual_seed(5)
        tokens.append(
            model.generate(**left_padded(), **{"do_sample": False, **options}, max_new_tokens=10)
        )
    assert torch.equal(*tokens)


def test_checkpointed_layers_learn_below_a_lora_adapter(pair):
    """The published code lets no gradient into a layer whose inputs have none."""
    batch = left_padded()
    lora = LoraConfig(r=4, target_modules=["query_key_value"], init_lora_weights=False)
    gradients = []
    for on in (False, True):
        torch.manual_seed(0)
        policy = get_peft_model(copy.deepcopy(pair[0]), lora).train()
        if on:
            turn_on_gradient_checkpointing(policy)
        policy(**batch, labels=batch["input_ids"]).loss.backward()
        gradients.append([p.grad for p in policy.parameters() if p.requires_grad])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


@pytest.fixture
def genuine_tokenizer(monkeypatch, tmp_path):
    """The published tokenizer, on a vocabulary that, as the published one, lacks the commands."""
    monkeypatch.syspath_prepend(str(FOLDER))
    from deep_training.nlp.models.chatglm3.tokenization_chatglm import ChatGLMTokenizer

    texts = iter(["maximize 3 chairs + 4 tables"] * 20)
    prefix = str(tmp_path / "tokenizer")
    SentencePieceTrainer.train(
        sentence_iterator=texts, model_prefix=prefix, vocab_size=60, hard_vocab_limit=False
    )
    return ChatGLMTokenizer(f"{prefix}.model")


def test_the_published_tokenizer_is_saved_so_that_it_loads(pair, genuine_tokenizer, tmp_path):
    """`eos_token` and others are properties without setters there, and saved all the same."""
    folder = save_checkpoint(pair[0], genuine_tokenizer, tmp_path / "policy")
    again = load_tokenizer(folder)
    assert (again.eos_token_id, again.pad_token_id) == (2, 0)
    text = "maximize 3 chairs"
    assert again.encode(text) == genuine_tokenizer.encode(text)


def test_three_things_that_our_tokenizer_does_otherwise(genuine_tokenizer, tmp_path):
    """As the docstring of ours says."""
    user = genuine_tokenizer.get_command("<|user|>")
    assert "<|user|>" in genuine_tokenizer.decode([user, 5])
    genuine_tokenizer.padding_side = "right"
    with pytest.raises(AssertionError, match="^$"):
        genuine_tokenizer(["maximize 3", "4"], padding=True)
    genuine_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(AttributeError, match="eos_token|can't set"):
        type(genuine_tokenizer).from_pretrained(tmp_path)


def test_what_the_published_tokenizer_saved_itself_is_read(pair, genuine_tokenizer, tmp_path):
    """It is not mended on writing here, as in `test_the_published_tokenizer_is_saved...`."""
    folder = save_checkpoint(pair[0], genuine_tokenizer, tmp_path / "policy")
    genuine_tokenizer.padding_side = "right"
    genuine_tokenizer.save_pretrained(folder)  # writes eos_token again, and padding_side
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert {"eos_token", "padding_side"} <= config.keys()
    config["auto_map"] = {"AutoTokenizer": ["tokenization_chatglm.ChatGLMTokenizer", None]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    again = load_tokenizer(folder)
    assert again(["maximize 3 chairs", "4"], padding=True)["attention_mask"][1][0] == 0
    with pytest.raises(BadInput, match="id that is taken"):
        again.add_tokens(["<new>"])


def test_a_role_ends_an_answer(genuine_tokenizer):
    assert genuine_tokenizer.get_command("<|user|>") in stop_ids(genuine_tokenizer)


def test_the_published_code_leaves_a_missing_head_uninitialised(pair, tmp_path, monkeypatch):
    """Notebook 04 says so. Memory is filled with NaN here: what was there before shows."""
    folder = tmp_path / "headless"
    weights = pair[0].state_dict()
    del weights["transformer.output_layer.weight"]
    pair[0].save_pretrained(folder, state_dict=weights)
    for name in ("empty", "empty_like"):
        make = getattr(torch, name)
        nan = partial(lambda make, *a, **k: make(*a, **k).fill_(float("nan")), make)
        monkeypatch.setattr(torch, name, nan)
    models = [type(model).from_pretrained(folder, torch_dtype=torch.float32) for model in pair]
    published, ours = (model.transformer.output_layer.weight for model in models)
    assert published.isnan().all()
    assert 0.1 < ours.std() < 0.2  # `initializer_range`


def test_the_published_vocabulary_can_be_resized(pair):
    """Its code has no setter for either embedding."""
    genuine, _ = pair
    expose_head(genuine)
    genuine.resize_token_embeddings(104)
    assert genuine.config.padded_vocab_size == 104
    assert genuine(left_padded()["input_ids"]).logits.shape[-1] == 104


def test_a_role_that_ends_an_answer_is_no_part_of_it(genuine_tokenizer):
    """The published tokenizer does not count the roles as special tokens."""
    ids = encode_answer(genuine_tokenizer, "maximize 3 chairs")[:-1]
    ids.append(genuine_tokenizer.get_command("<|user|>"))
    prompt = len(encode_prompt(genuine_tokenizer, "a problem"))

    class Answers(torch.nn.Linear):
        def generate(self, input_ids, **_):
            return torch.cat([input_ids, torch.tensor([ids])], dim=1)

    rollout = respond(Answers(1, 1), genuine_tokenizer, ["a problem"], 32)[0]
    assert rollout.text == "maximize 3 chairs"
    assert rollout.response.tolist() == ids and len(rollout.query) == prompt


SCRIPT = """
import json, sys, torch
from importlib import import_module
sizes, batches = json.loads(sys.argv[1])
sizes["torch_dtype"] = torch.float32
for package in "deep_training.nlp.models.chatglm3", "glm_ppo_utils.chatglm":
    config = import_module(f"{package}.configuration_chatglm").ChatGLMConfig(**sizes)
    code = import_module(f"{package}.modeling_chatglm")
    model = code.ChatGLMForConditionalGeneration(config)
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    for batch in batches:
        batch = {key: torch.tensor(value) for key, value in batch.items()}
        try:
            # An answer that ended with its first token would never read the cache.
            model.generate(**batch, do_sample=False, min_new_tokens=5, max_new_tokens=5)
            print("ok")
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize("transformers", versions.LIVE)
def test_same_failures_under_newer_transformers(transformers, tmp_path):
    """Generating for one prompt and for a padded batch, the published code and ours."""
    if not versions.is_installed(transformers):
        pytest.skip(f"run: {versions.install_command(transformers)}")
    batches = [left_padded(1), left_padded()]
    batches = [{key: value.tolist() for key, value in batch.items()} for batch in batches]
    sizes = {**SIZES, "multi_query_attention": True, "add_qkv_bias": True}
    environment = versions._environment(transformers, str(tmp_path))
    environment["PYTHONPATH"] += os.pathsep + str(FOLDER)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([sizes, batches])],
        env=environment,
        capture_output=True,
        text=True,
    )
    outcomes = done.stdout.splitlines()
    assert len(outcomes) == 4, done.stderr
    assert outcomes[:2] == outcomes[2:]
    assert (outcomes[0] == "ok") is (transformers == "4.40.0")
