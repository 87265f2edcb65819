"""Translation phrase by phrase: one program reads English, another goes on from its memory and writes Chinese.

Its rule: scored on sentences that were never learnt from, right only where every word is. The decoder reads its own
words.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.examples.phrases import START, STOP, pairs
from edge_lstm.examples.report import Report, Text, shipped
from edge_lstm.streams.seq2seq import Translator

SHOWN = 6


def run(lang: str, seed: int) -> Report:
    """seed: which of the held-out sentences are shown."""
    text = Text(lang)
    learnt, held_out = pairs()
    translator = Translator(
        shipped("translate_encoder"), shipped("translate_decoder"), start=START, stop=STOP, limit=20
    )
    answers = []
    for english, chinese in held_out:
        said = translator.translate({"english": word} for word in english)
        answers.append((english, chinese, tuple(said.words), said.outputs))
    right = sum(wanted == said for _, wanted, said, _ in answers)
    words = sum(sum(a == b for a, b in zip(wanted, said, strict=False)) for _, wanted, said, _ in answers)
    longest = sum(max(len(wanted), len(said)) for _, wanted, said, _ in answers)
    picks = np.random.default_rng(seed).choice(len(answers), SHOWN, replace=False)
    wrong = [a for a in answers if a[1] != a[2]][:2]
    data: dict[str, Any] = {
        "learnt_from": len(learnt),
        "held_out": len(held_out),
        "sentences_right": right,
        "words_right": round(words / longest, 4),
        "shown": [{"english": " ".join(answers[k][0]), "chinese": " ".join(answers[k][2])} for k in picks],
        "wrong": [{"english": " ".join(a[0]), "wanted": " ".join(a[1]), "said": " ".join(a[2])} for a in wrong],
    }
    lines = (
        text("Learnt from {n} sentences; of {m} others {r} are right as a whole ({p:.1%}), of their words {w:.2%}.",
             "从 {n} 句学习；另外 {m} 句中整句译对 {r} 句（{p:.1%}），词译对 {w:.2%}。",
             n=len(learnt), m=len(held_out), r=right, p=right / len(held_out), w=words / longest),
        *(f"  {shown['english']:42} → {shown['chinese'].replace(' ', '')}" for shown in data["shown"]),
        *(text("  wrong: {e} → {s} (right: {w})", "  译错：{e} → {s}（应为 {w}）",
               e=a["english"], s=a["said"], w=a["wanted"])
          for a in data["wrong"]),
    )  # fmt: skip
    longest_shown = max(picks.tolist(), key=lambda k: len(answers[k][1]))
    english, _, said_words, outputs = answers[longest_shown]
    vocabulary = shipped("translate_decoder").outputs[0].vocabulary
    chosen = [vocabulary.index(word) for word in (*said_words, STOP)]
    steps = (english, (*said_words, STOP), np.array([outputs[k][c] for k, c in enumerate(chosen)]))
    title = text("Translation: an encoder reads, a decoder writes", "翻译：编码器读，解码器写")
    return Report("translate", title, lines, data, partial(_draw, data, steps))


def _draw(data: dict[str, Any], steps: Any, path: Path, lang: str) -> None:
    """The encoder's words, the memory handed over, the decoder's words going back in."""
    from edge_lstm.examples.pictures import BLUE, GREEN, ORANGE, Canvas, chinese_font

    english, said, shares = steps
    count = len(english) + len(said)
    with Canvas(path, lang, (max(9.0, 1.05 * count), 4.4)) as canvas:
        score = f"{data['sentences_right']} / {data['held_out']}"
        canvas.title(
            f"Read, hand the memory over, write: {score} unseen sentences right",
            f"读完，交出记忆，再写：未见过的句子译对 {score}",
        )
        axis = canvas.figure.subplots()
        axis.axis("off")
        arrow = {"arrowstyle": "->", "linewidth": 1.6, "color": "#555555"}
        # Chinese words need a font that has them, whatever language the labels are in.
        family = {"family": [str(chinese_font()), "DejaVu Sans"]} if chinese_font() else {}
        shown = said if chinese_font() else [_pinyin(word) for word in said]
        for k in range(count):
            reads = k < len(english)
            axis.add_patch(_box(k, BLUE if reads else ORANGE))
            axis.text(k, 0, "LSTM", ha="center", va="center", color="white", fontsize=9)
            if k:
                axis.annotate("", (k - 0.36, 0), (k - 0.64, 0), arrowprops=arrow)
            word = english[k] if reads else ("<start>" if k == len(english) else shown[k - len(english) - 1])
            axis.text(k, -0.95, word, ha="center", fontsize=10.5, color="#222222", **({} if reads else family))
            axis.annotate("", (k, -0.32), (k, -0.72), arrowprops=arrow)
            if not reads:
                number = k - len(english)
                axis.annotate("", (k, 0.72), (k, 0.32), arrowprops=arrow)
                axis.text(
                    k,
                    0.82,
                    shown[number],
                    ha="center",
                    fontsize=11.5,
                    fontweight="normal" if chinese_font() else "bold",
                    color=GREEN,
                    **family,
                )
                axis.text(k, 1.16, f"{shares[number]:.1%}", ha="center", fontsize=8.5, color="#555555")
        edge = len(english) - 0.5
        axis.plot([edge, edge], [-1.1, 1.3], color="#BBBBBB", linestyle="--")
        axis.text(
            len(english) / 2 - 0.5,
            1.45,
            canvas.say("encoder: reads English", "编码器：读英文"),
            ha="center",
            color=BLUE,
        )
        place = len(english) + len(said) / 2 - 0.5
        axis.text(place, 1.45, canvas.say("decoder: writes Chinese, reads its own words", "解码器：写中文"),
                  ha="center", color=ORANGE)  # fmt: skip
        axis.text(
            edge, -1.35, canvas.say("the memory is handed over", "交出记忆"), ha="center", fontsize=9.5, color="#555555"
        )
        axis.set_xlim(-0.6, count - 0.4)
        axis.set_ylim(-1.5, 1.75)


def _pinyin(word: str) -> str:
    """For pictures where no font has Chinese signs."""
    from edge_lstm.examples.phrases import PINYIN

    return PINYIN.get(word, word)


def _box(x: float, colour: str) -> Any:
    from matplotlib.patches import FancyBboxPatch

    return FancyBboxPatch((x - 0.3, -0.25), 0.6, 0.5, boxstyle="round,pad=0.05", color=colour, linewidth=0)
