"""What Chinese problems are about: scenes, their items and topics."""

from .wording import Scene, Topic


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
MEASURE_OF = {item: word for word, items in _MEASURES.items() for item in items.split()}
SOURCES, TARGETS = "农场 工厂 仓库 矿山 盐场".split(), "港口 商店 酒店 市场 学校".split()
