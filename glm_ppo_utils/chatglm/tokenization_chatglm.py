"""ChatGLM3's tokenizer: SentencePiece pieces, command tokens, left padding.

The file travels inside checkpoint folders (``trust_remote_code=True``), so it imports nothing of
this package. Vocabulary layout: the SentencePiece pieces (``<unk>`` = 0 is also the padding,
``</s>`` = 2 ends an answer), then those command tokens that are not among the pieces already. In
the published vocabulary that is all of them; a vocabulary of ours reserves pieces for them.
"""

import shutil
from pathlib import Path

from sentencepiece import SentencePieceProcessor
from transformers import BatchEncoding, PreTrainedTokenizer
from transformers.utils import PaddingStrategy

PREFIX = ["[gMASK]", "sop"]
ROLES = ["<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]
COMMANDS = ["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", *ROLES]


class ChatGLMTokenizer(PreTrainedTokenizer):
    """SentencePiece tokenizer with ChatGLM3's chat prompt.

    Parameters
    ----------
    vocab_file : str
        A SentencePiece model (``tokenizer.model``).

    Notes
    -----
    Command tokens are never read from text: a user who types ``<|assistant|>`` gets ordinary
    pieces, as in the published tokenizer. Batches are padded on the left, because a decoder
    continues from the last position, and carry ``position_ids`` that start at the first real token.

    The published tokenizer differs in three things: padding on the right is an AssertionError
    without a word, it cannot load what it has saved (``eos_token`` has no setter), and it decodes
    command tokens as text.
    """

    vocab_files_names = {"vocab_file": "tokenizer.model"}
    model_input_names = ["input_ids", "attention_mask", "position_ids"]

    def __init__(self, vocab_file: str | Path, **kwargs: object) -> None:
        self.vocab_file = vocab_file
        self.pieces = SentencePieceProcessor(model_file=str(vocab_file))
        self.command_ids = self._find_commands()
        self.command_names = {index: name for name, index in self.command_ids.items()}
        defaults = {
            "unk_token": "<unk>",
            "pad_token": "<unk>",
            "eos_token": "</s>",
            "additional_special_tokens": COMMANDS,
            "padding_side": "left",
            "clean_up_tokenization_spaces": False,
            "spaces_between_special_tokens": False,
            "split_special_tokens": True,
        }
        super().__init__(**{**defaults, **kwargs})

    # -- vocabulary ---------------------------------------------------------------------------

    def _find_commands(self) -> dict[str, int]:
        """Ids of the command tokens: reserved pieces, or numbers after the last piece."""
        ids = {name: self.pieces.piece_to_id(name) for name in COMMANDS}
        ids = {name: i for name, i in ids.items() if self.pieces.is_control(i)}
        appended = [name for name in COMMANDS if name not in ids]
        return {**ids, **{n: self.pieces.get_piece_size() + i for i, n in enumerate(appended)}}

    @property
    def vocab_size(self) -> int:
        return max(self.pieces.get_piece_size(), max(self.command_names) + 1)

    def get_vocab(self) -> dict[str, int]:
        vocab = {self.pieces.id_to_piece(i): i for i in range(self.pieces.get_piece_size())}
        return {**vocab, **self.command_ids}

    def _convert_token_to_id(self, token: str) -> int:
        command = self.command_ids.get(token)
        return self.pieces.piece_to_id(token) if command is None else command

    def _convert_id_to_token(self, index: int) -> str:
        if index in self.command_names:
            return self.command_names[index]
        # The embedding may be padded beyond the vocabulary: such ids decode to nothing.
        known = 0 <= index < self.pieces.get_piece_size()
        return self.pieces.id_to_piece(index) if known else self.unk_token

    def get_command(self, token: str) -> int:
        """Id of a command token such as ``<|user|>``."""
        if token not in self.command_ids:
            raise ValueError(f"{token!r} is not a command token; there are {', '.join(COMMANDS)}")
        return self.command_ids[token]

    # -- text <-> pieces ----------------------------------------------------------------------

    def _tokenize(self, text: str, **kwargs: object) -> list[str]:
        return self.pieces.encode(text, out_type=str)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return self.pieces.decode([t for t in tokens if t not in self.command_ids])

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """``[gMASK] sop A [B </s>]``: every sequence starts with the generation prefix."""
        ids = [self.get_command(name) for name in PREFIX] + list(token_ids_0)
        return ids if token_ids_1 is None else ids + list(token_ids_1) + [self.eos_token_id]

    # -- chat ---------------------------------------------------------------------------------

    def build_single_message(self, role: str, metadata: str, message: str) -> list[int]:
        """Ids of one turn: the role token, the metadata line, the message."""
        header = self.pieces.encode(f"{metadata}\n")
        return [self.get_command(f"<|{role}|>"), *header, *self.pieces.encode(message)]

    def build_chat_input(
        self, query: str, history: list[dict[str, str]] | None = None, role: str = "user"
    ) -> BatchEncoding:
        """Prompt of a chat, ending in ``<|assistant|>``, as a batch of one of tensors.

        Parameters
        ----------
        query : str
            The newest message.
        history : list of dict, optional
            Earlier turns, ``{"role", "content"}`` and optionally ``"metadata"``.
        """
        ids = []
        for turn in history or []:
            ids += self.build_single_message(
                turn["role"], turn.get("metadata", ""), turn["content"]
            )
        ids += self.build_single_message(role, "", query)
        ids.append(self.get_command("<|assistant|>"))
        return self.batch_encode_plus([ids], return_tensors="pt", is_split_into_words=True)

    # -- batches ------------------------------------------------------------------------------

    # The signature without `padding_side` is the published one. transformers 4.45 and later pass
    # that argument and fail here; notebook 04 shows it.
    def _pad(
        self,
        encoded_inputs: dict[str, list[int]],
        max_length: int | None = None,
        padding_strategy: PaddingStrategy | str | None = None,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
    ) -> dict[str, list[int]]:
        if self.padding_side != "left":
            raise ValueError("ChatGLM pads on the left only; leave padding_side='left'")
        ids = encoded_inputs[self.model_input_names[0]]
        length = len(ids)
        mask = encoded_inputs.setdefault("attention_mask", [1] * length)
        positions = encoded_inputs.setdefault("position_ids", list(range(length)))
        target = self._padded_length(length, max_length, padding_strategy, pad_to_multiple_of)
        missing = target - length
        if missing > 0:
            encoded_inputs["attention_mask"] = [0] * missing + list(mask)
            encoded_inputs["position_ids"] = [0] * missing + list(positions)
            encoded_inputs[self.model_input_names[0]] = [self.pad_token_id] * missing + list(ids)
        return encoded_inputs

    @staticmethod
    def _padded_length(
        length: int,
        max_length: int | None,
        strategy: PaddingStrategy | str | None,
        multiple: int | None,
    ) -> int:
        """Length after padding. ``pad`` has turned "longest" into "max_length" for a batch."""
        name = getattr(strategy, "value", strategy)
        if name in (None, "do_not_pad"):
            return length
        target = length if name == "longest" or max_length is None else max_length
        return -(-target // multiple) * multiple if multiple else target

    def save_vocabulary(
        self, save_directory: str | Path, filename_prefix: str | None = None
    ) -> tuple[str]:
        name = (f"{filename_prefix}-" if filename_prefix else "") + "tokenizer.model"
        target = Path(save_directory) / name
        if Path(self.vocab_file).resolve() != target.resolve():
            shutil.copyfile(self.vocab_file, target)
        return (str(target),)
