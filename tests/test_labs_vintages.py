"""The table of vintages, on imitations of them."""

import csv
import shutil

import pytest
from imitations import LATE, MODEL, NEW_UPDATE, OLD_UPDATE, TOKENIZER, appended, imitation

from glm_ppo_utils.labs import vintages

pytestmark = pytest.mark.slow


def cells(row: dict[str, str]) -> set[str]:
    return {cell for step, cell in row.items() if step != "vintage"}


def test_every_step_works_on_our_own_code_and_the_folder_stays(tiny_folder, tmp_path):
    folder = tmp_path / "chatglm3.2"  # a dot, which no folder of code may have
    shutil.copytree(tiny_folder, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    row = vintages.try_vintage(folder)
    assert row["vintage"] == "chatglm3.2" and cells(row) == {"ok"}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_code_that_takes_a_pair_and_has_no_vocabulary(tiny_folder, tmp_path):
    folder = imitation(tiny_folder, tmp_path / "glm4", (MODEL, OLD_UPDATE, NEW_UPDATE))
    (folder / "tokenizer.model").write_text("version: a pointer to a large file")
    row = vintages.try_vintage(folder)
    assert row.pop("load") == row.pop("save and reload") == "ok, patched"
    assert cells(row) == {"ok"}


def test_a_row_of_what_a_user_sees(tiny_folder, tmp_path, capsys):
    changes = {"auto_map": {"AutoTokenizer": ["tokenization_chatglm.ChatGLM2Tokenizer", None]}}
    config = {"position_encoding_2d": True}
    late = appended(TOKENIZER, LATE)
    imitation(tiny_folder, tmp_path / "old", late, tokenizer_config=changes, config=config)
    table = tmp_path / "vintages.csv"
    assert vintages.main([str(tmp_path / "old"), "--table", str(table)]) == 0
    [row] = csv.DictReader(table.open())
    assert "self.tokenizer above super().__init__()" in row["tokenizer"]
    assert row["load"].startswith("old is the first ChatGLM-6B")
    assert cells(row) - {row["tokenizer"], row["load"]} == {"-"}
    assert row["load"] in capsys.readouterr().out


def test_a_folder_without_code(tmp_path, capsys):
    assert vintages.main([str(tmp_path)]) == 1
    assert f"no config.json in {tmp_path}" in capsys.readouterr().err
