"""Cards for what people publish, a policy or a set of problems, and the upload to a hub."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from glm_ppo_utils import __version__, atomic
from glm_ppo_utils.errors import BadInput
from glm_ppo_utils.problems import Problem, save_problems
from glm_ppo_utils.problems.loading import records
from glm_ppo_utils.saved_policy import ADAPTER, is_adapter, is_policy

PROBLEMS = "problems.jsonl"


def write_model_card(policy: Path, run: Path) -> Path:
    """Write the card of a policy, from what its run has logged.

    Parameters
    ----------
    policy : Path
        Folder of a checkpoint or adapter; the card is its ``README.md``.
    run : Path
        Folder of the run, with ``settings.json`` and perhaps ``eval.jsonl``.
    """
    settings = json.loads((run / "settings.json").read_text(encoding="utf-8"))
    digests = ("problems", "heldout", "policy")
    knobs = {name: value for name, value in settings.items() if name not in digests}
    base = _base_model(policy)
    return _write_card(
        policy,
        "model",
        library="peft" if is_adapter(policy) else "transformers",
        front=f"base_model: {base}\n" if base else "",
        base=f" It starts from `{base}`, whose licence applies." if base else "",
        rates=_rates(run / "eval.jsonl"),
        settings=json.dumps(knobs, indent=1),
        **{name: settings[name] for name in ("steps", "batch_size", "seed", "reward")},
    )


def _write_card(folder: Path, kind: str, **facts: object) -> Path:
    """Fill in the template of a kind of card, and write it as the folder's ``README.md``."""
    template = Path(__file__).parent / "cards" / f"{kind}.md"
    text = template.read_text(encoding="utf-8").format(version=__version__, **facts)
    atomic.write_text(folder / "README.md", text)
    return folder / "README.md"


def _base_model(policy: Path) -> str | None:
    """The name on a hub of what an adapter belongs to; None if there is no such name."""
    config = policy / ADAPTER
    name = json.loads(config.read_text())["base_model_name_or_path"] if config.is_file() else ""
    named = re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).exists()
    return name if named else None


def _rates(evaluations: Path) -> str:
    rows = [row for _, row in records(evaluations)] if evaluations.is_file() else []
    if not rows:
        return "It was not evaluated during training."
    table = ["| steps | held-out problems | exact, sampled | exact, greedy |", "|---|---|---|---|"]
    for row in (rows[0], rows[-1]):
        count, rates = row["problems"], (row["sampled_exact"], row["greedy_exact"])
        table.append(f"| {row['step']} | {count} | {rates[0]:.3f} | {rates[1]:.3f} |")
    return "\n".join(table)


def write_problem_set(
    folder: Path, problems: Sequence[Problem], seed: int, language: str, split: str
) -> None:
    """Write generated problems with their card."""
    folder.mkdir(parents=True, exist_ok=True)
    save_problems(folder / PROBLEMS, problems)
    families = Counter(problem.family for problem in problems)
    _write_card(
        folder,
        "dataset",
        language=language,
        file=PROBLEMS,
        count=len(problems),
        seed=seed,
        split=split,
        families="\n".join(f"| {name} | {n} |" for name, n in sorted(families.items())),
    )


def push_to_hub(folder: Path, repository: str, private: bool = False) -> str:
    """Upload a folder to the hub, as a data set if it holds problems, and return its address.

    The repository is made if it is not there. ``HF_TOKEN`` or ``huggingface-cli login`` says who
    you are, ``HF_ENDPOINT`` where the hub is.

    Raises
    ------
    BadInput
        If the folder holds neither a policy nor problems, or the name is none.
    OSError
        If the hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import HFValidationError

    model = is_policy(folder)
    if not model and not (folder / PROBLEMS).is_file():
        raise BadInput(
            f"{folder} holds neither a policy nor {PROBLEMS}; give the folder policy/ of a run, or "
            "one that export-problems has written"
        )
    kind, api = "model" if model else "dataset", HfApi()
    try:
        url = api.create_repo(repository, private=private, repo_type=kind, exist_ok=True)
    except HFValidationError as error:
        raise BadInput(f"no name for a repository: {error}") from error
    api.upload_folder(
        repo_id=repository, folder_path=folder, repo_type=kind, commit_message="From glm-ppo-utils"
    )
    return str(url)
