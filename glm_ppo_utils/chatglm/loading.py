"""Load a policy, show TRL its head, and put its values into TRL's layout.

The three things that stand between ChatGLM and TRL's PPO are dealt with here: the head that TRL
looks for under another name, the values that come out transposed, and the revision of the
published code that the pinned transformers understands. GPT-2 or Llama pass through the same
functions untouched.
"""

import atexit
import errno
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from functools import lru_cache
from pathlib import Path

import torch
from huggingface_hub import constants as hub
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    dynamic_module_utils,
)
from trl import AutoModelForCausalLMWithValueHead

from .errors import CheckpointError
from .saving import verify_checksums

GB = 1e9


@dataclass(frozen=True)
class Published:
    """A checkpoint on the hub: the revision whose code runs here, and its size in bytes."""

    revision: str
    size: float
    verified: bool = True


# chatglm3-6b: the code of 2023-12-07; 6.24e9 parameters of 2 bytes. The hash of glm-4-9b-chat is
# from before its code was changed for newer transformers, but could not be checked on the hub.
_CHATGLM3 = Published("456aa875cf1f46623006edaa23103774ea9c0eae", 12.5 * GB)
_GLM4 = Published("1ff770585cbf3c1ece419f34f8161c88c7e9a224", 18.8 * GB, verified=False)
PUBLISHED = {
    "THUDM/chatglm3-6b": _CHATGLM3,
    "zai-org/chatglm3-6b": _CHATGLM3,
    "THUDM/glm-4-9b-chat": _GLM4,
    "zai-org/glm-4-9b-chat": _GLM4,
}
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
ADAPTER = "adapter_config.json"
REMOTE = dynamic_module_utils.TRANSFORMERS_DYNAMIC_MODULE_NAME


def load_tokenizer(
    name_or_path: str | Path, revision: str | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint folder or of a checkpoint on the hub.

    Raises
    ------
    CheckpointError
        If it is not there or cannot be read.
    """
    name, revision = _resolve(name_or_path, revision)
    with _one_line_errors(name), _remote_code():
        return AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=True)


def load_policy(
    name_or_path: str | Path,
    revision: str | None = None,
    dtype: torch.dtype | str | None = None,
    lora: LoraConfig | Mapping | object | None = None,
    device_map: str | dict | None = None,
) -> PreTrainedModel | PeftModel:
    """A causal language model with a working ``lm_head``, ready for `add_value_head`.

    Parameters
    ----------
    name_or_path
        A checkpoint folder, the folder of a saved LoRA adapter, or a name on the hub such as
        ``THUDM/chatglm3-6b``.
    revision
        Commit on the hub. By default the one in `PUBLISHED`, because later commits carry code for
        other versions of transformers.
    dtype
        By default float32 on a CPU and bfloat16 on a GPU, whatever the configuration says:
        ChatGLM's says float16, which a CPU hardly computes with.
    lora
        A ``peft.LoraConfig``, or its arguments as a mapping or dataclass. Without a target PEFT
        takes ``query_key_value`` on ChatGLM.
    device_map
        As in transformers, to spread a model over several GPUs. By default the model goes to the
        one GPU there is, or stays on the CPU.

    Raises
    ------
    CheckpointError
        If the checkpoint is missing, damaged or incomplete, the hub cannot be reached, or disk or
        memory do not suffice.
    ValueError
        If the LoRA configuration asks for a copy of ``lm_head``, which PEFT would ignore.
    """
    name, revision = _resolve(name_or_path, revision)
    dtype = _dtype(dtype)
    if (Path(name) / ADAPTER).is_file():
        return _load_adapter(Path(name), dtype, device_map)
    _check_disk(name, revision)
    with _one_line_errors(name), _remote_code():
        _check_folder(name)
        model, info = AutoModelForCausalLM.from_pretrained(
            name,
            revision=revision,
            torch_dtype=dtype,
            device_map=device_map,
            trust_remote_code=True,
            output_loading_info=True,
        )
        if info["missing_keys"]:
            raise CheckpointError(
                f"{name} lacks the weights of {_some(info['missing_keys'])}; "
                "copy the checkpoint again, or check that its config.json belongs to it"
            )
        if device_map is None and torch.cuda.is_available():
            model = model.to("cuda")
    expose_head(model)
    return model if lora is None else get_peft_model(model, _lora_config(lora, model))


def expose_head(model: nn.Module) -> None:
    """Give ChatGLM's class a read-only ``lm_head``, which is the output layer it already has.

    A property holds no parameter: the state dict, saved checkpoints, deep copies and adapters are
    what they were. Other models are left alone.
    """
    model = _base(model)
    has_head = any(hasattr(model, name) for name in ("lm_head", "embed_out"))
    if has_head or not hasattr(getattr(model, "transformer", None), "output_layer"):
        return
    cls = type(model)
    cls.lm_head = property(_output_layer, doc="ChatGLM's output layer, under TRL's name for it.")
    cls.get_output_embeddings = _output_layer


def _output_layer(model: nn.Module) -> nn.Module:
    return model.transformer.output_layer


class SequenceFirstValueHead(AutoModelForCausalLMWithValueHead):
    """TRL's model with a value head, for a model whose hidden states are sequence-first.

    TRL applies the value head to the hidden states as they come, so that ChatGLM's values are
    ``[sequence, batch]`` beside logits of ``[batch, sequence, vocabulary]``. Here both are
    batch-first.
    """

    def forward(self, *args, **kwargs):
        """As in TRL: ``(logits, loss, values[, past])``, values ``[batch, sequence]``."""
        logits, loss, values, *past = super().forward(*args, **kwargs)
        return logits, loss, values.transpose(0, 1), *past


def add_value_head(
    model: PreTrainedModel | PeftModel, **options
) -> AutoModelForCausalLMWithValueHead:
    """Wrap a policy for TRL's PPO, with values ``[batch, sequence]`` whatever the model's layout.

    Parameters
    ----------
    model
        A model from `load_policy`, or any causal language model, with or without LoRA.
    options
        Of TRL's value head, such as ``summary_dropout_prob`` (TRL's default is 0.1).

    Returns
    -------
    AutoModelForCausalLMWithValueHead
        TRL's own class for batch-first models, `SequenceFirstValueHead` for ChatGLM2 and 3.
    """
    expose_head(model)
    sequence_first = hidden_states_are_sequence_first(model)
    wrapper = SequenceFirstValueHead if sequence_first else AutoModelForCausalLMWithValueHead
    return wrapper.from_pretrained(model, **options)


@torch.no_grad()
def hidden_states_are_sequence_first(model: nn.Module) -> bool:
    """Whether hidden states are ``[sequence, batch, hidden]``, found by trying it once.

    The batch tried has two rows of three tokens. A look at the sizes at run time could not tell
    the layouts apart in a batch as long as it is wide.

    Raises
    ------
    ValueError
        If the hidden states have neither layout.
    """
    device = next(model.parameters()).device
    input_ids = torch.zeros(2, 3, dtype=torch.long, device=device)
    training = model.training
    model.eval()
    try:
        states = model(input_ids=input_ids, output_hidden_states=True).hidden_states[-1]
    finally:
        model.train(training)
    shape = tuple(states.shape[:2])
    if shape not in ((2, 3), (3, 2)):
        raise ValueError(
            f"{type(_base(model)).__name__} turns 2 rows of 3 tokens into hidden states of shape "
            f"{tuple(states.shape)}; expected (2, 3, hidden) or (3, 2, hidden)"
        )
    return shape == (3, 2)


def _base(model: nn.Module) -> nn.Module:
    """The transformers model inside a PEFT model."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def _lora_config(lora: LoraConfig | Mapping | object, model: PreTrainedModel) -> LoraConfig:
    """A ``LoraConfig`` from one, or from its arguments, checked for what PEFT ignores."""
    if not isinstance(lora, LoraConfig):
        arguments = asdict(lora) if is_dataclass(lora) else dict(lora)
        lora = LoraConfig(**{"task_type": "CAUSAL_LM", **arguments})
    is_chatglm = model.config.model_type == "chatglm"
    if is_chatglm and "lm_head" in (lora.modules_to_save or ()):
        raise ValueError(
            "modules_to_save names lm_head, which PEFT would silently ignore: on ChatGLM the "
            "module is called output_layer"
        )
    return lora


def _load_adapter(folder: Path, dtype: torch.dtype, device_map: str | dict | None) -> PeftModel:
    """The base model that a saved adapter names, with the adapter on it, trainable."""
    with _one_line_errors(str(folder)):
        config = json.loads((folder / ADAPTER).read_text())
    base = load_policy(
        config["base_model_name_or_path"], config.get("revision"), dtype, device_map=device_map
    )
    with _one_line_errors(str(folder)):
        verify_checksums(folder)
        return PeftModel.from_pretrained(base, folder, is_trainable=True)


def _resolve(name_or_path: str | Path, revision: str | None) -> tuple[str, str | None]:
    """Absolute path or hub name, and the revision to ask for."""
    name = str(name_or_path)
    if Path(name).is_dir():
        return os.path.abspath(name), None
    if isinstance(name_or_path, Path) or name.startswith((".", "~", os.sep)) or name.count("/") > 1:
        raise CheckpointError(
            f"there is no checkpoint folder {name}; check the path, or make it (notebook 02 does)"
        )
    published = PUBLISHED.get(name)
    return name, revision or (published.revision if published else None)


def _dtype(dtype: torch.dtype | str | None) -> torch.dtype:
    if dtype is None:
        return torch.bfloat16 if torch.cuda.is_available() else torch.float32
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype):
        raise ValueError(f"dtype {dtype!r} is unknown; give float32, bfloat16 or float16")
    return found


def _check_folder(name: str) -> None:
    """Look at a local folder's files before transformers does, for clearer errors."""
    folder = Path(name)
    if not folder.is_dir():
        return
    config = folder / "config.json"
    if not config.is_file():
        raise CheckpointError(f"{folder} has no config.json: it is not a checkpoint folder")
    if "." in folder.name and "auto_map" in json.loads(config.read_text()):
        raise CheckpointError(
            f"the folder name {folder.name} has a dot, and Python cannot import a checkpoint's "
            "code from such a name; rename it"
        )
    if not any((folder / w).is_file() or (folder / f"{w}.index.json").is_file() for w in WEIGHTS):
        raise CheckpointError(f"{folder} has no {WEIGHTS[0]}: its weights are missing")
    for index in folder.glob("*.index.json"):
        shards = set(json.loads(index.read_text())["weight_map"].values())
        lost = sorted(shard for shard in shards if not (folder / shard).is_file())
        if lost:
            raise CheckpointError(f"{folder} lacks {_some(lost)}: its weights are incomplete")
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt"):
            pass  # reads the header and compares the file's length with it
    verify_checksums(folder)


def _check_disk(name: str, revision: str | None) -> None:
    """Before a download: say how large it is, and stop if it does not fit."""
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
    if not published.verified and revision == published.revision:
        print(f"{name}: the default revision {revision[:8]} was not tried on the hub", flush=True)


def _free_bytes(folder: Path) -> int:
    """Free space of the disk that `folder` is on, or would be made on."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextmanager
def _one_line_errors(name: str) -> Iterator[None]:
    """Turn what transformers and its dependencies raise into one line that says what to do."""
    try:
        yield
    except CheckpointError:
        raise
    except (torch.cuda.OutOfMemoryError, MemoryError) as error:
        raise CheckpointError(_out_of_memory(name)) from error
    except SafetensorError as error:
        raise CheckpointError(
            f"the weights in {name} are damaged or cut short ({error}); copy them again"
        ) from error
    except json.JSONDecodeError as error:
        raise CheckpointError(
            f"a JSON file in {name} is damaged ({error}); copy it again"
        ) from error
    except OSError as error:
        raise CheckpointError(_os_error(name, error)) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error):
            raise CheckpointError(_out_of_memory(name)) from error
        if "size mismatch" in str(error):
            raise CheckpointError(
                f"the weights in {name} have other shapes than its config.json says; "
                "the two files do not belong together"
            ) from error
        if "could not parse ModelProto" in str(error):
            raise CheckpointError(
                f"tokenizer.model in {name} is damaged; copy the folder again or make it anew"
            ) from error
        raise


def _out_of_memory(name: str) -> str:
    published = PUBLISHED.get(name)
    size = f" ({published.size / GB:.1f} GB in half precision)" if published else ""
    return f"{name} does not fit into memory{size}; use a larger GPU, or dtype='bfloat16'"


def _os_error(name: str, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"the disk is full: {name} cannot be stored in {hub.HF_HUB_CACHE}; free space"
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
    if Path(name).is_dir():
        return f"{name} cannot be loaded ({first_line}); copy the folder again or make it anew"
    return (
        f"{name} is not in {hub.HF_HUB_CACHE} and cannot be fetched from the hub; go online, "
        f"check the name, or pass a folder that holds it ({first_line})"
    )


@contextmanager
def _remote_code() -> Iterator[None]:
    """Import the code of a checkpoint from a place of its own.

    transformers copies the code to a cache that all processes share and imports it, under the
    folder's name, into the same module every time: of two folders called ``policy``, one would
    change the code of the other's model. Here each load has its own copy and its own modules, and
    nothing is written to the user's cache.
    """
    cache = tempfile.mkdtemp(dir=_code_folder())
    before = {key: sys.modules.pop(key) for key in list(sys.modules) if _is_remote(key)}
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


def _is_remote(module: str) -> bool:
    return module.split(".")[0] == REMOTE


@lru_cache(maxsize=1)
def _code_folder() -> str:
    """Where this process keeps the code of checkpoints; removed when it ends."""
    folder = tempfile.mkdtemp(prefix="chatglm-code-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _some(names: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
