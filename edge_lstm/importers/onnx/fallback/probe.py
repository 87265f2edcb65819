"""What the axes of a graph mean where its operators cannot be followed: found by probing it with ONNX Runtime.

Its rule: a reading is changed, and what changes with it is looked at. An axis is time where changing its places one
after the other changes the places of a recurrent layer's sequence in the same order; nothing is concluded from names or
sizes. Where no probe shows it, the caller must say it.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.analysis.rounding import LAST_BIT
from edge_lstm.analysis.verify import differences
from edge_lstm.core.axes import GraphAxes, InputAxes, OutputAxes
from edge_lstm.engines.onnxruntime.graph import Array, OnnxGraph, one_line
from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx.axes import Axes, assignments, check_names
from edge_lstm.importers.onnx.graph import Graph, Value
from edge_lstm.importers.spelling import any_pair, one_of

OPEN = 7  # readings in a probe where the length is open
LENGTHS = (OPEN, 64, 512)  # what looks for the time axis goes on to longer ones: kernels and strides may be long
CHUNK = 64  # readings at once to a step that takes several
LONG, LONGEST = 1024, 20_000  # readings over which a continuous stream is compared with the whole sequence
ENDLESS = (1 << 31) - 2  # exporters write "to the end" as the largest number of 32 or 64 bits
TOLERANCE = 1e-5  # of the range
ROUNDINGS = 16  # last bits, of a number or of the readings, that two ways of computing it may be apart …
MOST = 1e-3  # … but no more than this of the range
APART = 30.0  # a place that changes so many times less than another follows it only by what joins them (a scale)
SIZES = (1e-3, 1e-2, 30.0, 1e3, 1e4)  # of readings: a network may decide by their size


@dataclass(frozen=True)
class Probe:
    """A graph to be probed: a session that also shows the sequences of its recurrent layers, and what is known."""

    session: Any
    readings: tuple[Value, ...]
    outputs: tuple[str, ...]  # that are no states
    sequences: tuple[str, ...]  # the X of every recurrent layer [L, N, I]
    known: GraphAxes  # zero, constants, states, streams
    batch: Mapping[str, int | None]  # the batch axis of inputs and outputs, where there are several streams
    troubles: list[str] = field(default_factory=list)  # what ONNX Runtime said when it could not run the graph

    def axes(self, time: Mapping[str, int | None]) -> GraphAxes:
        """The graph's axes where these are the time axes of its readings."""
        inputs = {v.name: InputAxes(time.get(v.name), self.batch.get(v.name)) for v in self.readings}
        outputs = {n: OutputAxes(None, self.batch.get(n)) for n in self.outputs}
        return replace(self.known, inputs=inputs, outputs=outputs)

    def graph(self, axes: Mapping[str, int | None]) -> OnnxGraph:
        """The graph with these time axes."""
        return OnnxGraph(self.session, self.axes(axes))

    def show(self, graph: OnnxGraph, rows: Array, names: Sequence[str]) -> list[Array] | None:
        """These values for readings (T, n) and zero states; None where the graph cannot be run on them."""
        if not names:  # to the session that would mean every output
            return []
        feeds = graph.feeds(rows) | graph.first_states(len(rows))
        try:
            return [np.asarray(v) for v in self.session.run(list(names), feeds)]
        except Exception as error:  # of classes of onnxruntime's own
            self.troubles.append(one_line(error))
            return None

    def kinds(self, graph: OnnxGraph) -> npt.NDArray[Any]:
        """What each number of a reading is: "f", "i", "u" or "b"."""
        kinds = np.empty(graph.reading_size, "U1")
        for v in self.readings:
            if v.name in graph.states:
                continue
            kinds[graph.columns(v.name)] = np.dtype(v.dtype).kind
        return kinds

    def random(self, graph: OnnxGraph, count: int, seed: int = 0, sizes: Sequence[float] = ()) -> Array:
        """Readings (count, n) that are what the graph takes: whole numbers are 0 … 3. `sizes`: one after the other, a
        part of the readings each."""
        rng, kinds = np.random.default_rng(seed), self.kinds(graph)
        rows: Array = rng.normal(0, 1, (count, kinds.size)).astype(np.float32)
        if sizes:
            rows *= np.resize(np.repeat(np.array(sizes, np.float32), 16), count)[:, None]
        else:
            rows[LONG // 2 :] *= 10  # what a network does only when it saturates
        whole = np.isin(kinds, ("i", "u"))
        rows[:, whole] = rng.integers(0, 4, (count, int(whole.sum())))
        rows[:, kinds == "b"] = rows[:, kinds == "b"] > 0
        return rows

    def changed(self, graph: OnnxGraph, rows: Array, at: int | slice, columns: slice, far: float = 3.0) -> Array:
        """The readings with one or several of them changed, or a part of each."""
        other: Array = rows.copy()
        kinds = self.kinds(graph)[columns]
        part = other[at, columns]
        other[at, columns] = np.where(kinds == "b", 1 - part, np.where(kinds == "f", part + far, (part + 1) % 4))
        return other

    def moved(
        self,
        graph: OnnxGraph,
        count: int,
        at: int | slice,
        columns: slice,
        names: Sequence[str],
        *,
        most: bool = False,
    ) -> list[list[set[int]]] | None:
        """For each of these values and each of its axes the places that change with reading `at`, in any of several
        trials: a network may be deaf to one. most: only those that change as much as any, but for APART. None where
        the graph cannot be run."""
        found: list[list[set[int]]] = []
        for seed in range(3):
            rows = self.random(graph, count, seed)
            tried = [self.show(graph, rows, names)]
            tried += [self.show(graph, self.changed(graph, rows, at, columns, far), names) for far in (3.0, -3.0)]
            if any(values is None for values in tried):
                return None
            before, *after = [values for values in tried if values is not None]
            if any(y.shape != other.shape for values in after for y, other in zip(before, values, strict=True)):
                return None  # its shapes depend on the readings
            found = found or [[set() for _ in y.shape] for y in before]
            for values in after:
                for sets, y, other in zip(found, before, values, strict=True):
                    differ = (y != other) & ~((y != y) & (other != other))
                    if most and differ.any():
                        size = np.nan_to_num(np.abs(other.astype(np.float64) - y.astype(np.float64)))
                        differ &= size >= size.max() / APART
                    where = np.argwhere(differ)
                    for axis, places in enumerate(sets):
                        places.update(np.unique(where[:, axis]).tolist())
        return found


def time_axes(
    probe: Probe, asked: int | str | None, window: int | None, alike: Collection[str] = ()
) -> tuple[dict[str, int | None], int] | None:
    """The time axis of each reading, and its length (0: open); None where the graph has none that shows. An open length
    is tried with `window` readings, where that is what is asked for: some files allow no other. `alike`: inputs that
    may be states, by their shapes; where nothing shows the axis, time is not theirs alone, nor any that one of them has
    not."""
    found: dict[tuple[tuple[str, int | None], ...], int] = {}
    ran = False
    for open_length in (window,) if window else LENGTHS:
        for axes in assignments(probe.readings):
            if axes.length == 1 or axes.batch > 1 or (axes.length and open_length != (window or OPEN)):
                continue
            times = {name: time for name, (time, _) in axes.of.items()}
            if asked is not None and not set(times.values()) <= {None, asked}:
                continue
            there = len(probe.troubles)
            timed = {n for n, time in times.items() if time is not None}
            of_states = len(times) > 1 and (timed <= set(alike) or not set(alike) <= timed)
            believed = asked is not None and not probe.sequences and not of_states
            fits = believed or _proven(probe, axes.length or open_length, times)
            ran |= len(probe.troubles) == there
            if fits:
                found.setdefault(tuple(times.items()), axes.length)
        if found:
            break
    if not found and probe.troubles and not ran:
        raise ImportModelError(f"ONNX Runtime does not run the graph: {probe.troubles[-1]}")
    if not found:
        return None
    most = max(sum(t is not None for _, t in way) for way in found)
    best = [way for way in found if sum(t is not None for _, t in way) == most]
    if len(best) > 1:
        ways = sorted({t for way in best for _, t in way if t is not None})
        raise ImportModelError(
            f"which axis of the inputs {', '.join(map(str, probe.readings))} is time is not clear: say"
            f" {one_of('time_axis', ways)}"
        )
    if asked is None:
        check_names(Axes({name: (time, None) for name, time in best[0]}, 0, 1), probe.readings)
    return dict(best[0]), found[best[0]]


def _proven(probe: Probe, length: int, times: Mapping[str, int | None]) -> bool:
    """Whether every input moves a recurrent layer's sequence in the order of its time axis: what changes at all, or,
    where all readings are joined (dynamic quantization takes its scale from all of them), what changes most."""
    graph = probe.graph(times)
    some = max(length // 8, 1)  # a stride may leave the last readings out
    for name in (n for n, time in times.items() if time is not None):
        for most in (False, True):
            moved = []
            for start in sorted({0, length // 2, length - some}):
                at = slice(start, start + some)
                found = probe.moved(graph, length, at, graph.columns(name), probe.sequences, most=most)
                if found is None:
                    return False
                moved.append([places[0] for places in found])
            if any(_in_order([sequence[k] for sequence in moved]) for k in range(len(probe.sequences))):
                break
        else:
            return False
    return True


def _differ(before: Array, after: Array) -> bool:
    """Whether two arrays hold different numbers; NaN is NaN."""
    return before.shape != after.shape or not np.array_equal(before, after, equal_nan=before.dtype.kind == "f")


def _in_order(found: Sequence[set[int]]) -> bool:
    """Whether each change reaches later places than the one before: its first place or its last; or earlier ones, where
    a graph turns its readings round."""
    ways = ([*found], [*found][::-1])
    return all(found) and any(
        all(end(a) < end(b) for a, b in itertools.pairwise(way)) for way in ways for end in (min, max)
    )


def output_axes(probe: Probe, axes: Mapping[str, int | None], length: int, window: int) -> dict[str, OutputAxes]:
    """Which axis of each output is time; none where it shows the newest, or everything at once.

    With an open length it is the axis that grows with the readings, else the one along which the newest reading changes
    the newest place only, and one in the middle nothing before it.
    """
    graph, wanted = probe.graph(axes), probe.outputs
    rows = probe.random(graph, window + 1)
    one, other = (probe.show(graph, rows[:count], wanted) for count in (window, window if length else window + 1))
    if length == 0 and one is not None and other is None:  # declared open, but made for one length
        return output_axes(probe, axes, window, window)
    if one is None or other is None:
        raise ImportModelError(f"ONNX Runtime does not run the graph on {window} readings: {probe.troubles[-1]}")
    found: dict[str, int | None] = {}
    every, middle = slice(0, graph.reading_size), window // 2
    newest, later = (probe.moved(graph, window, at, every, wanted) or [] for at in (window - 1, middle))
    if length == 0:
        for k, (name, y, longer) in enumerate(zip(wanted, one, other, strict=True)):
            grown = [a for a in range(y.ndim) if y.shape[a] != longer.shape[a]]
            fits = len(grown) == 1 and (y.shape[grown[0]], longer.shape[grown[0]]) == (window, window + 1)
            if fits and newest and later:
                causal = newest[k][grown[0]] <= {window - 1} and min(later[k][grown[0]], default=middle) >= middle
                fits = causal or _forward(probe, graph, window, k, grown[0])
            found[name] = grown[0] if fits else None
    else:
        for name, y, last, after in zip(wanted, one, newest, later, strict=True):
            axes_fit = [
                a for a in range(y.ndim)
                if y.shape[a] == window and last[a] == {window - 1} and min(after[a], default=-1) == middle
            ]  # fmt: skip
            found[name] = axes_fit[0] if len(axes_fit) == 1 else None
    return {name: OutputAxes(axis, probe.batch.get(name)) for name, axis in found.items()}


def _forward(probe: Probe, graph: OnnxGraph, window: int, k: int, axis: int) -> bool:
    """Whether later readings change later places of an output more, where each changes places before it as well."""
    centres = []
    for at in (0, window - 1):
        moved = np.zeros(window)
        for seed in range(3):
            rows = probe.random(graph, window, seed)
            changed = probe.changed(graph, rows, at, slice(0, graph.reading_size))
            one, other = (probe.show(graph, r, probe.outputs) for r in (rows, changed))
            if one is None or other is None:
                return False
            size = np.nan_to_num(np.abs(other[k].astype(np.float64) - one[k].astype(np.float64)))
            moved += np.moveaxis(size, axis, 0).reshape(window, -1).sum(axis=1)
        centres.append(float(moved @ np.arange(window)) / max(float(moved.sum()), 1e-300))
    return centres[0] < centres[1]


def check_gates(probe: Probe) -> None:
    """Refuses states that are said or named crosswise where an experiment tells: what a gate lets through, element by
    element and in proportion, by another part at another reading, is the next value of just that (an LSTM's c)."""
    states = probe.known.states
    graph = probe.graph({})
    lets_through = {(i, o) for i in states for o in states.values() if _gated(probe, graph, i, o)}
    for i, o in states.items():
        owners = sorted(j for j, after in lets_through if after == o)
        if owners and i not in owners:
            raise ImportModelError(
                f"output {o!r} is not the next value of input {i!r}: a gate makes it of"
                f" {' and '.join(map(repr, owners))} ({any_pair('states', [{owners[0]: o}])})"
            )


def _gated(probe: Probe, graph: OnnxGraph, before: str, after: str) -> bool:
    """Whether an output is a part of an input, element by element, plus what does not depend on it; and another part
    for another reading."""
    parts = []
    for seed in (1, 2):
        rng, feeds = np.random.default_rng(seed), graph.feeds(probe.random(graph, 1, seed))
        first = {n: rng.normal(0, 1, v.shape).astype(v.dtype) for n, v in graph.first_states().items()}
        if first[before].dtype.kind != "f":
            return False
        half, step = np.arange(first[before].size).reshape(first[before].shape) % 2, first[before].dtype.type(0.5)
        found = []
        for times in (0, 1, 2):
            moved = {**first, before: first[before] + half.astype(step.dtype) * step * step.dtype.type(times)}
            try:
                found.append(np.asarray(probe.session.run([after], {**feeds, **moved})[0], np.float64))
            except Exception:  # of classes of onnxruntime's own
                return False
        if found[0].shape != half.shape or not np.isfinite(found).all():
            return False
        one, two = found[1] - found[0], found[2] - found[1]
        if (one[half == 0] != 0).any() or np.abs(one - two).max() > 1e-4 * np.abs(one).max():
            return False
        parts.append(one[half == 1] / 0.5)
    inside = all(((p > 0) & (p < 1)).all() for p in parts)
    return bool(inside and np.abs(parts[0] - parts[1]).max() > 1e-3)


def check_sane(probe: Probe, graph: OnnxGraph, count: int) -> None:
    """Refuses graphs that draw random numbers, and outputs that no reading changes."""
    wanted = [*probe.outputs, *graph.states.values()]
    rows = probe.random(graph, count)
    changed = probe.changed(graph, rows, slice(None), slice(0, graph.reading_size))
    one, again, other = (probe.show(graph, r, wanted) for r in (rows, rows, changed))
    if one is None or again is None or other is None:
        raise ImportModelError(f"ONNX Runtime does not run the graph on {count} readings: {probe.troubles[-1]}")
    if not all(np.isfinite(y).any() for y in one):
        raise ImportModelError("the graph gives NaN or infinity for usual readings")
    if any(map(_differ, one, again)):
        raise ImportModelError(
            "the graph gives other numbers each time for the same readings (random numbers, dropout)"
        )
    if not any(map(_differ, one, other)):
        raise ImportModelError("no output of the graph depends on the readings")


def first_difference(
    whole: OnnxGraph, step: OnnxGraph, rows: Array, resets: Mapping[str, Array], ranges: list[Array] | None = None
) -> int | None:
    """The first reading (from 1) at which a graph taken one reading at a time, its states carried, differs from the
    graph over the whole sequence; None where there is none. Each number is judged by its own range, or the one it had
    in an earlier run: `ranges`, which grows by this run's."""
    states = {**step.first_states(), **resets}
    found = []
    for t in range(len(rows)):
        y, states = step.newest(rows[t : t + 1], states)
        found.append(y)
    stepped = np.array(found)
    shown, _ = whole.run(rows, whole.first_states(len(rows)))
    columns = np.cumsum([0, *(y.shape[1] for y in shown)])
    if stepped.shape[1] != columns[-1]:
        return 1
    signs = np.where(np.random.default_rng(0).random(rows.shape) < 0.5, -1, 1)
    beside, _ = whole.run((rows * (1 + LAST_BIT * signs)).astype(np.float32), whole.first_states(len(rows)))
    earlier, now, first = ranges or [np.zeros(y.shape[1]) for y in shown], [], len(rows)
    for y, near, start, known in zip(shown, beside, columns, earlier, strict=False):
        expected, begin = y.astype(np.float64), len(rows) - len(y)  # only the newest is there, or all
        difference, extent = differences(stepped[begin:, start : start + y.shape[1]], expected)
        now.append(np.maximum(extent if len(y) > 1 else np.abs(expected[0]), known))
        size = np.where(np.isfinite(expected), np.abs(expected), 0).max(axis=0)
        noise = np.nan_to_num(np.abs(near - expected), nan=0, posinf=0).max(axis=0) + LAST_BIT * size
        rounding = np.maximum(ROUNDINGS * LAST_BIT * size, np.minimum(ROUNDINGS * noise, MOST * now[-1]))
        allowed = np.maximum(TOLERANCE * now[-1], rounding)
        beyond = np.flatnonzero((difference > allowed).any(axis=1))
        first = min([first, *(begin + beyond[:1])])
    if ranges is not None:
        ranges[:] = now
    return int(first) + 1 if first < len(rows) else None


def size_difference(probe: Probe, whole: OnnxGraph, step: OnnxGraph, rows: Array, resets: Mapping[str, Array]) -> Any:
    """As `first_difference`, and then for readings of other sizes: all of one, and changing from time to time."""
    ranges: list[Array] = []
    if reading := first_difference(whole, step, rows, resets, ranges):
        return reading
    for seed, sizes in enumerate((*((size,) for size in SIZES), SIZES, SIZES[::-1]), 1):
        sized = probe.random(whole, LONG // 4, seed, sizes)
        if reading := first_difference(whole, step, sized, resets, ranges):
            return reading
    return None


def chunk_difference(probe: Probe) -> int | None:
    """As `first_difference`, for a step with states that takes several readings at once where an axis is open: whether
    its states are all that it remembers. None also where there is no such axis."""
    states = probe.known.states
    shared = {d for v in probe.readings if v.name in states for d in v.dims if isinstance(d, str)}
    open_axes = [[None, *(k for k, d in enumerate(v.dims) if isinstance(d, str) and d not in shared)]
                 if v.name not in states else [None] for v in probe.readings]  # fmt: skip
    step = probe.graph({})
    rows = probe.random(step, CHUNK)
    one = probe.show(step, rows[:1], list(states.values())) or []
    for choice in itertools.islice(itertools.product(*open_axes), 1, 16):
        axes = {v.name: axis for v, axis in zip(probe.readings, choice, strict=True)}
        after = probe.show(probe.graph(axes), rows, list(states.values())) or []
        if [v.shape for v in after] != [v.shape for v in one]:
            continue  # it is the batch
        whole = replace(probe.axes(axes), outputs=output_axes(probe, axes, 0, CHUNK))
        if reading := first_difference(OnnxGraph(probe.session, whole), step, rows, {}):
            return reading
    return None


def enough_readings(graph: Graph) -> int:
    """How many readings show what a graph does with a long sequence: twice the largest whole number in it that could be
    a number of readings (a delay, a length that is asked for), and what its kernels reach over; LONG to LONGEST."""
    numbers, kernels = [0.0], 0
    for array in (*graph.constants.values(), *(v for n in graph.nodes for v in n.attributes.values())):
        if (
            isinstance(array, np.ndarray)
            and array.dtype.kind in "iuf"
            and array.size <= (1 if array.dtype.kind == "f" else 16)
        ):
            numbers += [abs(float(v)) for v in array.reshape(-1) if float(v).is_integer()]
    for node in graph.nodes:
        given = node.attributes
        kernels += sum(given.get("pads") or ()) if node.op != "Pad" else 0
        numbers += [abs(float(n)) for n in given.get("pads") or ()]
        w = graph.constants.get(node.inputs[1]) if node.op.startswith("Conv") and len(node.inputs) > 1 else None
        sizes = given.get("kernel_shape") or (w.shape[2:] if w is not None else ())
        dilations = given.get("dilations") or (1,) * len(sizes)
        kernels += max((k * d for k, d in zip(sizes, dilations, strict=False)), default=0)
    far = kernels + max(n for n in numbers if n < ENDLESS)
    return int(min(max(2 * far + 16, LONG), LONGEST))
