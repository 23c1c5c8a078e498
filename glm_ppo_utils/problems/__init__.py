"""Word problems: a generator, loaders, the prompt and imperfect demonstrations."""

from .files import load_nl4opt, load_problems, save_problems
from .generator import fingerprint, generate, split_of
from .mistakes import ERRORS, Demonstration, demonstrations
from .numbers import FAMILIES
from .problem import INSTRUCTION, PROMPT, Problem, prompt_text

__all__ = [
    "ERRORS",
    "FAMILIES",
    "INSTRUCTION",
    "PROMPT",
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
]
