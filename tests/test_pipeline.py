"""What one notebook hands to the next, and the base model that it starts from."""

import json
from dataclasses import replace
from pathlib import Path

import pretrain_base
import pytest

from glm_ppo_utils import base_model, environment, pipeline
from glm_ppo_utils.chatglm import load_policy, load_tokenizer
from glm_ppo_utils.evaluator import Evaluator
from glm_ppo_utils.problems import fingerprint
from glm_ppo_utils.problems.plain_lp import read_plain_lp
from glm_ppo_utils.profiles import PROFILES
from glm_ppo_utils.rollout import respond
from glm_ppo_utils.sft import SFTSettings

TINY = PROFILES["tiny"]
FEW = replace(
    TINY,
    train_problems=40,
    heldout_problems=8,
    sft=replace(TINY.sft, steps=2, problems=40, eval_every=1),
)


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("GLM_PPO_RUNS", str(tmp_path / "runs"))


@pytest.fixture(scope="module")
def base_policy(base_folder):
    return load_policy(base_folder), load_tokenizer(base_folder)


@pytest.mark.slow
def test_the_base_model_reads_notes_but_not_word_problems(base_policy):
    """It copies names and numbers into LP text, mostly without a slip, and knows no lesson."""
    policy, tokenizer = base_policy
    names = ["chairs", "tables", "corn", "rye", "nurses", "trucks", "books", "tents"]
    pairs = pretrain_base.notes(60, seed=7, names=names)
    answers = respond(policy, tokenizer, [note for note, _ in pairs], 96, temperature=0)
    read_right = sum(r.text == lp for r, (_, lp) in zip(answers, pairs, strict=True))
    assert read_right > 40
    problems = pipeline.heldout_problems(replace(TINY, heldout_problems=30))
    answers = respond(policy, tokenizer, [p.text for p in problems], 96, temperature=0)
    scores = Evaluator().score_batch([r.text for r in answers], [p.reference for p in problems])
    assert sum(s.exact for s in scores) <= 1


def test_the_stored_base_model_is_small_and_is_what_it_says(tmp_path, monkeypatch):
    made = json.loads((base_model.FOLDER / "made.json").read_text())
    assert SFTSettings(**made["settings"]) == pretrain_base.SETTINGS
    assert made["architecture"] == pretrain_base.ARCHITECTURE
    assert (base_model.FOLDER / base_model.WEIGHTS).stat().st_size <= 4 * 2**20
    for path in filter(Path.is_file, base_model.FOLDER.iterdir()):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    data = bytearray((tmp_path / base_model.WEIGHTS).read_bytes())
    data[-1] ^= 1
    (tmp_path / base_model.WEIGHTS).write_bytes(data)
    monkeypatch.setattr(base_model, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"model.safetensors is not the file that made.json"):
        base_model.unpack(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_make_base_trains_and_stores_a_base_model(tmp_path, monkeypatch):
    few = replace(pretrain_base.SETTINGS, steps=40, problems=400, eval_every=20)
    monkeypatch.setattr(base_model, "FOLDER", tmp_path / "stored")
    monkeypatch.setattr(pretrain_base, "SETTINGS", few)
    monkeypatch.setattr(
        pretrain_base, "ARCHITECTURE", {**pretrain_base.ARCHITECTURE, "num_layers": 1}
    )
    pretrain_base.train_base(tmp_path / "work", progress=False)
    made = base_model.made()
    assert SFTSettings(**made["settings"]) == few
    assert 0 < made["heldout_loss"] < 5  # nats per token; without training 7.2
    assert load_policy(base_model.unpack(tmp_path / "base")).config.num_layers == 1


def test_lessons_are_notes_tables_and_formulas():
    texts = [
        note for note, _ in pretrain_base.lessons(80, ["corn", "rye", "tents", "books", "nurses"])
    ]
    assert len(texts) == 80
    assert sum(text.startswith("As a table: ") for text in texts) == 30
    assert sum(text.startswith("As formulas: ") for text in texts) == 30


def test_notes_are_reproducible_and_their_answers_are_lp_text():
    names = ["chairs", "tables", "corn", "rye"]
    assert pretrain_base.notes(20, 1, names) == pretrain_base.notes(20, 1, names)
    assert pretrain_base.notes(20, 1, names) != pretrain_base.notes(20, 2, names)
    for note, answer in pretrain_base.notes(200, 1, names):
        assert read_plain_lp(answer).rows
        assert set(read_plain_lp(answer).variables) <= set(names)
        assert all(name in note for name in read_plain_lp(answer).variables)


@pytest.mark.slow
def test_the_sft_policy_is_made_once_and_then_found():
    folder = pipeline.sft_policy(FEW, seed=3, progress=False)
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert pipeline.sft_policy(FEW, seed=3, progress=False) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    assert load_tokenizer(folder).decode(load_tokenizer(folder).encode("end")[2:]) == "end"
    log = json.loads((folder.parent / "sft_log.json").read_text())
    assert log[-1]["seconds"] > 0


@pytest.mark.slow
def test_the_policy_of_ppo_starts_with_values_of_zero():
    folder = pipeline.sft_policy(FEW, seed=3, progress=False)
    policy, tokenizer = pipeline.ppo_policy(FEW, folder), load_tokenizer(folder)
    _, _, values = policy(**tokenizer("maximize 3 chairs", return_tensors="pt"))
    assert values.shape[0] == 1
    assert not values.any()


def test_an_installed_package_keeps_its_runs_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("GLM_PPO_RUNS")
    assert pipeline.runs_dir(FEW).parent == pipeline.ROOT / "runs"
    monkeypatch.setattr(pipeline, "ROOT", tmp_path / "site-packages")  # no pyproject.toml there
    monkeypatch.chdir(tmp_path)
    assert pipeline.runs_dir(FEW).parent == tmp_path / "runs"


def test_other_sft_settings_are_another_folder_but_other_ppo_settings_are_not():
    assert pipeline.runs_dir(FEW) != pipeline.runs_dir(TINY)
    other = replace(FEW, ppo=replace(FEW.ppo, steps=1))
    assert pipeline.runs_dir(FEW) == pipeline.runs_dir(other)


def test_no_program_is_both_trained_on_and_held_out():
    trained = [p.reference for p in pipeline.training_problems(FEW)]
    held = [p.reference for p in pipeline.heldout_problems(FEW)]
    demonstrated = [answer for _, answer in pipeline.demonstration_pairs(FEW, "heldout")]
    sides = (trained, held + demonstrated)
    keys = [{fingerprint(read_plain_lp(text)) for text in texts} for texts in sides]
    assert not keys[0] & keys[1]


@pytest.mark.slow
def test_no_problem_with_a_demonstration_is_also_graded():
    profile = replace(FEW, sft=replace(FEW.sft, problems=300), train_problems=2000)
    shown = [answer for _, answer in pipeline.demonstration_pairs(profile)]
    graded = [p.reference for p in pipeline.training_problems(profile)]
    keys = [{fingerprint(read_plain_lp(text)) for text in texts} for texts in (shown, graded)]
    assert [len(k) for k in keys] == [300, 2000] and not keys[0] & keys[1]


def test_a_profile_for_chat_models_explains_the_format_first():
    chat = replace(PROFILES["chatglm3-6b"], train_problems=2)
    plain = pipeline.training_problems(replace(FEW, train_problems=2))
    for problem, bare in zip(pipeline.training_problems(chat), plain, strict=True):
        assert problem.text.endswith(bare.text)
        assert "subject to" in problem.text


def test_the_summary_says_what_is_missing_and_then_what_was_reached(tmp_path):
    assert "run notebook 05 first" in pipeline.result(FEW)
    folder = pipeline.runs_dir(FEW) / "ppo-seed0"
    folder.mkdir(parents=True)
    rows = [
        {"step": 0, "sampled_exact": 0.25, "greedy_exact": 0.5},
        {"step": 9, "sampled_exact": 0.5, "greedy_exact": 0.625},
    ]
    (folder / "eval.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "log.jsonl").write_text('{"step": 0, "kl": 1.5}\n')
    text = pipeline.result(FEW)
    assert "sampled  SFT 0.25 -> PPO 0.50 (+0.25)" in text
    assert "largest KL of a step 1.50" in text


def test_the_set_up_cell_reports_each_pin(capsys):
    environment.check(["transformers==4.40.0"])
    assert capsys.readouterr().out == "[ok]   transformers 4.40.0\n"
    with pytest.raises(RuntimeError, match="^trl, no-such-package: .* `make lab`"):
        environment.check(["transformers==4.40.0", "trl==9.9.9", "no-such-package==1.0"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("[fail] trl 0.11.4, wanted 9.9.9")
    assert lines[2].startswith("[fail] no-such-package not installed")
