"""Pictures of a drive: what was read, what the network made of it against the truth, what was sent.

Its rule: one time axis, one colour per side (left, right) or axis (x, y, z) in every panel, units on every axis.
`of_recording` and `of_table` gather what a replay came to into a `Drive`; `plot` draws it.

Never: import matplotlib before a picture is asked for; smooth, resample or leave out a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import flat_names, flat_units
from edge_lstm.errors import EdgeLstmError, LogError, nearest
from edge_lstm.robot.clock import taken_s
from firmware_bridge.installing import not_importable

if TYPE_CHECKING:
    from edge_lstm.core.channels import Channel
    from edge_lstm.core.model import Model
    from edge_lstm.logs.replay_table import Table
    from edge_lstm.robot.replay import Rows

Array = npt.NDArray[Any]
Drawn = ParamSpec("Drawn")  # what a function that draws is given

# Okabe and Ito's colours, which colour-blind readers can tell apart.
_COLOURS = {"left": "#0072B2", "right": "#D55E00", "x": "#0072B2", "y": "#D55E00", "z": "#009E73"}
_CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_BAND = "#F0C808"
_SIDE = re.compile(r"[\s_\-\[]*(left|right|[xyzlr]|\d+)\]?$", re.IGNORECASE)
_FIRST = ("speed", "current", "gyro", "accel")  # which readings people want to see when there is no room for all
_MOST_MARKS = 400
_HOLE = 5  # times the usual distance: the line is broken
_SUFFIXES = (".png", ".svg", ".pdf")
_MOST_READINGS, _MOST_OUTPUTS = 3, 6


@dataclass(frozen=True, eq=False)
class Curve:
    """One quantity over time. NaN where there is none. Two of one name, an input and an output, are two."""

    name: str
    unit: str
    t_s: Array
    values: Array
    every: int = 1  # readings from one value to the next: in between there is none to miss
    share: bool = False  # it lies between 0 and 1, as a probability does, by what computes it

    @property
    def stem(self) -> str:
        """The name without its side or axis: curves with the same one share a panel."""
        return _SIDE.sub("", self.name) or self.name

    @property
    def side(self) -> str:
        """Its side or axis, in lower case, or nothing."""
        found = _SIDE.search(self.name)
        return {"l": "left", "r": "right"}.get(found[1].lower(), found[1].lower()) if found else ""


@dataclass(eq=False)
class Drive:
    """Everything a picture shows. truth: output name → (t_s, 0 or 1); marks: (t_s, what happened)."""

    title: str
    subtitle: str = ""
    readings: list[Curve] = field(default_factory=list)
    outputs: list[Curve] = field(default_factory=list)
    actions: list[Curve] = field(default_factory=list)
    truth: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    marks: Sequence[tuple[float, str]] = ()
    show: Sequence[str] = ()  # as `plot` takes it


def check_plot(path: Path) -> None:
    """Before long work: EdgeLstmError where matplotlib is missing (with the remedy), or for another suffix."""
    if path.suffix.lower() not in _SUFFIXES:
        raise EdgeLstmError(f"{path}: {path.suffix!r} is not the suffix of a picture; use {', '.join(_SUFFIXES)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise EdgeLstmError(f"pictures need {not_importable('matplotlib', error)}") from error


def names_as_they_are(draw: Callable[Drawn, None]) -> Callable[Drawn, None]:
    """A function that draws a picture, with every text in it shown as it is: a `$` in a name begins no formula."""

    @wraps(draw)
    def drawn(*args: Drawn.args, **kwargs: Drawn.kwargs) -> None:
        try:
            from matplotlib import rc_context
        except ImportError:
            return draw(*args, **kwargs)  # which says that it is missing
        with rc_context({"text.parse_math": False, "text.usetex": False}):
            return draw(*args, **kwargs)

    return drawn


@names_as_they_are
def plot(drive: Drive, path: Path, show: Sequence[str] = ()) -> None:
    """Draw the picture and write it (PNG, SVG or PDF by suffix). show: names of readings that have a panel, in this
    order; none: those that find room. Raises OSError as the system does, LogError where there is no such reading."""
    check_plot(path)
    drive = replace(drive, show=tuple(show))
    from matplotlib.figure import Figure

    panels = _panels(drive)
    heights = [height for height, _, _ in panels]
    figure = Figure(figsize=(12, 1.25 + sum(heights)), dpi=130, facecolor="white", layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    for number, (axis, (_, label, curves)) in enumerate(zip(axes, panels, strict=True)):
        truth = drive.truth if curves[0] in drive.outputs else {}
        banded = curves[0].name in truth and not any(
            c.name in truth for seen in panels[:number] for c in seen[2] if c in drive.outputs
        )
        _draw(axis, label, curves, truth, legend=len(curves) > 1 or banded)
    _mark(axes, drive.marks, float(axes[0].get_xlim()[1]))
    axes[-1].set_xlabel("time (s)", fontsize=10)
    axes[0].set_title(drive.title, loc="left", fontsize=14, fontweight="bold", pad=34)
    at = {"xy": (0, 1), "xycoords": "axes fraction", "textcoords": "offset points"}
    subtitle = "; ".join(filter(None, (drive.subtitle, _not_shown(drive))))
    axes[0].annotate(subtitle, xytext=(0, 19), fontsize=9.5, color="#555555", **at)
    figure.savefig(path)


def _panels(drive: Drive) -> list[tuple[float, str, list[Curve]]]:
    """(height, label, curves) from top to bottom."""
    readings = _grouped(drive.readings)

    shown = _shown(readings, drive)
    panels = [(1.7, label, readings[label]) for label in shown]
    if len(drive.outputs) <= _MOST_OUTPUTS:
        panels += [(0.85, curve.name, [curve]) for curve in drive.outputs]
    else:
        panels += [(1.5, label, curves) for label, curves in _grouped(drive.outputs).items()]
    panels += [(1.4, label, curves) for label, curves in _grouped(drive.actions).items()]
    return [(height, _told_apart(label, curves[0], panels, drive), curves) for height, label, curves in panels]


def _told_apart(label: str, curve: Curve, panels: Sequence[tuple[float, str, list[Curve]]], drive: Drive) -> str:
    """The label, and whose it is where several panels have it: a speed that is measured, and told by the network."""
    if sum(other == label for _, other, _ in panels) < 2 or curve in drive.readings:
        return label
    return f"{label}\n{'output' if curve in drive.outputs else 'sent'}"


def _shown(readings: Mapping[str, list[Curve]], drive: Drive) -> list[str]:
    """Which readings have a panel: those that are asked for, or as many as find room of those that people want to see
    first. LogError where there is none of a name."""
    if drive.show:
        panels = {curve.name: label for label, curves in readings.items() for curve in curves}
        panels |= {curve.stem: label for label, curves in readings.items() for curve in curves}
        for name in drive.show:
            if name not in panels:
                raise LogError(f"there is no reading {name!r} to show{nearest(name, panels)}")
        return list(dict.fromkeys(panels[name] for name in drive.show))

    def importance(label: str) -> int:
        return next((k for k, word in enumerate(_FIRST) if word in label.lower()), len(_FIRST))

    return sorted(readings, key=importance)[: 2 if drive.truth else _MOST_READINGS]


def _not_shown(drive: Drive) -> str:
    """What of the readings has no panel, in words; "" where all have one."""
    readings = _grouped(drive.readings)
    shown = _shown(readings, drive)
    left = [_words(label) for label in readings if label not in shown]
    return f"not shown: {', '.join(left)}" if left else ""


def _grouped(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    """Curves of one quantity share a panel: the same name but for its side or axis, and the same unit."""
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        groups.setdefault((curve.stem, curve.unit), []).append(curve)
    stems = [stem for stem, _ in groups]

    def label(stem: str, unit: str, group: list[Curve]) -> str:
        if stems.count(stem) > 1:
            return f"{stem} {unit}"
        return group[0].name if len(group) == 1 else stem  # alone it has no legend that says its side or axis

    return {label(stem, unit, group): group for (stem, unit), group in groups.items()}


def _draw(axis: Any, label: str, curves: list[Curve], truth: Mapping[str, tuple[Array, Array]], legend: bool) -> None:
    for number, curve in enumerate(curves):
        colour = _COLOURS.get(curve.side, _CYCLE[number % len(_CYCLE)])
        name = "output" if curve.name in truth else curve.side or curve.name
        axis.plot(*broken(curve), color=colour, linewidth=1.1, label=name, zorder=3)
        if curve.name in truth:
            t_s, on = truth[curve.name]
            bottom, top = 0, 1
            axis.fill_between(
                t_s,
                bottom,
                top,
                where=on > 0.5,
                step="post",
                color=_BAND,
                alpha=0.45,
                linewidth=0,
                zorder=1,
                label="truth",
            )
    if all(curve.share or curve.name in truth for curve in curves):
        from_0_to_1(axis)
    unit = curves[0].unit
    axis.set_ylabel(
        _words(label) + (f"\n({unit})" if unit else ""), fontsize=9, rotation=0, ha="right", va="center", labelpad=8
    )
    if legend:
        where = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.96), "borderaxespad": 0.0}
        axis.legend(fontsize=8.5, ncols=len(curves) + 1, frameon=False, handlelength=1.4, columnspacing=1.2, **where)
    axis.grid(axis="both", color="#E6E6E6", linewidth=0.7, zorder=0)
    axis.margins(x=0)
    axis.tick_params(labelsize=8.5, length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color("#BBBBBB")


def from_0_to_1(axis: Any) -> None:
    """The axis of shares: 0.14 on a scale of its own would look like an alarm."""
    axis.set_ylim(-0.06, 1.06)
    axis.set_yticks([0, 0.5, 1])


def _mark(axes: Any, marks: Sequence[tuple[float, str]], seconds: float) -> None:
    """A thin line through all panels for each reset, lost link or gap, named above the first where there is room."""
    colours = {"reset": "#7B2D8B", "link lost": "#C00000", "gap": "#C00000"}
    free_from = -np.inf
    for t_s, what in marks[:_MOST_MARKS]:
        colour = colours.get(what, "#888888")
        for axis in axes:
            axis.axvline(t_s, color=colour, linewidth=0.8, alpha=0.45, zorder=2)
        if t_s >= free_from:
            at = {"xy": (t_s, 1), "xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            axes[0].annotate(what, xytext=(-1, 2), fontsize=8, color=colour, **at)
            free_from = t_s + (0.012 + 0.0065 * len(what)) * seconds


def broken(curve: Curve) -> tuple[Array, Array]:
    """The curve with a hole wherever readings are missing, so that no line is drawn through what nobody measured. Where
    a value comes every n readings, it is joined with the next."""
    there = slice(None) if curve.every == 1 else np.isfinite(curve.values)
    t_s, values = curve.t_s[there], curve.values[there]
    dt = np.diff(t_s)
    if not len(dt):
        return t_s, values
    holes = np.flatnonzero(dt > _HOLE * np.median(dt)) + 1
    return np.insert(t_s, holes, t_s[holes - 1]), np.insert(values, holes, np.nan)


def shares(model: Model) -> frozenset[str]:
    """The numbers of its outputs (`flat_names`) that lie between 0 and 1 whatever comes in, by the operation that makes
    them. Of a graph that ONNX Runtime runs nobody knows."""
    made: set[int] = set()
    for op in model.program.operations:
        if op.kind == "softmax" or (op.kind == "map" and op.attributes.get("function") in ("sigmoid", "hard_sigmoid")):
            made.update(k for slot in op.outputs for k in range(slot.offset, slot.offset + slot.size))
    places = [slot.offset + k for slot in (one.slot for one in model.program.outputs) for k in range(slot.size)]
    return frozenset(name for name, place in zip(flat_names(model.outputs), places, strict=True) if place in made)


def _words(label: str) -> str:
    return label.replace("_", " ").strip()


# --- gathering ------------------------------------------------------------------------------------------

Truth = dict[int, tuple[Array, dict[str, Array]]]  # boot id → (t_device_us, values by name)


def load_truth(path: Path) -> Truth:
    """What `simulate --truth` wrote. LogError where it is something else."""
    from edge_lstm.logs.asked import Asked
    from edge_lstm.logs.csv_log import CsvLog

    log = CsvLog(path, Asked(time="t_device_us", time_unit="us", episode="none"))
    boots = log.find("boot_id")
    if boots is None:
        raise LogError(f"{path}: has no column 'boot_id'; is it what `edge-lstm simulate --truth` wrote?")
    columns = [c for c in log.columns if c is not log.time and c is not boots]
    blocks = list(log.blocks([boots, *columns]))
    values = np.concatenate([block.values for block in blocks])
    t_us = np.array([int(text) for block in blocks for text in block.time_text], np.int64)
    found: Truth = {}
    for boot_id in np.unique(values[:, 0]):
        rows = values[:, 0] == boot_id
        found[int(boot_id)] = (t_us[rows], {c.name: values[rows, k + 1] for k, c in enumerate(columns)})
    return found


def of_recording(
    blocks: Sequence[Rows],
    marks: Sequence[tuple[int, str]],
    truth: Truth | None,
    model: Model,
    name: str,
    begun_ns: int | None = None,
) -> Drive:
    """A replayed recording. truth is matched by boot id and device time, reading by reading; begun_ns: from when on
    seconds count, as `edge-lstm at` counts them, None: from the first reading."""
    first = blocks[0]
    begun_ns = first.t_ns[0] if begun_ns is None else begun_ns
    boots = np.array([boot for block in blocks for boot in block.boot_id], np.int64)
    times = np.array([t for block in blocks for t in block.t_device_us], np.int64)
    t_s, by_board = taken_s([t for block in blocks for t in block.t_ns], times.tolist(), boots.tolist())
    t_s = t_s + (first.t_ns[0] - begun_ns) * 1e-9

    def curves(names: Sequence[tuple[str, str]], values: Sequence[Array], every: int = 1) -> list[Curve]:
        table = np.concatenate(values)
        return [Curve(name, unit, t_s, table[:, k], every) for k, (name, unit) in enumerate(names)]

    between = shares(model)
    fields = [(f.name, f.unit) for f in first.reading.fields]
    actions = [(f.name, f.unit) for f in first.action.fields] if first.action else []
    subtitle = f"model {model.name}, digest {model.digest[:12]}…{'; times by the clock of the board' * by_board}"
    if actions and _unsent([b.output_values for b in blocks], [b.action_values for b in blocks]):
        subtitle += "; in the holes of an action none was sent"
    drive = Drive(
        title=f"{name}: {len(t_s):,} readings in {t_s[-1] - t_s[0]:.1f} s",
        subtitle=subtitle,
        readings=[
            *curves(fields, [b.values for b in blocks]),
            *curves(first.joined, [b.joined_values for b in blocks]),
        ],
        outputs=[
            replace(curve, share=curve.name in between)
            for curve in curves(
                list(zip(first.outputs, first.output_units, strict=True)),
                [b.output_values for b in blocks],
                model.timing.stride,
            )
        ],
        actions=curves(actions, [b.action_values for b in blocks], model.timing.stride),
        marks=[((t - begun_ns) * 1e-9, what) for t, what in marks if t >= first.t_ns[0]],
    )
    if truth:
        drive.truth = {
            output: (t_s, _matched(truth, output, boots, times))
            for output in first.outputs
            if any(output in values for _, values in truth.values())
        }
        if all(np.isnan(on).all() for _, on in drive.truth.values()):
            raise LogError("the truth is of another drive: no boot and device time of it is in the recording")
    return drive


def _unsent(outputs: Sequence[Array], actions: Sequence[Array]) -> bool:
    """Whether, after the first action, an output was followed by none: a newer one was made at once, or the link was
    gone."""
    made, sent = (np.isfinite(np.concatenate(parts)).any(axis=1) for parts in (outputs, actions))
    return bool(sent.any()) and bool((made & ~sent)[int(sent.argmax()) :].any())


def _matched(truth: Truth, name: str, boots: Array, times: Array) -> Array:
    """The truth of each reading; NaN where the truth file does not know it."""
    found = np.full(len(times), np.nan)
    for boot_id, (t_us, values) in truth.items():
        rows = np.flatnonzero(boots == boot_id)
        places = np.searchsorted(t_us, times[rows])
        inside = places < len(t_us)
        rows, places = rows[inside], places[inside]
        exact = t_us[places] == times[rows]
        found[rows[exact]] = values[name][places[exact]]
    return found


def of_table(table: Table, model: Model, name: str) -> Drive:
    """A replayed table."""

    def curves(values: Mapping[str, Array], every: int = 1) -> list[Curve]:
        return [Curve(key, table.units.get(key, ""), table.t_s, column, every) for key, column in values.items()]

    between = shares(model)
    return Drive(
        title=f"{name}: {len(table.t_s):,} readings in {table.t_s[-1] - table.t_s[0]:.1f} s",
        subtitle=f"model {model.name}, digest {model.digest[:12]}…",
        readings=curves(table.inputs),
        outputs=[replace(one, share=one.name in between) for one in curves(table.outputs, model.timing.stride)],
    )


def of_loop(
    models: Mapping[str, Model],
    rows: Mapping[str, tuple[Array, Array, Array]],
    actions: Mapping[str, tuple[Array, Array]],
    marks: Sequence[tuple[float, str]],
    name: str,
) -> Drive:
    """A replayed recording of a program's own loop. rows: model → t_s (T,), readings (T, n), outputs (T, n), NaN where
    there is none; actions: name → t_s (T,), values (T,)."""

    def curves(one: str, channels: Sequence[Channel], t_s: Array, values: Array, every: int = 1) -> list[Curve]:
        names = [title if len(models) == 1 else f"{one}.{title}" for title in flat_names(channels)]
        units = flat_units(channels)
        return [Curve(n, u, t_s, values[:, k], every) for k, (n, u) in enumerate(zip(names, units, strict=True))]

    drive = Drive(
        title=f"{name}: {sum(len(t_s) for t_s, _, _ in rows.values()):,} readings",
        subtitle="; ".join(f"model {m.name}, digest {m.digest[:12]}…" for m in models.values()),
        actions=[Curve(title, "", t_s, values) for title, (t_s, values) in actions.items()],
        marks=marks,
    )
    for one, (t_s, xs, ys) in rows.items():
        drive.readings += curves(one, models[one].inputs, t_s, xs)
        drive.outputs += curves(one, models[one].outputs, t_s, ys, models[one].timing.stride)
    return drive
