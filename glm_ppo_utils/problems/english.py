"""Drafts said in English.

A text is an introduction, the goal, one or two sentences a row and a word on fractions. The order
of its rows is the order of the rows in the reference.
"""

import random
from dataclasses import dataclass

from .families import Draft, Relation


@dataclass(frozen=True)
class Topic:
    """Something that the items bring or use up: profit, carving time, protein."""

    verb: str  # "takes", "earns a profit of"
    label: str  # "carving time", "profit"
    unit: str = "$"  # "hour", "$" or "$ million"
    of: str = ""  # " of carving"
    use: str = "used"  # "at most 40 hours of carving can be used"

    def amount(self, number: int, full: bool = True) -> str:
        """``40 hours of carving``; without the last two words if not `full`."""
        if self.unit.startswith("$"):
            return f"${number}{self.unit[1:]}"
        unit = self.unit if number == 1 else _PLURALS.get(self.unit, self.unit + "s")
        return f"{number} {unit}{self.of if full else ''}"


@dataclass(frozen=True)
class Scene:
    """The world of a problem: who decides about what, and what comes of it."""

    intros: tuple[str, ...]  # sentences with {items}
    items: str  # names of the variables: plurals, substances, or single choices
    topics: tuple[Topic, ...]
    maximize: tuple[int, ...]  # the topics that may be the objective
    minimize: tuple[int, ...]
    done: str  # "made": what is decided about the items
    all: str  # "pieces": the items taken together
    measure: str = ""  # "kilogram" for substances; all other items are counted
    whole: tuple[str, ...] = ()
    parts: tuple[str, ...] = ("",)


_PLURALS = {"box": "boxes", "dish": "dishes"}
_SINGULARS = {
    "shelves": "shelf",
    "benches": "bench",
    "loaves": "loaf",
    "scarves": "scarf",
    "knives": "knife",
    "torches": "torch",
    "buses": "bus",
}


def _time(activity: str, unit: str = "hour") -> Topic:
    return Topic("takes", f"{activity} time", unit, f" of {activity}")


def _stock(thing: str, unit: str, use: str = "used") -> Topic:
    return Topic("needs", f"{thing} use", unit, f" of {thing}", use)


def _content(thing: str) -> Topic:
    return Topic("contains", f"{thing} content", "gram", f" of {thing}", "supplied")


_PROFIT = Topic("earns a profit of", "profit", use="earned in profit")
_COST = Topic("costs", "cost", use="spent")

SCENES: dict[str, tuple[Scene, ...]] = {
    "mix": (
        Scene(
            ("A workshop makes {items}.", "A carpenter builds {items}."),
            "chairs tables desks shelves stools benches beds doors",
            (_PROFIT, _COST, _time("carving"), _time("painting"), _stock("wood", "plank")),
            (0,),
            (1, 2, 4),
            "made",
            "pieces",
            whole=("Only whole pieces can be made.", "No piece can be left unfinished."),
            parts=(
                "A piece may be left partly finished.",
                "Fractions are fine, since work goes on next week.",
            ),
        ),
        Scene(
            ("A bakery bakes {items}.", "A baker sells {items}."),
            "cakes pies loaves rolls tarts buns",
            (
                _PROFIT,
                _COST,
                _time("baking", "minute"),
                _stock("flour", "cup"),
                _stock("sugar", "spoon"),
            ),
            (0,),
            (1, 2, 4),
            "baked",
            "pieces",
            whole=("Only whole pieces can be baked.", "Fractions of a piece are not allowed."),
            parts=("Fractions of a piece are allowed.",),
        ),
        Scene(
            ("A tailor sews {items}.", "A clothing firm makes {items}."),
            "shirts coats hats scarves skirts jackets",
            (_PROFIT, _COST, _time("sewing"), _time("cutting"), _stock("cloth", "meter")),
            (0,),
            (1, 2, 4),
            "sewn",
            "garments",
            whole=("Only whole garments can be sewn.", "Fractions of a garment are not allowed."),
            parts=("A garment may be left partly finished.", "Fractions are fine."),
        ),
    ),
    "diet": (
        Scene(
            ("A farmer mixes feed from {items}.", "A meal is made of {items}."),
            "rice corn barley bran soy millet fish beef",
            (_COST, _content("protein"), _content("fat"), _content("fiber"), _content("salt")),
            (1, 3),
            (0, 2, 4),
            "used",
            "mix",
            measure="kilogram",
            whole=("Only whole kilograms are sold.", "All of them come in bags of one kilogram."),
            parts=("", "Any fraction of a kilogram can be used."),
        ),
        Scene(
            ("A dairy blends {items}.", "A drink is blended from {items}."),
            "milk cream juice syrup honey water",
            (_COST, _content("sugar"), _content("fat"), _content("calcium"), _content("starch")),
            (3,),
            (0, 1, 2),
            "used",
            "blend",
            measure="liter",
            whole=("Only whole liters can be used.", "All of them come in bottles of one liter."),
            parts=("", "Fractions of a liter are fine."),
        ),
    ),
    "staffing": (
        Scene(
            ("A hotel hires {items}.", "A cruise ship needs {items}."),
            "cooks waiters cleaners guards drivers porters",
            (
                _COST,
                Topic("serves", "number of guests served", "guest", use="served"),
                Topic("needs", "training time", "hour", " of training"),
                Topic("handles", "number of orders handled", "order", use="handled"),
            ),
            (1, 3),
            (0, 2),
            "hired",
            "people",
            whole=("Only whole people can be hired.", "Nobody can be hired in part."),
        ),
        Scene(
            ("A clinic hires {items}.", "A town plans a team of {items}."),
            "nurses doctors clerks medics tutors helpers",
            (
                _COST,
                Topic("sees", "number of patients seen", "patient", use="seen"),
                Topic("needs", "training time", "hour", " of training"),
                Topic("works", "working time", "shift", use="worked"),
            ),
            (1, 3),
            (0, 2),
            "hired",
            "people",
            whole=(
                "Only whole people can be hired.",
                "Everybody is hired full time or not at all.",
            ),
        ),
    ),
    "transport": (
        Scene(
            ("A firm sends goods by {items}.", "Grain is moved by {items}."),
            "trucks vans carts boats trains planes barges buses",
            (
                _COST,
                Topic("carries", "load", "ton", use="carried"),
                Topic("burns", "fuel use", "liter", " of fuel", "burned"),
                Topic("needs", "crew", "driver", use="employed"),
            ),
            (1,),
            (0, 2, 3),
            "sent",
            "vehicles",
            whole=("Only whole vehicles can be sent.", "Fractions of a vehicle make no sense."),
        ),
    ),
    "selection": (
        Scene(
            ("A city may build {items}.", "A mayor chooses among {items}."),
            "bridge road park school library tunnel station museum pool clinic",
            (
                Topic("costs", "cost", "$ million", use="spent"),
                Topic("creates", "number of new jobs", "job", use="created"),
                Topic("takes", "land use", "acre", " of land"),
                Topic("draws", "number of daily visitors", "visitor", use="drawn"),
            ),
            (1, 3),
            (0, 2),
            "built",
            "projects",
            whole=(
                "A project is built in full or not at all.",
                "No project can be built twice or in part.",
            ),
        ),
        Scene(
            ("A student may take {items}.", "A student chooses among {items}."),
            "algebra physics history music chemistry biology drama logic",
            (
                Topic("takes", "weekly time", "hour", " of work"),
                Topic("gives", "number of credits", "credit", use="collected"),
                Topic("costs", "cost", use="spent"),
                Topic("has", "number of tests", "test", use="taken"),
            ),
            (1,),
            (0, 2, 3),
            "taken",
            "courses",
            whole=(
                "A course is taken in full or not at all.",
                "No course can be taken twice or in part.",
            ),
        ),
    ),
    "knapsack": (
        Scene(
            ("A hiker packs {items}.", "A scout fills a bag with {items}."),
            "tents ropes stoves torches pans knives blankets books",
            (
                Topic("weighs", "weight", "pound", use="carried"),
                Topic("takes", "space used", "liter", " of space"),
                Topic("is worth", "value", "point", use="collected"),
                Topic("costs", "cost", use="spent"),
            ),
            (2,),
            (0, 1, 3),
            "packed",
            "items",
            whole=("Only whole items can be packed.", "Items cannot be cut into parts."),
        ),
        Scene(
            ("A trader loads a boat with {items}.", "A shop fills a container with {items}."),
            "radios pumps drums mirrors clocks bikes carpets vases",
            (
                Topic("weighs", "weight", "kilogram", use="loaded"),
                Topic("fills", "space used", "shelf meter"),
                Topic("earns", "revenue", use="earned"),
                Topic("costs", "cost", use="spent"),
            ),
            (2,),
            (0, 1, 3),
            "loaded",
            "items",
            whole=("Only whole items can be loaded.", "Items cannot be cut into parts."),
        ),
    ),
}

_PLACES = (("mill", "farm", "mine", "plant", "depot"), ("port", "town", "shop", "hotel", "market"))

# What "<=", ">=" and "=" sound like before a number and after a noun.
_BEFORE = {
    "<=": ("at most", "no more than", "up to", "a maximum of"),
    ">=": ("at least", "no less than", "a minimum of"),
    "=": ("exactly",),
}
_AFTER = {
    "<=": ("cannot exceed", "must not exceed", "must be at most", "cannot be more than"),
    ">=": ("must be at least", "must reach", "cannot be less than", "must not fall below"),
    "=": ("must be exactly",),
}
_MODAL = {"<=": ("can be", "may be"), ">=": ("must be", "have to be"), "=": ("must be",)}
_TIMES = {1: "", 2: "twice ", 3: "three times "}


class _Voice:
    """One scene with its items, topics and a random source, for the sentences of one problem."""

    def __init__(self, scene: Scene, draft: Draft, rng: random.Random):
        self.scene, self.rng = scene, rng
        self.names = rng.sample(scene.items.split(), len(draft.objective))
        self.choices = draft.kind == "binary"
        goal = rng.choice(getattr(scene, draft.sense))
        self.goal = scene.topics[goal]
        self.topics = rng.sample([t for t in scene.topics if t is not self.goal], 2)

    def pick(self, *options: str) -> str:
        return self.rng.choice(options)

    def one(self, i: int) -> str:
        """``chair``, ``kilogram of rice`` or ``bridge``."""
        name = self.names[i]
        if self.scene.measure:
            return f"{self.scene.measure} of {name}"
        return name if self.choices else _SINGULARS.get(name, name.removesuffix("s"))

    def each(self, i: int) -> str:
        one = self.one(i)
        if self.choices:
            return _the(self.scene, one)
        return f"{'an' if one[0] in 'aeiou' else 'a'} {one}"

    def some(self, number: int, i: int) -> str:
        """``5 chairs`` or ``5 kilograms of rice``."""
        measure = f"{self.scene.measure}s of " if self.scene.measure else ""
        return f"{number} {measure}{self.names[i]}"

    def size(self, i: int) -> str:
        return f"the {'amount' if self.scene.measure else 'number'} of {self.names[i]}"

    def level(self, number: int) -> str:
        return f"{number} {self.scene.measure}s" if self.scene.measure else str(number)

    def before(self, sense: str) -> str:
        return self.pick(*_BEFORE[sense])

    def after(self, sense: str) -> str:
        return self.pick(*_AFTER[sense])

    def done(self, sense: str) -> str:
        return f"{self.pick(*_MODAL[sense])} {self.scene.done}"

    def rates(self, topic: Topic, values: tuple[int, ...]) -> str:
        """``a chair takes 2 hours of carving, a table 5 and a desk 1``."""
        dollars = "$" if topic.unit == "$" else ""
        if self.choices or self.rng.random() < 0.6:
            first = f"{self.each(0)} {topic.verb} {topic.amount(values[0])}"
            rest = [
                f"{self.each(i)} {topic.amount(v, False) if topic.unit[0] == '$' else v}"
                for i, v in enumerate(values)
            ][1:]
            return _join([first, *rest])
        first = f"the {topic.label} is {topic.amount(values[0], False)} per {self.one(0)}"
        rest = [f"{dollars}{v} per {self.one(i)}" for i, v in enumerate(values)][1:]
        return _join([first, *rest])

    def limit(self, topic: Topic, sense: str, rhs: int) -> str:
        """``at most 40 hours of carving can be used``."""
        if self.rng.random() < 0.6:
            modal = self.pick(*_MODAL[sense])
            return f"{self.before(sense)} {topic.amount(rhs)} {modal} {topic.use}"
        return f"the total {topic.label} {self.after(sense)} {topic.amount(rhs, False)}"


def _the(scene: Scene, name: str) -> str:
    return name if "algebra" in scene.items else f"the {name}"


def _join(parts: list[str], word: str = "and") -> str:
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}" if len(parts) > 1 else parts[0]


def say(draft: Draft, rng: random.Random) -> tuple[str, list[str]]:
    """Say `draft` in English.

    Returns
    -------
    text, names
        The word problem, and the names of the variables in the order of the draft.
    """
    if draft.network[0]:
        return _say_network(draft, rng)
    voice = _Voice(rng.choice(SCENES[draft.family]), draft, rng)
    items = voice.names if not voice.choices else [voice.each(i) for i in range(len(voice.names))]
    intro = rng.choice(voice.scene.intros).format(
        items=_join(items, "or" if voice.choices else "and")
    )
    resources = [r for r in draft.relations if r.kind == "weighted"]
    by_item = len(draft.objective) * (1 + len(resources)) <= 6 and rng.random() < 0.4
    facts = (
        _by_item(voice, draft, resources) if by_item else [voice.rates(voice.goal, draft.objective)]
    )
    rows = []
    for relation in draft.relations:
        if relation.kind == "weighted" and not by_item:
            rows.append(voice.rates(voice.topics[relation.topic], _values(relation)))
        rows.append(_SAY[relation.kind](voice, relation))
    whole = rng.choice(voice.scene.whole if draft.kind else voice.scene.parts)
    goal = _goal(voice, draft.sense)
    body = [*rows, whole] if rng.random() < 0.6 else [whole, *rows]
    if rng.random() < 0.3:
        sentences = [intro, goal, *facts, *body]
    else:
        sentences = [intro, *facts, *body, goal]
    return _text(sentences), voice.names


def _text(sentences: list[str]) -> str:
    ended = [s if s[-1] in ".?" else s + "." for s in sentences if s]
    return " ".join(s[0].upper() + s[1:] for s in ended)


def _values(relation: Relation) -> tuple[int, ...]:
    return tuple(coefficient for coefficient, _ in relation.cells)


def _by_item(voice: _Voice, draft: Draft, resources: list[Relation]) -> list[str]:
    """``a chair earns a profit of $3 and takes 2 hours of carving``, once an item."""
    topics = [voice.goal, *(voice.topics[r.topic] for r in resources)]
    values = [draft.objective, *(_values(r) for r in resources)]
    facts = []
    for i in range(len(draft.objective)):
        parts, last = [], ""
        for topic, row in zip(topics, values, strict=True):
            verb = "" if topic.verb == last else f"{topic.verb} "
            parts.append(f"{verb}{topic.amount(row[i])}")
            last = topic.verb
        facts.append(f"{voice.each(i)} {_join(parts)}")
    return facts


def _goal(voice: _Voice, sense: str) -> str:
    label = voice.goal.label
    best = {"maximize": "as high as possible", "minimize": "as low as possible"}[sense]
    many = "how much of each" if voice.scene.measure else "how many of each"
    if voice.choices:
        many = f"which {voice.scene.all}"
    return voice.pick(
        f"the aim is to {sense} the total {label}",
        f"{many} should be {voice.scene.done} to {sense} the total {label}?",
        f"the total {label} should be {best}",
    )


def _bound(voice: _Voice, row: Relation) -> str:
    ((_, i),) = row.cells
    return voice.pick(
        f"{voice.before(row.sense)} {voice.some(row.rhs, i)} {voice.done(row.sense)}",
        f"{voice.size(i)} {voice.after(row.sense)} {voice.level(row.rhs)}",
    )


def _total(voice: _Voice, row: Relation) -> str:
    if voice.choices:
        return (
            f"{voice.before(row.sense)} {row.rhs} of the {voice.scene.all} {voice.done(row.sense)}"
        )
    amount = voice.level(row.rhs) if voice.scene.measure else f"{row.rhs} {voice.scene.all}"
    total = "amount" if voice.scene.measure else f"number of {voice.scene.all}"
    return voice.pick(
        f"in total, {voice.before(row.sense)} {amount} {voice.done(row.sense)}",
        f"the total {total} {voice.after(row.sense)} {voice.level(row.rhs)}",
    )


def _subset(voice: _Voice, row: Relation) -> str:
    one, other = (voice.names[i] for _, i in row.cells)
    return voice.pick(
        f"the combined number of {one} and {other} {voice.after(row.sense)} {row.rhs}",
        f"{one} and {other} together {voice.after(row.sense)} {row.rhs} in number",
    )


def _ratio(voice: _Voice, row: Relation) -> str:
    (_, i), (times, j) = row.cells
    word = _TIMES[-times]
    much = "much" if voice.scene.measure else "many"
    before = voice.pick(*[b for b in _BEFORE[row.sense] if b[:2] not in ("a ", "up")])
    options = [
        f"{before} {word}as {much} {voice.names[i]} as {voice.names[j]} {voice.done(row.sense)}",
        f"{voice.size(i)} {voice.after(row.sense)} {word}{voice.size(j)}",
    ]
    return voice.pick(*options)


def _more(voice: _Voice, row: Relation) -> str:
    (_, i), (_, j) = row.cells
    before = voice.pick(*[b for b in _BEFORE[row.sense] if b[:2] not in ("a ", "up")])
    amount = voice.level(row.rhs)
    modal = "may" if row.sense == "<=" else "must"
    return voice.pick(
        f"{before} {amount} more {voice.names[i]} than {voice.names[j]} {voice.done(row.sense)}",
        f"{voice.size(i)} {modal} exceed {voice.size(j)} by {before} {amount}",
    )


def _half(voice: _Voice, row: Relation) -> str:
    name, mix = voice.names[row.cells[0][1]], voice.scene.all
    before = voice.pick(*[b for b in _BEFORE[row.sense] if b[:2] not in ("a ", "up")])
    modal = "may" if row.sense == "<=" else "must"
    return voice.pick(
        f"{before} half of the {mix} {modal} be {name}",
        f"{name} {modal} make up {before} half of the {mix}",
    )


def _pair(*forms: str):
    def say_pair(voice: _Voice, row: Relation) -> str:
        one, other = (voice.each(i) for _, i in row.cells)
        return voice.pick(*forms).format(one=one, other=other, done=voice.scene.done)

    return say_pair


def _weighted(voice: _Voice, row: Relation) -> str:
    return voice.limit(voice.topics[row.topic], row.sense, row.rhs)


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
    sources, targets = (rng.sample(places, 2) for places in _PLACES)
    names = [f"{source}_{target}" for source in sources for target in targets]
    unit = rng.choice(("ton", "crate", "sack"))
    earns = "costs" if draft.sense == "minimize" else "earns"
    c = draft.objective
    intro = f"{unit}s go from the {_join(sources, 'and the')} to the {_join(targets, 'and the')}"
    facts = [
        f"a {unit} {earns} ${c[2 * i]} from the {source} to the {targets[0]}"
        f" and ${c[2 * i + 1]} to the {targets[1]}"
        for i, source in enumerate(sources)
    ]
    rows = []
    for row in draft.relations:
        place = (sources if row.kind == "supply" else targets)[row.topic]
        verb = "send" if row.kind == "supply" else "receive"
        modal = {"<=": "can", ">=": "must"}[row.sense]
        before = rng.choice(_BEFORE[row.sense])
        rows.append(f"the {place} {modal} {verb} {before} {row.rhs} {unit}s")
    whole = rng.choice(
        (f"only whole {unit}s can be sent", f"{unit}s cannot be split")
        if draft.kind
        else (f"{unit}s may be split", f"fractions of a {unit} are fine")
    )
    total = "cost" if draft.sense == "minimize" else "profit"
    best = "high" if draft.sense == "maximize" else "low"
    goal = rng.choice(
        (
            f"the aim is to {draft.sense} the total {total}",
            f"the total {total} should be as {best} as possible",
        )
    )
    return _text([intro, *facts, *rows, whole, goal]), names
