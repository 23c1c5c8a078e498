"""What a reference can be: LP text, a response with LP text in it, or an LP or MPS file."""

from __future__ import annotations

from pathlib import Path

import highspy
import numpy as np
from scipy.sparse import csc_array, csr_array

from glm_ppo_utils.evaluator.lp_format import parse_lp
from glm_ppo_utils.evaluator.lp_tokens import Limits, LPError, TooLarge, extract_lp
from glm_ppo_utils.evaluator.program import LinearProgram

SUFFIXES = (".lp", ".mps", ".mps.gz")


def read_reference(source: str | Path, limits: Limits | None = None) -> LinearProgram:
    """Read a reference.

    Parameters
    ----------
    source : str or Path
        LP text, or the path of a file that ends in ``.lp``, ``.mps`` or ``.mps.gz``. An LP file is
        read as strictly as LP text; MPS is read by HiGHS.
    limits : Limits, optional
        What is allowed of an answer: a larger reference could never be matched.

    Raises
    ------
    ValueError
        If it is missing, no LP or too large.
    """
    limits = limits or Limits()
    path = as_path(source)
    try:
        if path is None:
            return parse_lp(extract_lp(str(source), limits), limits)
        if not path.is_file():
            raise ValueError(f"the reference {path} does not exist")
        if path.suffix.lower() != ".lp":
            return read_mps(path, limits)
        return parse_lp(path.read_text(encoding="utf-8"), limits)
    except TooLarge as error:
        setting = f"{error.setting} in Evaluator(limits=Limits(...))"
        raise ValueError(f"the reference is too large: {error}; raise {setting}") from error
    except (LPError, UnicodeDecodeError) as error:
        what = "the reference" if path is None else f"the reference {path}"
        raise ValueError(f"{what} is not an LP: {error}") from error


def as_path(source: str | Path) -> Path | None:
    """The path that a reference is; None if it is LP text."""
    if isinstance(source, Path):
        return source
    named = source.lower().endswith(SUFFIXES) and not set("\n<>=") & set(source)
    return Path(source) if named else None


def read_mps(path: Path, limits: Limits) -> LinearProgram:
    """Read an MPS file.

    Raises
    ------
    ValueError
        If it is none, or is not linear.
    TooLarge
        If it is larger than the limits.
    """
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    if highs.readModel(str(path)) == highspy.HighsStatus.kError:
        raise ValueError(f"HiGHS cannot read the reference {path}: is it an MPS file?")
    lp = highs.getLp()
    kinds = lp.integrality_ or [highspy.HighsVarType.kContinuous] * lp.num_col_
    plain = {highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger}
    if highs.getModel().hessian_.dim_ or not set(kinds) <= plain:
        raise ValueError(f"the reference {path} is not linear: quadratic or semi-continuous")
    for setting, size in (("variables", lp.num_col_), ("rows", lp.num_row_)):
        if size > getattr(limits, setting):
            raise TooLarge(f"{path} has {size} {setting}", setting)
    terms, shape = lp.a_matrix_, (lp.num_row_, lp.num_col_)
    layout = csr_array if terms.format_ == highspy.MatrixFormat.kRowwise else csc_array
    return LinearProgram(
        maximize=lp.sense_ == highspy.ObjSense.kMaximize,
        objective=np.array(lp.col_cost_, dtype=float),
        offset=float(lp.offset_),
        matrix=layout((terms.value_, terms.index_, terms.start_), shape, dtype=float).toarray(),
        row_lower=np.array(lp.row_lower_, dtype=float),
        row_upper=np.array(lp.row_upper_, dtype=float),
        lower=np.array(lp.col_lower_, dtype=float),
        upper=np.array(lp.col_upper_, dtype=float),
        integer=np.array([kind == highspy.HighsVarType.kInteger for kind in kinds], dtype=bool),
        names=tuple(lp.col_names_) or tuple(f"x{j}" for j in range(lp.num_col_)),
        row_names=tuple(lp.row_names_) or ("",) * lp.num_row_,
    )
