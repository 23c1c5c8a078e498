"""Checkpoint folders, the head and the layout of the values."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import SIZES
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)
from trl import AutoModelForCausalLMWithValueHead, create_reference_model

from glm_ppo_utils.chatglm import (
    CheckpointError,
    add_value_head,
    expose_head,
    gradient_checkpointing_is_on,
    hidden_states_are_sequence_first,
    hub,
    load_policy,
    load_tokenizer,
    loading,
    save_checkpoint,
    write_checkpoint,
)
from glm_ppo_utils.chatglm.configuration_chatglm import ChatGLMConfig
from glm_ppo_utils.chatglm.modeling_chatglm import ChatGLMForConditionalGeneration

LORA = {"r": 2, "lora_alpha": 4, "target_modules": ["query_key_value"]}


@pytest.fixture(scope="module")
def saved(tiny_folder) -> Path:
    """A checkpoint folder; tests copy it before they harm it."""
    return tiny_folder


@pytest.fixture
def policy(saved):
    return load_policy(saved, dtype="float32").eval()


def fresh_model(**changes) -> ChatGLMForConditionalGeneration:
    torch.manual_seed(0)
    config = ChatGLMConfig(**SIZES, padded_vocab_size=50, eos_token_id=2, pad_token_id=0, **changes)
    return ChatGLMForConditionalGeneration(config).eval()


def batch(rows: int = 2, length: int = 5) -> torch.Tensor:
    return torch.arange(rows * length).view(rows, length) % 40 + 3


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


class BatchFirst(ChatGLMForConditionalGeneration):
    """GLM-4's layout under ChatGLM's model type."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        if output.hidden_states is not None:
            output.hidden_states = tuple(state.transpose(0, 1) for state in output.hidden_states)
        return output


# -- initialisation ---------------------------------------------------------------------------


def test_every_parameter_is_initialised_from_the_seed(monkeypatch):
    """Filling memory with NaN first would show through wherever a constructor leaves it alone."""
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, **k: empty(*a, **k).fill_(float("nan")))
    first, second = fresh_model(), fresh_model()
    for name, parameter in first.named_parameters():
        assert torch.isfinite(parameter).all(), name
        if "layernorm" in name:
            assert torch.all(parameter == 1), name
        elif name.endswith("bias"):
            assert torch.all(parameter == 0), name
        else:
            assert 0.015 < parameter.std() < 0.025, name
    assert same(first.state_dict(), second.state_dict())


def test_writing_a_checkpoint_leaves_the_random_state(saved, tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    write_checkpoint(tmp_path / "m", SIZES, saved / "tokenizer.model", seed=1)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    "change", [{"rmsnorm": False}, {"multi_query_group_num": 3}, {"pre_seq_len": 8}]
)
def test_configuration_refuses_what_is_not_implemented(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        ChatGLMConfig(**{**SIZES, **change})


# -- folders ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_folder_loads_like_a_published_checkpoint(saved):
    """By transformers alone, in a process that cannot import this package's modules."""
    script = (
        "import sys, torch; sys.modules['glm_ppo_utils'] = None\n"
        "from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer\n"
        f"load = dict(pretrained_model_name_or_path={str(saved)!r}, trust_remote_code=True)\n"
        "tokenizer = AutoTokenizer.from_pretrained(**load)\n"
        "batch = tokenizer(['maximize 3 chairs', 'end'], padding=True, return_tensors='pt')\n"
        "for auto in AutoModel, AutoModelForCausalLM:\n"
        "    model = auto.from_pretrained(**load)\n"
        "    shape = model(**batch).logits.shape[:2]\n"
        "    print(type(model).__name__, shape == batch.input_ids.shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["ChatGLMForConditionalGeneration", "True"] * 2, done.stderr


def test_saved_folder_is_complete_and_names_no_path(saved, policy, tmp_path):
    folder = save_checkpoint(policy, load_tokenizer(saved), tmp_path / "again")
    assert {path.name for path in folder.iterdir()} == {path.name for path in saved.iterdir()}
    config = json.loads((folder / "config.json").read_text())
    for target in config["auto_map"].values():
        assert (folder / f"{target.split('.')[0]}.py").is_file()
    for path in folder.glob("*.json"):
        assert str(saved.parent) not in path.read_text()


def test_save_and_reload_is_bit_equal_and_replaces_the_folder(saved, policy, tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "stale.txt").write_text("of an earlier run")
    with torch.no_grad():
        policy.transformer.output_layer.weight.add_(1.0)
    save_checkpoint(policy, load_tokenizer(saved), target)
    assert same(load_policy(target).state_dict(), policy.state_dict())
    assert load_tokenizer(target)("end").input_ids == load_tokenizer(saved)("end").input_ids
    assert os.listdir(tmp_path) == ["out"] and not (target / "stale.txt").exists()


def test_failed_save_leaves_the_old_folder(saved, policy, tmp_path, monkeypatch):
    target = save_checkpoint(policy, None, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in target.iterdir()}

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(policy), "save_pretrained", full_disk)
    with pytest.raises(CheckpointError, match="No space left on device"):
        save_checkpoint(policy, None, target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert os.listdir(tmp_path) == ["out"]


def test_folders_of_one_name_keep_their_own_code(saved, tmp_path):
    """Two folders called ``policy``, one with other code, loaded in turn and both used after."""
    right, wrong = "even * cos - odd * sin", "even * cos + odd * sin"
    other = tmp_path / "policy"
    shutil.copytree(saved, other)
    code = other / "modeling_chatglm.py"
    original = code.read_text()
    code.write_text(original.replace(right, wrong))
    first, second, third = load_policy(saved), load_policy(other), load_policy(saved)
    ids = batch()
    assert torch.equal(first(ids).logits, third(ids).logits)
    assert not torch.equal(first(ids).logits, second(ids).logits)
    # each is saved with the code it was loaded with
    for model, line in ((first, right), (second, wrong)):
        folder = save_checkpoint(model, None, tmp_path / "again")
        assert line in (folder / "modeling_chatglm.py").read_text()
    # the same folder with its code changed back at once: same size, same second
    code.write_text(original)
    assert torch.equal(load_policy(other)(ids).logits, first(ids).logits)


def plain_load(folder: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)


@pytest.mark.slow
def test_plain_loading_works_before_and_after(saved, tmp_path):
    """Ours and ``from_pretrained`` in turn, on folders of two names; nothing of ours is left.

    The code imports a file of its own, as ChatGLM's published code does.
    """
    for name in ("one", "other"):
        shutil.copytree(saved, tmp_path / name)
        (tmp_path / name / "helper.py").write_text("ANSWER = 42\n")
        with (tmp_path / name / "modeling_chatglm.py").open("a") as code:
            code.write("\nfrom .helper import ANSWER\n")
    script = (
        "import sys, torch\n"
        "from transformers import AutoModelForCausalLM\n"
        "from glm_ppo_utils.chatglm import load_policy, save_checkpoint\n"
        "def plain(folder):\n"
        "    return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)\n"
        "ids = torch.arange(6)[None]\n"
        "one, other = sys.argv[1:]\n"
        "loads = (load_policy, one), (plain, other), (load_policy, other), (plain, one)\n"
        "models = [load(folder).eval() for load, folder in loads]\n"
        "print([torch.equal(model(ids).logits, models[0](ids).logits) for model in models])\n"
        "print([path for path in sys.path if 'chatglm-code-' in path])\n"
        "load_policy(save_checkpoint(models[0], None, one))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "one"), str(tmp_path / "other")],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HOME": str(tmp_path / "home")},
    )
    assert done.stdout.splitlines() == ["[True, True, True, True]", "[]"], done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("load", [load_policy, plain_load])
def test_first_policy_still_checkpoints_after_a_second_was_loaded(saved, load):
    first = load(saved)
    load(saved)
    first.gradient_checkpointing_enable()
    assert gradient_checkpointing_is_on(first)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fresh", "unusable"])
def test_another_cache_for_code(saved, tmp_path, kind):
    """An empty HF_HOME works, and so does one in which nothing can be made."""
    home = tmp_path / "home"
    if kind == "unusable":
        home.write_text("a file where a folder should be: not even root can write below it")
    script = (
        "from glm_ppo_utils.chatglm import load_policy, load_tokenizer\n"
        f"load_tokenizer({str(saved)!r}); print(load_policy({str(saved)!r}).lm_head.out_features)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HOME": str(home)},
    )
    size = load_tokenizer(saved).vocab_size
    assert done.stdout.strip() == str(size), done.stderr


# -- errors -----------------------------------------------------------------------------------


@pytest.fixture
def broken(saved, tmp_path) -> Path:
    folder = tmp_path / "broken"
    shutil.copytree(saved, folder)
    return folder


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)


def drop_tensor(path: Path) -> None:
    weights = load_file(path)
    del weights["transformer.output_layer.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    (path.parent / "SHA256SUMS").unlink()


def widen(path: Path) -> None:
    config = path.parent / "config.json"
    config.write_text(config.read_text().replace('"hidden_size": 32', '"hidden_size": 40'))


@pytest.mark.parametrize(
    "name, harm, message",
    [
        ("model.safetensors", cut, "damaged or cut short"),
        ("model.safetensors", flip, "SHA-256"),
        ("model.safetensors", Path.unlink, "weights are missing"),
        ("model.safetensors", drop_tensor, "lacks the weights of transformer.output_layer.weight"),
        ("model.safetensors", widen, "other shapes"),
        ("config.json", Path.unlink, "no config.json"),
        ("config.json", cut, "config.json' is not a valid JSON file"),
        ("modeling_chatglm.py", Path.unlink, "modeling_chatglm.py"),
    ],
)
def test_harmed_folder(broken, name, harm, message):
    harm(broken / name)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_policy(broken)
    assert "\n" not in str(caught.value) and str(broken) in str(caught.value)


@pytest.mark.parametrize(
    "harm, message", [(Path.unlink, "vocabulary"), (cut, "tokenizer.model in .* is damaged")]
)
def test_tokenizer_without_a_good_vocabulary(broken, harm, message):
    harm(broken / "tokenizer.model")
    with pytest.raises(CheckpointError, match=message):
        load_tokenizer(broken)


@pytest.mark.parametrize("path", ["/nowhere/at/all", "./nowhere", Path("nowhere")])
def test_missing_folder(path):
    for load in (load_policy, load_tokenizer):
        with pytest.raises(CheckpointError, match="no checkpoint folder"):
            load(path)


def test_folder_name_with_a_dot(saved, tmp_path):
    folder = tmp_path / "step-0.5"
    shutil.copytree(saved, folder)
    with pytest.raises(CheckpointError, match="rename it"):
        load_policy(folder)


def test_unknown_dtype(saved):
    with pytest.raises(ValueError, match="'float31' is unknown"):
        load_policy(saved, dtype="float31")


def test_offline_hub(monkeypatch):
    import huggingface_hub.utils._http as http
    import requests

    def no_network(*args, **kwargs):
        raise requests.exceptions.ConnectionError("no network in this test")

    monkeypatch.setattr(http, "http_backoff", no_network)
    monkeypatch.setattr(http.get_session().__class__, "request", no_network)
    for load in (load_policy, load_tokenizer):
        with pytest.raises(CheckpointError, match="go online"):
            load("nobody/nothing")


def test_size_is_stated_before_a_download_and_must_fit(monkeypatch, capsys):
    name, revision = "zai-org/chatglm3-6b", hub.PUBLISHED["zai-org/chatglm3-6b"].revision
    monkeypatch.setattr(hub, "_free_bytes", lambda folder: 5e9)
    with pytest.raises(CheckpointError, match="needs 12.5 GB .* where 5.0 GB are free"):
        load_policy(name)
    monkeypatch.setattr(hub, "_free_bytes", lambda folder: 50e9)
    hub.check_disk(name, revision)
    assert "12.5 GB to download" in capsys.readouterr().out


@pytest.mark.slow
def test_published_sizes_are_those_of_the_architecture():
    with torch.device("meta"):
        count = sum(
            p.numel() for p in ChatGLMForConditionalGeneration(ChatGLMConfig()).parameters()
        )
    assert count == 6_243_584_000
    assert hub.PUBLISHED["THUDM/chatglm3-6b"].size == pytest.approx(2 * count, rel=0.01)


def test_out_of_memory(saved, monkeypatch):
    def fail(*args, **kwargs):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(CheckpointError, match="does not fit into memory"):
        load_policy(saved)


@pytest.mark.parametrize("name, revision", [(n, p.revision) for n, p in hub.PUBLISHED.items()])
def test_default_revision(name, revision, monkeypatch):
    asked = {}

    def record(name, revision, **kwargs):
        asked[name] = revision
        raise OSError("stop here")

    monkeypatch.setattr(loading, "_check", lambda *args: {})
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", record)
    for given in (None, "main"):
        with pytest.raises(CheckpointError):
            load_policy(name, given)
        assert asked[name] == (given or revision)


# -- dtype ------------------------------------------------------------------------------------


def test_dtype_of_the_configuration_does_not_win(broken):
    """Trap: transformers alone takes ChatGLM's float16; `load_policy` does not."""
    config = broken / "config.json"
    config.write_text(config.read_text().replace('"float32"', '"float16"'))
    plain = AutoModelForCausalLM.from_pretrained(broken, trust_remote_code=True)
    assert plain.dtype == torch.float16
    assert load_policy(broken).dtype == (
        torch.bfloat16 if torch.cuda.is_available() else torch.float32
    )
    assert load_policy(broken, dtype="bfloat16").dtype == torch.bfloat16


# -- the head ---------------------------------------------------------------------------------


@pytest.fixture
def bare(monkeypatch) -> ChatGLMForConditionalGeneration:
    """A model whose class has no head exposed, neither by other tests nor for them."""
    for name in ("lm_head", "get_output_embeddings", "set_output_embeddings"):
        if name in vars(ChatGLMForConditionalGeneration):
            monkeypatch.delattr(ChatGLMForConditionalGeneration, name)
    cls = type("Bare", (ChatGLMForConditionalGeneration,), {})
    return cls(fresh_model().config).eval()


def test_trl_finds_no_head(bare):
    with pytest.raises(ValueError, match="does not have a language model head"):
        AutoModelForCausalLMWithValueHead.from_pretrained(bare)


def test_moving_the_head_breaks_forward_and_the_checkpoint(bare, tmp_path):
    model = bare
    model.lm_head = model.transformer.output_layer
    del model.transformer.output_layer
    AutoModelForCausalLMWithValueHead.from_pretrained(model)
    with pytest.raises(AttributeError, match="no attribute 'output_layer'"):
        model(batch())
    folder = save_checkpoint(model, None, tmp_path / "moved")
    with pytest.raises(CheckpointError, match="lacks the weights of transformer.output_layer"):
        load_policy(folder)


def test_an_alias_cannot_be_saved(bare, tmp_path):
    model = bare
    model.lm_head = model.transformer.output_layer
    with pytest.raises(RuntimeError, match="shared tensors"):
        model.save_pretrained(tmp_path)


def test_property_changes_nothing_but_the_name(bare, tmp_path):
    model = bare
    before, names = model.state_dict(), [name for name, _ in model.named_modules()]
    expose_head(model)
    assert model.lm_head is model.transformer.output_layer is model.get_output_embeddings()
    assert [name for name, _ in model.named_modules()] == names
    assert same(model.state_dict(), before)
    clone = copy.deepcopy(model)
    assert clone.lm_head is clone.transformer.output_layer is not model.lm_head
    model.save_pretrained(tmp_path)
    assert same(load_file(tmp_path / "model.safetensors"), before)


def test_reference_model_has_a_head_of_its_own(policy):
    reference = create_reference_model(add_value_head(policy))
    assert reference.pretrained_model.lm_head is not policy.lm_head
    with torch.no_grad():
        policy.lm_head.weight.zero_()
    assert reference.pretrained_model.lm_head.weight.any()
    assert reference(batch())[2].shape == (2, 5)


def test_lora_trains_the_attention_and_keeps_the_head(saved, tmp_path):
    policy = load_policy(saved, lora=LORA)
    wrapped = add_value_head(policy)
    logits, _, values = wrapped(batch())
    assert wrapped.is_peft_model and values.shape == (2, 5)
    (logits.sum() + values.sum()).backward()
    trained = {name for name, p in wrapped.named_parameters() if p.grad is not None}
    assert all("lora_" in name or "v_head" in name for name in trained)
    assert any("query_key_value.lora_B" in name for name in trained)
    assert policy.lm_head is policy.get_base_model().transformer.output_layer


def test_adapter_save_and_reload(saved, tmp_path):
    policy = load_policy(saved, lora=LORA).eval()
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    expected = policy(batch()).logits
    assert not torch.equal(expected, load_policy(saved).eval()(batch()).logits)
    folder = save_checkpoint(add_value_head(policy), None, tmp_path / "adapter")
    assert not (folder / "model.safetensors").exists()
    again = load_policy(folder).eval()
    assert torch.equal(again(batch()).logits, expected)
    assert any(p.requires_grad for p in again.parameters())


def test_lora_defaults_and_refusals(saved):
    assert load_policy(saved, lora={"r": 2}).peft_config["default"].target_modules == {
        "query_key_value"
    }
    with pytest.raises(ValueError, match="output_layer"):
        load_policy(saved, lora={**LORA, "modules_to_save": ["lm_head"]})


def test_peft_would_ignore_the_head(saved):
    """Trap: what the refusal above is about. The property is no module that PEFT walks over."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(**LORA, modules_to_save=["lm_head"])
    model = get_peft_model(load_policy(saved), config)
    assert not model.lm_head.weight.requires_grad
    config = LoraConfig(**LORA, modules_to_save=["output_layer"])
    model = get_peft_model(load_policy(saved), config)
    assert any("output_layer" in name for name, p in model.named_parameters() if p.requires_grad)


@pytest.fixture(params=["gpt2", "llama"])
def control(request):
    torch.manual_seed(0)
    if request.param == "gpt2":
        config = GPT2Config(vocab_size=50, n_positions=64, n_embd=32, n_layer=2, n_head=2)
        return GPT2LMHeadModel(config).eval()
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
        )
    ).eval()


def test_other_models_pass_untouched(control, tmp_path):
    folder = save_checkpoint(control, None, tmp_path / "control")
    assert not list(folder.glob("*.py"))
    loaded = load_policy(folder).eval()
    assert type(loaded) is type(control) and not isinstance(
        type(loaded).__dict__.get("lm_head"), property
    )
    wrapped = add_value_head(loaded, zero_init=False)
    assert type(wrapped) is AutoModelForCausalLMWithValueHead
    plain = AutoModelForCausalLMWithValueHead.from_pretrained(control)
    plain.v_head = wrapped.v_head
    wrapped.eval(), plain.eval()
    assert torch.equal(wrapped(batch())[2], plain(batch())[2])


# -- the layout -------------------------------------------------------------------------------


@pytest.mark.parametrize("rows, length", [(2, 5), (5, 2), (4, 4)])
@pytest.mark.parametrize("make", [fresh_model, lambda: BatchFirst(fresh_model().config).eval()])
def test_values_are_batch_first(make, rows, length):
    """Each value is the head of its own token's state, square batches included."""
    wrapped = add_value_head(make(), zero_init=False).eval()
    ids = batch(rows, length)
    values = wrapped(ids)[2]
    assert values.shape == (rows, length)
    for row in range(rows):
        alone = wrapped(ids[row : row + 1])[2]
        torch.testing.assert_close(values[row : row + 1], alone, rtol=1e-5, atol=1e-6)


def test_square_batch_is_silently_transposed_without_the_fix(bare):
    model = bare
    expose_head(model)
    plain = AutoModelForCausalLMWithValueHead.from_pretrained(model).eval()
    fixed = add_value_head(model).eval()
    fixed.v_head = plain.v_head
    ids = batch(4, 4)
    assert plain(batch(2, 5))[2].shape == (5, 2)  # loud: no PPO loss accepts it
    assert plain(ids)[2].shape == fixed(ids)[2].shape  # silent
    assert torch.equal(plain(ids)[2], fixed(ids)[2].T)


def test_layout_probe():
    assert hidden_states_are_sequence_first(fresh_model())
    assert not hidden_states_are_sequence_first(BatchFirst(fresh_model().config))
    model = fresh_model().train()
    hidden_states_are_sequence_first(model)
    assert model.training


# -- other traps ------------------------------------------------------------------------------


def test_left_padding_needs_its_mask(saved):
    policy, tokenizer = load_policy(saved).eval(), load_tokenizer(saved)
    padded = tokenizer(["end", "maximize 3 chairs + 5 tables"], padding=True, return_tensors="pt")
    alone = policy(tokenizer(["end"], return_tensors="pt").input_ids).logits[0]
    length = len(alone)
    with_mask = policy(**padded).logits[0, -length:]
    only_mask = policy(padded.input_ids, attention_mask=padded.attention_mask).logits[0, -length:]
    without = policy(padded.input_ids).logits[0, -length:]
    torch.testing.assert_close(with_mask, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(only_mask, alone, rtol=1e-4, atol=1e-5)  # RoPE is relative
    assert (without - alone).abs().max() > 1e-3


class Deaf(ChatGLMForConditionalGeneration):
    """Like the revisions of 2024: the switch is accepted and nothing looks at it."""

    def _set_gradient_checkpointing(self, module, value=False):
        module.unread_switch = value


@pytest.mark.parametrize("cls, works", [(ChatGLMForConditionalGeneration, True), (Deaf, False)])
def test_gradient_checkpointing_is_seen_to_work(cls, works):
    model = cls(fresh_model().config)
    assert not gradient_checkpointing_is_on(model)
    model.gradient_checkpointing_enable()
    model(batch(), labels=batch()).loss.backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    assert gradient_checkpointing_is_on(model) is works
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))


def test_gradient_checkpointing_of_other_models_is_seen(control):
    """The reentrant kind, which is the default there."""
    assert not gradient_checkpointing_is_on(control)
    control.gradient_checkpointing_enable()
    assert gradient_checkpointing_is_on(control)


def test_gradient_checkpointing_changes_no_gradient():
    gradients = []
    for enable in (False, True):
        model = fresh_model().train()
        if enable:
            model.gradient_checkpointing_enable()
        model(batch(), labels=batch()).loss.backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)
