"""Every vintage of ChatGLM works, or one line says what to do. See `imitations`."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from imitations import (
    FIXED,
    LATE,
    MODEL,
    NEW_UPDATE,
    NO_BUILDER,
    NO_SPECIAL,
    OLD_UPDATE,
    ROUNDS,
    TEMPLATE,
    TOKENIZER,
    UNCOUNTED,
    appended,
    imitation,
)
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, GenerationMixin

from glm_ppo_utils.chatglm import (
    CheckpointError,
    add_value_head,
    check_checkpoint,
    load_policy,
    load_tokenizer,
    patch_generation,
    save_checkpoint,
)
from glm_ppo_utils.chatglm.compat import generation_misfit
from glm_ppo_utils.chatglm.hub import PUBLISHED
from glm_ppo_utils.errors import BadInput
from glm_ppo_utils.gradient_checkpointing import turn_on_gradient_checkpointing
from glm_ppo_utils.profiles import SFTSettings
from glm_ppo_utils.rollout import encode_answer, encode_prompt, stop_ids
from glm_ppo_utils.sft import train_sft

LORA = {"r": 2, "target_modules": ["query_key_value"]}
IDS = torch.arange(10).view(2, 5) + 3


def one_line(error: pytest.ExceptionInfo) -> str:
    """The message of an error, which must be a single line."""
    message = str(error.value)
    assert "\n" not in message
    return message


# -- what the code imports --------------------------------------------------------------------


@pytest.mark.parametrize("name, load", [(TOKENIZER, load_tokenizer), (MODEL, load_policy)])
def test_a_package_that_the_code_imports_is_named(tiny_folder, tmp_path, name, load):
    old = (tiny_folder / name).read_text().split("\n\n", 1)[0]
    folder = imitation(
        tiny_folder, tmp_path / "glm4", (name, old, f"{old}\n\nimport package_nobody_has\n")
    )
    with pytest.raises(CheckpointError, match="pip install package_nobody_has") as error:
        load(folder)
    assert str(folder) in one_line(error)


def test_code_of_a_later_transformers_is_said_to_be_that(tiny_folder, tmp_path):
    line = "from transformers import PreTrainedModel\n"
    later = line + "from transformers.cache_utils import EncoderDecoderCache\n"
    folder = imitation(tiny_folder, tmp_path / "late", (MODEL, line, later))
    with pytest.raises(CheckpointError, match="another transformers than 4.40.0") as error:
        load_policy(folder)
    assert "EncoderDecoderCache" in one_line(error)


def test_what_glm4_imports_is_installed():
    import tiktoken

    ranks = {bytes([i]): i for i in range(256)}
    options = {"pat_str": r"\S+|\s+", "mergeable_ranks": ranks, "special_tokens": {}}
    encoding = tiktoken.Encoding("tiny", **options)
    assert encoding.decode(encoding.encode("max 3 x")) == "max 3 x"


# -- code that takes the cache as a pair ------------------------------------------------------


@pytest.fixture
def pair_folder(tiny_folder, tmp_path) -> Path:
    return imitation(tiny_folder, tmp_path / "pair", (MODEL, OLD_UPDATE, NEW_UPDATE))


def generate(model) -> torch.Tensor:
    return model.generate(input_ids=IDS, do_sample=False, max_new_tokens=4, min_new_tokens=4)


def test_code_after_the_change_is_patched_with_one_line(tiny_folder, pair_folder):
    with pytest.warns(UserWarning, match="patch_generation.*pair.*4.42") as caught:
        patched = load_policy(pair_folder)
    assert "\n" not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        plain = load_policy(tiny_folder)
    assert "_update_model_kwargs_for_generation" not in vars(plain)  # nothing to mend
    assert torch.equal(generate(patched), generate(plain))


def test_the_reverse_failure_is_foretold(pair_folder):
    model = AutoModelForCausalLM.from_pretrained(pair_folder, trust_remote_code=True)
    assert "too many values to unpack" in generation_misfit(model)
    with pytest.raises(ValueError, match="too many values to unpack"):
        generate(model)
    patch_generation(model)
    assert generation_misfit(model) is None
    generate(model)


def pair(self, outputs, standardize_cache_format=False):
    return "past_key_values", outputs.past_key_values


def no_such_argument(self, outputs):
    return "past_key_values", outputs.past_key_values


@pytest.mark.parametrize(
    "later, reason", [(pair, "too many values"), (no_such_argument, "standardize_cache_format")]
)
def test_code_before_the_change_under_a_later_transformers(tiny_folder, monkeypatch, later, reason):
    """As transformers 4.42 and 4.44 have the method that this code calls."""
    monkeypatch.setattr(GenerationMixin, "_extract_past_from_model_output", later)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, trust_remote_code=True)
    assert reason in generation_misfit(model) and "up to 4.41" in generation_misfit(model)
    with pytest.warns(UserWarning, match="patched in memory"):
        load_policy(tiny_folder)


def test_a_misfit_that_cannot_be_patched_is_said(pair_folder, monkeypatch):
    monkeypatch.setattr("glm_ppo_utils.chatglm.compat.PATCH_TESTED", ("4.41.0", "4.41.0"))
    with pytest.warns(UserWarning, match="cannot generate"):
        load_policy(pair_folder)


# -- the chat format --------------------------------------------------------------------------


def roles(tokenizer, ids: list[int]) -> list[str]:
    return [t for t in tokenizer.convert_ids_to_tokens(ids) if t.startswith("<|")]


def test_a_template_in_the_tokenizers_code_is_used(tiny_folder, tmp_path):
    folder = imitation(tiny_folder, tmp_path / "glm4", NO_BUILDER, appended(TOKENIZER, TEMPLATE))
    tokenizer = load_tokenizer(folder)
    ids = encode_prompt(tokenizer, "say one")
    assert roles(tokenizer, ids) == ["<|user|>", "<|assistant|>"]
    assert ids == encode_prompt(load_tokenizer(tiny_folder), "say one")


@pytest.mark.parametrize("shape", ["ids", "[ids]", "torch.tensor([ids])", "{'input_ids': [ids]}"])
def test_prompts_come_out_flat(tiny_folder, tmp_path, shape):
    template = TEMPLATE.replace("return [ids", "ids = (ids").replace(
        "* add_generation_prompt]", f"* add_generation_prompt)\n        return {shape}"
    )
    folder = imitation(
        tiny_folder,
        tmp_path / "glm4",
        (TOKENIZER, "import shutil\n", "import shutil\nimport torch\n"),
        NO_BUILDER,
        NO_SPECIAL,
        appended(TOKENIZER, template),
    )
    ids = encode_prompt(load_tokenizer(folder), "say one")
    assert ids == encode_prompt(load_tokenizer(tiny_folder), "say one")


def test_chatglm2_gets_its_rounds(tiny_folder, tmp_path):
    folder = imitation(tiny_folder, tmp_path / "glm2", NO_BUILDER, appended(TOKENIZER, ROUNDS))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.decode(encode_prompt(tokenizer, "say one")).startswith("[Round 1]\n\n问：say")
    assert tokenizer.decode(encode_answer(tokenizer, "one")[:-1]) == "one"  # no role, no new line


def test_a_chatglm_without_a_format_is_refused(tiny_folder, tmp_path):
    tokenizer = load_tokenizer(imitation(tiny_folder, tmp_path / "bare", NO_BUILDER))
    with pytest.raises(BadInput, match="no chat format") as error:
        encode_prompt(tokenizer, "say one")
    one_line(error)


def test_another_turn_ends_an_answer_though_the_vocabulary_lacks_the_role(tiny_folder, tmp_path):
    nothing = {"additional_special_tokens": None, "added_tokens_decoder": None}
    uncounted = NO_SPECIAL, appended(TOKENIZER, UNCOUNTED)
    folder = imitation(tiny_folder, tmp_path / "glm3", *uncounted, tokenizer_config=nothing)
    (folder / "special_tokens_map.json").unlink()
    tokenizer = load_tokenizer(folder)
    assert "<|user|>" not in tokenizer.get_vocab()
    assert tokenizer.get_command("<|user|>") in stop_ids(tokenizer)


# -- vintages that cannot work ----------------------------------------------------------------


def test_a_tokenizer_that_sets_its_vocabulary_too_late(tiny_folder, tmp_path):
    changes = {"auto_map": {"AutoTokenizer": ["tokenization_chatglm.ChatGLM2Tokenizer", None]}}
    late = appended(TOKENIZER, LATE)
    folder = imitation(tiny_folder, tmp_path / "glm2", late, tokenizer_config=changes)
    with pytest.raises(CheckpointError, match=r"self.tokenizer above super\(\).__init__") as error:
        load_tokenizer(folder)
    assert str(folder) in one_line(error)
    code = (folder / TOKENIZER).read_text()  # the repair that the line names
    first = "        super().__init__(**kwargs)\n"
    second = "        self.tokenizer = SentencePieceProcessor(model_file=vocab_file)\n"
    assert first + second in code
    (folder / TOKENIZER).write_text(code.replace(first + second, second + first))
    assert len(load_tokenizer(folder)) > 9


SEQ2SEQ = {"AutoModelForSeq2SeqLM": "modeling_chatglm.ChatGLMForConditionalGeneration"}


@pytest.mark.parametrize(
    "config, message",
    [
        ({"position_encoding_2d": True}, "first ChatGLM-6B.*attention mask"),
        ({"auto_map": SEQ2SEQ}, '"AutoModelForCausalLM": "modeling_chatglm.ChatGLMFor'),
        ({"model_type": "glm", "auto_map": None}, "type glm.*4.40.0.*transformers 4.46"),
        ({"model_type": "glm4", "auto_map": None}, "type glm4.*transformers 4.51"),
        ({"model_type": "glm5", "auto_map": None}, "type glm5.*later transformers"),
        ({"quantization_bit": 4}, "quantised"),
        ({"quantization_config": {"load_in_4bit": True}}, "quantised"),
    ],
)
def test_a_vintage_that_does_not_run_says_what_it_needs(tiny_folder, tmp_path, config, message):
    folder = imitation(tiny_folder, tmp_path / "old", config=config)
    for load in (load_policy, check_checkpoint):
        with pytest.raises(CheckpointError, match=message) as error:
            load(folder)
        assert str(folder) in one_line(error)


@pytest.mark.parametrize("kept", [{"auto_map": None}, {"auto_map": None, "tokenizer_class": None}])
def test_a_tokenizer_class_without_its_file(tiny_folder, tmp_path, kept):
    folder = imitation(tiny_folder, tmp_path / "lost", tokenizer_config=kept)
    with pytest.raises(CheckpointError, match="in which file its tokenizer's class is") as error:
        load_tokenizer(folder)
    one_line(error)


def test_the_tokenizer_of_a_later_glm(tiny_folder, tmp_path):
    """Its files say nothing of a class, so that transformers looks at the model's type."""
    nothing = {"auto_map": None, "tokenizer_class": None}
    config = {"model_type": "glm4", "auto_map": None}
    folder = imitation(tiny_folder, tmp_path / "glm4", config=config, tokenizer_config=nothing)
    with pytest.raises(CheckpointError, match="type glm4.*transformers 4.51") as error:
        load_tokenizer(folder)
    one_line(error)


def test_a_fast_tokenizer_of_a_later_transformers(tiny_folder, tmp_path):
    fast = {"auto_map": None, "tokenizer_class": "PreTrainedTokenizerFast"}
    folder = imitation(tiny_folder, tmp_path / "glm4", tokenizer_config=fast)
    merges = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": merges}))
    with pytest.raises(CheckpointError, match="later transformers than 4.40.0") as error:
        load_tokenizer(folder)
    one_line(error)


# -- folders saved by others ------------------------------------------------------------------


def test_a_folder_that_the_published_tokenizer_saved_is_read(tiny_folder, tmp_path):
    fixed = appended(TOKENIZER, FIXED), (TOKENIZER, '            "eos_token": "</s>",\n', "")
    by_others = {"eos_token": "</s>", "padding_side": "right"}
    folder = imitation(tiny_folder, tmp_path / "saved", *fixed, tokenizer_config=by_others)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    tokenizer = load_tokenizer(folder)
    assert tokenizer.eos_token == "</s>"
    batch = tokenizer(["say one", "one"], padding=True)  # refused on the right
    assert batch["attention_mask"][1][0] == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    again = save_checkpoint(load_policy(folder), tokenizer, tmp_path / "again")
    assert "eos_token" not in json.loads((again / "tokenizer_config.json").read_text())


HUB = """
import sys, warnings
warnings.simplefilter("ignore")
from glm_ppo_utils.chatglm import load_policy, load_tokenizer, save_checkpoint
folder, adapter = sys.argv[1:]
for load in load_policy, load_tokenizer:
    print(sys.modules[type(load(folder)).__module__].VINTAGE)
print(sys.modules[type(load_policy(folder, revision="f" * 40)).__module__].VINTAGE)
policy = load_policy(folder, revision="f" * 40, lora={"r": 2})
save_checkpoint(policy, None, adapter)
print(sys.modules[type(load_policy(adapter).get_base_model()).__module__].VINTAGE)
"""


@pytest.fixture
def code_on_the_hub(tiny_folder, tmp_path) -> Path:
    """A folder as transformers alone saves it: its code is looked for at ``owner/name``."""
    owner = "THUDM/chatglm3-6b--"
    config = json.loads((tiny_folder / "config.json").read_text())["auto_map"]
    names = {key: owner + value for key, value in config.items()}
    tokenizer = [f"{owner}tokenization_chatglm.ChatGLMTokenizer", None]
    folder = imitation(
        tiny_folder,
        tmp_path / "saved",
        config={"auto_map": names},
        tokenizer_config={"auto_map": {"AutoTokenizer": tokenizer}},
    )
    for path in folder.glob("*.py"):
        path.unlink()
    return folder


def run(script: str, *arguments: Path, home: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_code_from_the_hub_is_that_of_the_pinned_revision(tiny_folder, code_on_the_hub, tmp_path):
    """Beside it lies main, in a cache of the hub made by hand."""
    repository = tmp_path / "home" / "hub" / "models--THUDM--chatglm3-6b"
    pinned = PUBLISHED["THUDM/chatglm3-6b"].revision
    for revision, name in ((pinned, "pinned"), ("0" * 40, "main"), ("f" * 40, "asked for")):
        snapshot = repository / "snapshots" / revision
        snapshot.mkdir(parents=True)
        for path in tiny_folder.glob("*.py"):
            (snapshot / path.name).write_text(f"{path.read_text()}\n\nVINTAGE = {name!r}\n")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    done = run(HUB, code_on_the_hub, tmp_path / "adapter", home=tmp_path / "home")
    assert done.stdout.splitlines() == ["pinned", "pinned", "asked for", "asked for"], done.stderr
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["revision"] == "f" * 40


@pytest.mark.slow
def test_offline_the_advice_is_about_the_code(code_on_the_hub, tmp_path):
    script = HUB.split("for load")[0] + "from glm_ppo_utils.chatglm import CheckpointError\n"
    script += "for load in load_policy, load_tokenizer:\n"
    script += "    try: load(folder)\n    except CheckpointError as error: print(error)\n"
    done = run(script, code_on_the_hub, tmp_path / "adapter", home=tmp_path / "empty")
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    for line in lines:
        assert "is taken from THUDM/chatglm3-6b" in line
        assert "go online, or copy the .py files" in line


def test_code_of_an_unknown_repository_is_announced(tiny_folder, tmp_path):
    from glm_ppo_utils.chatglm.hub import code_revision

    elsewhere = {"AutoConfig": "file.Config", "AutoTokenizer": ["someone/glm--file.Class", None]}
    with pytest.warns(UserWarning, match="someone/glm on the hub, as it is there today"):
        assert code_revision(elsewhere, str(tiny_folder), None) is None
    assert code_revision(elsewhere, str(tiny_folder), "abc") == "abc"
    assert code_revision({"AutoConfig": "file.Config"}, "owner/name", "abc") == "abc"
    assert code_revision({"AutoConfig": "owner/name--file.Config"}, "owner/name", "abc") == "abc"


# -- the vocabulary's size --------------------------------------------------------------------


def test_the_vocabulary_can_be_resized(tiny_folder, tmp_path):
    policy = load_policy(tiny_folder)
    size = policy.config.padded_vocab_size
    policy.resize_token_embeddings(size + 8)
    assert policy.lm_head.out_features == policy.config.padded_vocab_size == size + 8
    assert policy(IDS).logits.shape[-1] == size + 8
    again = load_policy(save_checkpoint(policy, None, tmp_path / "wide"))
    assert torch.equal(again(IDS).logits, policy(IDS).logits)


def test_code_that_does_not_name_its_embedding_is_checkpointed(tiny_folder, tmp_path):
    """As the first ChatGLM2's: transformers needs the embedding for gradient checkpointing."""
    names = (
        (MODEL, "def get_input_embeddings(", "def _unused("),
        (MODEL, "def set_input_", "def _un_"),
    )
    policy = load_policy(imitation(tiny_folder, tmp_path / "glm2", *names))
    turn_on_gradient_checkpointing(policy)


def test_a_token_that_would_get_a_taken_id_is_refused(tiny_folder, tmp_path):
    folder = imitation(tiny_folder, tmp_path / "glm3", appended(TOKENIZER, UNCOUNTED))
    with pytest.raises(BadInput, match="id that is taken") as error:
        load_tokenizer(folder).add_tokens(["<new>"])
    one_line(error)
    with pytest.raises(BadInput, match="id that is taken"):
        load_tokenizer(folder).add_special_tokens({"additional_special_tokens": ["<new>"]})
    assert load_tokenizer(tiny_folder).add_tokens(["<new>"]) == 1


# -- LoRA -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lora", [LORA, LoraConfig(**LORA), LoraConfig(**LORA, task_type="CAUSAL_LM")]
)
def test_lora_in_every_spelling(tiny_folder, lora):
    policy = add_value_head(load_policy(tiny_folder, lora=lora))
    assert policy(IDS)[2].shape == IDS.shape
    assert generate(policy).shape == (2, 9)


def test_an_adapter_without_a_task_is_read(tiny_folder, tmp_path):
    policy = get_peft_model(load_policy(tiny_folder), LoraConfig(**LORA))
    folder = save_checkpoint(policy, None, tmp_path / "adapter")
    assert json.loads((folder / "adapter_config.json").read_text())["task_type"] is None
    assert add_value_head(load_policy(folder))(IDS)[2].shape == IDS.shape


@pytest.mark.parametrize(
    "lora, message",
    [
        ({"rank": 2}, "rank"),
        (8, "not understood"),
        ({"target_modules": ["q_proj"]}, "q_proj"),
        ({"task_type": "SEQ_CLS"}, "SEQ_CLS"),
        (PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2), "only LORA"),
        (LoraConfig(r=2, task_type="SEQ_CLS"), "SEQ_CLS"),
    ],
)
def test_what_is_no_lora_is_refused(tiny_folder, lora, message):
    with pytest.raises(BadInput, match=message) as error:
        load_policy(tiny_folder, lora=lora)
    one_line(error)


def test_lora_on_an_adapter_is_refused(tiny_folder, tmp_path):
    folder = save_checkpoint(load_policy(tiny_folder, lora=LORA), None, tmp_path / "adapter")
    check_checkpoint(folder)
    with pytest.raises(BadInput, match="LoRA adapter already"):
        load_policy(folder, lora=LORA)


def test_an_adapter_of_a_later_peft(tiny_folder, tmp_path):
    folder = save_checkpoint(load_policy(tiny_folder, lora=LORA), None, tmp_path / "adapter")
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lora_bias": False}))
    with pytest.raises(CheckpointError, match="later PEFT than 0.12.0.*lora_bias") as error:
        load_policy(folder)
    one_line(error)


# -- number types -----------------------------------------------------------------------------


def test_training_every_parameter_in_float16_is_refused(tiny_folder, tmp_path):
    with pytest.raises(BadInput, match="float16.*bfloat16") as error:
        add_value_head(load_policy(tiny_folder, dtype="float16"))
    one_line(error)
    pairs = [("say one", "one")] * 8
    with pytest.raises(BadInput, match="float16"):
        policy, tokenizer = load_policy(tiny_folder, dtype="float16"), load_tokenizer(tiny_folder)
        train_sft(policy, tokenizer, pairs, [], SFTSettings(steps=1), tmp_path, progress=False)
    adapter = load_policy(tiny_folder, dtype="float16", lora=LORA)
    add_value_head(adapter)  # its own parameters are float32


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_on_a_cpu_without_it_warns(tiny_folder, monkeypatch, dtype):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    with pytest.warns(UserWarning, match=f"no instructions for {dtype}"):
        load_policy(tiny_folder, dtype=dtype)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        load_policy(tiny_folder, dtype=dtype)


def test_a_model_that_lies_partly_on_no_gpu_is_refused(tiny_folder):
    with pytest.raises(CheckpointError, match="TRL's value head") as error:
        load_policy(tiny_folder, device_map="cpu")
    one_line(error)
