"""What saves memory on a GPU, shown on a CPU: one copy of the weights, recomputing, advice."""

import copy
import re
import runpy
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny import SIZES, WORDS, letters
from transformers import GPT2Config, GPT2LMHeadModel

from glm_ppo_utils.chatglm import (
    add_value_head,
    gradient_checkpointing_is_on,
    load_policy,
    load_tokenizer,
    published_config,
    random_policy,
    save_checkpoint,
)
from glm_ppo_utils.chatglm.modeling_chatglm import ChatGLMForConditionalGeneration
from glm_ppo_utils.cli import main
from glm_ppo_utils.ppo import PPORun, PPOSettings, read_jsonl
from glm_ppo_utils.ppo.trainer import adapter_is_fresh
from glm_ppo_utils.profiles import PROFILES, memory_advice
from glm_ppo_utils.rollout import encode_prompt
from glm_ppo_utils.sft import SFTSettings, train_sft

SETTINGS = PPOSettings(
    steps=2,
    batch_size=4,
    mini_batch_size=2,
    epochs=1,
    max_new_tokens=6,
    policy_lr=1e-2,
    value_warmup=0,
    eval_every=0,
    checkpoint_every=1,
)
LORA = {"r": 4, "lora_dropout": 0.5}


FOUR = WORDS[:4]


def make_run(folder, out, policy=None, **changes) -> PPORun:
    torch.manual_seed(0)
    policy = policy or add_value_head(load_policy(folder, lora=LORA))
    settings = replace(SETTINGS, **changes)
    return PPORun(policy, load_tokenizer(folder), letters, FOUR, settings, out, progress=False)


def response_logprobs(run: PPORun, model, rollouts) -> torch.Tensor:
    queries, responses = [r.query for r in rollouts], [r.response for r in rollouts]
    inputs = run.trainer.prepare_model_inputs(queries, responses)
    with torch.no_grad():
        return run.trainer.batched_forward_pass(model, queries, responses, inputs)[0]


# -- the reference model ----------------------------------------------------------------------


def test_under_lora_the_reference_is_the_policy_without_its_adapter(tiny_folder, tmp_path):
    run = make_run(tiny_folder, tmp_path)
    before = sum(p.numel() for p in run.policy.parameters())
    weights = {p.untyped_storage().data_ptr() for p in run.policy.parameters()}
    assert run.trainer.ref_model is None
    held = [m for m in vars(run.trainer).values() if isinstance(m, torch.nn.Module)]
    pointers = {p.untyped_storage().data_ptr() for m in held for p in m.parameters()}
    assert pointers == weights
    assert sum(p.numel() for p in run.trainer.model.parameters()) == before
    run.train()
    assert not adapter_is_fresh(run.policy)
    rollouts = run.rollout(FOUR)
    with run.trainer.optional_peft_ctx():
        reference = response_logprobs(run, run.policy, rollouts)
    plain = add_value_head(load_policy(tiny_folder))
    assert torch.allclose(reference, response_logprobs(run, plain, rollouts), atol=1e-6)
    assert not torch.allclose(reference, response_logprobs(run, run.policy, rollouts), atol=1e-3)


@pytest.fixture
def taught(tiny_folder, tmp_path) -> Path:
    """An adapter that SFT has changed."""
    policy = load_policy(tiny_folder, lora=LORA)
    torch.manual_seed(1)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return save_checkpoint(policy, load_tokenizer(tiny_folder), tmp_path / "taught")


@pytest.mark.slow
def test_an_adapter_from_sft_is_part_of_the_reference(tiny_folder, taught, tmp_path):
    """PPO's KL is to the policy it started from, and not to the one before SFT."""

    def policy():
        torch.manual_seed(0)
        return add_value_head(load_policy(taught))

    start = policy()
    still = make_run(tiny_folder, tmp_path / "still", policy(), steps=1, policy_lr=0.0)
    assert still.train()[0]["kl"] == pytest.approx(0, abs=1e-4)
    run = make_run(tiny_folder, tmp_path / "run", policy())
    log = run.train()
    assert abs(log[1]["kl"]) > 1e-4
    moved = {n: p.clone() for n, p in run.policy.named_parameters()}
    rollouts = run.rollout(FOUR)
    with run.trainer.optional_peft_ctx():
        reference = response_logprobs(run, run.policy, rollouts)
    assert torch.allclose(reference, response_logprobs(run, start, rollouts), atol=1e-6)
    assert all(torch.equal(p, moved[n]) for n, p in run.policy.named_parameters())
    resumed = make_run(tiny_folder, tmp_path / "run", policy(), steps=3)
    resumed.train()
    with resumed.trainer.optional_peft_ctx():
        again = response_logprobs(run, resumed.policy, rollouts)
    assert torch.equal(again, reference)


# -- gradient checkpointing -------------------------------------------------------------------


def gpt2():
    config = GPT2Config(vocab_size=1300, n_embd=32, n_layer=3, n_head=4, n_positions=128)
    return add_value_head(GPT2LMHeadModel(config).eval())


def first_inner(policy) -> torch.nn.Module:
    """A module inside the first layer, which runs whenever the layer does."""
    layers = max((m for m in policy.modules() if isinstance(m, torch.nn.ModuleList)), key=len)
    return next(m for m in layers[0].modules() if not list(m.children()))


def calls_of_first_layer(run: PPORun) -> int:
    """How often one PPO step runs the policy's first layer."""
    calls = []
    hook = first_inner(run.policy).register_forward_pre_hook(lambda *_: calls.append(1))
    torch.manual_seed(0)  # as a step does
    rollouts = run.rollout(FOUR)
    calls.clear()
    run.optimise(rollouts, [0.0, 1.0, 0.5, 0.2])
    hook.remove()
    return len(calls)


@pytest.mark.parametrize("kind", ["lora", "whole", "gpt2"])
def test_checkpointing_recomputes_the_layers_and_learns_the_same(tiny_folder, tmp_path, kind):
    """TRL forgets it: its forward pass runs in evaluation mode, which recomputes nothing."""
    learnt, calls = [], []
    for on in (False, True):
        torch.manual_seed(0)
        policy = {
            "lora": lambda: add_value_head(load_policy(tiny_folder, lora=LORA)),
            "whole": lambda: add_value_head(load_policy(tiny_folder)),
            "gpt2": gpt2,
        }[kind]()
        run = make_run(tiny_folder, tmp_path / str(on), policy, gradient_checkpointing=on)
        calls.append(calls_of_first_layer(run))
        learnt.append({n: p.detach() for n, p in policy.named_parameters() if p.requires_grad})
    mini_batches = 2
    assert calls[1] - calls[0] == mini_batches
    for name, value in learnt[0].items():
        assert torch.allclose(value, learnt[1][name], atol=1e-6), name


@pytest.mark.slow
def test_sft_recomputes_the_layers_too_and_learns_the_same(tiny_folder, tmp_path):
    pairs = [(word.text, "it") for word in FOUR]
    learnt, calls = [], []
    for on in (False, True):
        torch.manual_seed(0)
        policy, ran = load_policy(tiny_folder, lora={"r": 4}), []
        policy.train()
        settings = SFTSettings(steps=2, batch_size=4, eval_every=2, gradient_checkpointing=on)
        hook = first_inner(policy).register_forward_pre_hook(lambda *_, ran=ran: ran.append(1))
        train_sft(
            policy, load_tokenizer(tiny_folder), pairs, [], settings, tmp_path, progress=False
        )
        hook.remove()
        calls.append(len(ran))
        learnt.append({n: p.detach() for n, p in policy.named_parameters() if p.requires_grad})
    tried = 2  # by the check that the switch works, once forwards and once again
    assert calls == [settings.steps, tried + 2 * settings.steps]
    for name, value in learnt[0].items():
        assert torch.allclose(value, learnt[1][name], atol=1e-6), name


def test_code_that_ignores_checkpointing_is_named(tiny_folder, tmp_path):
    policy = add_value_head(load_policy(tiny_folder, lora=LORA))
    policy.pretrained_model.gradient_checkpointing_enable = lambda: None
    assert not gradient_checkpointing_is_on(policy)
    with pytest.raises(ValueError, match="this revision of the model's code ignores it"):
        make_run(tiny_folder, tmp_path, policy, gradient_checkpointing=True)


def test_memory_knobs_may_change_when_a_run_is_resumed(tiny_folder, tmp_path):
    make_run(tiny_folder, tmp_path, steps=1).train()
    less = {"gradient_checkpointing": True, "rollout_batch_size": 2}
    log = make_run(tiny_folder, tmp_path, **less).train()
    assert [r["step"] for r in log] == [0, 1]


# -- advice -----------------------------------------------------------------------------------


def full(*_, **__):
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore")


def test_advice_names_the_knob_of_the_phase_that_ran_out_of_memory(tiny_folder, tmp_path):
    run = make_run(tiny_folder, tmp_path / "generate")
    run.policy.pretrained_model.get_base_model().forward = full
    with pytest.raises(torch.cuda.OutOfMemoryError) as caught:
        run.train()
    assert re.fullmatch(
        r"out of GPU memory in the phase 'generate'; lower rollout_batch_size \(now 64\) or "
        r"max_new_tokens \(now 6\) \(CUDA out of memory. Tried to allocate 2.00 GiB\)",
        str(caught.value),
    )
    for on, first in ((False, "turn gradient_checkpointing on"), (True, "lower mini_batch_size")):
        run = make_run(tiny_folder, tmp_path / str(on), gradient_checkpointing=on)
        run.trainer.train_minibatch = full
        with pytest.raises(torch.cuda.OutOfMemoryError) as caught:
            run.train()
        assert f"in the phase 'optimise'; {first}" in str(caught.value)
        assert "mini_batch_size (now 2)" in str(caught.value)
    run = make_run(tiny_folder, tmp_path / "score")
    run.reward_fn = full
    with pytest.raises(
        torch.cuda.OutOfMemoryError, match="'score'; the reward function needs less"
    ):
        run.train()
    run = make_run(tiny_folder, tmp_path / "evaluate", eval_every=1)
    run.heldout, run.rollout = FOUR, full
    with pytest.raises(torch.cuda.OutOfMemoryError, match="'evaluate'; lower rollout_batch_size"):
        run.train()


def test_advice_names_the_knobs_of_fine_tuning(tiny_folder, tmp_path):
    policy = load_policy(tiny_folder)
    policy.forward = full
    for on, first in ((False, "turn gradient_checkpointing on, or lower"), (True, "lower")):
        settings = SFTSettings(steps=1, batch_size=2, gradient_checkpointing=on)
        with pytest.raises(torch.cuda.OutOfMemoryError) as caught:
            with memory_advice("train", settings.memory_advice()):
                full()
        assert f"in the phase 'train'; {first} batch_size (now 2)" in str(caught.value)
    tokenizer, pairs = load_tokenizer(tiny_folder), [(word.text, "it") for word in FOUR]
    with pytest.raises(torch.cuda.OutOfMemoryError, match=r"lower batch_size \(now 2\)"):
        settings = SFTSettings(steps=1, batch_size=2)
        train_sft(policy, tokenizer, pairs, [], settings, tmp_path, progress=False)


@pytest.mark.slow
def test_the_command_passes_the_advice_on(base_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("glm_ppo_utils.ppo.PPORun.rollout", full)
    monkeypatch.setenv("GLM_PPO_QUICK", "1")
    more = ["--eval-every=0", "--quiet", f"--out={tmp_path / 'run'}"]
    assert main(["train", "--profile=tiny", f"--policy={base_folder}", *more]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: out of GPU memory in the phase 'generate'")
    assert error.count("\n") == 1


# -- random weights ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "billions"), [("chatglm3-6b", 6.243584), ("glm-4-9b-chat", 9.399951)]
)
def test_published_shapes_have_the_published_number_of_parameters(name, billions):
    """Nothing is allocated: the meta device knows shapes only."""
    with torch.device("meta"):
        model = ChatGLMForConditionalGeneration(published_config(name))
    assert sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(billions, abs=1e-6)
    assert all(p.is_meta for p in model.parameters())


def test_random_weights_are_finite_seeded_and_leave_the_random_state():
    config = published_config("chatglm3-6b", **SIZES, padded_vocab_size=1400)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two = (random_policy(copy.deepcopy(config), "bfloat16", seed=s) for s in (0, 1))
    again = random_policy(copy.deepcopy(config), "bfloat16", seed=0)
    assert torch.equal(torch.rand(1), expected)
    for (name, a), b, c in zip(
        one.named_parameters(), two.parameters(), again.parameters(), strict=True
    ):
        assert a.dtype == torch.bfloat16
        assert a.isfinite().all()
        assert torch.equal(a, c), name
        if a.dim() == 2:
            assert 0.01 < a.float().std() < 0.03, name
            assert not torch.equal(a, b), name
    assert one.lm_head is one.transformer.output_layer


@pytest.mark.slow
def test_train_with_random_weights_needs_no_checkpoint(tmp_path, monkeypatch, capsys):
    """The GPU profile's own path: bfloat16, LoRA, checkpointing, instructions; thin layers."""
    monkeypatch.setenv("GLM_PPO_QUICK", "1")
    thin = {k: v for k, v in SIZES.items() if k not in ("num_layers", "seq_length")}
    monkeypatch.setattr(
        "glm_ppo_utils.chatglm.published_config",
        lambda name, **sizes: published_config(name, **thin, padded_vocab_size=1400, **sizes),
    )
    assert PROFILES["chatglm3-6b"].ppo.gradient_checkpointing
    more = ["--steps=1", "--batch-size=2", "--mini-batch-size=1", "--max-new-tokens=4"]
    more += ["--eval-every=0", "--quiet", f"--out={tmp_path / 'run'}", "--layers=3"]
    assert main(["train", "--profile=chatglm3-6b", "--weights=random", *more]) == 0
    row = read_jsonl(tmp_path / "run" / "log.jsonl")[0]
    assert row["response_tokens"] <= 4
    assert row["kl"] == pytest.approx(0, abs=1e-3)
    state = torch.load(
        next((tmp_path / "run" / "checkpoints").glob("*/state.pt")), weights_only=True
    )
    names = state["parameters"].keys()
    assert {n.split(".")[0] for n in names} == {"pretrained_model", "v_head"}
    assert all("lora_" in n for n in names if n.startswith("pretrained_model"))
    assert not (tmp_path / "run" / "policy").exists()
    assert main(["train", "--profile=tiny", "--weights=random", *more]) == 2
    assert "the sizes of tiny are not known" in capsys.readouterr().err


@pytest.mark.slow
def test_the_benchmark_runs_on_a_cpu_with_small_sizes(base_folder, tmp_path, capsys):
    script = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "gpu.py"))
    sizes = ["--layers=3", "--hidden=64", "--ffn=32", "--batch=2", "--mini-batch=1"]
    sizes += ["--prompt=20", "--response=3", "--steps=1", "--warmup=0", "--copy=100000"]
    script["main"]([*sizes, f"--out={tmp_path / 'gpu.csv'}"])
    table = pd.read_csv(tmp_path / "gpu.csv")
    assert list(table.phase) == ["generate", "score", "optimise"]
    assert (table.seconds > 0).all()
    assert table.device[0]
    assert (table[["tokens_per_s", "bound_tokens_per_s"]].iloc[0] > 0).all()
    tokenizer = load_tokenizer(base_folder)
    assert len(encode_prompt(tokenizer, script["prompt_of"](tokenizer, 20).text)) == 20
    assert "step " in capsys.readouterr().out
