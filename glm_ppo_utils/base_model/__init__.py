"""The small base model's weights and tokenizer, trained by ``tools/pretrain_base.py``."""

import json
import tempfile
from pathlib import Path

from safetensors.torch import load_file

from glm_ppo_utils.chatglm import load_policy, load_tokenizer, save_checkpoint, write_checkpoint
from glm_ppo_utils.chatglm.saving import sha256
from glm_ppo_utils.errors import BadInput

FOLDER = Path(__file__).parent
WEIGHTS, VOCABULARY_FILE = "model.safetensors", "tokenizer.model"


def made() -> dict:
    """How the stored base model was made, and the hashes of its files."""
    return json.loads((FOLDER / "made.json").read_text())


def unpack(folder: Path) -> Path:
    """Write the stored base model into `folder` as a checkpoint with its code; returns `folder`.

    Raises
    ------
    BadInput
        If a stored file is not the one that ``made.json`` describes.
    """
    for name, digest in made()["sha256"].items():
        if sha256(FOLDER / name) != digest:
            raise BadInput(f"{FOLDER / name} is not the file that made.json describes; restore it")
    # Built in a scratch folder, because `folder` must never hold a model with untrained weights.
    with tempfile.TemporaryDirectory() as scratch:
        empty = Path(scratch) / "empty"
        write_checkpoint(empty, made()["architecture"], FOLDER / VOCABULARY_FILE)
        model, tokenizer = load_policy(empty, dtype="float32"), load_tokenizer(empty)
        model.load_state_dict(load_file(FOLDER / WEIGHTS))
        return save_checkpoint(model, tokenizer, folder)
