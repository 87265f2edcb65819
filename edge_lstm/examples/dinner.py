"""Dinner: what decides is yesterday, so a memory beats any vote, and two weeks away are bridged by the closed loop.

Its rule: both networks are scored on the third year, of which neither has seen a day. While away the network gets no
reading: its `predict` policy puts its own last prediction in the place of yesterday's dinner.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.examples.calendar import DINNER, DINNERS, LEARNT_DAYS, VOTERS, days, one_hot
from edge_lstm.examples.report import Report, Text, shipped
from edge_lstm.streams.missing import MissingReadings

AWAY = 14
SEEN = 4  # days at home before and after, in the picture
ZH = {"pizza": "披萨", "sushi": "寿司", "waffles": "华夫饼"}


def run(lang: str, seed: int) -> Report:
    """seed: on which day of the third year the two weeks begin."""
    text = Text(lang)
    held_out = days()[LEARNT_DAYS - 1 :]  # from the eve of the third year
    dinner = held_out.dinner
    votes = shipped("dinner_voting").stream().run(one_hot(held_out.voters[1:], *VOTERS))
    voting = int((votes.argmax(1) == dinner[1:]).sum())
    network = shipped("dinner_rnn")
    known = one_hot(dinner, DINNER)
    expected = network.stream().run(known[:-1])
    right = int((expected.argmax(1) == dinner[1:]).sum())

    first = int(np.random.default_rng(seed).integers(SEEN, len(dinner) - AWAY - SEEN - 1))
    heard = known[:-1].copy()
    heard[first : first + AWAY] = np.nan
    filler = MissingReadings(network.stream(), network.policy)
    filled = filler.run(heard)
    bridged = filled.outputs
    gap = slice(first, first + AWAY)
    bridged_right = int((bridged[gap].argmax(1) == dinner[1:][gap]).sum())
    back = first + AWAY - 1
    tonight = DINNERS[int(bridged[back].argmax())]
    data: dict[str, Any] = {
        "held_out_days": len(dinner) - 1,
        "voting_right": voting,
        "rnn_right": right,
        "away_days": AWAY,
        "away_from_day": first,
        "away_right": bridged_right,
        "tonight_predicted": tonight,
        "tonight_cooked": DINNERS[int(dinner[back + 1])],
        "tonight_probability": round(float(bridged[back].max()), 4),
        "not_real_of_last_100": int(filled.not_real[back]),
    }
    shown = slice(first - SEEN, first + AWAY + SEEN)
    name = text(tonight, ZH[tonight])
    total = len(dinner) - 1
    lines = (
        text("The flatmate cooks pizza, sushi, waffles, and round again. Right on {n} days never seen:",
             "室友轮流做披萨、寿司、华夫饼。在从未见过的 {n} 天里猜对：", n=total),
        text("  voting on weekday, month and late meeting   {a:3d}  ({p:.0%}; chance is 33%)",
             "  按星期、月份、晚间会议投票         {a:3d}（{p:.0%}；瞎猜是 33%）", a=voting, p=voting / total),
        text("  RNN on yesterday's dinner and prediction    {a:3d}  ({p:.0%})",
             "  RNN，看昨天的晚餐和昨天的预测     {a:3d}（{p:.0%}）", a=right, p=right / total),
        text("Two weeks away, nothing known: the network's own prediction stands in for yesterday's dinner.",
             "外出两周，什么都不知道：网络用自己昨天的预测代替昨天的晚餐。"),
        text("  right on {a} of {n} evenings; back home, tonight it expects {d} ({p:.1%}), and {e} it is",
             "  {n} 晚里猜对 {a} 晚；回家当晚它预测{d}（{p:.1%}），实际是{e}",
             a=bridged_right, n=AWAY, d=name, p=data["tonight_probability"],
             e=text(data["tonight_cooked"], ZH[data["tonight_cooked"]])),
    )  # fmt: skip
    title = text("Dinner: two weeks away, bridged by the network's own predictions", "晚餐：外出两周，靠自己的预测续上")
    draw = partial(_draw, bridged[shown], heard[shown], dinner[1:][shown])
    return Report("dinner", title, lines, data, draw)


def _draw(predicted: Any, heard: Any, cooked: Any, path: Path, lang: str) -> None:
    """The network unrolled over the gap: one column per evening."""
    from edge_lstm.examples.pictures import BLUE, GREEN, ORANGE, Canvas, plain

    count = len(cooked)
    with Canvas(path, lang, (13, 5.4)) as canvas:
        words = [canvas.say(w, ZH[w]) for w in DINNERS]
        canvas.title("Two weeks away: the network, unrolled over the gap", "外出两周：网络沿时间展开")
        axis = canvas.figure.subplots()
        plain(axis)
        axis.axvspan(SEEN - 0.5, SEEN + AWAY - 0.5, color="#FFF3D6", zorder=0)
        middle = SEEN + AWAY / 2 - 0.5
        away = canvas.say("away: no dinner is known, yesterday's prediction goes in instead",
                          "外出：不知道晚餐，用昨天的预测代替")  # fmt: skip
        axis.text(middle, 3.72, away, ha="center", fontsize=10, color="#8A6100")
        best = predicted.argmax(1)
        for k in range(count):
            for word in range(3):
                p = float(predicted[k, word])
                axis.add_patch(_circle(k, 1.25 + 0.75 * word, 0.30, BLUE, 0.04 + 0.96 * p))
            axis.text(k, 1.25 + 0.75 * best[k], f"{predicted[k].max():.0%}".rstrip("%"), ha="center", va="center",
                      color="white", fontsize=8.5)  # fmt: skip
            mark = "✓" if best[k] == cooked[k] else "✗"
            axis.text(k, 0.52, mark, ha="center", fontsize=13, color=GREEN if mark == "✓" else ORANGE,
                      family="DejaVu Sans")  # fmt: skip
            axis.text(k, 0.18, words[cooked[k]], ha="center", fontsize=8.5)
            real = bool(np.isfinite(heard[k]).all())
            if real:
                axis.text(k, -0.62, words[int(heard[k].argmax())], ha="center", fontsize=8.5, color="#222222")
            elif k:
                axis.text(k, -0.62, words[best[k - 1]], ha="center", fontsize=8.5, color=ORANGE, style="italic")
                style = {"arrowstyle": "->", "color": ORANGE, "linewidth": 1.8}
                near = 0.75 * (best[k] - best[k - 1])
                start = (k - 1 + 0.3, 1.25 + 0.75 * best[k - 1] + near * 0.25)
                axis.annotate("", (k - 0.3, 1.25 + 0.75 * best[k] - near * 0.25), start, arrowprops=style)
        axis.set_yticks(
            [-0.57, 0.22, 1.25, 2.0, 2.75],
            [
                canvas.say("goes in:\nyesterday's dinner", "输入：昨天的晚餐"),
                canvas.say("really cooked", "实际做的"),
                *words,
            ],
        )
        axis.set_xticks(range(count), [f"{k - SEEN + 1:d}" for k in range(count)])
        axis.set_xlabel(canvas.say("evening (1: first evening away); in the circles: probability in %, "
                                   "orange: the prediction stands in for the unknown dinner",
                                   "第几晚（1：外出第一晚）；圆内：概率 %；橙色：预测代替未知的晚餐"))  # fmt: skip
        axis.set_xlim(-0.7, count - 0.3)
        axis.set_ylim(-1.0, 4.0)
        axis.spines["left"].set_visible(False)


def _circle(x: float, y: float, radius: float, colour: str, alpha: float) -> Any:
    from matplotlib.patches import Ellipse

    return Ellipse((x, y), 2 * radius * 1.15, 2 * radius, color=colour, alpha=alpha, linewidth=0)
