"""What one notebook hands to the next: problems and policies, made now if they are missing."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from trl import PreTrainedModelWrapper

from glm_ppo_utils import base_model
from glm_ppo_utils import problems as word_problems
from glm_ppo_utils.chatglm import add_value_head, load_policy, load_tokenizer, save_checkpoint
from glm_ppo_utils.evaluator import Evaluator
from glm_ppo_utils.ppo import read_jsonl
from glm_ppo_utils.problems import Problem
from glm_ppo_utils.profiles import Profile, get_profile
from glm_ppo_utils.rollout import DECODINGS, evaluate, sampled_and_greedy
from glm_ppo_utils.saved_policy import is_adapter, is_policy
from glm_ppo_utils.sft import train_sft

ROOT = Path(__file__).resolve().parents[1]


def runs_dir(profile: Profile) -> Path:
    """Folder of a profile's results: ``runs/<name>-<fingerprint of what SFT depends on>``.

    A change of base model, data or SFT settings changes the folder, so nothing stale is reused; PPO
    runs check their own settings. ``runs`` lies in the repository, or in the working directory
    where the package is installed; the environment variable ``GLM_PPO_RUNS`` replaces it.
    """
    settings = {k: v for k, v in asdict(profile).items() if k not in ("ppo", "threads")}
    text = json.dumps([settings, base_model.made()["sha256"]], sort_keys=True)
    fingerprint = hashlib.sha256(text.encode()).hexdigest()[:8]
    place = ROOT if (ROOT / "pyproject.toml").is_file() else Path.cwd()
    return Path(os.environ.get("GLM_PPO_RUNS", place / "runs")) / f"{profile.name}-{fingerprint}"


def sft_folder(profile: Profile, seed: int = 0) -> Path:
    """Folder of the profile's SFT policy for a seed, whether it has been trained yet or not."""
    return runs_dir(profile) / f"sft-seed{seed}"


def training_problems(profile: Profile) -> list[Problem]:
    """The problems PPO trains on; SFT's demonstrations come from another draw of the same split."""
    return prepare(profile, word_problems.generate(profile.train_problems, seed=1))


def heldout_problems(profile: Profile) -> list[Problem]:
    """The fixed problems of every evaluation, disjoint from all training problems."""
    problems = word_problems.generate(profile.heldout_problems, seed=2, split="heldout")
    return prepare(profile, problems)


def demonstration_pairs(profile: Profile, split: str = "train") -> list[tuple[str, str]]:
    """(prompt, reference) texts for SFT, or of the split "heldout" to measure its loss."""
    train = split == "train"
    count = profile.sft.problems if train else profile.heldout_problems
    problems = word_problems.generate(count, seed=3 if train else 4, split=split)
    return [(p.text, p.reference) for p in prepare(profile, problems)]


def start_policy(profile: Profile) -> Path | str:
    """The checkpoint before SFT: a published one, or the small base model of this repository."""
    if profile.checkpoint is not None:
        return profile.checkpoint
    folder = runs_dir(profile) / "base"
    return folder if (folder / "config.json").exists() else base_model.unpack(folder)


def sft_policy(profile: Profile, seed: int = 0, progress: bool = True) -> Path:
    """Folder of the SFT policy that notebook 02 stored; if there is none, it is trained now."""
    folder = sft_folder(profile, seed)
    if not is_policy(folder / "policy"):
        train_sft_policy(profile, seed, progress)
    return folder / "policy"


def train_sft_policy(
    profile: Profile,
    seed: int = 0,
    progress: bool = True,
    folder: Path | None = None,
    pairs: Sequence[tuple[str, str]] | None = None,
    heldout: Sequence[tuple[str, str]] = (),
) -> list[dict]:
    """Train the SFT policy, store it in ``folder/policy``, and return the log.

    Without `folder` it goes where :func:`sft_policy` looks. Without `pairs` of (prompt, answer) it
    learns the profile's demonstrations, and is evaluated on the held-out problems on the way.
    """
    set_seed(seed)
    start = start_policy(profile)
    tokenizer = load_tokenizer(start, revision=profile.revision)
    model = load_policy(start, profile.revision, profile.dtype, profile.lora)
    folder = folder or sft_folder(profile, seed)
    log = train_sft(
        model,
        tokenizer,
        demonstration_pairs(profile) if pairs is None else pairs,
        demonstration_pairs(profile, "heldout") if pairs is None else heldout,
        replace(profile.sft, seed=seed),
        folder,
        progress=progress,
        probe=(lambda m: held_out_rates(profile, m, tokenizer)) if pairs is None else None,
    )
    save_checkpoint(model, tokenizer, folder / "policy")
    return log


def held_out_rates(
    profile: Profile, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase
) -> dict[str, float]:
    """Exact rates of a policy, sampled and greedy, on the first 100 held-out problems."""
    held, length = heldout_problems(profile)[:100], profile.ppo.max_new_tokens
    rates = sampled_and_greedy(partial(evaluate, model, tokenizer, held, Evaluator(), length))
    return {name: rate for name, rate in rates.items() if name.endswith("_exact")}


def ppo_policy(profile: Profile, folder: Path | str, seed: int = 0) -> PreTrainedModelWrapper:
    """Load a checkpoint as PPO's policy: in the profile's dtype, with LoRA and a new value head.

    A saved adapter is trained further; any other checkpoint gets a new adapter if the profile has
    LoRA settings.
    """
    set_seed(seed)  # a new adapter starts from random weights
    lora = None if is_adapter(folder) else profile.lora
    revision = profile.revision if str(folder) == profile.checkpoint else None
    return add_value_head(load_policy(folder, revision, profile.dtype, lora))


def prepare(profile: Profile, problems: Sequence[Problem]) -> list[Problem]:
    """Put the description of the LP format before each problem, if the profile asks for it."""
    if not profile.instruct:
        return list(problems)
    return [
        replace(p, text=word_problems.prompt_text(p, word_problems.INSTRUCTION)) for p in problems
    ]


def result(profile: Profile) -> str:
    """The result of notebook 05 as text: held-out exact rates before and after PPO."""
    folder = runs_dir(profile) / "ppo-seed0"
    rows, log = read_jsonl(folder / "eval.jsonl"), read_jsonl(folder / "log.jsonl")
    if len(rows) < 2:
        return f"no evaluations in {folder}; run notebook 05 first"
    lines = [
        f"profile {profile.name}, {profile.ppo.eval_problems} held-out problems, exact answers"
    ]
    for way in DECODINGS:
        before, after = rows[0][f"{way}_exact"], rows[-1][f"{way}_exact"]
        lines.append(f"{way:8s} SFT {before:.2f} -> PPO {after:.2f} ({after - before:+.2f})")
    return "\n".join([*lines, f"largest KL of a step {max(r['kl'] for r in log):.2f}"])


if __name__ == "__main__":
    print(result(get_profile()))
