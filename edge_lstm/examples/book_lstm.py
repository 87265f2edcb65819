"""The children's book by an LSTM, and its gates word by word: how "not Doug" is remembered, used and forgotten.

Its rule: the numbers in the picture are the gates of a live stream (`gates=True`); unit k of the network stands for
word k, so a row is a word. "Held" and "admitted" are products of gates: forgetting x old memory, ignoring x
possibilities.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.examples.book import NAMES, VERDICTS, WORDS, verdict, written
from edge_lstm.examples.book_rnn import SENTENCES, ZH, write
from edge_lstm.examples.report import Report, Text, shipped

BEFORE = ("Jane", "saw", "Spot", ".")
SHOWN = ("Doug", "saw", "Jane", ".")
DOUG = WORDS.index("Doug")


def walk() -> dict[str, Any]:
    """Gates, memory and probabilities for each of SHOWN, after BEFORE; arrays (steps, words)."""
    model = shipped("book_lstm")
    stream = model.stream(gates=True)
    stream.step({"word": "."})
    for word in BEFORE:
        stream.step({"word": word})
    rows: dict[str, list[Any]] = {key: [] for key in ("held", "admitted", "memory", "i", "f", "g", "o", "votes", "p")}
    memory = stream.gates[_key(stream.gates, "c")].copy()
    for word in SHOWN:
        p = np.array(stream.step({"word": word}))
        gates = {key: stream.gates[_key(stream.gates, key)].copy() for key in "ifgoch"}
        held, admitted = gates["f"] * memory, gates["i"] * gates["g"]
        memory = gates["c"]
        parts = (held, admitted, memory, gates["i"], gates["f"], gates["g"], gates["o"], gates["h"], p)
        for key, value in zip(rows, parts, strict=True):
            rows[key].append(value)
    return {key: np.array(value) for key, value in rows.items()}


def _key(gates: Any, letter: str) -> str:
    return next(str(key) for key in gates if str(key).endswith(f".{letter}"))


def run(lang: str, seed: int) -> Report:
    """seed: which words are drawn."""
    text = Text(lang)
    sentences = write(shipped("book_lstm"), SENTENCES, seed)
    counts = Counter(map(verdict, sentences))
    steps = walk()
    doug, saw = steps["memory"][0][DOUG], steps["memory"][1]
    others = [k for k, name in enumerate(NAMES) if name != "Doug"]
    data: dict[str, Any] = {
        "sentences": SENTENCES,
        "counts": {k: counts[k] for k in VERDICTS},
        "mistakes": SENTENCES - counts["right"],
        "text": [written(s) for s in sentences[:8]],
        "words": list(WORDS),
        "walk": [
            {"after": word, **{key: [round(float(v), 4) for v in value[k]] for key, value in steps.items()}}
            for k, word in enumerate(SHOWN)
        ],
    }
    p = steps["p"]
    after_saw = {"a": steps["admitted"][1][DOUG], "h": steps["held"][1][DOUG], "c": saw[DOUG]}
    lines = (
        text("It writes:", "它写道："),
        "  " + " ".join(data["text"]),
        text("{n} sentences, {m} mistakes: {k}", "{n} 句，错误 {m} 句：{k}", n=f"{SENTENCES:,}", m=data["mistakes"],
             k=text(", ", "，").join(f"{text(k, ZH[k])} {counts[k]:,}" for k in VERDICTS)),
        text("Step by step from \"Jane saw Spot. Doug\":", "从 “Jane saw Spot. Doug” 起一步一步看："),
        text("  Doug  it says `saw` ({p:.1%}); the memory holds \"not Doug\": {c:+.2f}",
             "  Doug  说出 saw（{p:.1%}）；记忆里留着“不是 Doug”：{c:+.2f}", p=p[0][3], c=doug),
        text("  saw   a name is possible, Doug too: {a:+.2f}; the memory \"not Doug\", {h:+.2f}, cancels it: {c:+.2f}",
             "  saw   名字都可能，Doug 也是：{a:+.2f}；记忆里的“不是 Doug” {h:+.2f} 把它抵消：{c:+.2f}", **after_saw),
        text("        so it says {q} ({p:.1%}), Doug {d:.4%}",
             "        于是说 {q}（{p:.1%}），Doug 只有 {d:.4%}", q=text(" or ", " 或 ").join(NAMES[k] for k in others),
             p=p[1][others].sum(), d=p[1][DOUG]),
        text("  Jane  a full stop ({p:.1%})", "  Jane  句号（{p:.1%}）", p=p[2][4]),
        text("  .     \"not Doug\" is forgotten, Doug may come again ({p:.1%})",
             "  .     “不是 Doug” 已忘掉，Doug 又可以出现（{p:.1%}）", p=p[3][DOUG]),
    )  # fmt: skip
    title = text("The children's book by an LSTM: the mistakes are gone", "儿童书，LSTM：错误没有了")
    return Report("book-lstm", title, lines, data, partial(_draw, steps))


# what a column of the picture is: key, signed, English, Chinese, span
_PANELS = (
    ("g", True, "possibilities\nfrom this word (g)", "可能性（g）", 1.0),
    ("i", False, "ignoring gate (i)\n0 kept out, 1 let in", "忽略门（i）\n0 挡住，1 放行", 1.0),
    ("admitted", True, "let in\ni × g", "放进来的\ni × g", 1.0),
    ("f", False, "forgetting gate (f)\n0 forgotten, 1 kept", "遗忘门（f）\n0 忘掉，1 保留", 1.0),
    ("held", True, "kept of the old\nmemory, f × c", "留下的旧记忆\nf × c", 1.0),
    ("memory", True, "new memory c\n= let in + kept", "新记忆 c\n= 放进来 + 留下", 1.0),
    ("o", False, "selection gate (o)\n0 silent, 1 said", "选择门（o）\n0 不说，1 说出", 1.0),
    ("p", False, "next word,\nprobability", "下一个词\n概率", 1.0),
)


def _draw(steps: dict[str, Any], path: Path, lang: str) -> None:
    """A row for each word read, a column for each part of the cell, a line for each word it votes for."""
    from edge_lstm.examples.pictures import ORANGE, Canvas, cells

    with Canvas(path, lang, (15, 9)) as canvas:
        canvas.title(
            'LSTM, step by step after "Jane saw Spot.": "not Doug" is held in memory (orange) and cancels Doug',
            "LSTM 逐步看，接在 “Jane saw Spot.” 之后：记忆里的“不是 Doug”（橙框）抵消可能的 Doug",
        )
        axes = canvas.figure.subplots(len(SHOWN), len(_PANELS), squeeze=False)
        for row, word in enumerate(SHOWN):
            for column, (key, signed, en, zh, span) in enumerate(_PANELS):
                axis = axes[row][column]
                cells(axis, steps[key][row][:, None], WORDS if not column else [""] * len(WORDS), [""],
                      span=span, signed=signed)  # fmt: skip
                if not row:
                    axis.set_title(canvas.say(en, zh), fontsize=9.5)
                if not column:
                    axis.set_ylabel(
                        canvas.say(f"{row + 1}. reads\n“{word}”", f"{row + 1}. 读到\n“{word}”"),
                        rotation=0, ha="right", va="center", fontsize=12, fontweight=canvas.strong, labelpad=18,
                    )  # fmt: skip
        marked = ((0, "memory"), (1, "held"), (1, "admitted"), (1, "memory"), (1, "p"))
        for row, key in marked:
            column = [panel[0] for panel in _PANELS].index(key)
            axes[row][column].add_patch(_frame(DOUG, ORANGE))
        labels = (
            ('memory now says\n"not Doug"', "记忆：“不是 Doug”"),
            ("possible Doug + kept\n“not Doug” cancel", "可能的 Doug 与留下的\n“不是 Doug” 相抵"),
            ("a full stop", "句号"),
            ("Doug is possible again", "Doug 又可能了"),
        )
        for row, (en, zh) in enumerate(labels):
            at = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
            axes[row][-1].annotate(
                canvas.say(en, zh), (1, 0.5), xytext=(8, 0), va="center", fontsize=9.5, color="#8A3C00", **at
            )


def _frame(row: int, colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((-0.48, row - 0.48), 0.96, 0.96, fill=False, edgecolor=colour, linewidth=2.5)
