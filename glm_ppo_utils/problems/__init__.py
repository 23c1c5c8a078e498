"""Word problems: a generator, loaders, the prompt and deliberate mistakes."""

from .generator import generate, split_of
from .loading import load_nl4opt, load_problems, save_problems
from .mistakes import ERRORS, spoil, worsen
from .numbers import FAMILIES
from .plain_lp import fingerprint
from .problem import INSTRUCTION, Problem, prompt_text

__all__ = [
    "ERRORS",
    "FAMILIES",
    "INSTRUCTION",
    "Problem",
    "fingerprint",
    "generate",
    "load_nl4opt",
    "load_problems",
    "prompt_text",
    "save_problems",
    "split_of",
    "spoil",
    "worsen",
]
