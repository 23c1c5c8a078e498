"""What is published on the hub, how its code is imported, and what can go wrong on the way."""

import atexit
import errno
import json
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from huggingface_hub import constants as hub
from safetensors import SafetensorError  # type: ignore[attr-defined]
from transformers import CONFIG_MAPPING, dynamic_module_utils
from transformers import __version__ as transformers_version
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from glm_ppo_utils.errors import BadInput

from .configuration_chatglm import ChatGLMConfig

GB = 1e9
REMOTE = dynamic_module_utils.TRANSFORMERS_DYNAMIC_MODULE_NAME


class CheckpointError(OSError):
    """A checkpoint cannot be loaded or saved: what, where, and what to do, in one line."""


@dataclass(frozen=True)
class Published:
    """A checkpoint on the hub: the revision whose code is taken, and its size in bytes."""

    revision: str | None
    size: float
    verified: bool = False


# chatglm3-6b: the code of 2023-12-07; 6.24e9 parameters of 2 bytes, as in its three sisters. The
# other hashes could not be looked at on the hub, and for two there is none: whichever side of the
# cache's change such code is on, `compat.fit_generation` finds out when it is loaded.
_MODELS = {
    "chatglm3-6b": Published("456aa875cf1f46623006edaa23103774ea9c0eae", 12.5 * GB, verified=True),
    "chatglm3-6b-base": Published("f91a1de587fdc692073367198e65369669a0b49d", 12.5 * GB),
    "chatglm3-6b-32k": Published(None, 12.5 * GB),
    "chatglm3-6b-128k": Published(None, 12.5 * GB),
    "glm-4-9b-chat": Published("1ff770585cbf3c1ece419f34f8161c88c7e9a224", 18.8 * GB),
}
PUBLISHED = {f"{owner}/{k}": v for k, v in _MODELS.items() for owner in ("THUDM", "zai-org")}

# GLM as later versions of transformers have it built in, and what to do under the pin.
NATIVE = {
    "glm": "transformers 4.46 or later; take THUDM/glm-4-9b-chat, which has code of its own",
    "glm4": "transformers 4.51 or later; take THUDM/glm-4-9b-chat, which has code of its own",
}

# What differs from ChatGLM3-6B, the default of `ChatGLMConfig`. GLM-4's own code is batch-first;
# its matrices have these sizes, and this stand-in computes with them in ChatGLM3's layout.
SHAPES: dict[str, dict[str, int]] = {
    "chatglm3-6b": {},
    "glm-4-9b-chat": {
        "num_layers": 40,
        "padded_vocab_size": 151_552,
        "seq_length": 131_072,
        "rope_ratio": 500,
    },
}


def published_config(name: str, **sizes: int) -> ChatGLMConfig:
    """The sizes of the published model `name`, or of a smaller one of its kind.

    Parameters
    ----------
    sizes
        Arguments of `ChatGLMConfig` that replace the published ones, such as ``num_layers=2``.

    Raises
    ------
    BadInput
        When the sizes of `name` are not known here.
    """
    if name not in SHAPES:
        raise BadInput(
            f"the sizes of {name} are not known; random weights are for {', '.join(SHAPES)}"
        )
    return ChatGLMConfig(**{"pad_token_id": 0, "eos_token_id": 2, **SHAPES[name], **sizes})


def resolve(name_or_path: str | Path, revision: str | None) -> tuple[str, str | None]:
    """Absolute path or hub name, and the revision to ask for.

    The revision of a folder is that of code which it takes from the hub.

    Raises
    ------
    CheckpointError
        If a path is given and there is no such folder.
    """
    name = str(name_or_path)
    if Path(name).is_dir():
        return os.path.abspath(name), revision
    if isinstance(name_or_path, Path) or name.startswith((".", "~", os.sep)) or name.count("/") > 1:
        raise CheckpointError(
            f"there is no checkpoint folder {name}; check the path, or make it (notebook 02 does)"
        )
    published = PUBLISHED.get(name)
    return name, revision or (published.revision if published else None)


def code_revision(auto_map: Mapping, name: str, revision: str | None) -> str | None:
    """The commit of the code that ``auto_map`` refers to, for transformers' ``code_revision``.

    A checkpoint that transformers alone has saved refers to the repository it was loaded from,
    ``owner/name--file.class``, and not to a commit: today's main would be taken. `name` and
    `revision` are the checkpoint's, from `resolve`.
    """
    others = re.findall(r"'([^']+)--", str(list(auto_map.values())))
    repository = next((other for other in others if other != name), None)
    if repository is None:
        return revision
    published = PUBLISHED.get(repository)
    revision = revision if Path(name).is_dir() else None
    revision = revision or (published.revision if published else None)
    if revision is None:
        warnings.warn(
            f"{name} takes its code from {repository} on the hub, as it is there today; "
            "pass revision= with a commit of it",
            stacklevel=3,
        )
    return revision


def check_vintage(name: str, config: Mapping) -> None:
    """Refuse a checkpoint that the pinned transformers cannot load or PPO cannot train.

    Raises
    ------
    CheckpointError
        Saying what this checkpoint needs.
    """
    kind, auto_map = config.get("model_type", ""), config.get("auto_map", {})
    if not auto_map and kind not in CONFIG_MAPPING:
        raise CheckpointError(_unknown_type(name, kind))
    if "position_encoding_2d" in config:
        raise CheckpointError(
            f"{name} is the first ChatGLM-6B, which TRL cannot train: its attention mask looks for "
            "[gMASK] and <sop> in every row of a batch; take ChatGLM3-6B, or ChatGLM2-6B"
        )
    if config.get("quantization_bit") or config.get("quantization_config"):
        raise CheckpointError(
            f"{name} is quantised (4 or 8 bits), which is not supported here; take the checkpoint "
            "in half precision, with LoRA"
        )
    own = "AutoModelForCausalLM"
    if auto_map and own not in auto_map and kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        model = next((v for k, v in auto_map.items() if k.startswith("AutoModel")), "file.class")
        raise CheckpointError(
            f"{name} names its model's class for other purposes only ({', '.join(auto_map)}), as "
            f'the first ChatGLM2 did; add "{own}": "{model}" to auto_map in its config.json'
        )


def check_disk(name: str, revision: str | None) -> None:
    """Before a download: say how large it is, and stop if it does not fit.

    Raises
    ------
    CheckpointError
        If the disk has less space.
    """
    published = PUBLISHED.get(name)
    if published is None or Path(name).is_dir():
        return
    cache = Path(hub.HF_HUB_CACHE)
    snapshot = cache / f"models--{name.replace('/', '--')}" / "snapshots" / str(revision)
    missing = published.size - sum(f.stat().st_size for f in snapshot.glob("*") if f.is_file())
    if missing < 0.01 * published.size or hub.HF_HUB_OFFLINE:
        return
    free = _free_bytes(cache)
    size = f"{missing / GB:.1f} GB"
    if missing > free:
        raise CheckpointError(
            f"{name} needs {size} in {cache}, where {free / GB:.1f} GB are free; "
            "free space, or set HF_HOME to a larger disk"
        )
    print(f"{name}: {size} to download to {cache} ({free / GB:.1f} GB free)", flush=True)
    if revision is None:
        print(f"{name}: no revision is known; the code that is on the hub today is taken")
    elif not published.verified and revision == published.revision:
        print(f"{name}: the default revision {revision[:8]} was not tried on the hub", flush=True)


def _free_bytes(folder: Path) -> int:
    """Free space of the disk that `folder` is on, or would be made on."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextmanager
def one_line_errors(name: str) -> Iterator[None]:
    """Turn what transformers and its dependencies raise into one line that says what to do.

    Raises
    ------
    CheckpointError
        In the place of an error that is known; others pass through.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        if line := _known_error(name, error):
            raise CheckpointError(line) from error
        raise


def _known_error(name: str, error: Exception) -> str | None:
    """The line for an error, told by its type, or by its message where the type says too little."""
    text = str(error)
    if isinstance(error, SafetensorError):
        return f"the weights in {name} are damaged or cut short ({error}); copy them again"
    if isinstance(error, json.JSONDecodeError):
        return f"a JSON file in {name} is damaged ({error}); copy it again"
    if isinstance(error, ImportError):
        return _import_error(name, error)
    if isinstance(error, OSError):
        return _os_error(name, error)
    too_large = isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError))
    if too_large or "can't allocate memory" in text:
        published = PUBLISHED.get(name)
        size = f" ({published.size / GB:.1f} GB in half precision)" if published else ""
        return f"{name} does not fit into memory{size}; use a larger GPU, or dtype='bfloat16'"
    if "size mismatch" in text:
        return (
            f"the weights in {name} have other shapes than its config.json says; "
            "the two files do not belong together"
        )
    if "could not parse ModelProto" in text:
        return f"tokenizer.model in {name} is damaged; copy the folder again or make it anew"
    if found := re.search(r"'\w*Tokenizer\w*' object has no attribute '(\w+)'", text):
        return (
            f"the tokenizer's code in {name} was written for transformers before 4.34, which did "
            f"not ask for the vocabulary so early ({text}); in its __init__, move the line that "
            f"sets self.{found[1]} above super().__init__()"
        )
    if found := re.search(r"has model type `(\w+)` but Transformers does not recognize", text):
        return _unknown_type(name, found[1])
    if "untagged enum ModelWrapper" in text:
        return (
            f"tokenizer.json in {name} was written by a later transformers than "
            f"{transformers_version}; take a checkpoint with code of its own, such as "
            "THUDM/glm-4-9b-chat"
        )
    if re.search(r"Tokenizer class \w+ does not exist|to build an AutoTokenizer", text):
        return (
            f"{name} does not say in which file its tokenizer's class is; copy "
            "tokenizer_config.json and tokenization_chatglm.py of the published checkpoint into it"
        )
    return None


def _unknown_type(name: str, kind: str) -> str:
    wants = NATIVE.get(kind, "a later transformers, or code of its own (auto_map)")
    return (
        f"{name} is of the type {kind}, which transformers {transformers_version} does not know; "
        f"it needs {wants}"
    )


def _import_error(name: str, error: ImportError) -> str:
    """What the checkpoint's own code imports and does not find."""
    missing = re.search(r"not found in your environment: (.+?)\. Run", str(error))
    if missing or isinstance(error, ModuleNotFoundError):
        packages = missing[1].replace(",", "") if missing else str(error.name).split(".")[0]
        packages = re.sub(r"\bPIL\b", "pillow", packages)  # another name in the registry
        if packages != "transformers":
            return (
                f"the code of {name} imports {packages}, which is not installed; "
                f"run: pip install {packages}"
            )
    return (
        f"the code of {name} was written for another transformers than {transformers_version} "
        f"({_first_line(error)}); pass the revision of an earlier code"
    )


def _os_error(name: str, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"the disk is full: {name} cannot be stored in {hub.HF_HUB_CACHE}; free space"
    line = _first_line(error)
    if repository := _elsewhere(Path(name)):
        return (
            f"{name} has its weights and not its code: that is taken from {repository} on the "
            "hub, which cannot be reached; go online, or copy the .py files of "
            f"{repository} into the folder and delete '{repository}--' in its two "
            f"configuration files ({line})"
        )
    if Path(name).is_dir():
        return f"{name} cannot be loaded ({line}); copy the folder again or make it anew"
    return (
        f"{name} is not in {hub.HF_HUB_CACHE} and cannot be fetched from the hub; go online, "
        f"check the name, or pass a folder that holds it ({line})"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else repr(error)


def _elsewhere(folder: Path) -> str | None:
    """The repository on the hub that a folder takes its code from; None if it has its own."""
    for file in ("config.json", "tokenizer_config.json"):
        if (folder / file).is_file():
            if found := re.search(r'"([^"]+)--\w+\.\w+"', (folder / file).read_text()):
                return found[1]
    return None


@contextmanager
def remote_code() -> Iterator[None]:
    """Import the code of a checkpoint from a place of its own.

    transformers copies the code to a cache that all processes share and imports it, under the
    folder's name, into the same module every time: of two folders called ``policy``, one would
    change the code of the other's model. Here each load has its own copy and its own modules, and
    nothing is written to the user's cache.
    """
    cache = tempfile.mkdtemp(dir=_code_folder())
    remote = [module for module in sys.modules if module.split(".")[0] == REMOTE]
    before = {module: sys.modules.pop(module) for module in remote}
    shared, dynamic_module_utils.HF_MODULES_CACHE = dynamic_module_utils.HF_MODULES_CACHE, cache
    sys.path.insert(0, cache)
    try:
        yield
    finally:
        sys.path.remove(cache)
        dynamic_module_utils.HF_MODULES_CACHE = shared
        # The new modules stay: saving a model looks them up. Their common parent does not, as it
        # would hide the shared cache from a later `from_pretrained` of the user's own.
        sys.modules.pop(REMOTE, None)
        for key, value in before.items():
            sys.modules.setdefault(key, value)


@lru_cache(maxsize=1)
def _code_folder() -> str:
    """Where this process keeps the code of checkpoints; removed when it ends."""
    folder = tempfile.mkdtemp(prefix="chatglm-code-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def some(names: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
