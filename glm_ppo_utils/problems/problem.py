"""A word problem with what it is graded by, and how it is put to the policy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# For a pretrained chat model. The tiny policy needs none: it learns the task from demonstrations.
INSTRUCTION = """\
Write the word problem below as a linear program in LP format, and nothing else. Line by line: \
'maximize' or 'minimize'; the objective; 'subject to'; one constraint a line, as \
'3 chairs + 5 tables <= 40', variables on the left and one number on the right; then, if all \
variables must be whole numbers, 'general' and on the next line their names; or, for yes-no \
decisions, 'binary' and their names; 'end' last. Variables are at least 0. Name each after what it \
counts, in lower case, with _ for a space."""


@dataclass(frozen=True)
class Problem:
    """A word problem and what its answers are graded by.

    Attributes
    ----------
    id, text : str
    reference : str
        The model that answers it: LP text, or the path of an LP or MPS file; "" if there is none.
    family : str
    optimum : float or None
        The optimal value, for a problem without a reference.
    extra : mapping
        Whatever else is known of it; a reward function gets each entry as a column.
    """

    id: str
    text: str
    reference: str = ""
    family: str = ""
    optimum: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def columns(self) -> dict[str, Any]:
        """What a reward function gets of it, besides the text."""
        own = {"id": self.id, "family": self.family, "optimum": self.optimum}
        return {**self.extra, **own, "reference": self.reference or None}


def prompt_text(problem: Problem, instruction: str = "") -> str:
    """The user's message for `problem`: the instruction, if any, a blank line, the text."""
    return f"{instruction}\n\n{problem.text}" if instruction else problem.text
