"""Small folders that behave like one vintage of ChatGLM: ours, with one thing changed.

Nobody's code is shipped: each changes a few lines of the stand-in to what the published code of
that vintage does.
"""

import json
import shutil
from pathlib import Path

TOKENIZER, MODEL = "tokenization_chatglm.py", "modeling_chatglm.py"
CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"

# What this code stores is what a private method of transformers returns ...
OLD_UPDATE = """\
        model_kwargs["past_key_values"] = self._extract_past_from_model_output(
            outputs, standardize_cache_format=standardize_cache_format
        )
"""
# ... and code from after transformers 4.42 takes a pair apart.
NEW_UPDATE = """\
        cache_name, cache = self._extract_past_from_model_output(outputs)
        model_kwargs[cache_name] = cache
"""

# ChatGLM2: the vocabulary is set after super().__init__(), which asks for it.
LATE = """

class ChatGLM2Tokenizer(PreTrainedTokenizer):
    vocab_files_names = {"vocab_file": "tokenizer.model"}

    def __init__(self, vocab_file, **kwargs):
        super().__init__(**kwargs)
        self.tokenizer = SentencePieceProcessor(model_file=vocab_file)

    @property
    def vocab_size(self):
        return self.tokenizer.get_piece_size()

    def get_vocab(self):
        return {self.tokenizer.id_to_piece(i): i for i in range(self.vocab_size)}
"""

# ChatGLM2: the prompt is a text with rounds.
ROUNDS = """
    def build_prompt(self, query, history=None):
        return f"[Round 1]\\n\\n问：{query}\\n\\n答："
"""

# GLM-4 of June 2024: the template is code, and one conversation comes back as a batch of one.
TEMPLATE = """
    def apply_chat_template(self, conversation, add_generation_prompt=False, **kwargs):
        ids = [self.get_command(name) for name in PREFIX]
        for turn in conversation:
            ids += self.build_single_message(turn["role"], "", turn["content"])
        return [ids + [self.get_command("<|assistant|>")] * add_generation_prompt]
"""

# The published tokenizer: the end token is a property, written into folders all the same.
FIXED = """
    @property
    def eos_token(self):
        return "</s>"
"""

# The published tokenizer: command tokens are no part of its vocabulary, but have ids.
UNCOUNTED = """
    def get_vocab(self):
        pieces = [self.pieces.id_to_piece(i) for i in range(self.vocab_size)]
        return {p: i for i, p in enumerate(pieces) if p not in self.command_ids}
"""
NO_SPECIAL = (TOKENIZER, '            "additional_special_tokens": COMMANDS,\n', "")

NO_BUILDER = (TOKENIZER, "def build_chat_input(", "def _unused(")


def imitation(tiny: Path, target: Path, *edits: tuple[str, str, str], **settings: dict) -> Path:
    """A copy of the folder `tiny` in which texts are replaced and settings changed.

    Parameters
    ----------
    edits
        File, old text, new text; the old text must be there.
    settings
        ``config`` and ``tokenizer_config``: keys to set, or to drop where None.
    """
    shutil.copytree(tiny, target)
    for name, old, new in edits:
        text = (target / name).read_text()
        assert old in text, (name, old)
        (target / name).write_text(text.replace(old, new))
    for name, changes in settings.items():
        path = target / f"{name}.json"
        content = {**json.loads(path.read_text()), **changes}
        content = {key: value for key, value in content.items() if value is not None}
        path.write_text(json.dumps(content))
    return target


def appended(name: str, code: str) -> tuple[str, str, str]:
    """The edit that puts methods at the end of the last class of a file."""
    last = {TOKENIZER: "        return (str(target),)\n"}[name]
    return name, last, last + code
