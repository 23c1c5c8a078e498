"""The stand-in reproduces what the published ChatGLM3 code computed (see data/chatglm3_golden)."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from glm_ppo_utils.chatglm.configuration_chatglm import ChatGLMConfig
from glm_ppo_utils.chatglm.modeling_chatglm import ChatGLMForConditionalGeneration

GOLDEN = Path(__file__).parent / "data" / "chatglm3_golden"
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def cases() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "cases.safetensors")


@pytest.fixture
def model() -> ChatGLMForConditionalGeneration:
    config = ChatGLMConfig(**json.loads((GOLDEN / "config.json").read_text()))
    model = ChatGLMForConditionalGeneration(config)
    model.load_state_dict(load_file(GOLDEN / "weights.safetensors"), strict=True)
    return model.eval()


def padded(cases: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name: cases[f"leftpad.{name}"] for name in ("input_ids", "attention_mask", "position_ids")
    }


def test_unpadded_batch(model, cases):
    output = model(cases["unpadded.input_ids"], output_hidden_states=True)
    torch.testing.assert_close(output.logits, cases["unpadded.logits"], **TOLERANCE)
    assert len(output.hidden_states) == 4
    for index, state in enumerate(output.hidden_states):
        torch.testing.assert_close(state, cases[f"unpadded.hidden_states.{index}"], **TOLERANCE)
    key, value = output.past_key_values[0]
    torch.testing.assert_close(key, cases["unpadded.past_key.0"], **TOLERANCE)
    torch.testing.assert_close(value, cases["unpadded.past_value.0"], **TOLERANCE)


def test_left_padded_batch(model, cases):
    output = model(**padded(cases))
    torch.testing.assert_close(output.logits, cases["leftpad.logits"], **TOLERANCE)


def test_loss_and_gradient(model, cases):
    loss = model(cases["unpadded.input_ids"], labels=cases["loss.labels"]).loss
    torch.testing.assert_close(loss, cases["loss.value"].squeeze(), **TOLERANCE)
    loss.backward()
    gradient = model.transformer.encoder.layers[0].self_attention.query_key_value.weight.grad
    torch.testing.assert_close(gradient, cases["grad.qkv.0"], **TOLERANCE)


@pytest.mark.parametrize("name, beams", [("greedy", 1), ("beam3", 3)])
def test_generation(model, cases, name, beams):
    expected = cases[f"generate.{name}"]
    new_tokens = expected.shape[1] - cases["leftpad.input_ids"].shape[1]
    generated = model.generate(
        **padded(cases), do_sample=False, num_beams=beams, max_new_tokens=new_tokens
    )
    assert torch.equal(generated, expected)
