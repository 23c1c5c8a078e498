"""Word problems in any number, drawn so that no program is in both splits."""

import random
from collections.abc import Iterable, Sequence

from glm_ppo_utils.errors import BadInput

from .chinese import Chinese
from .english import English
from .numbers import FAMILIES, Draft, draw_draft
from .plain_lp import PlainLP, Row, fingerprint, write_plain_lp
from .problem import Problem
from .wording import Voice

LANGUAGES: dict[str, type[Voice]] = {"en": English, "zh": Chinese}
SPLITS = ("train", "heldout")
HELDOUT_SHARE = 5  # one program in five is held out


def generate(
    n: int,
    seed: int,
    language: str = "en",
    split: str = "train",
    families: Sequence[str] = tuple(FAMILIES),
) -> list[Problem]:
    """Make `n` word problems: the families take turns, and no program occurs twice.

    The same arguments give the same problems, and a larger `n` only adds to them. The fingerprint
    of a program decides its split, so that the splits are disjoint whatever the seeds.

    Parameters
    ----------
    n, seed : int
    language : {"en", "zh"}
    split : {"train", "heldout"}
    families : sequence of str
        Some of ``FAMILIES``; all when left out.

    Raises
    ------
    BadInput
        If `n` is negative, or a language, split or family unknown.
    """
    if n < 0:
        raise BadInput(f"n is {n}; ask for 0 or more problems")
    _check((language,), LANGUAGES)
    _check((split,), SPLITS)
    _check(families, FAMILIES)
    voice, rng = LANGUAGES[language], random.Random(f"{language} {split} {seed}")
    problems: list[Problem] = []
    seen: set[str] = set()
    while len(problems) < n:
        family = families[len(problems) % len(families)]
        draft = draw_draft(family, rng)
        text, names = voice.say(draft, rng)
        lp = _plain_lp(draft, names)
        key = fingerprint(lp)
        if split_of(key) == split and key not in seen and voice.length(text) <= voice.LONGEST:
            seen.add(key)
            name = f"{language}-{split}-{seed}-{len(problems):05d}"
            problems.append(Problem(name, text, write_plain_lp(lp), family))
    return problems


def _check(values: Sequence[str], known: Iterable[str]) -> None:
    unknown = [value for value in values if value not in known]
    if unknown or not values:
        what = f"{unknown[0]!r} is unknown" if unknown else "nothing is asked for"
        raise BadInput(f"{what}; choose from {', '.join(known)}")


def _plain_lp(draft: Draft, names: list[str]) -> PlainLP:
    rows = tuple(
        Row(tuple((a, names[i]) for a, i in relation.cells), relation.sense, relation.rhs)
        for relation in draft.relations
    )
    objective = tuple(zip(draft.objective, names, strict=True))
    sections = {draft.kind: tuple(names)} if draft.kind else {}
    return PlainLP(draft.sense, objective, rows, **sections)


def split_of(key: str) -> str:
    """The split to which the program with this fingerprint belongs."""
    return "heldout" if int(key[:8], 16) % HELDOUT_SHARE == 0 else "train"
