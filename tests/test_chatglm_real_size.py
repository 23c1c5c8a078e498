"""ChatGLM3-6B's real width and vocabulary on a CPU, with few layers."""

import json
import os
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model

from glm_ppo_utils.chatglm import published_config
from glm_ppo_utils.chatglm.modeling_chatglm import ChatGLMForConditionalGeneration

LORA = {"r": 16, "target_modules": ["query_key_value"], "task_type": "CAUSAL_LM"}
ROWS, TOKENS = 2, 128


def kept_bytes(layers: int, lora: bool) -> int:
    """Bytes that a forward pass in bfloat16 keeps for the backward pass, weights left out.

    Counted on tensors without contents, by what autograd saves.
    """
    config = published_config("chatglm3-6b", num_layers=layers, use_cache=False)
    config.torch_dtype = torch.bfloat16
    kept, alive = {}, []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        alive.append(tensor)  # or another tensor would get its storage
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.device("meta"):
        model = ChatGLMForConditionalGeneration(config)
        if lora:
            options = {"autocast_adapter_dtype": False}
            model = get_peft_model(model, LoraConfig(**LORA), **options).get_base_model()
            model.enable_input_require_grads()
        model.train()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model.transformer(torch.zeros(ROWS, TOKENS, dtype=torch.long))
    weights = {parameter.shape for parameter in model.parameters()}
    weights |= {parameter.t().shape for parameter in model.parameters() if parameter.ndim == 2}
    return sum(t.untyped_storage().nbytes() for t in kept.values() if t.shape not in weights)


@pytest.mark.parametrize("lora, expected", [(True, 46), (False, 65)])
def test_bytes_that_a_layer_keeps_are_those_of_the_docstring(lora, expected):
    """`PPOSettings` names them, per token, layer and unit of width."""
    from glm_ppo_utils.profiles import PPOSettings

    hidden = published_config("chatglm3-6b").hidden_size
    layer = (kept_bytes(3, lora) - kept_bytes(1, lora)) / 2
    assert layer / (ROWS * TOKENS * hidden) == pytest.approx(expected, abs=0.5)
    assert f"{expected} * hidden" in PPOSettings.__doc__


# In a process of its own: train a LoRA adapter by one step of SFT and one of PPO, save it.
TRAIN = """
import gc, json, re, sys, torch
from pathlib import Path
from glm_ppo_utils.chatglm import *
from glm_ppo_utils.chatglm.tokenizer_training import train_tokenizer
from glm_ppo_utils.labs.vintages import WORDS
from glm_ppo_utils.ppo import PPORun
from glm_ppo_utils.profiles import PPOSettings, SFTSettings
from glm_ppo_utils.sft import train_sft
torch.set_num_threads(1)
folder = Path(sys.argv[1])
vocabulary = train_tokenizer([w.text for w in WORDS] * 9, folder / "tokenizer.model", 400)
write_checkpoint(folder / "base", published_config("chatglm3-6b", num_layers=2), vocabulary)
tokenizer = load_tokenizer(folder / "base")
policy = load_policy(folder / "base", dtype="float32", lora={"r": 16})
size = sum(p.numel() * p.element_size() for p in policy.parameters())
gc.collect()
Path("/proc/self/clear_refs").write_text("5")  # the peak of training, not that of loading
pairs = [(w.text, "one") for w in WORDS[:2]]
settings = SFTSettings(steps=1, batch_size=2, warmup=0.0, problems=2, eval_every=1,
                       gradient_checkpointing=True)
(folder / "sft").mkdir()
train_sft(policy, tokenizer, pairs, [], settings, folder / "sft", progress=False)
settings = PPOSettings(steps=1, batch_size=2, mini_batch_size=2, max_new_tokens=4, eval_every=0,
                       policy_lr=1e-2, value_warmup=0, gradient_checkpointing=True)
reward = lambda prompts, completions, **_: [float(i) for i in range(len(completions))]
PPORun(add_value_head(policy), tokenizer, reward, WORDS, settings, folder / "ppo",
       progress=False).train()
save_checkpoint(policy, tokenizer, folder / "adapter")
ids = torch.tensor([[3, 4, 5, 6]])
with torch.no_grad():
    logits = policy.eval()(input_ids=ids).logits[0, -1]
peak = 1024 * int(re.search("VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps({"size": size, "peak": peak, "logits": logits[:50].tolist()}))
"""

# In a fresh process, without this package: the same answer.
PLAIN = """
import json, sys, torch
sys.modules["glm_ppo_utils"] = None
from peft import PeftModel
from transformers import AutoModelForCausalLM
torch.set_num_threads(1)
options = {"trust_remote_code": True, "torch_dtype": torch.float32}
base = AutoModelForCausalLM.from_pretrained(f"{sys.argv[1]}/base", **options)
model = PeftModel.from_pretrained(base, f"{sys.argv[1]}/adapter").eval()
with torch.no_grad():
    logits = model(input_ids=torch.tensor([[3, 4, 5, 6]])).logits[0, -1]
changed = any(p.any() for n, p in model.named_parameters() if "lora_B" in n)
print(json.dumps({"logits": logits[:50].tolist(), "changed": bool(changed)}))
"""


def run(script: str, folder) -> dict:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_two_layers_of_real_width_are_trained_saved_and_read_by_others(tmp_path):
    """Two layers are 3.8 GB in float32; a second copy of the weights would show in the peak."""
    ours = run(TRAIN, tmp_path)
    assert ours["size"] < ours["peak"] < 1.6 * ours["size"], ours["peak"] / ours["size"]
    others = run(PLAIN, tmp_path)
    assert others["changed"]
    torch.testing.assert_close(
        torch.tensor(others["logits"]), torch.tensor(ours["logits"]), rtol=1e-4, atol=1e-4
    )
