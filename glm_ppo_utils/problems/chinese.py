"""Turn drafts into Chinese word problems; the examples are the Chinese of those in `english.py`."""

from collections.abc import Sequence

from .numbers import Relation
from .wording import Topic, Voice, read_words

_TIMES = {1: "", 2: "的两倍", 3: "的三倍"}


class Chinese(Voice):
    """The sentences of one Chinese problem."""

    WORDS = read_words("chinese")
    # Measure words of particular items; every other item takes the generic one of its scene.
    MEASURES = {item: word for word, items in WORDS["measures"].items() for item in items.split()}
    LONGEST = 170
    COMMA, AND = "、", "和"

    @staticmethod
    def length(text: str) -> int:
        """The length of a text in characters."""
        return len(text)

    @staticmethod
    def text(sentences: Sequence[str]) -> str:
        return "".join(s if s[-1] in "。？" else s + "。" for s in sentences if s)

    @property
    def generic(self) -> str:
        """The measure word that suits all items of the scene."""
        return self.scene.measure or self.scene.all[0]

    def measure(self, i: int) -> str:
        """The measure word or unit of an item: ``张`` for tables, ``千克`` for rice."""
        return self.scene.measure or self.MEASURES.get(self.names[i], self.generic)

    def each(self, i: int) -> str:
        """A table, a kilogram of rice, or a bridge: ``每张桌子``, ``每千克大米``, ``大桥``."""
        return self.names[i] if self.choices else f"每{self.measure(i)}{self.names[i]}"

    def size(self, i: int) -> str:
        """The number of tables, or the amount of rice: ``桌子的数量``, ``大米的用量``."""
        return f"{self.names[i]}的{'用量' if self.scene.measure else '数量'}"

    def before(self, sense: str) -> str:
        return self.phrase("before", sense)

    def amount(self, topic: Topic, number: int) -> str:
        """Two hours of carving: ``2小时雕刻``."""
        return f"{number}{topic.unit}{topic.of}"

    def fact(self, i: int, amounts: dict[str, str]) -> str:
        """A table earns 3 and takes two resources: ``每张桌子盈利3元，需要2小时雕刻和5块木板``."""
        return self.each(i) + "，".join(verb + said for verb, said in amounts.items())

    def rates(self, topic: Topic, numbers: Sequence[int]) -> str:
        """By item, ``每张桌子需要2小时雕刻，每把椅子5小时``, or all items, then all numbers."""
        if self.rng.random() < 0.3:
            per = "" if self.choices else f"每{self.generic}"
            said = self.join([str(number) for number in numbers])
            return f"{self.join(self.names)}的{topic.label}分别为{per}{said}{topic.unit}"
        parts = [f"{self.each(i)}{number}{topic.unit}" for i, number in enumerate(numbers)]
        parts[0] = f"{self.each(0)}{topic.verb}{self.amount(topic, numbers[0])}"
        return "，".join(parts)

    def limit(self, topic: Topic, sense: str, rhs: int) -> str:
        """At most 40 hours: ``最多安排40小时雕刻`` or ``总雕刻时间不得超过40小时``."""
        return self.pick(
            f"{self.before(sense)}{topic.use}{self.amount(topic, rhs)}",
            f"总{topic.label}{self.after(sense)}{rhs}{topic.unit}",
        )

    def say_goal(self, sense: str) -> str:
        best = "最多" if sense == "maximize" else "最少"
        if not self.goal.label.endswith("数"):
            best = "最大" if sense == "maximize" else "最小"
        label, done = f"总{self.goal.label}", self.scene.done
        how = f"应{done}哪些{self.scene.all[1:]}" if self.choices else f"各应{done}多少"
        return self.pick(
            f"目标是使{label}{best}", f"{how}才能使{label}{best}？", f"求使{label}{best}的方案"
        )

    def bound(self, row: Relation) -> str:
        ((_, i),) = row.cells
        amount = f"{row.rhs}{self.measure(i)}"
        return self.pick(
            f"{self.before(row.sense)}{self.scene.done}{amount}{self.names[i]}",
            f"{self.size(i)}{self.after(row.sense)}{amount}",
        )

    def total(self, row: Relation) -> str:
        amount, done = f"{row.rhs}{self.generic}", self.scene.done
        things = "原料" if self.scene.measure else self.scene.all[1:]
        total = "总用量" if self.scene.measure else f"{done}的{things}总数"
        return self.pick(
            f"总共{self.before(row.sense)}{done}{amount}{things}",
            f"{total}{self.after(row.sense)}{amount}",
        )

    def subset(self, row: Relation) -> str:
        pair = self.join([self.names[i] for _, i in row.cells])
        amount = f"{row.rhs}{self.generic}"
        return self.pick(
            f"{pair}合计{self.after(row.sense)}{amount}",
            f"{pair}合计{self.before(row.sense)}{self.scene.done}{amount}",
        )

    def ratio(self, row: Relation) -> str:
        (_, i), (times, j) = row.cells
        other = self.size(j) if times == -1 else self.size(j).replace("的", "")
        first = f"{self.size(i)}{self.after(row.sense)}{other}{_TIMES[-times]}"
        if times == -1:
            return first
        least = "最多" if row.sense == "<=" else "至少"
        return self.pick(first, f"{self.size(i)}{least}是{self.names[j]}{_TIMES[-times]}")

    def more(self, row: Relation) -> str:
        (_, i), (_, j) = row.cells
        amount = f"{row.rhs}{self.measure(i)}"
        return self.pick(
            f"{self.names[i]}{self.before(row.sense)}比{self.names[j]}多{amount}",
            f"{self.size(i)}减去{self.size(j)}{self.after(row.sense)}{amount}",
        )

    def half(self, row: Relation) -> str:
        i = row.cells[0][1]
        least = self.pick(*self.WORDS["before"][row.sense][:2])
        return self.pick(
            f"{self.names[i]}{least}占总用量的一半",
            f"{self.size(i)}{self.after(row.sense)}总用量的一半",
        )
