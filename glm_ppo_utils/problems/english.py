"""Turn drafts into English word problems. Docstrings show an example of what a method returns."""

from collections.abc import Sequence

from .numbers import Relation
from .wording import Topic, Voice, read_words

_TIMES = {1: "", 2: "twice ", 3: "three times "}


class English(Voice):
    """The sentences of one English problem."""

    WORDS = read_words("english")
    LONGEST = 90
    COMMA, AND = ", ", " and "

    @staticmethod
    def length(text: str) -> int:
        """The length of a text in words."""
        return len(text.split())

    @staticmethod
    def text(sentences: Sequence[str]) -> str:
        ended = [s if s[-1] in ".?" else s + "." for s in sentences if s]
        return " ".join(s[0].upper() + s[1:] for s in ended)

    def one(self, i: int) -> str:
        """``chair``, ``kilogram of rice`` or ``bridge``"""
        name = self.names[i]
        if self.scene.measure:
            return f"{self.scene.measure} of {name}"
        return name if self.choices else self.WORDS["singulars"].get(name, name.removesuffix("s"))

    def each(self, i: int) -> str:
        """``a chair``, ``a kilogram of rice`` or ``the bridge``"""
        return f"{self.scene.article} {self.one(i)}".strip()

    def size(self, i: int) -> str:
        """``the number of chairs`` or ``the amount of rice``"""
        return f"the {'amount' if self.scene.measure else 'number'} of {self.names[i]}"

    def level(self, number: int) -> str:
        """``5`` if the items are counted, else ``5 kilograms``"""
        return f"{number} {self.scene.measure}s" if self.scene.measure else str(number)

    def before(self, sense: str, things: bool = True) -> str:
        """``at most``: how a limit sounds before a number, with "fewer" for `things` one counts."""
        word = self.phrase("before", sense)
        return word.replace("less", "fewer") if things and not self.scene.measure else word

    def done(self, sense: str) -> str:
        """``can be made``"""
        return f"{self.phrase('modal', sense)} {self.scene.done}"

    def amount(self, topic: Topic, number: int) -> str:
        """``40 hours of carving``"""
        if topic.unit[0] == "$":
            return f"${number}{topic.unit[1:]}"
        return f"{number} {topic.unit}{'s' * (number != 1)}{topic.of}"

    def amount_after_label(self, topic: Topic, number: int) -> str:
        """``40 hours``, without the "of carving" that the label before it says already."""
        return str(number) if topic.counts else self.amount(topic, number).removesuffix(topic.of)

    def fact(self, i: int, amounts: dict[str, str]) -> str:
        """``a chair earns $3 and takes 2 hours of carving``"""
        return f"{self.each(i)} {self.join([' '.join(pair) for pair in amounts.items()])}"

    def rates(self, topic: Topic, numbers: Sequence[int]) -> str:
        """``a chair takes 2 hours of carving, a table 5 and a desk 1``"""
        measure, first = self.scene.measure, numbers[0]
        said = [self.amount(topic, n) if topic.unit[0] == "$" else str(n) for n in numbers]
        if not self.choices and self.rng.random() < 0.3:
            # "the carving time is 2 hours per chair, 5 per table and 1 per desk"
            said[0] = f"the {topic.label} is {self.amount_after_label(topic, first)}"
            each = [
                f"of {n}" if measure else f"per {self.one(i)}" for i, n in enumerate(self.names)
            ]
            each[0] = f"per {self.one(0)}"
            return self.join([" ".join(pair) for pair in zip(said, each, strict=True)])
        each = self.names if measure else [self.each(i) for i in range(len(numbers))]
        said[0] = f"{topic.verb} {self.amount(topic, first)}"
        rates = self.join([" ".join(pair) for pair in zip(each, said, strict=True)])
        return f"per {measure}, {rates}" if measure else rates

    def limit(self, topic: Topic, sense: str, rhs: int) -> str:
        modal = self.phrase("modal", sense)
        return self.pick(
            f"{self.before(sense, topic.counts)} {self.amount(topic, rhs)} {modal} {topic.use}",
            f"the total {topic.label} {self.after(sense)} {self.amount_after_label(topic, rhs)}",
        )

    def say_goal(self, sense: str) -> str:
        label, which = self.goal.label, f"which {self.scene.all}"
        best = "high" if sense == "maximize" else "low"
        if not self.choices:
            which = "how much of each" if self.scene.measure else "how many of each"
        return self.pick(
            f"{sense} the total {label}",
            f"{which} should be {self.scene.done} to {sense} the total {label}?",
            f"the total {label} should be as {best} as possible",
        )

    def bound(self, row: Relation) -> str:
        """``at least 5 chairs must be made``"""
        ((_, i),) = row.cells
        amount = f"{self.level(row.rhs)} of" if self.scene.measure else f"{row.rhs}"
        return self.pick(
            f"{self.before(row.sense)} {amount} {self.names[i]} {self.done(row.sense)}",
            f"{self.size(i)} {self.after(row.sense)} {self.level(row.rhs)}",
        )

    def total(self, row: Relation) -> str:
        """``in total, at most 40 pieces can be made``"""
        before, done = self.before(row.sense), self.done(row.sense)
        if self.choices:
            return f"{before} {row.rhs} of the {self.scene.all} {done}"
        if self.scene.measure:
            amount, total = self.level(row.rhs), "total amount"
        else:
            amount, total = f"{row.rhs} {self.scene.all}", f"total number of {self.scene.all}"
        return self.pick(
            f"in total, {before} {amount} {done}",
            f"the {total} {self.after(row.sense)} {self.level(row.rhs)}",
        )

    def subset(self, row: Relation) -> str:
        """``taken together, at least 9 chairs and tables must be made``"""
        pair = self.join([self.names[i] for _, i in row.cells])
        return self.pick(
            f"taken together, {self.before(row.sense)} {row.rhs} {pair} {self.done(row.sense)}",
            f"the combined number of {pair} {self.after(row.sense)} {row.rhs}",
        )

    def ratio(self, row: Relation) -> str:
        """``at least twice as many chairs as tables must be made``"""
        (_, i), (times, j) = row.cells
        one, other = self.names[i], self.names[j]
        much = "much" if self.scene.measure else "many"
        if times == -1 and row.sense == "<=":
            first = f"no more {one} than {other}"
        else:
            before = "at least" if times == -1 else self.phrase("before more", row.sense)
            first = f"{before} {_TIMES[-times]}as {much} {one} as {other}"
        return self.pick(
            f"{first} {self.done(row.sense)}",
            f"{self.size(i)} {self.after(row.sense)} {_TIMES[-times]}{self.size(j)}",
        )

    def more(self, row: Relation) -> str:
        """``at least 5 more chairs than tables must be made``"""
        (_, i), (_, j) = row.cells
        amount = f"{self.phrase('before more', row.sense)} {self.level(row.rhs)}"
        modal = "may" if row.sense == "<=" else "must"
        return self.pick(
            f"{amount} more {self.names[i]} than {self.names[j]} {self.done(row.sense)}",
            f"{self.size(i)} {modal} exceed {self.size(j)} by {amount}",
        )

    def half(self, row: Relation) -> str:
        """``at most half of the mix may be rice``"""
        name, mix = self.names[row.cells[0][1]], self.scene.all
        before = self.phrase("before more", row.sense)
        modal = "may" if row.sense == "<=" else "must"
        return self.pick(
            f"{before} half of the {mix} {modal} be {name}",
            f"{name} {modal} make up {before} half of the {mix}",
        )
