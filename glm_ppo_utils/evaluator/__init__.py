"""The reward of this series: a strict parser, a solver and a graph distance.

Read `reward.py` first: it is the whole path from an answer to its score.
"""

from glm_ppo_utils.evaluator.canonical_form import canonical
from glm_ppo_utils.evaluator.differences import compare_programs
from glm_ppo_utils.evaluator.evaluator import Evaluator
from glm_ppo_utils.evaluator.lp_format import Limits, LPError, extract_lp, parse_lp
from glm_ppo_utils.evaluator.lp_writer import format_lp
from glm_ppo_utils.evaluator.program import LinearProgram
from glm_ppo_utils.evaluator.reward import Reference, Score
from glm_ppo_utils.evaluator.solver import solve

__all__ = [
    "Evaluator",
    "LPError",
    "Limits",
    "LinearProgram",
    "Reference",
    "Score",
    "canonical",
    "compare_programs",
    "extract_lp",
    "format_lp",
    "parse_lp",
    "solve",
]
