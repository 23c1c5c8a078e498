"""What the drawn graphs of notebook 03 mark as different, and that Chinese names are drawn."""

import warnings

import matplotlib.pyplot as plt
import pytest

from glm_ppo_utils import plotting
from glm_ppo_utils.evaluator.differences import compare_programs
from glm_ppo_utils.plotting.evaluator import marked_parts
from glm_ppo_utils.problems import generate

REFERENCE = """maximize
 3 chairs + 5 tables
subject to
 2 chairs + tables <= 40
 tables - 2 chairs >= 0
general
 chairs tables
end"""


@pytest.mark.parametrize(
    ("old", "new", "in_answer", "in_reference"),
    [
        ("3 c", "3 c", set(), set()),
        ("2 chairs + tables", "2 chairs + 9 tables", {(1, 0)}, {(1, 0)}),
        ("3 chairs + ", "", {(0, -1)}, {(0, -1)}),
        ("<= 40", "<= 41", {("row", 0)}, {("row", 0)}),
        ("maximize", "minimize", {("row", -1)}, {("row", -1)}),
        ("general\n chairs tables", "general\n chairs", {("variable", 1)}, {("variable", 1)}),
        (
            "<= 40\n",
            "<= 40\n 7 chairs + 9 tables <= 5\n",
            {("row", 1), ("all of", 1)},
            set(),
        ),
        (" 2 chairs + tables <= 40\n", "", set(), {("row", 0), ("all of", 0)}),
    ],
)
def test_marked_parts(old, new, in_answer, in_reference):
    assert old in REFERENCE
    comparison = compare_programs(REFERENCE.replace(old, new, 1), REFERENCE)
    p, q = comparison.candidate, comparison.reference

    def by_name(program, marked):
        """Variables in the order chairs, tables."""
        places = {j: ("chairs", "tables").index(name) for j, name in enumerate(program.names)}
        return {
            (places[a], b) if isinstance(a, int) else (a, places[b] if a == "variable" else b)
            for a, b in marked
        }

    found = marked_parts(comparison.differences, of_reference=False)
    assert by_name(p, found) == in_answer
    found = marked_parts(comparison.differences, of_reference=True)
    assert by_name(q, found) == in_reference


def test_corresponding_vertices_stand_at_the_same_height():
    """Whatever the order in which an answer names its variables and rows."""
    answer = REFERENCE.replace("3 chairs + 5 tables", "5 b + 3 a").replace("tables", "b")
    answer = answer.replace("chairs", "a").replace("<= 40", "<= 41")
    figure = plotting.model_graphs(compare_programs(answer, REFERENCE))
    heights = [
        {text.get_text().split("\n")[0]: text.get_position()[1] for text in ax.texts}
        for ax in figure.axes
    ]
    assert heights[0]["a"] == heights[1]["chairs"]
    assert heights[0]["b"] == heights[1]["tables"]
    assert heights[0]["≤ 41"] == heights[1]["≤ 40"]
    plt.close(figure)


DIAGRAMS = ("rlhf_steps", "swap", "ppo_step", "grading", "replay")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", DIAGRAMS)
def test_words_stay_inside_their_boxes(name, language, monkeypatch):
    """With six pixels to spare on each side, and none in a box of another."""
    monkeypatch.setenv("GLM_PPO_LANGUAGE", language)
    figure = getattr(plotting, name)()
    figure.draw_without_rendering()
    boxes = [patch.get_window_extent() for patch in figure.axes[0].patches]
    for text in (text for text in figure.axes[0].texts if text.get_text()):
        said = text.get_window_extent()
        for box in (box for box in boxes if box.overlaps(said)):
            assert box.x0 + 6 <= said.x0 and said.x1 <= box.x1 - 6, text.get_text()
            assert box.y0 + 1 <= said.y0 and said.y1 <= box.y1 - 1, text.get_text()
    plt.close(figure)


def test_credit_falls_on_the_terms_in_which_answers_differ():
    """What both have in the same place cancels out."""
    wrong = REFERENCE.replace("2 chairs + tables", "9 chairs + tables")
    figure = plotting.token_credit([REFERENCE, wrong], [1.0, 0.2], shown=(0, 1))
    pushed = [
        [text.get_text() for text in ax.texts if text.get_text()[0] in "+-"] for ax in figure.axes
    ]
    assert pushed == [["+0.40"], ["-0.40"]]
    plt.close(figure)


def test_tokens_are_coloured_by_the_sign_of_their_advantage():
    spans = plotting.advantage_tokens(["<a>", "b"], [1.0, -1.0]).split("inline-block")[1:]
    assert "rgba(0,114,178,0.40)" in spans[0] and "&lt;a&gt;" in spans[0] and "+1.0" in spans[0]
    assert "rgba(213,94,0,0.40)" in spans[1] and "-1.0" in spans[1]


def test_chinese_names_are_drawn_with_the_font_of_the_package():
    """matplotlib warns of every character that no font has, and draws a box."""
    figure, ax = plt.subplots()
    names = {c for p in generate(300, seed=0, language="zh") for c in p.text if ord(c) > 0x2E7F}
    assert len(names) > 200
    ax.text(0, 0, "".join(sorted(names)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        figure.canvas.draw()
    plt.close(figure)
