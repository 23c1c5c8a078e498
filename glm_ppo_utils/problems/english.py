"""Drafts said in English.

A text is an introduction, the goal, one or two sentences a row and a word on fractions. The order
of its rows is the order of the rows in the reference.
"""

import random

from .english_scenes import SCENES, SINGULARS, SOURCES, TARGETS
from .numbers import Draft, Relation
from .wording import Topic, Voice, values

LONGEST = 90  # words

# What "<=", ">=" and "=" sound like before a number and after a noun.
_BEFORE = {
    "<=": ("at most", "no more than", "up to", "a maximum of"),
    ">=": ("at least", "no less than", "a minimum of"),
    "=": ("exactly",),
}
_STRICT_BEFORE = {"<=": ("at most", "no more than"), ">=": ("at least",)}
_AFTER = {
    "<=": ("cannot exceed", "must not exceed", "must be at most", "cannot be more than"),
    ">=": ("must be at least", "cannot be less than", "must not fall below"),
    "=": ("must be exactly",),
}
_MODAL = {"<=": ("can be", "may be"), ">=": ("must be",), "=": ("must be",)}
_TIMES = {1: "", 2: "twice ", 3: "three times "}


def _amount(topic: Topic, number: int) -> str:
    """``40 hours of carving``"""
    if topic.unit[0] == "$":
        return f"${number}{topic.unit[1:]}"
    unit = topic.unit if number == 1 else topic.unit + "s"
    return f"{number} {unit}{topic.of}"


def _level(topic: Topic, number: int) -> str:
    """``40 hours``, after the label."""
    return str(number) if topic.counts else _amount(topic, number).removesuffix(topic.of)


def length(text: str) -> int:
    """The number of words."""
    return len(text.split())


class _Voice(Voice):
    """The words of one problem."""

    def one(self, i: int) -> str:
        """``chair``, ``kilogram of rice`` or ``bridge``."""
        name = self.names[i]
        if self.scene.measure:
            return f"{self.scene.measure} of {name}"
        if self.choices:
            return name
        return SINGULARS.get(name, name.removesuffix("s"))

    def each(self, i: int) -> str:
        """``a chair``, ``a kilogram of rice`` or ``the bridge``."""
        return f"{self.scene.article} {self.one(i)}".strip()

    def some(self, number: int, i: int) -> str:
        """``5 chairs`` or ``5 kilograms of rice``."""
        measure = f"{self.scene.measure}s of " if self.scene.measure else ""
        return f"{number} {measure}{self.names[i]}"

    def size(self, i: int) -> str:
        """``the number of chairs`` or ``the amount of rice``."""
        return f"the {'amount' if self.scene.measure else 'number'} of {self.names[i]}"

    def level(self, number: int) -> str:
        """``5``, of things, or ``5 kilograms``."""
        return f"{number} {self.scene.measure}s" if self.scene.measure else str(number)

    def before(self, sense: str, things: bool = True) -> str:
        word = self.pick(*_BEFORE[sense])
        return word.replace("less", "fewer") if things and not self.scene.measure else word

    def before_more(self, sense: str) -> str:
        """Before ``5 more chairs than tables`` and the like."""
        return self.pick(*_STRICT_BEFORE[sense])

    def after(self, sense: str) -> str:
        return self.pick(*_AFTER[sense])

    def done(self, sense: str) -> str:
        return f"{self.pick(*_MODAL[sense])} {self.scene.done}"

    def rates(self, topic: Topic, values: tuple[int, ...]) -> str:
        """``a chair takes 2 hours of carving, a table 5 and a desk 1``."""
        numbers = [_amount(topic, v) if topic.unit[0] == "$" else str(v) for v in values]
        if not self.choices and self.rng.random() < 0.3:
            return self._rates_by_label(topic, values[0], numbers)
        measure = self.scene.measure
        subjects = self.names if measure else [self.each(i) for i in range(len(values))]
        numbers[0] = f"{topic.verb} {_amount(topic, values[0])}"
        rates = _join([" ".join(pair) for pair in zip(subjects, numbers, strict=True)])
        return f"per {measure}, {rates}" if measure else rates

    def _rates_by_label(self, topic: Topic, value: int, numbers: list[str]) -> str:
        """``the carving time is 2 hours per chair, 5 per table and 1 per desk``."""
        per = "of {}" if self.scene.measure else "per {}"
        names = self.names if self.scene.measure else map(self.one, range(len(numbers)))
        subjects = [per.format(name) for name in names]
        subjects[0] = f"per {self.one(0)}"
        numbers = [f"the {topic.label} is {_level(topic, value)}", *numbers[1:]]
        return _join([" ".join(pair) for pair in zip(numbers, subjects, strict=True)])

    def limit(self, topic: Topic, sense: str, rhs: int) -> str:
        """``at most 40 hours of carving can be used``."""
        modal = self.pick(*_MODAL[sense])
        return self.pick(
            f"{self.before(sense, topic.counts)} {_amount(topic, rhs)} {modal} {topic.use}",
            f"the total {topic.label} {self.after(sense)} {_level(topic, rhs)}",
        )


def _join(parts: list[str], word: str = "and") -> str:
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}" if len(parts) > 1 else parts[0]


def say(draft: Draft, rng: random.Random) -> tuple[str, list[str]]:
    """Say `draft` in English.

    Returns
    -------
    text, names
        The word problem, and the names of the variables in the order of the draft.
    """
    if draft.network:
        return _say_network(draft, rng)
    voice = _Voice(SCENES[draft.family], draft, rng)
    things = [voice.each(i) if voice.choices else name for i, name in enumerate(voice.names)]
    intro = rng.choice(voice.scene.intros).format(items=_join(things), any=_join(things, "or"))
    resources = [r for r in draft.relations if r.kind == "weighted"]
    by_item = resources and len(draft.objective) * (1 + len(resources)) <= 6 and rng.random() < 0.3
    if by_item:
        facts = _by_item(voice, draft, resources)
    else:
        facts = [voice.rates(voice.goal, draft.objective)]
    rows = []
    for relation in draft.relations:
        if relation.kind == "weighted" and not by_item:
            rows.append(voice.rates(voice.topics[relation.topic], values(relation)))
        rows.append(_SAY[relation.kind](voice, relation))
    whole = rng.choice(voice.scene.whole if draft.kind else voice.scene.parts)
    goal = _goal(voice, draft.sense)
    body = [*rows, whole] if rng.random() < 0.6 else [whole, *rows]
    if rng.random() < 0.3:
        return _text([intro, goal, *facts, *body]), voice.names
    return _text([intro, *facts, *body, goal]), voice.names


def _text(sentences: list[str]) -> str:
    ended = [s if s[-1] in ".?" else s + "." for s in sentences if s]
    return " ".join(s[0].upper() + s[1:] for s in ended)


def _by_item(voice: _Voice, draft: Draft, resources: list[Relation]) -> list[str]:
    """``a chair earns $3 and takes 2 hours of carving``, once an item."""
    told = [(voice.goal, draft.objective)]
    told += [(voice.topics[r.topic], values(r)) for r in resources]
    verbs = dict.fromkeys(topic.verb for topic, _ in told)
    facts = []
    for i in range(len(draft.objective)):
        amounts = [(topic.verb, _amount(topic, row[i])) for topic, row in told]
        parts = [f"{verb} {_join([a for v, a in amounts if v == verb])}" for verb in verbs]
        facts.append(f"{voice.each(i)} {_join(parts)}")
    return facts


def _goal(voice: _Voice, sense: str) -> str:
    label, done = voice.goal.label, voice.scene.done
    best = {"maximize": "as high as possible", "minimize": "as low as possible"}[sense]
    if voice.choices:
        which = f"which {voice.scene.all}"
    else:
        which = "how much of each" if voice.scene.measure else "how many of each"
    return voice.pick(
        f"{sense} the total {label}",
        f"{which} should be {done} to {sense} the total {label}?",
        f"the total {label} should be {best}",
    )


def _bound(voice: _Voice, row: Relation) -> str:
    ((_, i),) = row.cells
    return voice.pick(
        f"{voice.before(row.sense)} {voice.some(row.rhs, i)} {voice.done(row.sense)}",
        f"{voice.size(i)} {voice.after(row.sense)} {voice.level(row.rhs)}",
    )


def _total(voice: _Voice, row: Relation) -> str:
    scene, before, done = voice.scene, voice.before(row.sense), voice.done(row.sense)
    if voice.choices:
        return f"{before} {row.rhs} of the {scene.all} {done}"
    if scene.measure:
        amount, total = voice.level(row.rhs), "total amount"
    else:
        amount, total = f"{row.rhs} {scene.all}", f"total number of {scene.all}"
    return voice.pick(
        f"in total, {before} {amount} {done}",
        f"the {total} {voice.after(row.sense)} {voice.level(row.rhs)}",
    )


def _subset(voice: _Voice, row: Relation) -> str:
    pair = _join([voice.names[i] for _, i in row.cells])
    return voice.pick(
        f"taken together, {voice.before(row.sense)} {row.rhs} {pair} {voice.done(row.sense)}",
        f"the combined number of {pair} {voice.after(row.sense)} {row.rhs}",
    )


def _ratio(voice: _Voice, row: Relation) -> str:
    (_, i), (times, j) = row.cells
    one, other = voice.names[i], voice.names[j]
    much = "much" if voice.scene.measure else "many"
    if times == -1 and row.sense == "<=":
        first = f"no more {one} than {other}"
    else:
        before = "at least" if times == -1 else voice.before_more(row.sense)
        first = f"{before} {_TIMES[-times]}as {much} {one} as {other}"
    return voice.pick(
        f"{first} {voice.done(row.sense)}",
        f"{voice.size(i)} {voice.after(row.sense)} {_TIMES[-times]}{voice.size(j)}",
    )


def _more(voice: _Voice, row: Relation) -> str:
    (_, i), (_, j) = row.cells
    before, amount = voice.before_more(row.sense), voice.level(row.rhs)
    modal = "may" if row.sense == "<=" else "must"
    return voice.pick(
        f"{before} {amount} more {voice.names[i]} than {voice.names[j]} {voice.done(row.sense)}",
        f"{voice.size(i)} {modal} exceed {voice.size(j)} by {before} {amount}",
    )


def _half(voice: _Voice, row: Relation) -> str:
    name, mix = voice.names[row.cells[0][1]], voice.scene.all
    before = voice.before_more(row.sense)
    modal = "may" if row.sense == "<=" else "must"
    return voice.pick(
        f"{before} half of the {mix} {modal} be {name}",
        f"{name} {modal} make up {before} half of the {mix}",
    )


def _weighted(voice: _Voice, row: Relation) -> str:
    return voice.limit(voice.topics[row.topic], row.sense, row.rhs)


def _pair(*forms: str):
    def say_pair(voice: _Voice, row: Relation) -> str:
        one, other = (voice.each(i) for _, i in row.cells)
        return voice.pick(*forms).format(one=one, other=other, done=voice.scene.done)

    return say_pair


_SAY = {
    "weighted": _weighted,
    "bound": _bound,
    "total": _total,
    "subset": _subset,
    "ratio": _ratio,
    "more": _more,
    "half": _half,
    "exclusive": _pair(
        "{one} and {other} cannot both be {done}",
        "at most one of {one} and {other} can be {done}",
        "if {one} is {done}, {other} cannot be {done}",
    ),
    "either": _pair(
        "at least one of {one} and {other} must be {done}",
        "{one} or {other} must be {done}, or both",
        "if {one} is not {done}, {other} must be {done}",
    ),
    "implies": _pair(
        "{one} can be {done} only if {other} is {done}",
        "if {one} is {done}, {other} must be {done} as well",
        "{one} cannot be {done} without {other}",
    ),
}


def _say_network(draft: Draft, rng: random.Random) -> tuple[str, list[str]]:
    """The transportation problem, one variable a route."""
    sources, targets = rng.sample(SOURCES, 2), rng.sample(TARGETS, 2)
    good, unit = rng.choice(
        (("salt", "ton"), ("sand", "ton"), ("wine", "barrel"), ("fruit", "crate"))
    )
    c, cheap = draft.objective, draft.sense == "minimize"
    intro = rng.choice(
        (
            f"{good} is shipped from the {_join(sources, 'and the')}",
            f"a firm ships {good} from the {_join(sources, 'and the')}",
        )
    )
    intro += f" to the {_join(targets, 'and the')}"
    facts = []
    for i, source in enumerate(sources):
        first, second = (
            f"${c[2 * i + j]} {'to' if cheap else 'at'} the {targets[j]}" for j in (0, 1)
        )
        verb = "costs" if cheap else "earns"
        facts.append(f"a {unit} from the {source} {verb} {first} and {second}")
    rows = [_node(row, sources, targets, unit, rng) for row in draft.relations]
    whole = rng.choice(
        (f"only whole {unit}s can be shipped", f"a {unit} cannot be split")
        if draft.kind
        else (f"a {unit} may be split", f"fractions of a {unit} are fine")
    )
    total = "cost" if cheap else "profit"
    goal = rng.choice(
        (
            f"{draft.sense} the total {total}",
            f"the total {total} should be as {'low' if cheap else 'high'} as possible",
        )
    )
    names = [f"{source}_{target}" for source in sources for target in targets]
    return _text([intro, *facts, *rows, whole, goal]), names


def _node(row: Relation, sources: list[str], targets: list[str], unit: str, rng) -> str:
    place = (sources if row.kind == "supply" else targets)[row.topic]
    verb = "send" if row.kind == "supply" else "receive"
    noun = {"send": "from", "receive": "to"}[verb]
    modal = {"<=": "can", ">=": "must"}[row.sense]
    return rng.choice(
        (
            f"the {place} {modal} {verb} {rng.choice(_BEFORE[row.sense])} {row.rhs} {unit}s",
            f"shipments {noun} the {place} {rng.choice(_AFTER[row.sense])} {row.rhs} {unit}s",
        )
    )
