"""A word problem with its reference, and how it is put to the policy."""

from dataclasses import dataclass

# The tiny policy learns the task from demonstrations; a pretrained chat model is told.
PROMPT = ""
INSTRUCTION = """\
Write the word problem below as a linear program in LP format, and nothing else. Line by line: \
'maximize' or 'minimize'; the objective; 'subject to'; one constraint a line, as \
'3 chairs + 5 tables <= 40', variables on the left and one number on the right; then, if all \
variables must be whole numbers, 'general' and on the next line their names; or, for yes-no \
decisions, 'binary' and their names; 'end' last. Variables are at least 0. Name each after what it \
counts, in lower case, with _ for a space."""


@dataclass(frozen=True)
class Problem:
    """A word problem and the LP text that answers it."""

    id: str
    text: str
    reference: str
    family: str = ""


def prompt_text(problem: Problem, instruction: str = PROMPT) -> str:
    """The user's message for `problem`: the instruction, if any, a blank line, the text.

    Use ``instruction=INSTRUCTION`` with a pretrained chat model.
    """
    return f"{instruction}\n\n{problem.text}" if instruction else problem.text
