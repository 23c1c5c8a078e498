"""Drafts said in Chinese, after the same plan as in English."""

import random

from .families import Draft, Relation
from .scenes import Scene, Topic, Voice, values

LONGEST = 170  # characters


def _time(activity: str, unit: str = "小时") -> Topic:
    return Topic("需要", f"{activity}时间", unit, activity, "安排")


def _stock(thing: str, unit: str) -> Topic:
    return Topic("需要", f"{thing}用量", unit, thing, "使用")


def _content(thing: str) -> Topic:
    return Topic("含", f"{thing}含量", "克", thing, "含有")


def _money(verb: str, label: str, use: str, senses: str) -> Topic:
    return Topic(verb, label, "元", "", use, senses)


_PROFIT = _money("盈利", "利润", "盈利", ">=")
_COST = _money("成本为", "成本", "花费", "<=")
_PRICE = _money("价格为", "费用", "花费", "<=")
_GOODS = _money("进价为", "进货成本", "花费", "<=")
_PAY = Topic("年薪为", "年薪", "万元", "", "支付", "<=")
_TRAINING = Topic("需要", "培训时间", "小时", "培训", "安排")
_SHIFTS = Topic("承担", "班次数", "个", "班次", "安排")
_WEIGHT = Topic("重", "重量", "千克", use="装载")
_SPACE = Topic("占用", "占用空间", "升", "空间", "占用")

# `all` is the measure word of an item and what the items are together.
SCENES: dict[str, tuple[Scene, ...]] = {
    "mix": (
        Scene(
            ("某家具厂生产{items}。", "某木工坊生产{items}。"),
            "桌子 椅子 书架 木床 凳子 柜子 屏风 木箱",
            (_PROFIT, _COST, _time("雕刻"), _time("油漆"), _stock("木板", "块")),
            (0,),
            (1, 2, 4),
            "生产",
            "件产品",
            ("只能生产整件产品。", "每种产品的件数必须是整数。"),
            ("产品可以只完成一部分。", "产品的件数不必是整数。"),
        ),
        Scene(
            ("某点心铺制作{items}。", "一位糕点师制作{items}。"),
            "蛋糕 面包 月饼 蛋挞 酥饼 馒头",
            (_PROFIT, _COST, _time("烘烤", "分钟"), _stock("面粉", "勺"), _stock("白糖", "勺")),
            (0,),
            (1, 2, 4),
            "制作",
            "个点心",
            ("只能制作整个的点心。", "每种点心的个数必须是整数。"),
            ("点心的个数不必是整数。",),
        ),
        Scene(
            ("某服装厂生产{items}。", "一家裁缝店生产{items}。"),
            "衬衫 大衣 帽子 围巾 裙子 夹克",
            (_PROFIT, _COST, _time("缝纫"), _time("裁剪"), _stock("布料", "米")),
            (0,),
            (1, 2, 4),
            "生产",
            "件服装",
            ("只能生产整件服装。", "每种服装的件数必须是整数。"),
            ("服装可以只完成一部分。", "服装的件数不必是整数。"),
        ),
    ),
    "diet": (
        Scene(
            ("某农场用{items}配制饲料。", "一家粮店用{items}配制杂粮。"),
            "大米 玉米 大麦 大豆 小米 小麦 高粱 燕麦",
            (_PRICE, _content("蛋白质"), _content("脂肪"), _content("纤维"), _content("淀粉")),
            (1, 3),
            (0, 2, 4),
            "使用",
            "",
            ("每种原料只能使用整千克。", "每种原料的千克数必须是整数。"),
            ("", "原料的千克数不必是整数。"),
            "千克",
        ),
        Scene(
            ("某乳品厂用{items}调制饮料。", "一种饮料由{items}调制而成。"),
            "牛奶 奶油 果汁 糖浆 蜂蜜 红茶 豆浆 椰汁",
            (_PRICE, _content("糖分"), _content("脂肪"), _content("钙质"), _content("铁质")),
            (3, 4),
            (0, 1, 2),
            "使用",
            "",
            ("每种原料只能使用整升。", "每种原料的升数必须是整数。"),
            ("", "原料的升数不必是整数。"),
            "升",
        ),
    ),
    "staffing": (
        Scene(
            ("某酒店招聘{items}。", "一艘游轮招聘{items}。"),
            "厨师 服务员 清洁工 保安 司机 调酒师",
            (_PAY, Topic("接待", "接待人数", "位", "客人", "接待", ">="), _TRAINING, _SHIFTS),
            (1, 3),
            (0, 2),
            "招聘",
            "名员工",
            ("各类员工的人数必须是整数。", "员工只能整名招聘。"),
        ),
        Scene(
            ("某诊所招聘{items}。", "一家医院招聘{items}。"),
            "护士 医生 文员 药剂师 护工 技师",
            (
                _PAY,
                Topic("接待", "接待人数", "位", "病人", "接待", ">="),
                _TRAINING,
                Topic("接听", "接听电话数", "个", "电话", "接听", ">="),
                _SHIFTS,
            ),
            (1, 3),
            (0, 2),
            "招聘",
            "名员工",
            ("各类员工的人数必须是整数。", "员工只能整名招聘。"),
        ),
    ),
    "transport": (
        Scene(
            ("某公司用{items}运送货物。", "一批粮食由{items}运送。"),
            "卡车 货车 马车 拖车 牛车 三轮车 面包车 电动车",
            (
                _money("运费为", "运费", "花费", "<="),
                Topic("运载", "运量", "吨", use="运送"),
                Topic("需要", "运输时间", "小时", "运输", "安排"),
                Topic("需要", "工人数", "名", "工人", "使用"),
            ),
            (1,),
            (0, 2, 3),
            "派出",
            "辆车",
            ("每种车的数量必须是整数。", "只能派出整辆的车。"),
        ),
    ),
    "selection": (
        Scene(
            ("某市考虑修建{items}。", "市长要从{items}中选择修建项目。"),
            "大桥 公路 公园 学校 图书馆 隧道 车站 博物馆 泳池 医院",
            (
                Topic("投资为", "投资", "万元", use="投资", senses="<="),
                Topic("提供", "岗位数", "个", "岗位", "提供", ">="),
                Topic("占用", "占地面积", "亩", "土地", "占用", "<="),
                Topic("每天吸引", "游客数", "名", "游客", "吸引", ">="),
                Topic("工期为", "工期", "个月", use="施工"),
            ),
            (1, 3),
            (0, 2, 4),
            "修建",
            "个项目",
            ("每个项目要么全部建成，要么不建。", "每个项目只能选择建或不建。"),
        ),
        Scene(
            ("一名学生可以选修{items}。", "一名学生要从{items}中选课。"),
            "代数 物理 历史 音乐 化学 生物 戏剧 逻辑",
            (
                Topic("每周需要", "学时", "小时", use="学习"),
                Topic("可得", "学分", "个", "学分", "获得", ">="),
                _money("学费为", "学费", "花费", "<="),
                Topic("有", "考试次数", "次", "考试", "参加"),
            ),
            (1,),
            (0, 2, 3),
            "选修",
            "门课程",
            ("每门课程要么选修，要么不选。", "每门课程只能选择修或不修。"),
        ),
    ),
    "knapsack": (
        Scene(
            ("一位登山者要带{items}。", "一名童子军往背包里装{items}。"),
            "帐篷 绳子 炉子 火把 铁锅 小刀 毯子 地图",
            (_WEIGHT, _SPACE, Topic("得", "得分", "分", use="得到", senses=">="), _PRICE),
            (2,),
            (0, 1, 3),
            "装",
            "件物品",
            ("只能装整件物品。", "物品不能拆开。"),
        ),
        Scene(
            ("一位商人往船上装{items}。", "一列火车要装{items}。"),
            "收音机 水泵 油桶 镜子 时钟 自行车 地毯 花瓶",
            (_WEIGHT, _SPACE, _money("可卖", "收入", "收入", ">="), _GOODS),
            (2,),
            (0, 1, 3),
            "装",
            "件物品",
            ("只能装整件物品。", "物品不能拆开。"),
        ),
    ),
}

# Measure words of single things; all others take that of their scene.
_MEASURES = {
    "张": "桌子 木床 地图",
    "把": "椅子 小刀",
    "个": "书架 凳子 柜子 木箱 炉子 油桶 时钟 花瓶",
    "扇": "屏风",
    "顶": "帽子 帐篷",
    "条": "围巾 裙子 毯子",
    "根": "绳子",
    "支": "火把",
    "口": "铁锅",
    "台": "收音机 水泵",
    "面": "镜子",
    "辆": "自行车",
    "块": "地毯",
}
_MEASURE_OF = {item: word for word, items in _MEASURES.items() for item in items.split()}
_SOURCES, _TARGETS = "农场 工厂 仓库 矿山 盐场".split(), "港口 商店 酒店 市场 学校".split()

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
        return self.scene.measure or _MEASURE_OF.get(self.names[i], self.generic)

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
    return f"{'、'.join(parts[:-1])}和{parts[-1]}"


def say(draft: Draft, rng: random.Random) -> tuple[str, list[str]]:
    """Say `draft` in Chinese.

    Returns
    -------
    text, names
        The word problem, and the names of the variables in the order of the draft.
    """
    if draft.network[0]:
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
        parts = [verb + "和".join(a for v, a in amounts if v == verb) for verb in verbs]
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
    sources, targets = rng.sample(_SOURCES, 2), rng.sample(_TARGETS, 2)
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
