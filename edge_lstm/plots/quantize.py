"""The picture of a quantization: outputs of the float32 and the quantized model over a log, and their difference.

Its rule: one panel for each output, float32 drawn wide and the other thin upon it, so that what is seen of the wide
line is the difference; below them the error of every output over the same time, in per cent of the output's range.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_lstm.core.channels import flat_names, flat_units
from edge_lstm.plots.figure import Array, Curve, broken, check_plot, from_0_to_1, names_as_they_are, shares
from edge_lstm.quantization.convert import difference, outputs

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.quantization.observe import Log

_FLOAT, _QUANTIZED = "#56B4E9", "#333333"
_CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")
_MOST_PANELS = 6


@names_as_they_are
def plot_quantize(model: Model, quantized: Model, log: Log, scheme: str, path: Path) -> None:
    """Draw both over the log and write the picture (PNG, SVG or PDF by suffix). Raises OSError as the system does."""
    check_plot(path)
    from matplotlib.figure import Figure

    expected, got = model.stream().run(log.xs), outputs(quantized, log.xs)
    extent = np.nanmax(expected, axis=0) - np.nanmin(expected, axis=0)
    extent = np.where(extent > 0, extent, 1.0)
    error = 100 * (got - expected) / extent
    largest = np.nan_to_num(np.abs(difference(expected, got)) / extent).max(axis=0)  # infinity stays the largest
    shown = sorted(np.argsort(-largest, kind="stable")[:_MOST_PANELS].tolist())
    names, units, between = flat_names(model.outputs), flat_units(model.outputs), shares(model)
    heights = [1.25] * len(shown) + [2.2]
    figure = Figure(figsize=(12, 1.5 + sum(heights)), dpi=130, facecolor="white", layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]

    def line(values: Array) -> tuple[Array, Array]:
        return broken(Curve("", "", log.t_s, values, model.timing.stride))

    for axis, k in zip(axes, shown, strict=False):
        axis.plot(*line(expected[:, k]), color=_FLOAT, linewidth=3.0, label="float32", zorder=2)
        axis.plot(*line(got[:, k]), color=_QUANTIZED, linewidth=0.8, label=scheme, zorder=3)
        _look(axis, names[k].replace("_", " ") + (f"\n({units[k]})" if units[k] else ""))
        if names[k] in between:
            from_0_to_1(axis)
    for number, k in enumerate(shown):
        label = names[k].replace("_", " ")
        axes[-1].plot(*line(error[:, k]), color=_CYCLE[number], linewidth=0.8, label=label)
    _look(axes[-1], "error\n(% of range)")
    where = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.96), "borderaxespad": 0.0, "frameon": False}
    axes[0].legend(fontsize=8.5, ncols=2, **where)
    axes[-1].legend(fontsize=8.5, ncols=len(shown), **where)
    axes[-1].set_xlabel("time (s)", fontsize=10)
    hidden = f"; {len(names) - len(shown)} outputs with smaller errors not shown" if len(names) > len(shown) else ""
    title = f"{model.name} in {scheme}: {len(log.xs):,} readings of {log.name}{hidden}"
    axes[0].set_title(title, loc="left", fontsize=13, fontweight="bold", pad=22)
    figure.savefig(path)


def _look(axis: Any, label: str) -> None:
    axis.set_ylabel(label, fontsize=9, rotation=0, ha="right", va="center")
    axis.grid(color="#E6E6E6", linewidth=0.7, zorder=0)
    axis.margins(x=0)
    axis.tick_params(labelsize=8.5, length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color("#BBBBBB")
