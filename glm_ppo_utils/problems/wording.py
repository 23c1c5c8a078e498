"""Turn the numbers of a draft into the sentences of a word problem: what all languages share.

A text is an introduction, the goal, one or two sentences for each row, and a sentence that says
whether fractions are allowed. Its rows come in the same order as in the reference.

The words of a language are in its JSON file: the scenes, each with its items; the topics, which are
what the items bring or use up; and sentence patterns that only need filling in. Sentences that need
grammar are written by methods of the language's subclass of `Voice`.
"""

import json
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from .numbers import Draft, Relation


@dataclass(frozen=True)
class Topic:
    """Something that the items bring or use up: profit, carving time, protein."""

    label: str  # "carving time", "profit"
    verb: str  # "takes", "earns"
    unit: str = "$"  # "hour", "$" or "$ million"
    of: str = ""  # " of carving"
    use: str = "used"  # "at most 40 hours of carving can be used"
    senses: str = "<= >="  # which limits make sense: nobody asks for a cost of at least $9
    counts: bool = False  # the label holds the unit: "number of guests"


@dataclass(frozen=True)
class Scene:
    """The setting of a problem: who decides about which items, and what the items bring or use."""

    family: str
    intros: Sequence[str]  # sentences with {items} or {any}
    items: str  # names of the variables: things, substances, or single choices
    topics: dict[str, Topic]
    maximize: Sequence[str]  # the topics that may be the objective
    minimize: Sequence[str]
    done: str  # "made": what is decided about the items
    all: str  # "pieces": all items together; in Chinese it starts with the measure word
    whole: Sequence[str] = ()  # sentences that say that items cannot be divided
    parts: Sequence[str] = ("",)  # sentences that say that they can
    measure: str = ""  # "kilogram" of a substance; all other items are counted
    article: str = "a"  # before a single item, in English: "a", "the" or ""


def read_words(language: str) -> dict[str, Any]:
    """The words of a language, from ``<language>.json``, with the ``scenes`` grouped by family."""
    words = json.loads(Path(__file__).with_name(f"{language}.json").read_text(encoding="utf-8"))
    topics = {name: Topic(**{"label": name, **topic}) for name, topic in words["topics"].items()}
    scenes: dict[str, list[Scene]] = {}
    for scene in words["scenes"]:
        own = {name: topics[name] for name in scene["topics"]}
        scenes.setdefault(scene["family"], []).append(Scene(**{**scene, "topics": own}))
    return {**words, "scenes": scenes}


class Voice(ABC):
    """Tells one draft: picks a scene, names and topics, and words the sentences at random.

    Each subclass is a language. It sets the attributes below and has a method for each kind of row,
    named after the kind. Rows on two yes-no choices need no method: their sentences are patterns
    under ``choices`` in the JSON file.
    """

    WORDS: ClassVar[dict[str, Any]]
    LONGEST: ClassVar[int]  # texts with a greater `length` are not used
    COMMA: ClassVar[str]
    AND: ClassVar[str]

    def __init__(self, draft: Draft, rng: random.Random):
        self.draft, self.rng, self.choices = draft, rng, draft.kind == "binary"
        self.resources = [r for r in draft.relations if r.kind == "weighted"]
        limits = {r.topic: r.sense for r in self.resources}
        while True:
            self.scene: Scene = rng.choice(self.WORDS["scenes"][draft.family])
            goal = rng.choice(getattr(self.scene, draft.sense))
            self.goal = self.scene.topics[goal]
            others = [topic for name, topic in self.scene.topics.items() if name != goal]
            self.topics = rng.sample(others, len(limits))
            # Draw again until every limit makes sense for its topic.
            if all(limits[i] in topic.senses for i, topic in enumerate(self.topics)):
                break
        self.names = rng.sample(self.scene.items.split(), len(draft.objective))

    @classmethod
    def say(cls, draft: Draft, rng: random.Random) -> tuple[str, list[str]]:
        """Put `draft` into words.

        Returns
        -------
        text, names
            The word problem, and the names of the variables in the order of the draft.
        """
        if draft.network:
            return cls.say_network(draft, rng)
        voice = cls(draft, rng)
        return voice.text(voice.sentences()), voice.names

    @classmethod
    def say_network(cls, draft: Draft, rng: random.Random) -> tuple[str, list[str]]:
        """The same for a transportation problem, with one variable per route."""
        words = cls.WORDS["network"]
        sources, targets = (rng.sample(words[side], 2) for side in ("sources", "targets"))
        good, unit = rng.choice(words["goods"])
        # With a single intro, choosing would still use up a random number and change all problems.
        intro = rng.choice(words["intros"]) if len(words["intros"]) > 1 else words["intros"][0]
        start, end = (cls.join(places, words["and"]) for places in (sources, targets))
        said = [intro.format(good=good, sources=start, targets=end)]
        for source, i in zip(sources, (0, 2), strict=True):
            first, second = draft.objective[i : i + 2]
            here = dict(unit=unit, source=source, one=targets[0], other=targets[1])
            said.append(words["fact"][draft.sense].format(first=first, second=second, **here))
        for row in draft.relations:
            place = (sources if row.kind == "supply" else targets)[row.topic]
            limit = {side: rng.choice(cls.WORDS[side][row.sense]) for side in ("before", "after")}
            form = rng.choice(words[row.kind][row.sense])
            said.append(form.format(place=place, rhs=row.rhs, unit=unit, **limit))
        said.append(rng.choice(words["whole" if draft.kind else "parts"]).format(unit=unit))
        said.append(rng.choice(words["goal"][draft.sense]))
        return cls.text(said), [f"{source}_{target}" for source in sources for target in targets]

    def sentences(self) -> list[str]:
        """The sentences of the text in order, still without full stops; empty ones are possible."""
        draft, scene, rng = self.draft, self.scene, self.rng
        things = [self.each(i) if self.choices else name for i, name in enumerate(self.names)]
        both = {"items": self.join(things), "any": self.join(things, " or ")}
        intro = rng.choice(scene.intros).format(**both)
        few = len(draft.objective) * (1 + len(self.resources)) <= 6
        by_item = bool(self.resources) and few and rng.random() < 0.3
        facts = self.facts_by_item() if by_item else [self.rates(self.goal, draft.objective)]
        rows = []
        for row in draft.relations:
            if row.kind == "weighted" and not by_item:
                rows.append(self.rates(self.topics[row.topic], row.coefficients))
            rows.append(self.row(row))
        whole = rng.choice(scene.whole if draft.kind else scene.parts)
        goal = self.say_goal(draft.sense)
        body = [*rows, whole] if rng.random() < 0.6 else [whole, *rows]
        if rng.random() < 0.3:
            return [intro, goal, *facts, *body]
        return [intro, *facts, *body, goal]

    def facts_by_item(self) -> list[str]:
        """One sentence per item, with everything it brings and uses up."""
        told = [(self.goal, self.draft.objective)]
        told += [(self.topics[r.topic], r.coefficients) for r in self.resources]
        facts = []
        for i in range(len(self.names)):
            amounts: dict[str, list[str]] = {}  # by verb: "takes 2 hours of carving and 1 of paint"
            for topic, numbers in told:
                amounts.setdefault(topic.verb, []).append(self.amount(topic, numbers[i]))
            facts.append(self.fact(i, {verb: self.join(said) for verb, said in amounts.items()}))
        return facts

    def row(self, row: Relation) -> str:
        """The sentence of a constraint."""
        if row.kind not in self.WORDS["choices"]:
            return getattr(self, row.kind)(row)
        one, other = (self.each(i) for _, i in row.cells)
        form = self.phrase("choices", row.kind)
        return form.format(one=one, other=other, done=self.scene.done)

    def weighted(self, row: Relation) -> str:
        """The sentence of a limit on a resource."""
        return self.limit(self.topics[row.topic], row.sense, row.rhs)

    def pick(self, *options: str) -> str:
        """A random one of `options`."""
        return self.rng.choice(options)

    def phrase(self, table: str, key: str) -> str:
        """A random one of the phrases that ``WORDS[table]`` lists under `key`."""
        return self.rng.choice(self.WORDS[table][key])

    def after(self, sense: str) -> str:
        """``cannot exceed``: how a limit with this sense sounds after a noun."""
        return self.phrase("after", sense)

    @classmethod
    def join(cls, parts: Sequence[str], word: str = "") -> str:
        """``chairs, tables and desks``; `word`, if given, replaces the "and"."""
        if len(parts) == 1:
            return parts[0]
        return f"{cls.COMMA.join(parts[:-1])}{word or cls.AND}{parts[-1]}"

    # What a language has to define besides a method for each kind of row.

    @staticmethod
    @abstractmethod
    def length(text: str) -> int:
        """The length of a text, in words or characters."""

    @staticmethod
    @abstractmethod
    def text(sentences: Sequence[str]) -> str:
        """The sentences joined, each with its full stop; empty ones are left out."""

    @abstractmethod
    def each(self, i: int) -> str:
        """One unit of item `i`: ``a chair``"""

    @abstractmethod
    def amount(self, topic: Topic, number: int) -> str:
        """A number with its unit: ``40 hours of carving``"""

    @abstractmethod
    def fact(self, i: int, amounts: dict[str, str]) -> str:
        """What item `i` brings and uses up, by verb: ``a chair takes 2 hours of carving``"""

    @abstractmethod
    def rates(self, topic: Topic, numbers: Sequence[int]) -> str:
        """How much of `topic` each item brings or uses up."""

    @abstractmethod
    def limit(self, topic: Topic, sense: str, rhs: int) -> str:
        """A limit on a resource: ``at most 40 hours of carving can be used``"""

    @abstractmethod
    def say_goal(self, sense: str) -> str:
        """What is to be maximized or minimized."""
