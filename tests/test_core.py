"""The evaluator and the problems stand alone: numpy, scipy and HiGHS are all they import."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import pytest

from glm_ppo_utils.problems import generate

ROOT = Path(__file__).resolve().parents[1]

# The packages of the series, by the names under which they are imported, as if they were missing.
BARE = """
import sys

MISSING = {*"torch transformers tokenizers huggingface_hub trl peft accelerate datasets".split(),
    *"tyro rich yaml safetensors sentencepiece tiktoken pyarrow pandas matplotlib".split(),
    *"tensorboard tqdm".split()}

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""


def bare(code: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", BARE + code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_evaluator_and_problems_need_only_numpy_scipy_and_highs():
    done = bare(
        "from glm_ppo_utils.evaluator import Evaluator\n"
        "from glm_ppo_utils.problems import generate\n"
        "problem = generate(1, seed=0)[0]\n"
        "print(Evaluator()(None, [problem.reference, '4'], reference=[problem.reference] * 2))\n"
    )
    assert done.stdout == "[1.0, 0.0]\n", done.stderr


def test_the_commands_say_what_they_need():
    done = bare("from glm_ppo_utils.__main__ import main; sys.exit(main())")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the commands need ")
    assert "glm-ppo-utils[series]" in done.stderr


def test_the_rewards_of_the_other_trainers_are_as_printed(tmp_path):
    """Called as verl and OpenRLHF call them: by name, or a list at a time, from threads."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "OWN_DATA.md").read_text(), re.S)
    functions: dict = {}
    exec(next(b for b in blocks if "solver_reward.py" in b), functions)
    problems = generate(8, seed=0)
    with ThreadPoolExecutor(4) as pool:
        calls = [
            pool.submit(
                functions["compute_score"],
                data_source="me",
                solution_str=answer,
                ground_truth=p.reference,
                extra_info={"num_turns": None},
            )
            for p in problems
            for answer in (p.reference, "no idea")
        ]
        assert [call.result() for call in calls] == [1.0, 0.0] * 8
        answers = [f"{p.text}{p.reference}<|im_end|>\n</s>" for p in problems]
        rewards = functions["reward_func"]
        calls = [
            pool.submit(rewards, [answer], [p.text], [p.reference])
            for p, answer in zip(problems, answers, strict=True)
        ]
        assert [call.result()["rewards"].tolist() for call in calls] == [[1.0]] * 8


# Two steps of GRPO on a GPT-2 of random weights, the reward given in each of the three ways.
GRPO = """
import sys
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer
from glm_ppo_utils.evaluator import Evaluator
from glm_ppo_utils.problems import generate

out, problems = sys.argv[1], generate(8, seed=0)
for chat in (False, True):
    prompts = [[{"role": "user", "content": p.text}] if chat else p.text for p in problems]
    data = Dataset.from_dict({"prompt": prompts, "reference": [p.reference for p in problems]})
    words = {w: i for i, w in enumerate(["<end>", "<unk>", "maximize", "x", "<=", "4", "end"])}
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<end>", pad_token="<end>", unk_token="<unk>"
    )
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    model = GPT2LMHeadModel(GPT2Config(
        vocab_size=7, n_embd=16, n_layer=1, n_head=1, n_positions=512, eos_token_id=0
    ))
    settings = GRPOConfig(
        output_dir=out, max_steps=2, per_device_train_batch_size=4, num_generations=4,
        max_completion_length=8, use_cpu=True, report_to=[], logging_steps=1, bf16=False,
    )
    rewards = [Evaluator()] if chat else Evaluator()
    trainer = GRPOTrainer(
        model=model, reward_funcs=rewards, args=settings, train_dataset=data,
        processing_class=tokenizer,
    )
    trainer.train()
    print([row["reward"] for row in trainer.state.log_history if "reward" in row])
"""


@pytest.mark.network
def test_two_steps_in_the_grpo_trainer_of_a_current_trl(tmp_path):
    """In an environment of its own, or in that of ``GLM_PPO_GRPO_PYTHON``; some minutes."""
    python = os.environ.get("GLM_PPO_GRPO_PYTHON")
    if python is None:
        subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
        python = str(tmp_path / "venv" / "bin" / "python")
        torch = version("torch").partition("+")[0]  # the build without CUDA, where that is at hand
        packages = [f"torch=={torch}", "trl==1.16.0", "jinja2", str(ROOT)]
        install = [python, "-m", "pip", "install", "--quiet", *packages]
        if subprocess.run(install).returncode:
            pytest.skip("the packages could not be installed")
    done = subprocess.run(
        [python, "-c", GRPO, tmp_path / "out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("[0.0, 0.0]") == 2
