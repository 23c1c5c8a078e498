"""Drafts said in Chinese."""

import random
from collections.abc import Sequence

from .numbers import Draft, Relation
from .wording import Topic, Voice, read_words

# What "<=", ">=" and "=" sound like before a verb.
_BEFORE = {
    "<=": ("最多", "至多", "最多能", "最多可以"),
    ">=": ("至少", "最少", "至少要", "最少要"),
    "=": ("恰好要", "正好要"),
}
_TIMES = {1: "", 2: "的两倍", 3: "的三倍"}


class Chinese(Voice):
    """The sentences of one Chinese problem."""

    WORDS = read_words("chinese")
    # Measure words of single things; all others take that of their scene.
    MEASURES = {item: word for word, items in WORDS["measures"].items() for item in items.split()}
    LONGEST = 170
    COMMA, AND = "、", "和"
    AFTER = {
        "<=": ("不得超过", "不能多于", "不能超过"),
        ">=": ("不得少于", "不能少于", "不得低于"),
        "=": ("必须恰好为", "必须等于"),
    }
    CHOICES = {
        "exclusive": (
            "{one}和{other}不能都{done}",
            "{one}和{other}最多{done}其中一个",
            "如果{done}{one}，就不能{done}{other}",
        ),
        "either": (
            "{one}和{other}至少{done}其中一个",
            "{one}和{other}不能都不{done}",
            "如果不{done}{one}，就必须{done}{other}",
        ),
        "implies": (
            "{done}{one}的前提是{done}{other}",
            "如果{done}{one}，就必须{done}{other}",
            "{done}{one}必须以{done}{other}为前提",
        ),
    }

    @staticmethod
    def length(text: str) -> int:
        """The number of characters."""
        return len(text)

    @staticmethod
    def text(sentences: Sequence[str]) -> str:
        return "".join(s if s[-1] in "。？" else s + "。" for s in sentences if s)

    @property
    def generic(self) -> str:
        """The measure word that suits all items of the scene."""
        return self.scene.measure or self.scene.all[0]

    def measure(self, i: int) -> str:
        return self.scene.measure or self.MEASURES.get(self.names[i], self.generic)

    def each(self, i: int) -> str:
        """``每张桌子``, ``每千克大米`` or ``大桥``"""
        return self.names[i] if self.choices else f"每{self.measure(i)}{self.names[i]}"

    def size(self, i: int) -> str:
        """``桌子的数量`` or ``大米的用量``"""
        return f"{self.names[i]}的{'用量' if self.scene.measure else '数量'}"

    def before(self, sense: str) -> str:
        return self.pick(*_BEFORE[sense])

    def amount(self, topic: Topic, number: int) -> str:
        """``2小时雕刻``"""
        return f"{number}{topic.unit}{topic.of}"

    def fact(self, i: int, amounts: dict[str, str]) -> str:
        """``每张桌子盈利3元，需要2小时雕刻和5块木板``"""
        return self.each(i) + "，".join(verb + said for verb, said in amounts.items())

    def rates(self, topic: Topic, numbers: Sequence[int]) -> str:
        """``每张桌子需要2小时雕刻，每把椅子5小时``, or all items and then all numbers."""
        if self.rng.random() < 0.3:
            per = "" if self.choices else f"每{self.generic}"
            said = self.join([str(number) for number in numbers])
            return f"{self.join(self.names)}的{topic.label}分别为{per}{said}{topic.unit}"
        parts = [f"{self.each(i)}{number}{topic.unit}" for i, number in enumerate(numbers)]
        parts[0] = f"{self.each(0)}{topic.verb}{self.amount(topic, numbers[0])}"
        return "，".join(parts)

    def limit(self, topic: Topic, sense: str, rhs: int) -> str:
        """``最多安排40小时雕刻`` or ``总雕刻时间不得超过40小时``"""
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
        least = self.pick(*_BEFORE[row.sense][:2])
        return self.pick(
            f"{self.names[i]}{least}占总用量的一半",
            f"{self.size(i)}{self.after(row.sense)}总用量的一半",
        )

    @classmethod
    def say_network(cls, draft: Draft, rng: random.Random) -> tuple[str, list[str]]:
        sources, targets = rng.sample(cls.WORDS["sources"], 2), rng.sample(cls.WORDS["targets"], 2)
        unit = rng.choice("吨箱袋")
        c, cheap = draft.objective, draft.sense == "minimize"
        verb = "运费为" if cheap else "可盈利"
        facts = [
            f"从{source}运到{targets[0]}每{unit}{verb}{c[i]}元，运到{targets[1]}{verb}{c[i + 1]}元"
            for source, i in zip(sources, (0, 2), strict=True)
        ]
        rows = []
        for row in draft.relations:
            place = (sources if row.kind == "supply" else targets)[row.topic]
            done = "发出" if row.kind == "supply" else "收到"
            options = (
                f"{place}{rng.choice(_BEFORE[row.sense])}{done}{row.rhs}{unit}",
                f"{place}{done}的货物{rng.choice(cls.AFTER[row.sense])}{row.rhs}{unit}",
            )
            rows.append(rng.choice(options))
        whole = (f"货物不必按整{unit}运送", f"每条路线的{unit}数不必是整数")
        if draft.kind:
            whole = (f"只能运送整{unit}货物", f"每条路线的{unit}数必须是整数")
        last = rng.choice(whole)
        best = "总运费最小" if cheap else "总利润最大"
        goal = rng.choice((f"目标是使{best}", f"如何安排运输才能使{best}？"))
        intro = f"某公司把货物从{cls.join(sources)}运往{cls.join(targets)}"
        names = [f"{source}_{target}" for source in sources for target in targets]
        return cls.text([intro, *facts, *rows, last, goal]), names
