"""Word problems: a generator, loaders, the prompt and imperfect demonstrations."""

from .families import FAMILIES
from .files import load_nl4opt, load_problems, save_problems
from .generator import fingerprint, generate, split_of
from .problem import INSTRUCTION, PROMPT, Problem, prompt_text
from .spoil import ERRORS, Demonstration, demonstrations

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
