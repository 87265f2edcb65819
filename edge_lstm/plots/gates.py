"""The picture of a network at work: inputs, every gate of one layer over time, its memory, the outputs.

Its rule: one row of a heat map is one unit, the longest memory on top in every panel; white to dark is 0 to 1 for
gates, blue to red is negative to positive for what may be both. The letters of the equations are beside the words.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_lstm.analysis.explain import Explained, longest_first
from edge_lstm.core.channels import flat_names
from edge_lstm.plots.figure import check_plot, from_0_to_1, names_as_they_are, shares
from edge_lstm.streams.gates import WORDS, cell, in_words, layers

if TYPE_CHECKING:
    from edge_lstm.core.channels import Channel
    from edge_lstm.core.model import Model

_CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F")
_SIGNED = "gnch"
_CAPTIONS = {
    "i": "0 kept away, 1 let in",
    "f": "0 forgotten, 1 kept",
    "g": "what could be remembered",
    "o": "0 nothing comes out, 1 all",
    "c": "what is remembered\neach unit in its own range",
    "h": "the layer's output",
    "r": "0 without the memory, 1 with it",
    "z": "0 replaced, 1 kept",
    "n": "what could be remembered",
}


@names_as_they_are
def plot_gates(model: Model, explained: Explained, layer: str, title: str, path: Path) -> None:
    """Draw one layer and write it (PNG, SVG or PDF by suffix). Raises OSError as the system does."""
    check_plot(path)
    from matplotlib.figure import Figure

    letters = list(WORDS[cell(layers(model)[layer])])
    order = longest_first(explained.units, layer)
    height = min(2.2, max(0.8, 0.055 * len(order)))
    heights = [*_heights(model.inputs), *[height] * len(letters), *_heights(model.outputs)]
    figure = Figure(figsize=(13, 1.5 + sum(heights)), dpi=130, facecolor="white", layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    edges = _edges(explained.t_s)
    _channels(axes[0], model.inputs, explained.t_s, explained.xs, edges, "readings")
    for axis, letter in zip(axes[1:], letters, strict=False):
        values = explained.gates[f"{layer}.{letter}"][:, order].T
        if letter == "c":  # a few units may remember a thousand times as much: the rest would be white
            most = np.quantile(np.abs(values), 0.98, axis=1, keepdims=True)
            values = values / np.where(most > 0, most, 1)
        limits = {"vmin": -1, "vmax": 1, "cmap": "RdBu_r"} if letter in _SIGNED else {"vmin": 0, "vmax": 1}
        image = _heat(axis, values, edges, {"cmap": "Greys"} | limits)
        clipped = "both" if letter == "c" else "neither"
        bar = figure.colorbar(image, ax=axis, pad=0.008, aspect=12, fraction=0.02, extend=clipped)
        bar.ax.tick_params(labelsize=7.5, length=0)
        bar.outline.set_visible(False)
        _label(axis, f"{letter}  {in_words(model, f'{layer}.{letter}')}\n", f"{_CAPTIONS[letter]}")
        axis.set_yticks([])
    _channels(axes[-1], model.outputs, explained.t_s, explained.ys, edges, "outputs")
    if _has_legend(model.outputs) and shares(model) >= set(flat_names(model.outputs)):
        from_0_to_1(axes[-1])
    axes[-1].set_xlabel("time (s)", fontsize=10)
    above = 28 if _has_legend(model.inputs) else 0
    axes[0].set_title(title, loc="left", fontsize=14, fontweight="bold", pad=30 + above)
    first = "strongest" if letters == ["h"] else "longest memory"
    units = f"layer {layer}: {len(order)} units, one row each, the {first} on top"
    at = {"xy": (0, 1), "xycoords": "axes fraction", "textcoords": "offset points"}
    axes[0].annotate(units, xytext=(0, 16 + above), fontsize=9.5, color="#555555", **at)
    figure.savefig(path)


def _has_legend(channels: tuple[Channel, ...]) -> bool:
    return not all(c.vocabulary for c in channels)


def _heights(channels: tuple[Channel, ...]) -> list[float]:
    words = sum(c.width for c in channels if c.vocabulary)
    numbers = sum(not c.vocabulary for c in channels)
    return [max(1.5, 0.24 * words, 0.3 * min(numbers, len(_CYCLE)))]


def _edges(t_s: Any) -> Any:
    """Where each reading's column begins and ends."""
    if len(t_s) == 1:
        return np.array([t_s[0] - 0.5, t_s[0] + 0.5])
    middles = (t_s[1:] + t_s[:-1]) / 2
    return np.concatenate([[2 * t_s[0] - middles[0]], middles, [2 * t_s[-1] - middles[-1]]])


def _heat(axis: Any, values: Any, edges: Any, look: dict[str, Any]) -> Any:
    axis.grid(False)
    for side in ("top", "right", "left", "bottom"):
        axis.spines[side].set_visible(False)
    axis.tick_params(labelsize=8.5, length=0)
    return axis.pcolormesh(edges, np.arange(len(values) + 1), values[::-1], rasterized=True, **look)


def _label(axis: Any, name: str, caption: str) -> None:
    axis.set_ylabel(name + caption, fontsize=9, rotation=0, ha="right", va="center")


def _channels(axis: Any, channels: tuple[Channel, ...], t_s: Any, values: Any, edges: Any, what: str) -> None:
    """Words as rows of a heat map where all channels are words; else of readings lines one below the
    other, each scaled to its own range, of outputs in one."""
    if not _has_legend(channels):
        _heat(axis, values.T, edges, {"cmap": "Blues", "vmin": 0, "vmax": 1})
        names = [word for c in channels for word in c.vocabulary]
        axis.set_yticks(np.arange(len(names)) + 0.5, names[::-1])
        _label(axis, f"{what}\n", "")
        axis.yaxis.labelpad = 12
        return
    numbers, start = [], 0
    for channel in channels:
        if not channel.vocabulary:
            numbers.append((channel, values[:, start]))
        start += channel.width
    own = what == "readings" and len(numbers) > 1
    lanes = min(len(numbers), len(_CYCLE))
    for k, (channel, column) in enumerate(numbers[:lanes]):
        low, high = float(column.min()), float(column.max())
        unit = f" {channel.unit}" if channel.unit else ""
        shown = 0.9 * (column - low) / ((high - low) or 1.0) + lanes - 1 - k if own else column
        name = f"{channel.name.replace('_', ' ')}" + (
            f" {low:.3g} … {high:.3g}{unit}" if own else unit and f" ({unit[1:]})"
        )
        axis.plot(t_s, shown, color=_CYCLE[k], linewidth=0.9, label=name)
    axis.legend(fontsize=7.5, ncols=4, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.97), borderaxespad=0.0)
    hidden = len(numbers) - len(_CYCLE)
    _label(
        axis,
        what,
        ("\none below the other,\neach in its own range" if own else "")
        + (f"\n{hidden} more not shown" if hidden > 0 else ""),
    )
    axis.grid(color="#E6E6E6", linewidth=0.7)
    axis.tick_params(labelsize=8.5, length=0)
    axis.margins(x=0)
    if own:
        axis.set_yticks([])
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
