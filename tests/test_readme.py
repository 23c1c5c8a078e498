"""The two READMEs say the same, and their example runs as it is printed."""

import re
from collections import Counter
from pathlib import Path

import pytest

from glm_ppo_utils import base_model
from glm_ppo_utils.problems import generate, save_problems

ROOT = Path(__file__).resolve().parents[1]
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"


def sections(name: str) -> list[str]:
    """What stands before the first heading of level 2, then each section; badges left out."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"<!-- colab -->.*?<!-- /colab -->", "", text, flags=re.S)
    return re.split(r"^## ", text, flags=re.M)


def numbers(text: str) -> Counter:
    return Counter(re.findall(r"\d+(?:[.,]\d+)*", text))


def links(text: str) -> Counter:
    return Counter(re.findall(r"\]\(([^)]+)\)", text))


def code(text: str) -> list[str]:
    """Fenced lines without their comments."""
    lines = "\n".join(re.findall(r"```\w*\n(.*?)```", text, flags=re.S)).splitlines()
    return [line.split("#")[0].rstrip() for line in lines]


def test_the_readmes_have_the_same_sections():
    assert len(sections(ENGLISH)) == len(sections(CHINESE)) > 5
    assert numbers(sections(ENGLISH)[1])


@pytest.mark.parametrize("place", range(len(sections(ENGLISH))))
@pytest.mark.parametrize("part", [numbers, links, code], ids=lambda part: part.__name__)
def test_the_readmes_agree(place, part):
    english, chinese = sections(ENGLISH)[place], sections(CHINESE)[place]
    chinese = chinese.replace(f"]({ENGLISH})", f"]({CHINESE})")  # each links to the other
    chinese = chinese.replace("](notebooks/zh/", "](notebooks/")  # each links to its own language
    chinese = chinese.replace(".zh-CN.png)", ".png)")  # and shows figures in it
    assert part(english) == part(chinese)


def test_each_readme_shows_figures_in_its_language():
    shown = [
        re.findall(r"\]\((\S+[.]png)\)", (ROOT / name).read_text(encoding="utf-8"))
        for name in (ENGLISH, CHINESE)
    ]
    assert shown[0]
    assert shown[1] == [name.replace(".png", ".zh-CN.png") for name in shown[0]]
    for names in zip(*shown, strict=True):
        english, chinese = ((ROOT / name).read_bytes() for name in names)
        assert english != chinese


@pytest.mark.slow
def test_the_example_with_ones_own_data_runs(tmp_path, monkeypatch):
    """As printed, but for one step of PPO."""
    printed = next(s for s in sections(ENGLISH) if s.startswith("Your own data"))
    lines = [line for line in code(printed) if not line.startswith(("glm-ppo ", "accelerate "))]
    example = "\n".join(lines)
    assert "PPOSettings()" in example
    small = "PPOSettings(steps=1, batch_size=4, mini_batch_size=2, max_new_tokens=16, epochs=1)"
    monkeypatch.chdir(tmp_path)
    save_problems("mine.jsonl", generate(6, seed=0))
    base_model.unpack(tmp_path / "runs" / "my-policy")
    exec(example.replace("PPOSettings()", small), {})
    assert (tmp_path / "runs" / "my-run" / "log.jsonl").read_text().count("\n") == 1
