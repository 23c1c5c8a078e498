"""What transposed values do, loudly and silently."""

import copy

import pytest
import torch

from glm_ppo_utils import plotting
from glm_ppo_utils.chatglm import add_value_head, load_policy, load_tokenizer
from glm_ppo_utils.chatglm.configuration_chatglm import ChatGLMConfig
from glm_ppo_utils.chatglm.modeling_chatglm import ChatGLMForConditionalGeneration
from glm_ppo_utils.labs.value_layout import one_ppo_step, value_losses, without_layout_fix
from glm_ppo_utils.labs.versions import probe_checkpoint


@pytest.fixture
def policy():
    return load_policy(probe_checkpoint(), dtype="float32")


@pytest.fixture
def tokenizer():
    return load_tokenizer(probe_checkpoint())


def test_ppo_fails_loudly_when_batch_and_length_differ(policy, tokenizer):
    with pytest.raises(RuntimeError, match="size of tensor"):
        one_ppo_step(without_layout_fix(policy), tokenizer, rows=4, length=10)


@pytest.mark.parametrize("rows, length", [(4, 10), (8, 8)])
def test_ppo_runs_with_the_fix(policy, tokenizer, rows, length):
    stats = one_ppo_step(add_value_head(policy), tokenizer, rows, length)
    assert abs(stats["objective/kl"]) < 1e-4


def test_ppo_runs_with_lora(tokenizer):
    policy = load_policy(probe_checkpoint(), dtype="float32", lora={"r": 2})
    stats = one_ppo_step(add_value_head(policy), tokenizer, 4, 10)
    assert abs(stats["objective/kl"]) < 1e-4


def test_ppo_is_silently_wrong_on_a_square_batch(policy, tokenizer):
    """Same policy, same value head, same batch: no error, another value loss."""

    def value_loss(wrap, **options) -> float:
        torch.manual_seed(0)  # the value head's weights
        wrapped = wrap(copy.deepcopy(policy), summary_dropout_prob=0.0, **options)
        return float(one_ppo_step(wrapped, tokenizer, rows=8, length=8)["ppo/loss/value"])

    right, again = (value_loss(add_value_head, zero_init=False) for _ in range(2))
    assert right == pytest.approx(again, rel=1e-5)
    assert right != pytest.approx(value_loss(without_layout_fix), rel=1e-2)


def test_value_head_learns_only_from_its_own_row():
    torch.manual_seed(0)
    sizes = {"num_layers": 3, "hidden_size": 32, "ffn_hidden_size": 48, "kv_channels": 8}
    config = ChatGLMConfig(**sizes, num_attention_heads=4, padded_vocab_size=100)
    model = ChatGLMForConditionalGeneration(config)
    fixed, transposed = (value_losses(model, fixed, steps=60) for fixed in (True, False))
    assert max(fixed[-10:]) < 0.1 < min(transposed[-10:])
    figure = plotting.value_layouts(fixed, transposed)
    assert [list(line.get_ydata()) for line in figure.axes[0].lines] == [transposed, fixed]
