"""The picture of a forecast: what was read, what the model expects, what really came.

Its rule: one panel for each channel that is fed back, the same time axis, a line where the model's own predictions
become its readings. Words are rows, and what was read or expected are marks in them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_lstm.core.channels import start_of
from edge_lstm.plots.figure import check_plot, names_as_they_are
from edge_lstm.streams.rollout import Forecast

if TYPE_CHECKING:
    from edge_lstm.core.channels import Channel
    from edge_lstm.core.model import Model
    from edge_lstm.logs.series import Series

_REAL, _EXPECTED = "#333333", "#D55E00"
_MOST_PANELS = 8


@names_as_they_are
def plot_forecast(model: Model, series: Series, row: int, ahead: Forecast, path: Path) -> None:
    """Draw it and write it (PNG, SVG or PDF by suffix). Raises OSError as the system does."""
    check_plot(path)
    from matplotlib.figure import Figure

    steps = len(ahead.readings)
    first, last = max(0, row - max(2 * steps, 20)), min(len(series.t_s), row + 1 + steps)
    inputs = [next(c for c in model.inputs if c.name == f.input) for f in model.feedback][:_MOST_PANELS]
    heights = [0.35 + 0.22 * len(c.vocabulary) if c.vocabulary else 1.6 for c in inputs]
    figure = Figure(figsize=(12, 1.6 + sum(heights)), dpi=130, facecolor="white", layout="constrained")
    axes = figure.subplots(len(inputs), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    times = series.t_s[row] + series.period_s * np.arange(1, steps + 1)
    for axis, channel in zip(axes, inputs, strict=True):
        place = slice(start := start_of(model.inputs, channel.name), start + channel.width)
        real, expected = series.xs[first:last, place], ahead.readings[:, place]
        draw = _words if channel.vocabulary else _numbers
        draw(axis, channel, series.t_s[first:last], real, times, expected)
        axis.axvline(series.t_s[row] + 0.5 * series.period_s, color="#7B2D8B", linewidth=1.2)
        axis.tick_params(labelsize=8.5, length=0)
        axis.grid(color="#E6E6E6", linewidth=0.7, zorder=0)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    here = {"xy": (series.t_s[row], 1), "xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    mark = "from here on the model reads its own predictions"
    axes[0].annotate(mark, xytext=(6, 4), fontsize=8.5, color="#7B2D8B", **here)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=2, frameon=False, fontsize=9)
    axes[-1].set_xlabel("time (s)", fontsize=10)
    title = f"{series.name}: {steps} readings expected after {series.t_s[row]:g} s"
    axes[0].set_title(title, loc="left", fontsize=14, fontweight="bold", pad=20)
    figure.savefig(path)


def _numbers(axis: Any, channel: Channel, t_s: Any, real: Any, times: Any, expected: Any) -> None:
    axis.plot(t_s, real[:, 0], color=_REAL, linewidth=1.3, label="read", zorder=3)
    axis.plot(times, expected[:, 0], color=_EXPECTED, linewidth=1.6, label="expected", zorder=4)
    unit = f"\n({channel.unit})" if channel.unit else ""
    axis.set_ylabel(channel.name.replace("_", " ") + unit, fontsize=9, rotation=0, ha="right", va="center")


def _words(axis: Any, channel: Channel, t_s: Any, real: Any, times: Any, expected: Any) -> None:
    there = np.isfinite(real).all(axis=1)
    axis.scatter(t_s[there], real[there].argmax(axis=1), s=46, color=_REAL, marker="s", label="read", zorder=3)
    size = 110.0
    axis.scatter(
        times,
        expected.argmax(axis=1),
        s=size,
        facecolors="none",
        edgecolors=_EXPECTED,
        linewidths=1.8,
        label="expected",
        zorder=4,
    )
    axis.set_yticks(range(channel.width), channel.vocabulary)
    axis.set_ylim(channel.width - 0.5, -0.5)
    axis.set_ylabel(channel.name.replace("_", " "), fontsize=9, rotation=0, ha="right", va="center", labelpad=30)
