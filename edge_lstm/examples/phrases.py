"""English sentences and their Chinese, made phrase by phrase by a small grammar: who, when, where, does what.

Its rule: Chinese has time and place before the verb, English behind it, so no word-by-word table will do. Every
sentence of the grammar has one translation; a fixed fifth of them is never learnt from.
"""

from __future__ import annotations

import itertools

import numpy as np

WHO = {"I": "我", "you": "你", "we": "我们", "Doug": "道格", "Jane": "简", "the robot": "机器人"}
DO = {
    "eat pizza": "吃 披萨", "eat sushi": "吃 寿司", "eat waffles": "吃 华夫饼", "drink tea": "喝 茶",
    "read a book": "看 书", "buy a book": "买 书", "carry a box": "搬 箱子", "open the door": "开 门",
}  # fmt: skip
WHERE = {"": "", "at home": "在 家", "in the kitchen": "在 厨房", "at school": "在 学校"}
WHEN = {"": "", "today": "今天", "tomorrow": "明天", "every day": "每天", "on Monday": "星期一"}
THIRD = {"eat": "eats", "drink": "drinks", "read": "reads", "buy": "buys", "carry": "carries", "open": "opens"}
START, STOP = "<start>", "<stop>"
SEED, HELD_OUT = 11, 0.2

Pair = tuple[tuple[str, ...], tuple[str, ...]]


def pair(who: str, negative: bool, do: str, where: str, when: str) -> Pair:
    """One sentence in both languages, as words."""
    verb, _, rest = do.partition(" ")
    third = who not in ("I", "you", "we")
    said = (f"does not {verb}" if third else f"do not {verb}") if negative else THIRD[verb] if third else verb
    english = f"{who} {said} {rest} {where} {when} .".split()
    chinese = f"{WHO[who]} {WHEN[when]} {'不' if negative else ''} {WHERE[where]} {DO[do]} 。".split()
    return tuple(english), tuple(chinese)


def pairs() -> tuple[list[Pair], list[Pair]]:
    """(to learn from, held out): every sentence of the grammar once."""
    everything = [pair(*choice) for choice in itertools.product(WHO, (False, True), DO, WHERE, WHEN)]
    order = np.random.default_rng(SEED).permutation(len(everything))
    held = round(HELD_OUT * len(everything))
    return [everything[k] for k in order[held:]], [everything[k] for k in order[:held]]


def vocabularies() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The English words, and the Chinese ones with START and STOP."""
    learnt = pairs()[0]
    english = sorted({word for sentence, _ in learnt for word in sentence})
    chinese = sorted({word for _, sentence in learnt for word in sentence})
    return tuple(english), (START, STOP, *chinese)


# How the words are spoken, for pictures on systems whose fonts have no Chinese signs.
PINYIN = {
    "我": "wo", "你": "ni", "我们": "women", "道格": "Daoge", "简": "Jian", "机器人": "jiqiren", "不": "bu", "。": ".",
    "吃": "chi", "披萨": "pisa", "寿司": "shousi", "华夫饼": "huafubing", "喝": "he", "茶": "cha", "看": "kan",
    "书": "shu", "买": "mai", "搬": "ban", "箱子": "xiangzi", "开": "kai", "门": "men", "在": "zai", "家": "jia",
    "厨房": "chufang", "学校": "xuexiao", "今天": "jintian", "明天": "mingtian", "每天": "meitian",
    "星期一": "xingqiyi",
}  # fmt: skip
