"""Word problems: a generator, loaders, the prompt and imperfect demonstrations."""

from .generator import generate, split_of
from .loading import load_nl4opt, load_problems, save_problems, to_record
from .mistakes import ERRORS, Demonstration, demonstrations, worsen
from .numbers import FAMILIES
from .plain_lp import fingerprint
from .problem import INSTRUCTION, Problem, prompt_text

__all__ = [
    "ERRORS",
    "FAMILIES",
    "INSTRUCTION",
    "Demonstration",
    "Problem",
    "demonstrations",
    "fingerprint",
    "generate",
    "load_nl4opt",
    "load_problems",
    "prompt_text",
    "save_problems",
    "split_of",
    "to_record",
    "worsen",
]
