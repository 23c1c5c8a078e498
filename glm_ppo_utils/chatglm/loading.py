"""Load tokenizers and policies: from the hub, from a folder, from a saved LoRA adapter.

Every load runs the code that the pinned transformers understands, and ends in a model that TRL can
wrap or in one line that says what is missing.
"""

import copy
import json
import platform
import warnings
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft import __version__ as peft_version
from safetensors import safe_open
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from glm_ppo_utils.errors import BadInput
from glm_ppo_utils.saved_policy import ADAPTER, is_adapter

from .compat import fit_generation
from .configuration_chatglm import ChatGLMConfig
from .head import expose_head
from .hub import (
    CheckpointError,
    check_disk,
    check_vintage,
    code_revision,
    one_line_errors,
    remote_code,
    resolve,
    some,
)
from .modeling_chatglm import ChatGLMForConditionalGeneration
from .saving import accept_fixed_tokens, verify_checksums

WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def load_tokenizer(
    name_or_path: str | Path, revision: str | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint folder or of a checkpoint on the hub.

    It pads on the left whatever its files say, because an answer continues from the last position.
    The arguments are those of `load_policy`.

    Raises
    ------
    CheckpointError
        If it is not there or cannot be read.
    """
    name, revision = resolve(name_or_path, revision)
    options = {"revision": revision, "padding_side": "left"}
    with one_line_errors(name), remote_code():
        auto_map = get_tokenizer_config(name, revision=revision).get("auto_map", {})
        auto_map = auto_map if isinstance(auto_map, dict) else {"AutoTokenizer": auto_map}
        classes = auto_map.get("AutoTokenizer")
        if not classes:
            return AutoTokenizer.from_pretrained(name, trust_remote_code=True, **options)
        reference = classes[1] or classes[0]  # the fast class, if there is one
        own_code = code_revision(auto_map, name, revision)
        cls = get_class_from_dynamic_module(reference, name, code_revision=own_code)
        cls.register_for_auto_class()
        accept_fixed_tokens(cls)
        tokenizer = cls.from_pretrained(name, **options)
    if len(tokenizer.get_vocab()) < tokenizer.vocab_size:
        tokenizer._add_tokens = _no_new_tokens.__get__(tokenizer)
    return tokenizer


def _no_new_tokens(tokenizer: Any, new_tokens: object, special_tokens: bool = False) -> int:
    """In the place of ``_add_tokens`` where the published code would give ids twice."""
    taken = len(tokenizer.get_vocab())
    raise BadInput(
        f"{type(tokenizer).__name__} would give {new_tokens!r} an id that is taken: it counts "
        f"{taken} tokens and uses ids up to {tokenizer.vocab_size - 1}; train on the tokens there "
        "are, or add pieces to the vocabulary file"
    )


def check_checkpoint(name_or_path: str | Path, revision: str | None = None) -> None:
    """Find out before any work whether a checkpoint is there, complete and of a kind that runs.

    Of a checkpoint on the hub this reads the configuration and compares its size with the disk.

    Raises
    ------
    CheckpointError
        As `load_policy` would.
    """
    name, revision = resolve(name_or_path, revision)
    with one_line_errors(name):
        if is_adapter(name):
            config, revision = _adapter_base(Path(name), revision)
            check_checkpoint(str(config.base_model_name_or_path), revision)
        else:
            _check(name, revision)


def _check(name: str, revision: str | None) -> dict:
    """The content of ``config.json``, when nothing speaks against loading the checkpoint."""
    check_disk(name, revision)
    if Path(name).is_dir() and not (Path(name) / "config.json").is_file():
        raise CheckpointError(f"{name} has no config.json: it is not a checkpoint folder")
    config, _ = PretrainedConfig.get_config_dict(name, revision=revision)
    check_vintage(name, config)
    _check_folder(name, config)
    return config


def load_policy(
    name_or_path: str | Path,
    revision: str | None = None,
    dtype: torch.dtype | str | None = None,
    lora: LoraConfig | Mapping | object | None = None,
    device_map: str | dict | None = None,
) -> PreTrainedModel | PeftModel:
    """A causal language model with a working ``lm_head``, ready for `add_value_head`.

    Where the model's own code and the installed transformers do not fit, generation is patched
    by `patch_generation`, with a warning that says which version or revision would fit.

    Parameters
    ----------
    name_or_path
        A checkpoint folder, the folder of a saved LoRA adapter, or a name on the hub such as
        ``THUDM/chatglm3-6b``.
    revision
        Commit on the hub; of the code, for a folder that takes its code from there. By default the
        one in `PUBLISHED`, because later commits carry code for other versions of transformers. It
        is stored with a LoRA adapter.
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
        If the checkpoint is missing, damaged or incomplete, of a kind that does not run here, the
        hub cannot be reached, or disk or memory do not suffice.
    BadInput
        If `dtype` is unknown, or `lora` is not a LoRA configuration, asks for a copy of
        ``lm_head``, which PEFT would ignore, or is given for what is an adapter already.
    """
    name, revision = resolve(name_or_path, revision)
    dtype = _dtype(dtype)
    if is_adapter(name):
        if lora is not None:
            raise BadInput(
                f"{name} is a LoRA adapter already; leave lora out to train it on, or load its "
                "base model with a new one"
            )
        return _load_adapter(Path(name), revision, dtype, device_map)
    with one_line_errors(name), remote_code():
        config = _check(name, revision)
        own_code = code_revision(config.get("auto_map", {}), name, revision)
        model, info = AutoModelForCausalLM.from_pretrained(
            name,
            revision=revision,
            code_revision=own_code,
            torch_dtype=dtype,
            device_map=device_map,
            trust_remote_code=True,
            output_loading_info=True,
        )
        if info["missing_keys"]:
            raise CheckpointError(
                f"{name} lacks the weights of {some(info['missing_keys'])}; "
                "copy the checkpoint again, or check that its config.json belongs to it"
            )
        if device_map is None and torch.cuda.is_available():
            model = model.to("cuda")
    _check_offload(name, model)
    expose_head(model)
    fit_generation(model, name)
    return _with_lora(model, lora, own_code or revision)


def _check_offload(name: str, model: Any) -> None:
    """Refuse what TRL would refuse later: parts of a spread-out model that lie on no GPU."""
    places = {str(place) for place in getattr(model, "hf_device_map", {}).values()}
    if places & {"cpu", "disk"}:
        raise CheckpointError(
            f"{name} does not fit on the GPUs: device_map puts parts of it on "
            f"{' and '.join(sorted(places & {'cpu', 'disk'}))}, and TRL's value head takes none "
            "from there; use larger GPUs, or leave device_map out"
        )


def _lora_config(
    lora: LoraConfig | Mapping | object, model: PreTrainedModel, revision: str | None
) -> LoraConfig:
    """A ``LoraConfig`` from one, or from its arguments, checked for what PEFT ignores."""
    if isinstance(lora, PeftConfig):
        lora = copy.deepcopy(lora)
    else:
        try:
            lora = LoraConfig(**(asdict(lora) if is_dataclass(lora) else dict(lora)))  # type: ignore
        except (TypeError, ValueError) as error:
            raise BadInput(f"lora is not understood ({error}); see peft.LoraConfig") from error
    _check_lora(lora)
    lora.task_type = "CAUSAL_LM"
    lora.revision = lora.revision or revision
    if model.config.model_type == "chatglm" and "lm_head" in (lora.modules_to_save or ()):
        raise BadInput(
            "modules_to_save names lm_head, which PEFT would silently ignore: on ChatGLM the "
            "module is called output_layer"
        )
    return lora


def _with_lora(
    model: PreTrainedModel, lora: LoraConfig | Mapping | object, revision: str | None = None
) -> PreTrainedModel | PeftModel:
    """The model with a new adapter on it, or as it is if `lora` is None."""
    if lora is None:
        return model
    try:
        return get_peft_model(model, _lora_config(lora, model, revision))
    except ValueError as error:  # no such module
        raise BadInput(str(error)) from error


def _check_lora(config: PeftConfig) -> None:
    """Refuse adapters of another kind, or for another task, than PPO can train here."""
    if config.peft_type != "LORA" or config.task_type not in (None, "CAUSAL_LM"):
        raise BadInput(
            f"the adapter is {config.peft_type} for {config.task_type}, and only LORA for "
            "CAUSAL_LM is supported; prefixes and prompts do not fit ChatGLM's cache"
        )


def _adapter_base(folder: Path, revision: str | None) -> tuple[PeftConfig, str | None]:
    """The configuration of a saved adapter, and the revision of the base model it names."""
    try:
        config = PeftConfig.from_pretrained(str(folder))
    except TypeError as error:  # a key of a later version
        raise CheckpointError(
            f"{folder / ADAPTER} was written by a later PEFT than {peft_version} ({error}); "
            "delete what it does not know, if it is null or false there"
        ) from error
    _check_lora(config)
    config.task_type = "CAUSAL_LM"  # or PEFT wraps the model without `generate`
    return config, revision or config.revision


def _load_adapter(
    folder: Path, revision: str | None, dtype: torch.dtype, device_map: str | dict | None
) -> PeftModel:
    """The base model that a saved adapter names, with the adapter on it, trainable."""
    with one_line_errors(str(folder)):
        config, revision = _adapter_base(folder, revision)
        name = str(config.base_model_name_or_path)
        base = load_policy(name, revision, dtype, device_map=device_map)
        verify_checksums(folder)
        return PeftModel.from_pretrained(base, folder, is_trainable=True, config=config)


def _dtype(dtype: torch.dtype | str | None) -> torch.dtype:
    gpu = torch.cuda.is_available()
    if dtype is None:
        return torch.bfloat16 if gpu else torch.float32
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype):
        raise BadInput(f"dtype {dtype!r} is unknown; give float32 or bfloat16")
    x86 = platform.machine() in ("x86_64", "AMD64")
    if found.itemsize == 2 and not gpu and x86 and not torch.cpu._is_avx512_bf16_supported():
        warnings.warn(
            f"this CPU has no instructions for {str(found)[6:]}: training takes tens of times "
            "longer than in float32; take dtype float32",
            stacklevel=3,
        )
    return found


def _check_folder(name: str, config: dict) -> None:
    """Look at a local folder's files before transformers does, for clearer errors."""
    folder = Path(name)
    if not folder.is_dir():
        return
    if "." in folder.name and "auto_map" in config:
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
            raise CheckpointError(f"{folder} lacks {some(lost)}: its weights are incomplete")
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt"):  # type: ignore[attr-defined]
            pass  # reads the header and compares the file's length with it
    verify_checksums(folder)


def random_policy(
    config: ChatGLMConfig,
    dtype: torch.dtype | str | None = None,
    lora: Mapping | None = None,
    seed: int = 0,
) -> PreTrainedModel | PeftModel:
    """A policy as `load_policy` returns it, with random weights made on its device.

    It writes nonsense. Its memory and speed are those of trained weights, except that its answers
    hardly ever end before the length limit.
    """
    config.torch_dtype = _dtype(dtype)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(seed)
        model = ChatGLMForConditionalGeneration(config).to(config.torch_dtype).eval()
    expose_head(model)
    return _with_lora(model, lora)
