"""The picture of a moment: what was read, computed and done around it, and another future beside the real one.

Its rule: the truth is a whole line, the fork a broken one of the same colour, and only where both are is either drawn
over the other; the moment is a line across all panels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_lstm.plots.figure import check_plot, names_as_they_are

if TYPE_CHECKING:
    from edge_lstm.moments.at import Moment, Seen

_CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MOST = 7  # curves of a panel


@names_as_they_are
def plot_moment(seen: Seen, title: str, path: Path) -> None:
    """Draw it and write it (PNG, SVG or PDF by suffix). Raises OSError as the system does."""
    check_plot(path)
    from matplotlib.figure import Figure

    panels = [("readings", "reading"), ("outputs", "outputs"), ("actions", "action")]
    panels = [(what, key) for what, key in panels if _names(seen, key)]
    figure = Figure(figsize=(11, 1.2 + 2.3 * len(panels)), dpi=130, facecolor="white", layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (what, key) in zip(axes, panels, strict=True):
        _panel(axis, seen, what, key)
    axes[-1].set_xlabel("time (s)", fontsize=10)
    forked = ": what was (whole lines), what would have been (broken)" if seen.fork else ""
    axes[0].set_title(f"{title} at {seen.moment.t_s:.3f} s{forked}", loc="left", fontsize=12, fontweight="bold")
    figure.savefig(path)


def _panel(axis: Any, seen: Seen, what: str, key: str) -> None:
    names = _names(seen, key)
    units = {seen.units.get(name, "") for name in names}
    for k, name in enumerate(names):
        unit = seen.units.get(name, "")
        label = f"{name} ({unit})" if unit and len(units) > 1 else name
        axis.plot(*_curve(seen.truth, key, name), color=_CYCLE[k], linewidth=1.2, label=label)
        if seen.fork:
            axis.plot(*_curve(seen.fork, key, name), color=_CYCLE[k], linewidth=1.6, linestyle=(0, (3, 2)))
    axis.axvline(seen.moment.t_s, color="#555555", linewidth=0.8)
    unit = next(iter(units)) if len(units) == 1 else ""
    axis.set_ylabel(f"{what} ({unit})" if unit else what, fontsize=10)
    axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axis.grid(color="#E6E6E6", linewidth=0.7)
    axis.margins(x=0)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _names(seen: Seen, key: str) -> list[str]:
    """The curves of a panel: of readings those that the fork has otherwise, else the first that move."""
    names = list(getattr(seen.moment, key))
    if key != "reading":
        return names[:_MOST]
    truth = {one.t_ns: one.reading for one in seen.truth}
    both = [(truth[one.t_ns], one.reading) for one in seen.fork if one.t_ns in truth]
    changed = [name for name in names if any(was[name] != would[name] for was, would in both)]
    moving = [name for name in names if len({one.reading[name] for one in seen.truth}) > 1]
    return (changed or moving or names)[:_MOST]


def _curve(moments: Sequence[Moment], key: str, name: str) -> tuple[Any, Any]:
    values = [getattr(one, key).get(name) for one in moments]
    numbers = np.array([np.nan if value is None else value for value in values], np.float64)
    return np.array([one.t_s for one in moments]), numbers
