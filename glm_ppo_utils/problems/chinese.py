"""Drafts said in Chinese, after the same plan as in English."""

import random

from .chinese_scenes import MEASURE_OF, SCENES, SOURCES, TARGETS
from .numbers import Draft, Relation
from .wording import Topic, Voice, values

LONGEST = 170  # characters

# What "<=", ">=" and "=" sound like before a verb and after a noun.
_BEFORE = {
    "<=": ("最多", "至多", "最多能", "最多可以"),
    ">=": ("至少", "最少", "至少要", "最少要"),
    "=": ("恰好要", "正好要"),
}
_AFTER = {
    "<=": ("不得超过", "不能多于", "不能超过"),
    ">=": ("不得少于", "不能少于", "不得低于"),
    "=": ("必须恰好为", "必须等于"),
}
_TIMES = {1: "", 2: "的两倍", 3: "的三倍"}


def length(text: str) -> int:
    """The number of characters."""
    return len(text)


def _amount(topic: Topic, number: int) -> str:
    """``2小时雕刻``"""
    return f"{number}{topic.unit}{topic.of}"


class _Voice(Voice):
    """The words of one problem."""

    @property
    def generic(self) -> str:
        """The measure word that suits all items of the scene."""
        return self.scene.measure or self.scene.all[0]

    def measure(self, i: int) -> str:
        return self.scene.measure or MEASURE_OF.get(self.names[i], self.generic)

    def each(self, i: int) -> str:
        """``每张桌子``, ``每千克大米`` or ``大桥``."""
        return self.names[i] if self.choices else f"每{self.measure(i)}{self.names[i]}"

    def size(self, i: int) -> str:
        """``桌子的数量`` or ``大米的用量``."""
        return f"{self.names[i]}的{'用量' if self.scene.measure else '数量'}"

    def before(self, sense: str) -> str:
        return self.pick(*_BEFORE[sense])

    def after(self, sense: str) -> str:
        return self.pick(*_AFTER[sense])

    def rates(self, topic: Topic, values: tuple[int, ...]) -> str:
        """``每张桌子需要2小时雕刻，每把椅子5小时``, or all items and then all numbers."""
        if self.rng.random() < 0.3:
            per = "" if self.choices else f"每{self.generic}"
            numbers = _join([str(value) for value in values])
            return f"{_join(self.names)}的{topic.label}分别为{per}{numbers}{topic.unit}"
        parts = [f"{self.each(i)}{value}{topic.unit}" for i, value in enumerate(values)]
        parts[0] = f"{self.each(0)}{topic.verb}{_amount(topic, values[0])}"
        return "，".join(parts)

    def limit(self, topic: Topic, sense: str, rhs: int) -> str:
        """``最多安排40小时雕刻`` or ``总雕刻时间不得超过40小时``."""
        return self.pick(
            f"{self.before(sense)}{topic.use}{_amount(topic, rhs)}",
            f"总{topic.label}{self.after(sense)}{rhs}{topic.unit}",
        )


def _join(parts: list[str]) -> str:
    return f"{'、'.join(parts[:-1])}和{parts[-1]}" if len(parts) > 1 else parts[0]


def say(draft: Draft, rng: random.Random) -> tuple[str, list[str]]:
    """Say `draft` in Chinese.

    Returns
    -------
    text, names
        The word problem, and the names of the variables in the order of the draft.
    """
    if draft.network:
        return _say_network(draft, rng)
    voice = _Voice(SCENES[draft.family], draft, rng)
    intro = rng.choice(voice.scene.intros).format(items=_join(voice.names))
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
    return "".join(s if s[-1] in "。？" else s + "。" for s in sentences if s)


def _by_item(voice: _Voice, draft: Draft, resources: list[Relation]) -> list[str]:
    """``每张桌子盈利3元，需要2小时雕刻和5块木板``, once an item."""
    told = [(voice.goal, draft.objective)]
    told += [(voice.topics[r.topic], values(r)) for r in resources]
    verbs = dict.fromkeys(topic.verb for topic, _ in told)
    facts = []
    for i in range(len(draft.objective)):
        amounts = [(topic.verb, _amount(topic, row[i])) for topic, row in told]
        parts = [verb + _join([a for v, a in amounts if v == verb]) for verb in verbs]
        facts.append(voice.each(i) + "，".join(parts))
    return facts


def _goal(voice: _Voice, sense: str) -> str:
    countable = voice.goal.label.endswith("数")
    best = {
        "maximize": "最多" if countable else "最大",
        "minimize": "最少" if countable else "最小",
    }[sense]
    label, done = f"总{voice.goal.label}", voice.scene.done
    if voice.choices:
        how = f"应{done}哪些{voice.scene.all[1:]}"
    else:
        how = f"各应{done}多少"
    return voice.pick(
        f"目标是使{label}{best}", f"{how}才能使{label}{best}？", f"求使{label}{best}的方案"
    )


def _bound(voice: _Voice, row: Relation) -> str:
    ((_, i),) = row.cells
    amount = f"{row.rhs}{voice.measure(i)}"
    return voice.pick(
        f"{voice.before(row.sense)}{voice.scene.done}{amount}{voice.names[i]}",
        f"{voice.size(i)}{voice.after(row.sense)}{amount}",
    )


def _total(voice: _Voice, row: Relation) -> str:
    amount, done = f"{row.rhs}{voice.generic}", voice.scene.done
    if voice.scene.measure:
        total, things = "总用量", "原料"
    else:
        things = voice.scene.all[1:]
        total = f"{done}的{things}总数"
    return voice.pick(
        f"总共{voice.before(row.sense)}{done}{amount}{things}",
        f"{total}{voice.after(row.sense)}{amount}",
    )


def _subset(voice: _Voice, row: Relation) -> str:
    pair = _join([voice.names[i] for _, i in row.cells])
    amount = f"{row.rhs}{voice.generic}"
    return voice.pick(
        f"{pair}合计{voice.after(row.sense)}{amount}",
        f"{pair}合计{voice.before(row.sense)}{voice.scene.done}{amount}",
    )


def _ratio(voice: _Voice, row: Relation) -> str:
    (_, i), (times, j) = row.cells
    other = voice.size(j) if times == -1 else voice.size(j).replace("的", "")
    first = f"{voice.size(i)}{voice.after(row.sense)}{other}{_TIMES[-times]}"
    if times == -1:
        return first
    least = {"<=": "最多", ">=": "至少"}[row.sense]
    return voice.pick(first, f"{voice.size(i)}{least}是{voice.names[j]}{_TIMES[-times]}")


def _more(voice: _Voice, row: Relation) -> str:
    (_, i), (_, j) = row.cells
    one, other, amount = voice.names[i], voice.names[j], f"{row.rhs}{voice.measure(i)}"
    return voice.pick(
        f"{one}{voice.before(row.sense)}比{other}多{amount}",
        f"{voice.size(i)}减去{voice.size(j)}{voice.after(row.sense)}{amount}",
    )


def _half(voice: _Voice, row: Relation) -> str:
    i = row.cells[0][1]
    least = {"<=": ("最多", "至多"), ">=": ("至少", "最少")}[row.sense]
    return voice.pick(
        f"{voice.names[i]}{voice.pick(*least)}占总用量的一半",
        f"{voice.size(i)}{voice.after(row.sense)}总用量的一半",
    )


def _weighted(voice: _Voice, row: Relation) -> str:
    return voice.limit(voice.topics[row.topic], row.sense, row.rhs)


def _pair(*forms: str):
    def say_pair(voice: _Voice, row: Relation) -> str:
        one, other = (voice.names[i] for _, i in row.cells)
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
        "{one}和{other}不能都{done}",
        "{one}和{other}最多{done}其中一个",
        "如果{done}{one}，就不能{done}{other}",
    ),
    "either": _pair(
        "{one}和{other}至少{done}其中一个",
        "{one}和{other}不能都不{done}",
        "如果不{done}{one}，就必须{done}{other}",
    ),
    "implies": _pair(
        "{done}{one}的前提是{done}{other}",
        "如果{done}{one}，就必须{done}{other}",
        "{done}{one}必须以{done}{other}为前提",
    ),
}


def _say_network(draft: Draft, rng: random.Random) -> tuple[str, list[str]]:
    """The transportation problem, one variable a route."""
    sources, targets = rng.sample(SOURCES, 2), rng.sample(TARGETS, 2)
    unit = rng.choice("吨箱袋")
    c, cheap = draft.objective, draft.sense == "minimize"
    verb = "运费为" if cheap else "可盈利"
    facts = [
        f"从{source}运到{targets[0]}每{unit}{verb}{c[j]}元，运到{targets[1]}{verb}{c[j + 1]}元"
        for source, j in zip(sources, (0, 2), strict=True)
    ]
    rows = []
    for row in draft.relations:
        place = (sources if row.kind == "supply" else targets)[row.topic]
        done = "发出" if row.kind == "supply" else "收到"
        rows.append(
            rng.choice(
                (
                    f"{place}{rng.choice(_BEFORE[row.sense])}{done}{row.rhs}{unit}",
                    f"{place}{done}的货物{rng.choice(_AFTER[row.sense])}{row.rhs}{unit}",
                )
            )
        )
    whole = rng.choice(
        (f"只能运送整{unit}货物", f"每条路线的{unit}数必须是整数")
        if draft.kind
        else (f"货物不必按整{unit}运送", f"每条路线的{unit}数不必是整数")
    )
    label, best = ("总运费", "最小") if cheap else ("总利润", "最大")
    goal = rng.choice((f"目标是使{label}{best}", f"如何安排运输才能使{label}{best}？"))
    intro = f"某公司把货物从{_join(sources)}运往{_join(targets)}"
    names = [f"{source}_{target}" for source in sources for target in targets]
    return _text([intro, *facts, *rows, whole, goal]), names
