"""The children's book by a plain RNN: its memory is one step long, and its mistakes are of a few kinds.

Its rule: words are drawn by the network's own probabilities (the closed loop, `sample`), sentences judged by
`book.verdict`.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from edge_lstm.core.model import Model
from edge_lstm.examples.book import VERDICTS, WORDS, sentences, verdict, written
from edge_lstm.examples.report import Report, Text, columns, shipped

SENTENCES = 10_000
_BLOCK = 4096  # words written at a time
ZH = {"right": "正确", "same name": "名字重复", "run-on": "没完没了", "no verb": "没有动词", "other": "其他"}


def write(model: Model, count: int, seed: int) -> list[tuple[str, ...]]:
    """So many sentences that the model writes after a full stop, its own words fed back."""
    stream = model.stream()
    x = model.encode({"word": "."})
    found: list[tuple[str, ...]] = []
    rest: list[str] = []
    block = 0
    while len(found) < count:
        # Each block goes on where the last one ended, with draws of its own; its first word was the last one's last.
        readings = stream.forecast(_BLOCK, x=x, choose="sample", seed=seed * 1_000_003 + block).readings
        words = [WORDS[k] for k in readings.argmax(1)]
        stream.run(readings[:-1])
        rest += words[1:]
        x = readings[-1]
        done = list(sentences(rest))
        found += done
        rest = rest[sum(map(len, done)) :]
        block += 1
    return found[:count]


def run(lang: str, seed: int) -> Report:
    """seed: which words are drawn."""
    text = Text(lang)
    found = write(shipped("book_rnn"), SENTENCES, seed)
    counts = Counter(map(verdict, found))
    example = {k: next((written(s) for s in found if verdict(s) == k), "") for k in VERDICTS}
    data: dict[str, Any] = {
        "sentences": SENTENCES,
        "counts": {k: counts[k] for k in VERDICTS},
        "examples": example,
        "text": [written(s) for s in found[:8]],
    }
    lines = (
        text("It writes, word by word, its own words fed back:", "它一个词一个词地写，自己写的词再送回输入："),
        "  " + " ".join(data["text"]),
        text("{n} sentences, by kind:", "{n} 句，按类统计：", n=f"{SENTENCES:,}"),
        *(f"  {columns(text(k, ZH[k]), 10)} {counts[k]:6,}   {example[k]}" for k in VERDICTS),
        text("After a name comes `saw` or a full stop, after those a name: more than one step back it cannot remember.",
             "名字之后是 saw 或句号，saw 或句号之后是名字：再往前一步它就记不住了。"),
    )  # fmt: skip
    title = text("The children's book by a plain RNN: a memory of one step", "儿童书，普通 RNN：记忆只有一步")
    return Report("book-rnn", title, lines, data, partial(_draw, data))


def _draw(data: dict[str, Any], path: Path, lang: str) -> None:
    from edge_lstm.examples.pictures import BLUE, ORANGE, Canvas, plain

    with Canvas(path, lang, (11, 4.2)) as canvas:
        canvas.title(
            f"Plain RNN, a memory of one step: {data['sentences']:,} sentences by kind",
            f"普通 RNN，记忆只有一步：{data['sentences']:,} 句，按类统计",
        )
        axis = canvas.figure.subplots()
        plain(axis)
        verdicts = list(VERDICTS)
        values = [data["counts"][k] for k in verdicts]
        axis.barh(range(len(verdicts)), values, color=[BLUE, *[ORANGE] * (len(verdicts) - 1)], height=0.6)
        for k, (name, value) in enumerate(zip(verdicts, values, strict=True)):
            example = data["examples"][name]
            shown = example if len(example) < 60 else example[:57] + "…"
            axis.text(value, k, f"  {value:,}   {shown}", va="center", fontsize=10)
        axis.set_yticks(range(len(verdicts)), [canvas.say(k, ZH[k]) for k in verdicts], fontsize=10)
        axis.invert_yaxis()
        axis.set_xlim(0, max(values) * 1.6)
        axis.set_xlabel(canvas.say("sentences", "句数"))
