"""The words of the figures in Chinese, for the Chinese notebooks."""

import os
import re
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Text

# English to Chinese; # stands for a number. Whole texts come before their parts.
CHINESE = {
    # 01
    "1  supervised fine-tuning": "1  监督微调",
    "demonstrations\nproblem → answer": "示范\n题目 → 回答",
    "imitate: loss on\nanswer tokens": "模仿：\n损失只算回答的词元",
    "SFT policy,\nkept as\nreference model": "SFT 策略，\n留作参考模型",
    "2  a reward model": "2  奖励模型",
    "people compare\ntwo answers": "人比较\n两个回答",
    "train on pairs:\n−log σ(r₊ − r₋)": "用成对比较训练：\n−log σ(r₊ − r₋)",
    "reward model": "奖励模型",
    "policy writes\nan answer": "策略\n写出回答",
    "reward − β · KL": "奖励 − β · KL",
    "minus value\nhead's guess:\nupdate": "减去价值头的\n猜测：更新",
    "starts from, stays near": "从它出发，不离太远",
    "scores each answer": "给每个回答打分",
    "better policy": "更好的策略",
    "a reference\nLP for each\nproblem": "每道题\n一个参考答案",
    "evaluator:\nparse, solve,\ncompare": "评估器：\n解析、求解、\n比较",
    "PPO step": "PPO 更新",
    "people\ncompare\nmany pairs": "人做大量\n两两比较",
    "reward model\n(trained)": "奖励模型\n（训练得到）",
    "answer": "回答",
    "score,\n0 to 1": "得分，\n0 到 1",
    "judge (our\nevaluator)\nscores it": "裁判\n（评估器）\n打分",
    "reference\nmodel: KL of\neach token": "参考模型：\n每个词元的 KL",
    "baseline:\nvalue head or\ngroup mean": "基线：价值头，\n或组内平均",
    "token reward:\n−β · KL, plus\nscore at end": "词元的奖励：\n−β · KL，\n末尾加得分",
    "advantage:\nabove the\nbaseline?": "优势：\n比基线多吗？",
    "clipped policy\nloss and\nvalue loss": "截断的策略损失\n和价值损失",
    "gradient step; next batch": "梯度更新；下一批",
    "a legal LP?": "合法的 LP 吗？",
    "canonical form:\nscaled, no repeats,\nno helper variables": (
        "规范形：\n缩放、去重、\n消去辅助变量"
    ),
    "equal to the\nreference's?": "与参考答案\n的相同吗？",
    "same optimum, and\nproved to be the\nsame program?": (
        "最优值相同，\n且能证明是\n同一个规划吗？"
    ),
    "reward 0": "奖励 0",
    "exact: reward 1": "完全正确：奖励 1",
    "0.05 + similarity,\nat most 0.6": "0.05 + 相似度部分，\n最多 0.6",
    "yes": "是",
    "no": "否",
    "PPO step: sample,\ngrade, update": "PPO 一步：\n采样、打分、更新",
    "store: answer and\nits surprise,\n−log p(answer)": (
        "存下每个回答\n和它的意外程度\n−log p(回答)"
    ),
    "draw a few: the\nmore surprising,\nthe more often": "抽几个：\n越意外，\n抽到的机会越大",
    "supervised\nupdate on these\nanswers": "用这些回答\n做监督更新",
    "exact\nones": "完全\n正确的",
    "new surprise": "新的意外程度",
    "Raw grades disagree": "原始分数不一致",
    "grade (log axis)": "分数（对数坐标）",
    "Rankings agree": "排名一致",
    "rank (# is best)": "名次（# 为最好）",
    "annotator": "标注员",
    "stars, # to #": "星级，# 到 #",
    "percent, # to #": "百分制，# 到 #",
    "strict, # to #": "严格，# 到 #",
    "kind, # to #": "宽松，# 到 #",
    "truth": "真实值",
    "Elo, ten orders": "Elo，十种顺序",
    "true quality (log-odds)": "真实质量（对数几率）",
    "recovered (log-odds)": "恢复的实力（对数几率）",
    "One scale from comparisons alone": "只靠比较，得到一把标尺",
    "perfectly calibrated": "完全校准",
    "# pairs, # steps": "# 对，# 步",
    "predicted P(preferred)": "预测的“被选中”概率",
    "observed share": "实际比例",
    "Calibration": "校准",
    "rated at least as high as the reference (%)": "得分不低于参考答案的比例（%）",
    "Wrong answers the reward model likes": "奖励模型偏爱的错误回答",
    " # %": " #%",
    "dropped constraint": "漏掉约束",
    "missing integrality": "缺少整数性",
    "wrong sense": "方向错误",
    "wrong number": "数字错误",
    "swapped coefficients": "系数互换",
    "1 moved the wrong\nway: pulled back": "1 走错方向：\n拉回来",
    "2 pushed\nup": "2 往上推",
    "3 flat: up enough": "3 平：升够了",
    "4 flat:\ndown enough": "4 平：\n降够了",
    "5 pushed\ndown": "5 往下推",
    "6 moved the wrong\nway: pulled back": "6 走错方向：\n拉回来",
    "unclipped": "未截断",
    "clipped objective": "截断的目标函数",
    "within # ± #": "# ± # 之内",
    "ratio: new / old probability": "比值：新概率 / 旧概率",
    "objective per |advantage|": "目标函数 / |优势|",
    "positive advantage": "优势为正",
    "negative advantage": "优势为负",
    "score": "得分",
    "value (before)": "价值（更新前）",
    "return (target)": "回报（目标）",
    "whitened: used by PPO": "白化后：PPO 使用",
    "before whitening": "白化前",
    "reward of each token": "每个词元的奖励",
    "what the value head said": "价值头给出的数",
    "advantage of each token": "每个词元的优势",
    "reward": "奖励",
    "reward still to come": "后续的奖励",
    "advantage": "优势",
    "token": "词元",
    "answer #: reward #, advantage of every token #": "回答 #：奖励 #，每个词元的优势 #",
    # 02
    "training (demonstrations)": "训练（示范）",
    "training": "训练",
    "held-out": "留出题目",
    "SFT step": "SFT 步数",
    "loss (nats per answer token)": "损失（nat / 回答的词元）",
    "SFT: loss on the answer's tokens": "SFT：回答词元上的损失",
    "greedy": "贪心",
    "sampled": "采样",
    "exact answers (share)": "完全正确率",
    "held-out problems solved exactly": "留出题目上的完全正确率",
    # 03
    "optimum agrees": "最优值一致",
    "optimum differs": "最优值不同",
    "exact": "完全正确",
    "similarity to the reference": "与参考答案的相似度",
    "What an answer earns": "一个回答得多少分",
    "similarity alone": "只看相似度",
    "the evaluator": "评估器",
    "mistakes in the answer": "回答中的错误数",
    "mean credit": "平均得分",
    "What correcting the last mistake pays": "改正最后一处错误值多少分",
    "objective only": "只看目标值",
    "graph only": "只看图",
    "both": "两样都看",
    "mean mark of a wrong model (1: full marks)": "错误模型的平均得分（1 为满分）",
    "not an LP": "不是 LP",
    "an LP, not exact": "是 LP，不完全正确",
    "nothing\nlives here": "这里\n是空的",
    "answers": "回答数",
    "Rewards of # sampled answers of the SFT policy": "SFT 策略 # 个采样回答的奖励",
    "the answer": "回答",
    "the reference": "参考答案",
    "# edit apart": "相差 # 处",
    "# edits apart": "相差 # 处",
    "equal": "相同",
    "constraint": "约束",
    "sense": "约束方向",
    "right-hand side": "右端项",
    "coefficient": "系数",
    "objective": "目标函数",
    "objective sense": "目标方向",
    "variable": "变量",
    "bound": "上下界",
    "integrality": "整数性",
    "integer": "整数",
    "free below": "无下界",
    "maximise": "最大化",
    "minimise": "最小化",
    # 04
    "too many values to unpack": "解包的值太多",
    "no standardize_cache_format": "没有 standardize_cache_format",
    "no _extract_past_...": "没有 _extract_past_...",
    "no num_hidden_layers": "没有 num_hidden_layers",
    "_pad() has no padding_side": "_pad() 没有 padding_side",
    "the head: none, moved or shared": "输出层：没有、移走或共享",
    "another error": "其他错误",
    "works": "正常",
    "not reached": "没有走到",
    "all steps": "全部步骤",
    "version of transformers": "transformers 的版本",
    "step of the probe": "探针的步骤",
    "ChatGLM3 under # versions of transformers, measured #": (
        "ChatGLM3 与 transformers 的 # 个版本，测于 #"
    ),
    "as they come: [sequence, batch]": "原样：[序列, 批次]",
    "batch-first": "批次在前",
    "training step": "训练步数",
    "value loss (squared reward)": "价值损失（奖励的平方）",
    "A batch as long as it is wide: nothing raises, nothing is learnt": (
        "长宽相等的批次：不报错，也学不到东西"
    ),
    # 05
    "before": "更新前",
    "no baseline": "没有基线",
    "mean": "均值",
    "none": "没有",
    "mean reward": "平均奖励",
    "best": "最佳",
    "value head's mean": "价值头的均值",
    "one update on B": "对 B 更新一次",
    "probability": "概率",
    "spread of the gradient": "梯度的离散程度",
    "baseline": "基线",
    "root mean square length": "长度的均方根",
    "mean reward of a batch": "一批的平均奖励",
    "reward (# to #)": "奖励（# 到 #）",
    "exact answers": "完全正确的回答",
    "share of answers": "占回答的比例",
    "distance from the reference": "与参考模型的距离",
    "KL (nats per response)": "KL（nat / 回答）",
    # The Chinese character for entropy is not among the common ones that our font has.
    "entropy of the policy": "策略的不确定度（entropy）",
    "nats per token": "nat / 词元",
    "clipped ratios": "被截断的比值",
    "share of tokens": "占词元的比例",
    "value head": "价值头",
    "explained variance": "解释方差",
    "batch": "训练批次",
    "held-out, sampled": "留出题目，采样",
    "held-out, greedy": "留出题目，贪心",
    "PPO with replay": "带回放的 PPO",
    "rejection sampling": "拒绝采样",
    "SFT on all references": "用全部参考答案做 SFT",
    "from # demonstrations (exact at first: #)": "从 # 个示范出发（起初的完全正确率：#）",
    "answers sampled and graded": "采样并打分的回答数",
    "healthy": "正常",
    "this run": "本次训练",
    "reward and exact answers of a batch": "一批的奖励和完全正确率",
    "reward, or share of answers": "奖励，或占回答的比例",
    "entropy": "不确定度（entropy）",
    "entropy (nats per token)": "entropy（nat / 词元）",
    "the evaluator's reward": "评估器的奖励",
    "uncapped credit": "不封顶",
    "better optimum": "最优值更好",
    "reward it was trained on": "训练所用的奖励",
    "KL to the reference\n(nats per response)": "与参考模型的 KL（nat / 回答）",
    "mean of a batch": "一批的平均值",
}

_NUMBER = re.compile(r"(?<![A-Za-z])[-+]?\d(?:[\d.-]*\d)?")
_JOINTS = {": ": "：", "; ": "；"}


def language() -> str:
    """The language of the figures: ``GLM_PPO_LANGUAGE``, else that of the working folder.

    Jupyter works in the notebook's folder, which is called ``zh`` for the Chinese ones.
    """
    return os.environ.get("GLM_PPO_LANGUAGE") or ("zh" if Path.cwd().name == "zh" else "en")


def in_chinese(text: str) -> str:
    """A text of a figure in Chinese: as a whole, or else its parts; names stay as they are."""
    pattern, numbers = _NUMBER.sub("#", text), _NUMBER.findall(text)
    if text in CHINESE:
        return CHINESE[text]
    if pattern in CHINESE:
        return re.sub("#", lambda _: numbers.pop(0), CHINESE[pattern])
    head, *rest = re.split(r"(: |; |  |\n)", text, maxsplit=1)
    if not rest or (said := [in_chinese(head), in_chinese(rest[1])]) == [head, rest[1]]:
        return text
    return _JOINTS.get(rest[0], rest[0]).join(said)


def localised(figure: Figure) -> Figure:
    """The same figure, its words in the language of the notebook."""
    if language() != "zh":
        return figure
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        labels = [text.get_text() for text in axis.get_ticklabels()]
        if (said := [in_chinese(label) for label in labels]) != labels:
            axis.set_ticks(axis.get_ticklocs(), said)
    for artist in figure.findobj():
        if isinstance(artist, Text):
            artist.set_text(in_chinese(artist.get_text()))
    return figure
