"""A graph that the native engine cannot hold, kept as it is and run by ONNX Runtime behind the same `Stream`.

Its rule: the native engine's refusal is passed on word for word, and the meaning in time must be as clear as there.
It is found by probing (`probe.py`), or it was proven before the import gave up. States are carried from reading to
reading: those that the graph shows, and those of its forward recurrent layers, which are opened for it; that
this equals the whole sequence is tried over 1,024 readings and more. Everything else that looks at several readings
needs a window. A state that was lost at export stays lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.core.axes import GraphAxes, InputAxes, OutputAxes
from edge_lstm.core.builder import Builder
from edge_lstm.core.program import Program
from edge_lstm.core.timing import Timing
from edge_lstm.engines.onnxruntime.graph import TYPES, Array, OnnxGraph, open_session, version
from edge_lstm.engines.onnxruntime.patience import Patience
from edge_lstm.engines.onnxruntime.session import PAST
from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx.axes import assignments
from edge_lstm.importers.onnx.fallback.logs import log_outputs
from edge_lstm.importers.onnx.fallback.mixing import check_batch, check_not_mixed
from edge_lstm.importers.onnx.fallback.names import alike, named_pairs
from edge_lstm.importers.onnx.fallback.probe import (
    LENGTHS,
    LONG,
    LONGEST,
    OPEN,
    Probe,
    check_gates,
    check_sane,
    chunk_difference,
    enough_readings,
    output_axes,
    size_difference,
    time_axes,
)
from edge_lstm.importers.onnx.fallback.surgery import (
    Layer,
    guarded,
    layers,
    taken_in,
    weight_count,
    with_outputs,
    with_states,
)
from edge_lstm.importers.onnx.graph import Graph, Node, OnnxFile, Value
from edge_lstm.importers.onnx.operators.table import foreign
from edge_lstm.importers.onnx.options import (
    READABLE,
    ImportOptions,
    check_not_random,
    check_options,
    checked,
    constant_outputs,
    open_sizes,
    origin,
    with_constants,
    with_sizes,
)
from edge_lstm.importers.onnx.outputs import ALL_STATES, newest_of, shown_outputs
from edge_lstm.importers.spelling import T, one_of, say

LOST = (
    "the state was lost when the model was exported: {} is one reading long, and no input carries its state. Export the"
    " network with its states as inputs and outputs"
)
MIXED = (
    "taken one reading at a time, its states carried, it differs from the whole sequence at reading {}: something"
    " beside the states of its recurrent layers depends on several readings{}. Use {}"
)


def _unknown() -> str:
    return (
        f"which axis is time is not clear (no recurrent layer shows it): say {say(time_axis=1)}, or, where one run of"
        f" the graph is one reading, {say(time_axis='none', mode='continuous')}"
    )


def _not_along(readings: Sequence[Value], options: ImportOptions) -> str:
    shown = ", ".join(map(str, readings))
    ways = sorted({k for v in readings for k, d in enumerate(v.dims) if d != 1})
    is_open = any(isinstance(d, str) for v in readings for d in v.dims)
    tried = f"in logs of {options.window or ' and '.join(map(str, LENGTHS))} readings " if is_open else ""
    asked, of_length = options.time_axis, is_open and not options.window
    which = "any axis" if asked is None else f"axis {asked}"
    said = [one_of("time_axis", ways)] * (asked is None) + [say(window=T)] * of_length
    window = f"For a window of readings say {' and '.join(said)}; where" if said else "Where"
    return (
        f"which axis is time is not clear: {tried}no recurrent layer's sequence follows {which} of the inputs {shown}."
        f" {window} one run of the graph is one reading, {say(time_axis='none', mode='continuous')}"
    )


@dataclass(frozen=True)
class Fallback:
    """A program of one operation, and its timing, with the axes of the file itself, for `verify`."""

    program: Program
    timing: Timing
    reason: str
    axes: str  # for people


def import_fallback(
    path: str | Path,
    file: OnnxFile,
    options: ImportOptions,
    because: str,
    proven: GraphAxes | None = None,
    receptive_field: int = 0,
) -> tuple[Program, Timing, dict[str, Any]]:
    """As the import for the native engine brings a graph in, but for ONNX Runtime: program, timing, provenance.

    because: why it is not the native engine. proven: the graph's axes, where the import for that came so far.
    receptive_field: how far the graph looks along time, as far as that is known.
    """
    graph = with_sizes(with_constants(file.graph, options.constants), options.sizes)
    graph = checked(graph, (*READABLE, "float64", "float16"))
    check_options(graph, options)
    sizes = open_sizes(file.graph, options.sizes)
    fallback = build_fallback(path, graph, options, proven, receptive_field, sizes)
    timing, axes = fallback.timing, fallback.timing.axes
    shown = axes.outputs if axes else {}
    all_states = axes is not None and set(shown) <= set(axes.states.values())
    provenance = origin(file) | {
        "mode": "window" if timing.windowed else timing.mode,
        "mode_reason": fallback.reason,
        "window": timing.window,
        "axes": fallback.axes,
        "states": {i: {"output": o, "reset": "zero"} for i, o in axes.states.items()} if axes else {},
        "notes": [newest_of(n) for n, a in shown.items() if a.time is not None and timing.windowed]
        + [ALL_STATES] * all_states,
        "engine": f"ONNX Runtime {version()}",
        "engine_reason": because,
        "engine_forced_by": foreign(graph),
    }
    return fallback.program, timing, provenance


def build_fallback(
    path: str | Path,
    graph: Graph,
    options: ImportOptions,
    proven: GraphAxes | None,
    receptive_field: int,
    sizes: Mapping[str, int],
) -> Fallback:
    """The graph for ONNX Runtime; the rest as in `import_fallback`.

    Raises ImportModelError where the graph does not run, or its meaning is not clear.
    """
    proto = guarded(taken_in(path, options.linear_before_reset))
    if proto.functions or any(node.domain for node in graph.nodes):
        for node in proto.graph.node:  # what the file's own functions held
            check_not_random(Node(node.op_type, node.name or "?", tuple(node.input), tuple(node.output), {}), {})
    found = layers(proto)
    sequences = dict.fromkeys(layer.x for layer in found)
    initial = dict.fromkeys(n for layer in found for n in layer.initial if n)
    session = Patience(open_session(with_outputs(proto, (*sequences, *initial))))
    zero = sorted(i for i, o in (options.states or {}).items() if o is None)
    readings = tuple(v for v in graph.inputs if v.name not in zero and v.name not in options.constants)
    _check_types(session)
    pairs = dict(proven.states) if proven else named_pairs(options, readings, proto, found)
    constant = constant_outputs(graph)
    outputs = tuple(shown_outputs([v.name for v in proto.graph.output if v.name not in constant], pairs))
    constants = {n: np.asarray(v).tolist() for n, v in options.constants.items()}
    streams = proven.streams if proven else 1
    sides: dict[str, InputAxes | OutputAxes] = {**proven.inputs, **proven.outputs} if proven and streams > 1 else {}
    batch = {name: axes.batch for name, axes in sides.items()}
    known = GraphAxes({}, {}, pairs, tuple(zero), constants, streams, sizes=sizes)
    probe = Probe(session, readings, outputs, tuple(sequences), known, batch)
    author = _Author(proto, probe, found, proven, enough_readings(graph), receptive_field)
    try:
        return author.step(options) if pairs or options.time_axis == "none" else author.sequence(options)
    finally:
        session.check()  # whatever else was concluded from a run that was given up


def _check_types(session: Any) -> None:
    for value in (*session.get_inputs(), *session.get_outputs()):
        if value.type not in TYPES:
            raise ImportModelError(f"{value.name!r} holds {value.type}; a stream has numbers only")


class _Author:
    """Writes the program of a graph, once its axes are known."""

    def __init__(
        self,
        proto: Any,
        probe: Probe,
        found: list[Layer],
        proven: GraphAxes | None,
        enough: int,
        receptive_field: int,
    ) -> None:
        self.proto, self.probe, self.layers, self.proven = proto, probe, found, proven
        self.enough, self.receptive_field = enough, receptive_field

    def step(self, options: ImportOptions) -> Fallback:
        """One run of the graph is one reading."""
        probe, states = self.probe, self.probe.known.states
        if options.mode == "log":
            raise ImportModelError("the graph is one step, not for whole logs; its states carry a log as it is")
        if options.window is not None or options.mode == "window":
            raise ImportModelError("a window of a graph that is one step is not supported by ONNX Runtime's engine")
        if not states and options.mode != "continuous":
            raise ImportModelError(f"the graph has no memory; if that is meant, say {say(mode='continuous')}")
        axes = probe.axes({})
        graph = OnnxGraph(probe.session, axes)
        check_sane(probe, graph, 1)
        if not self.proven:
            check_batch(probe, graph, 1, self.layers)
        for layer, length in self._lengths(graph, 1):
            if length == 1 and not all(made & set(states) for made in layer.made_of):
                raise ImportModelError(LOST.format(f"the sequence of layer {layer.name!r}"))
        check_gates(probe)
        if reading := chunk_difference(probe):
            raise ImportModelError(MIXED.format(reading, "", say(mode="window", window=T)))
        reason = "the graph hands its state on from input to output" if states else "asked for"
        return self._fallback(with_outputs(self.proto, ()), axes, Timing(axes=axes), reason)

    def sequence(self, options: ImportOptions) -> Fallback:
        """The graph is over a sequence: a window, or continuous with its layers' states opened."""
        probe = self.probe
        like = alike(probe.readings, self.proto) if len(probe.readings) > 1 else []
        found = self._proven() or time_axes(probe, options.time_axis, options.window, {i for i, _ in like})
        if found is None:
            if self._lost():
                raise ImportModelError(LOST.format("its sequence"))
            found = self._believed(options) if self.layers and not like else None
        if found is None:
            if self.layers:
                raise ImportModelError(_not_along(probe.readings, options))
            typed = " or ".join(f"--state {i}={o}" for i, o in like)
            states = f". If one run is one reading and states are carried on, say which: {typed}" if like else ""
            raise ImportModelError(_unknown() + states)
        axes, length = found
        if options.mode == "log" and length:
            raise ImportModelError(
                f"the graph is made for {length} readings, not for whole logs; use {say(mode='window')}"
            )
        window = options.window or (length if options.mode != "continuous" else 0)
        if options.mode == "window" and not window:
            raise ImportModelError(f"mode 'window': the graph does not say how many readings; give {say(window=T)}")
        if length and window != length:
            raise ImportModelError(f"the graph is made for {length} readings at once; {say(mode='window')} runs it so")
        if options.mode == "log":
            return self._log(axes)
        shown = self.proven.outputs if self.proven else output_axes(probe, axes, length, window or OPEN)
        whole = replace(probe.axes(axes), outputs=shown)
        self._check_sequences(whole, window or OPEN)
        words = _words(axes)
        if window:
            reason = "asked for" if not length else f"the sequence length {length} is baked into the graph"
            timing = replace(Timing.over_window(window, options.before_window, whole=True), axes=whole)
            return self._fallback(with_outputs(self.proto, ()), whole, timing, reason, words)
        return self._continuous(axes, whole, words, options.mode)

    def _log(self, axes: Mapping[str, int | None]) -> Fallback:
        """Whole logs of any length."""
        outputs, rate = log_outputs(self.probe, axes)
        whole = replace(self.probe.axes(axes), outputs=outputs)
        self._check_sequences(whole, LONG)
        timing = Timing("log", None, rate.first, rate.stride, axes=whole)
        return self._fallback(with_outputs(self.proto, ()), whole, timing, "asked for", _words(axes))

    def _check_sequences(self, whole: GraphAxes, count: int) -> None:
        """Refuses what is no sequence, or has lost its state."""
        graph = OnnxGraph(self.probe.session, whole)
        check_sane(self.probe, graph, count)
        if not self.proven:
            check_batch(self.probe, graph, count, self.layers)
        for layer, steps in self._lengths(graph, count):
            if steps == 1 and not self.proven and not all(layer.made_of):
                raise ImportModelError(LOST.format(f"the sequence of layer {layer.name!r}"))

    def _continuous(self, axes: Mapping[str, int | None], whole: GraphAxes, words: str, mode: str) -> Fallback:
        probe = self.probe
        graph = OnnxGraph(probe.session, whole)
        short, longer = (dict(self._lengths(graph, n)) for n in (OPEN, OPEN + 1))
        over_time = [layer for layer in self.layers if short.get(layer) != longer.get(layer)]
        if not over_time and mode != "continuous":
            raise ImportModelError(f"the graph has no memory over time; if that is meant, say {say(mode='continuous')}")
        for layer in over_time:
            if not layer.forward:
                raise ImportModelError(
                    f"layer {layer.name!r} reads the sequence from its end, which a continuous stream has not seen yet."
                    f" Use {say(mode='window', window=T)}"
                )
        resets = {layer.index: self._resets(layer, graph) for layer in over_time}
        if any(v.dtype == np.float16 for values in resets.values() for v in values):
            raise ImportModelError(
                "its states are float16: carried from reading to reading they are rounded, which a whole sequence does"
                f" not do. Use {say(mode='window', window=T)}, or export the model in float32"
            )
        kinds = {k: (values[0].shape[-1], _element_type(values[0])) for k, values in resets.items()}
        content, states = with_states(self.proto, over_time, kinds)
        first = dict(zip(states, (v for values in resets.values() for v in values), strict=True))
        opened = probe.axes(axes)
        carried = {n: InputAxes(None, 1) for n in states}
        opened = replace(opened, states=states, inputs={**opened.inputs, **carried})
        step = OnnxGraph(open_session(content), opened)
        if self.receptive_field >= LONGEST // 2:
            raise ImportModelError(
                f"it looks {self.receptive_field:,} readings back, or asks whether there are so many; more than"
                f" {LONGEST:,} are not tried. Use {say(mode='window', window=T)}"
            )
        rows = probe.random(graph, max(self.enough, 2 * self.receptive_field))
        try:
            reading = size_difference(probe, OnnxGraph(probe.session, whole), step, rows, first)
        except ImportModelError as error:
            raise ImportModelError(f"{error}. Use {say(mode='window', window=T)}") from None
        if reading:
            quantized = any("DynamicQuantize" in node.op_type for node in self.proto.graph.node)
            scales = " (dynamic quantization takes its scales from all readings of a call)" if quantized else ""
            raise ImportModelError(MIXED.format(reading, scales, say(mode="window", window=T)))
        if not self.proven:
            check_not_mixed(self.proto, probe, axes)
        reason = "the sequence length is open" if mode != "continuous" else "asked for"
        return self._fallback(content, opened, Timing(axes=whole), reason, words, first)

    def _lengths(self, graph: OnnxGraph, count: int) -> Iterable[tuple[Layer, int]]:
        """The length of each layer's sequence where the graph gets so many readings."""
        names = [layer.x for layer in self.layers]
        shown = self.probe.show(graph, self.probe.random(graph, count), names) or []
        return zip(self.layers, (len(x) for x in shown), strict=False)

    def _proven(self) -> tuple[dict[str, int | None], int] | None:
        """As `time_axes`, from what the import for the native engine has proven."""
        if self.proven is None:
            return None
        axes = {n: a.time for n, a in self.proven.inputs.items()}
        dims = {v.name: v.dims for v in self.probe.readings}
        lengths = {dims[n][t] for n, t in axes.items() if t is not None}
        fixed = [d for d in lengths if isinstance(d, int)]
        return (axes, fixed[0] if fixed else 0) if lengths else None

    def _believed(self, options: ImportOptions) -> tuple[dict[str, int | None], int] | None:
        """The axis that the caller says, for a window, where no other shows that it is time."""
        asked, window, probe = options.time_axis, options.window, self.probe
        if not isinstance(asked, int) or options.mode in ("continuous", "log") or time_axes(probe, None, window):
            return None
        for axes in assignments(probe.readings):
            times = {name: time for name, (time, _) in axes.of.items()}
            if axes.batch <= 1 and (axes.length or window) and set(times.values()) - {None} == {asked}:
                return times, axes.length
        return None

    def _lost(self) -> bool:
        """Whether there is a layer whose sequence is one long, whichever open dimension gets longer."""
        ways: list[dict[str, int | None]] = [{}]
        ways += [{v.name: k} for v in self.probe.readings for k, d in enumerate(v.dims) if isinstance(d, str)]
        found = [dict(self._lengths(self.probe.graph(way), OPEN if way else 1)) for way in ways]
        ran = [lengths for lengths in found if lengths]
        return any(all(lengths[layer] == 1 for lengths in ran) for layer in self.layers if ran)

    def _resets(self, layer: Layer, graph: OnnxGraph) -> list[Array]:
        """The states in which a layer begins [1, streams, units], which no reading may change."""
        node = self.proto.graph.node[layer.index]
        given = [n for n in layer.initial if n]
        rows = [self.probe.random(graph, OPEN, seed) for seed in (1, 2)]
        one, other = (self.probe.show(graph, r, given) for r in rows)
        if one is None or other is None or any((a != b).any() for a, b in zip(one, other, strict=True)):
            raise ImportModelError(f"layer {layer.name!r} begins from a state that is computed from the readings")
        values = dict(zip(given, one, strict=True))
        units = next((a.i for a in node.attribute if a.name == "hidden_size"), 0)
        shape = (1, self.probe.known.streams, max([units, *(v.shape[-1] for v in one)]))
        x = (self.probe.show(graph, rows[0], [layer.x]) or [np.zeros(0, np.float32)])[0]
        found = [values.get(n, np.zeros(shape, x.dtype)) for n in layer.initial]
        if strange := [v.shape for v in found if v.shape != shape or not v.size]:
            raise ImportModelError(f"layer {layer.name!r} has a state of shape {list(strange[0])}, not {list(shape)}")
        return found

    def _fallback(
        self,
        content: bytes,
        axes: GraphAxes,
        timing: Timing,
        reason: str,
        words: str = "",
        resets: Mapping[str, Array] | None = None,
    ) -> Fallback:
        """axes: of this content; timing.axes: of the file that it is made of."""
        graph = OnnxGraph(open_session(content), axes)
        window, build = timing.window or 0, Builder()
        rows = self.probe.random(graph, max(window, timing.first_output if timing.mode == "log" else 1))
        states = graph.first_states(len(rows)) | dict(resets or {})
        shown, after = graph.run(rows, states)
        inputs = [
            build.input(v.name, _width(graph.columns(v.name)))
            for v in self.probe.readings
            if v.name not in graph.states
        ]
        shapes = graph.state_shapes()
        for name, shape in shapes.items():
            if after[name].shape != shape:
                raise ImportModelError(
                    f"state {name!r} is {list(shape)} before a step and {list(after[name].shape)} after"
                )
        places = [build.state(PAST, (window - 1) * graph.reading_size)] if window > 1 else []
        places += [
            build.state(n, int(np.prod(s)), np.asarray(states[n], np.float32).reshape(-1)) for n, s in shapes.items()
        ]
        sizes = [y.shape[1] for y in shown] + [p.size for p in places]
        name = Path(str(self.proto.graph.name or "graph")).name
        results = build.onnx(
            [*inputs, *places],
            sizes,
            graph=content,
            meaning=_meaning(axes, timing),
            weights=weight_count(self.proto),
            name=name if name.isprintable() else "graph",
        )
        for output, slot in zip(graph.outputs, results, strict=False):
            build.output(output, slot)
        for place, slot in zip(places, results[len(graph.outputs) :], strict=True):
            build.next(place, slot)
        return Fallback(build.build(), timing, reason, words or "one run of the graph is one reading")


def _meaning(axes: GraphAxes, timing: Timing) -> str:
    """What the model says of its graph, to the letter as format 1 has it: it is in the digest, by which recordings and
    snapshots know a model that is imported again."""
    found, log = axes.as_dict(), timing.mode == "log"
    for name, a in axes.outputs.items():
        row = found["outputs"][name] = {"time": a.time, "batch": a.batch}
        if log and a.time is not None:
            row |= {"first": a.first, "every": a.stride}
        elif (a.first, a.stride) != (1, 1):
            row["first"] = a.first
    found["window"] = timing.window or 0
    if log:
        found["log"] = timing.first_output
    return json.dumps(found)


def _words(axes: Mapping[str, int | None]) -> str:
    return "; ".join(f"{n!r}: axis {a} is time" for n, a in axes.items() if a is not None)


def _width(columns: slice) -> int:
    return int(columns.stop - columns.start)


def _element_type(values: Array) -> int:
    import onnx

    return int(onnx.helper.np_dtype_to_tensor_dtype(values.dtype))
