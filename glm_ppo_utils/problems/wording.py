"""What all languages share: scenes, their topics, and a draft cast into a scene."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from .numbers import Draft, Relation


@dataclass(frozen=True)
class Topic:
    """Something that the items bring or use up: profit, carving time, protein."""

    verb: str  # "takes", "earns"
    label: str  # "carving time", "profit"
    unit: str = "$"  # "hour", "$" or "$ million"
    of: str = ""  # " of carving"
    use: str = "used"  # "at most 40 hours of carving can be used"
    senses: str = "<= >="  # limits that people set on it: nobody asks for a cost of at least $9
    counts: bool = False  # the label holds the unit: "number of guests"


@dataclass(frozen=True)
class Scene:
    """The world of a problem: who decides about what, and what comes of it."""

    intros: tuple[str, ...]  # sentences with {items} or {any}
    items: str  # names of the variables: things, substances, or single choices
    topics: tuple[Topic, ...]
    maximize: tuple[int, ...]  # the topics that may be the objective
    minimize: tuple[int, ...]
    done: str  # "made": what is decided about the items
    all: str  # "pieces": the items taken together
    whole: tuple[str, ...] = ()
    parts: tuple[str, ...] = ("",)
    measure: str = ""  # "kilogram" of a substance; all other items are counted
    article: str = "a"  # before a single item, in English: "a", "the" or ""


class Voice:
    """A draft cast into a scene, with names and topics, and a random source for its sentences."""

    def __init__(self, scenes: Sequence[Scene], draft: Draft, rng: random.Random):
        self.rng, self.choices = rng, draft.kind == "binary"
        limits = {r.topic: r.sense for r in draft.relations if r.kind == "weighted"}
        while True:
            self.scene = rng.choice(scenes)
            self.goal = self.scene.topics[rng.choice(getattr(self.scene, draft.sense))]
            others = [topic for topic in self.scene.topics if topic is not self.goal]
            self.topics = rng.sample(others, len(limits))
            # Again, until people would set such limits on the topics.
            if all(limits[i] in topic.senses for i, topic in enumerate(self.topics)):
                break
        self.names = rng.sample(self.scene.items.split(), len(draft.objective))

    def pick(self, *options: str) -> str:
        return self.rng.choice(options)


def values(relation: Relation) -> tuple[int, ...]:
    """The coefficients of `relation`."""
    return tuple(coefficient for coefficient, _ in relation.cells)
