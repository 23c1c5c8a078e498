"""The ChatGLM tokenizer: round trips, command tokens, chat prompt, left padding."""

import random

import pytest
import torch
from transformers import AutoTokenizer

from glm_ppo_utils.chatglm.tokenization_chatglm import ChatGLMTokenizer
from glm_ppo_utils.chatglm.tokenizer_training import train_tokenizer
from glm_ppo_utils.problems import generate, spoil
from glm_ppo_utils.rollout import decode_answer, encode_answer, encode_prompt, stop_ids


@pytest.fixture(scope="module")
def problems():
    return generate(400, seed=0)


@pytest.fixture(scope="module")
def tokenizer(problems, tmp_path_factory):
    texts = [t for p in problems for t in (p.text, p.reference)]
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    return ChatGLMTokenizer(train_tokenizer(texts, path))


@pytest.mark.slow
def test_every_lp_text_round_trips_exactly(tokenizer):
    problems = generate(300, seed=5, split="heldout") + generate(50, seed=5, language="zh")
    rng = random.Random(1)
    answers = [spoil(p, rng)[0] for p in problems]
    for text in [p.reference for p in problems] + answers:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids) == text
        assert decode_answer(tokenizer, encode_answer(tokenizer, text)) == text


def test_nl4opt_texts_round_trip_exactly(tokenizer, nl4opt_path):
    from glm_ppo_utils.problems import load_nl4opt

    for problem in load_nl4opt(nl4opt_path):
        for text in (problem.text, problem.reference):
            assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_digits_are_single_tokens(tokenizer):
    assert tokenizer.tokenize("1405") == ["▁1", "4", "0", "5"]


def test_the_chat_prompt_is_that_of_chatglm3(tokenizer):
    ids = encode_prompt(tokenizer, "hello")
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert tokens[:3] == ["[gMASK]", "sop", "<|user|>"]
    assert tokens[3:5] == ["▁", "\n"]
    assert tokens[-1] == "<|assistant|>"
    assert tokenizer.decode(ids[5:-1]) == "hello"


def test_history_comes_before_the_question(tokenizer):
    history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    ids = tokenizer.build_chat_input("c", history)["input_ids"][0].tolist()
    turns = [t for t in tokenizer.convert_ids_to_tokens(ids) if t.startswith("<|")]
    assert turns == ["<|user|>", "<|assistant|>", "<|user|>", "<|assistant|>"]


def test_command_tokens_are_not_read_from_text(tokenizer):
    ids = tokenizer.encode("<|assistant|> [gMASK] </s>", add_special_tokens=False)
    special = set(tokenizer.command_ids.values()) | {tokenizer.eos_token_id}
    assert not special & set(ids)
    assert tokenizer.decode(ids) == "<|assistant|> [gMASK] </s>"


def test_no_piece_of_text_is_called_like_a_command(tmp_path):
    """Words that end in "eop" made such a piece once; it was then read as the command token."""
    path = train_tokenizer(["sop eop ceop"] * 50, tmp_path / "tokenizer.model", vocab_size=400)
    tokenizer = ChatGLMTokenizer(path)
    ids = tokenizer.encode("sop eop ceop", add_special_tokens=False)
    assert tokenizer.decode(ids, skip_special_tokens=True) == "sop eop ceop"
    assert not set(ids) & set(tokenizer.command_ids.values())
    assert len(tokenizer) == tokenizer.vocab_size


def test_an_unknown_command_is_an_error_that_lists_the_known(tokenizer):
    with pytest.raises(ValueError, match=r"'<\|robot\|>'.*<\|user\|>"):
        tokenizer.get_command("<|robot|>")


def test_the_answer_ends_with_the_end_token_and_stops(tokenizer):
    ids = encode_answer(tokenizer, "maximize")
    assert ids[-1] == tokenizer.eos_token_id == stop_ids(tokenizer)[0]
    assert tokenizer.get_command("<|user|>") in stop_ids(tokenizer)


def test_padding_is_on_the_left_with_positions_from_the_first_token(tokenizer):
    batch = tokenizer.pad([{"input_ids": [5, 6, 7]}, {"input_ids": [8]}], return_tensors="pt")
    assert batch["input_ids"].tolist() == [[5, 6, 7], [0, 0, 8]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert batch["position_ids"].tolist() == [[0, 1, 2], [0, 0, 0]]
    wide = tokenizer.pad([{"input_ids": [5]}], pad_to_multiple_of=4, return_tensors="pt")
    assert wide["input_ids"].shape == torch.Size([1, 4])


def test_padding_on_the_right_is_refused(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    other = ChatGLMTokenizer.from_pretrained(tmp_path, padding_side="right")
    with pytest.raises(ValueError, match="left only"):
        other.pad([{"input_ids": [5, 6]}, {"input_ids": [8]}])


def test_saving_and_loading_changes_nothing(tokenizer, problems, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = ChatGLMTokenizer.from_pretrained(tmp_path)
    assert len(again) == len(tokenizer) == tokenizer.vocab_size
    for problem in problems[:20]:
        assert again.encode(problem.text) == tokenizer.encode(problem.text)


def test_a_tokenizer_with_a_chat_template_uses_it():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {w: i for i, w in enumerate(["<unk>", "</s>", "user", "hi", "assistant"])}
    model = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, eos_token="</s>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }} {{ m['content'] }}{% endfor %}"
    )
    assert encode_prompt(tokenizer, "hi") == [2, 3]


def test_the_class_is_found_by_autotokenizer(tokenizer, tmp_path):
    from glm_ppo_utils.chatglm import write_checkpoint

    config = {"num_layers": 3, "hidden_size": 16, "ffn_hidden_size": 16, "kv_channels": 8}
    config |= {"num_attention_heads": 2, "multi_query_group_num": 1}
    write_checkpoint(tmp_path / "policy", config, tokenizer.vocab_file)
    auto = AutoTokenizer.from_pretrained(tmp_path / "policy", trust_remote_code=True)
    assert auto.encode("maximize") == tokenizer.encode("maximize")
