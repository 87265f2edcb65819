"""A robot that loses 30 % of its readings in bursts: how well hold, skip and predict make up for them.

Its rule: the model predicts the next reading; its prediction of every lost reading is compared with the reading that
the robot really sent, which no policy has seen. The drives are not those it was trained on. Errors are in units of what
a reading usually changes by over a mean burst, so that speeds and currents can be averaged.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.core.feedback import MISSING, Policy
from edge_lstm.core.model import Model
from edge_lstm.examples.bursts import MEAN_BURST, NAMES, RATE_HZ, SHARE_LOST, bursts, drive
from edge_lstm.examples.report import Report, Text, columns, shipped
from edge_lstm.streams.missing import MissingReadings

DRIVES, SECONDS = 8, 20.0
FIRST_SEED = 9000  # drives below were looked at while the burst length and the channels were chosen
WARM = 50  # readings at the start of a drive that are never lost
ZH = {"skip": "跳过（skip）", "hold": "保持（hold）", "predict": "预测（predict）"}
POLICIES = tuple(p for p in ("hold", "skip", "predict") if p in MISSING)


def predictions(model: Model, heard: Any, policy: Any) -> Any:
    """The model's prediction of each next reading, (T, n); where it took no step, its last one stands."""
    outputs = MissingReadings(model.stream(), Policy(policy)).run(heard).outputs
    fresh = np.where(np.isfinite(outputs[:, 0]), np.arange(len(outputs)), 0)
    return outputs[np.maximum.accumulate(fresh)]


def run(lang: str, seed: int) -> Report:
    """seed: which drives, and when their readings get lost."""
    text = Text(lang)
    model = shipped("robot_dropout")
    errors: dict[str, list[Any]] = {policy: [] for policy in POLICIES}
    scales, count, lost_count = [], 0, 0
    shown: dict[str, Any] = {}
    for number in range(DRIVES):
        drive_seed = FIRST_SEED + DRIVES * seed + number
        readings = drive(drive_seed, SECONDS)
        lost = bursts(len(readings), np.random.default_rng(drive_seed))
        lost[:WARM] = False
        heard = np.where(lost[:, None], np.nan, readings).astype(np.float32)
        scales.append(np.square(readings[MEAN_BURST:] - readings[:-MEAN_BURST]).mean(0))
        count, lost_count = count + len(lost), lost_count + int(lost.sum())
        for policy in POLICIES:
            predicted = predictions(model, heard, policy)
            errors[policy].append((predicted[:-1] - readings[1:])[lost[1:]])
            if number == 0:
                shown[policy] = predicted
        if number == 0:
            shown |= {"readings": readings, "lost": lost}
    scale = np.sqrt(np.mean(scales, 0))
    found = {policy: np.abs(np.concatenate(e) / scale).mean(0) for policy, e in errors.items()}
    total = {policy: float(e.mean()) for policy, e in found.items()}
    ratio = {policy: total[policy] / total["predict"] for policy in POLICIES if policy != "predict"}
    data: dict[str, Any] = {
        "drives": DRIVES,
        "seconds": SECONDS,
        "readings": count,
        "lost": lost_count,
        "error": {policy: round(value, 4) for policy, value in total.items()},
        "error_by_channel": {p: dict(zip(NAMES, np.round(e, 4).tolist(), strict=True)) for p, e in found.items()},
        "predict_better_by": {policy: round(value, 3) for policy, value in ratio.items()},
    }
    lines = (
        text("{d} drives of {s:.0f} s at {r:.0f} Hz, never trained on; {l:,} of {n:,} readings ({p:.0%}) lost.",
             "{d} 次行驶，每次 {s:.0f} 秒，{r:.0f} Hz，未用于训练；{n:,} 个读数成串丢失 {l:,} 个（{p:.0%}）。",
             d=DRIVES, s=SECONDS, r=RATE_HZ, n=count, l=lost_count, p=lost_count / count),
        text("Mean error of the model's predictions of the lost readings (1 = a usual change in {m:.0f} ms):",
             "模型对丢失读数的平均误差（1 = {m:.0f} 毫秒内的通常变化）：", m=1000 * MEAN_BURST / RATE_HZ),
        *(f"  {columns(text(p, ZH[p]), 15)} {total[p]:.3f}" + ("" if p == "predict" else text(
            "   predict is better by a factor of {x:.2f}", "   预测好 {x:.2f} 倍", x=ratio[p])) for p in POLICIES),
        text("By channel:", "按通道："),
        *(f"  {name:18}" + "  ".join(f"{text(p, ZH[p])} {found[p][k]:.3f}" for p in POLICIES)
          for k, name in enumerate(NAMES)),
    )  # fmt: skip
    title = text("A robot that loses {p:.0%} of its readings in bursts", "机器人成串丢失 {p:.0%} 的读数", p=SHARE_LOST)
    return Report("robot-dropout", title, lines, data, partial(_draw, data, shown))


def _draw(data: dict[str, Any], shown: dict[str, Any], path: Path, lang: str) -> None:
    """Above: a moment of a drive with its bursts. Below: the error of each channel under each policy."""
    from edge_lstm.examples.pictures import BLUE, GREEN, ORANGE, Canvas, plain

    colours = {"hold": ORANGE, "skip": GREEN, "predict": BLUE}
    with Canvas(path, lang, (13, 8)) as canvas:
        ratios = data["predict_better_by"].items()
        better = canvas.say(
            ", ".join(f"{p} {x:.2f} times as much" for p, x in ratios),
            "，".join(f"{ZH[p]} 是其 {x:.2f} 倍" for p, x in ratios),
        )
        canvas.title(
            f"With {data['lost'] / data['readings']:.0%} of the readings lost, predicting errs least: {better}",
            f"成串丢失 {data['lost'] / data['readings']:.0%} 的读数，预测误差最小：{better}",
        )
        top, bottom = canvas.figure.subplots(2, 1, height_ratios=(1.2, 1))
        channel, length = NAMES.index("gyro_z"), 60
        start = _furthest_apart(shown, channel, length)
        part = slice(start, start + length)
        t_s = np.arange(start, start + length) / RATE_HZ
        real, lost = shown["readings"][part, channel], shown["lost"][part]
        top.plot(t_s, real, color="#BBBBBB", linewidth=4, label=canvas.say("what the robot really sent", "实际读数"))
        for policy in POLICIES:
            # The prediction of reading t was made one reading earlier.
            line = np.where(lost, shown[policy][start - 1 : start + length - 1, channel], np.nan)
            label = canvas.say(policy, ZH[policy])
            top.plot(t_s, line, ".-", color=colours[policy], linewidth=1.3, markersize=3, label=label)
        low, high = top.get_ylim()
        top.fill_between(t_s, low, high, where=lost, step="mid", color="#FFF3D6", linewidth=0, zorder=0)
        top.set_ylim(low, high)
        top.set_ylabel("gyro z (rad/s)")
        top.set_xlabel(canvas.say("time (s); shaded: lost", "时间（秒）；底色：丢失"))
        top.legend(frameon=False, ncols=4, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1))
        top.margins(x=0)
        plain(top)
        for k, policy in enumerate(POLICIES):
            values = list(data["error_by_channel"][policy].values())
            at = np.arange(len(NAMES)) + 0.27 * (k - 1)
            bars = bottom.bar(at, values, 0.25, color=colours[policy], label=canvas.say(policy, ZH[policy]))
            bottom.bar_label(bars, fmt="%.2f", fontsize=8, padding=1)
        bottom.set_xticks(range(len(NAMES)), [name.replace("_", " ") for name in NAMES])
        bottom.set_ylabel(
            canvas.say("mean error on lost readings\n(usual change = 1)", "丢失读数的平均误差\n（通常变化 = 1）")
        )
        bottom.legend(frameon=False, ncols=3, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1))
        plain(bottom)


def _furthest_apart(shown: dict[str, Any], channel: int, length: int) -> int:
    """Where in the drive the policies differ most, so that three lines can be seen."""
    made = np.array([shown[policy][:, channel] for policy in POLICIES])
    apart = np.where(shown["lost"], np.roll(np.ptp(made, axis=0), 1), 0)
    starts = (s for s in range(WARM + 1, len(apart) - length, 5) if not shown["lost"][s])
    return max(starts, key=lambda s: float(apart[s : s + length].sum()))
