"""From an ONNX file to a Model: meaning in time, outputs, provenance.

Its rule: what a graph means in time is a visible choice, written into the provenance with its reason. Open
dimensions are lowered more than once, with several witness sizes, and all drawings must be the same program.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.axes import GraphAxes, InputAxes, OutputAxes
from edge_lstm.core.channels import Channel, channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.program import Program
from edge_lstm.core.timing import BEFORE_WINDOW, BeforeWindow, Timing
from edge_lstm.errors import EdgeLstmError, ImportModelError, UnsupportedError
from edge_lstm.importers.onnx.axes import LEAST, Axes, check_names, witness
from edge_lstm.importers.onnx.draw import (
    Drawing,
    NoWindowError,
    Source,
    UnclearError,
    draw,
    draw_whole,
)
from edge_lstm.importers.onnx.explore import common_rate, like, prove_open, settle
from edge_lstm.importers.onnx.graph import Graph, OnnxFile, Value
from edge_lstm.importers.onnx.gru_reset import doubtful, with_reset
from edge_lstm.importers.onnx.options import (
    ENGINES,
    MODES,
    OLD_ENGINES,
    ImportOptions,
    check_options,
    checked,
    constant_outputs,
    feature_sizes,
    filled,
    never_changing,
    open_sizes,
    origin,
    unused_weights,
    with_constants,
    with_sizes,
    without_constant_outputs,
)
from edge_lstm.importers.onnx.outputs import Output, newest, newest_of, output_of
from edge_lstm.importers.onnx.provenance import Misfit
from edge_lstm.importers.onnx.rates import Rate
from edge_lstm.importers.onnx.read import read_onnx
from edge_lstm.importers.onnx.states import Pairs

Sizes = tuple[int, int]
_Outputs = dict[str, Output]
_Imported = tuple[Program, Timing, dict[str, Any]]  # with its provenance


def import_onnx(
    path: str | Path,
    mode: str = "auto",
    *,
    engine: str = "auto",
    name: str | None = None,
    states: Mapping[str, str | None] | None = None,
    rate_hz: float | None = None,
    window: int | None = None,
    before_window: BeforeWindow = "wait",
    constants: Mapping[str, npt.ArrayLike] | None = None,
    time_axis: int | str | None = None,
    linear_before_reset: int | None = None,
    sizes: Mapping[str, int] | None = None,
    inputs: Sequence[Channel] | None = None,
    outputs: Sequence[Channel] | None = None,
) -> Model:
    """Brings in a recurrent network from an ONNX file.

    mode: "continuous" (the state goes on for ever), "window" (each output belongs to the last T readings), "log" (whole
    logs of any length at once, with `Stream.run` only: for layers that read backwards; ONNX Runtime runs it), or
    "auto": window where T is baked into the graph, continuous where it is open or the graph is one step with states.
    engine: "native" (or "machine", its old name); "onnxruntime" keeps the graph as it is, for ONNX Runtime; "auto":
    native, and ONNX Runtime where the native engine cannot hold the graph, with a warning (UserWarning) that names the
    node.
    states: {input: output} of a step graph, all of them, where it is not clear by itself ({}: there are none); None as
    output: the input is zero.
    rate_hz: readings per second it was trained for. window: T, for mode "window" of a graph whose length is open.
    before_window: "wait" (no output before T readings) or "zeros" (the graph's inputs are zero in place of the readings
    before the first).
    constants: {input: value} for inputs that never change (a sample rate). time_axis: which axis of the inputs is time,
    where a graph without recurrent layers does not show it; "none": one run of the graph is one reading of one stream.
    linear_before_reset: of every GRU, whatever the file says; None believes the file, and warns (UserWarning) where its
    exporter is known to have left it out.
    sizes: {dimension: size} of open dimensions that are neither time nor batch (the samples of a chunk), by name or as
    "input[axis]".
    inputs, outputs: channels in the order of the graph's values, where names and units are known.

    Raises ImportModelError with node, operator, attribute and value for everything that is not understood.
    """
    if mode not in MODES:
        raise ImportModelError(f"mode {mode!r} is unknown; known are {', '.join(MODES)}")
    engine = OLD_ENGINES.get(engine, engine)
    if engine not in ENGINES:
        raise ImportModelError(f"engine {engine!r} is unknown; known are {', '.join(ENGINES)}")
    if not (time_axis in (None, "none") or (isinstance(time_axis, int) and time_axis >= 0)):
        raise ImportModelError(f'time_axis = {time_axis!r} must be a number from 0 on, or "none"')
    file = read_onnx(path)
    if before_window not in BEFORE_WINDOW:
        raise ImportModelError(f"before_window {before_window!r} is unknown; known are {', '.join(BEFORE_WINDOW)}")
    options = ImportOptions(
        mode, window, states, constants or {}, time_axis, before_window, linear_before_reset, sizes or {}
    )
    warning = doubtful(file) if linear_before_reset is None else ""
    try:
        file = file if linear_before_reset is None else with_reset(file, linear_before_reset)
        with np.errstate(all="ignore"):  # what is not finite is refused where it would enter the program
            program, timing, provenance = _sized(path, file, options, engine)
        if before_window != "wait" and not timing.windowed:
            raise ImportModelError(f"before_window = {before_window!r} has no meaning: {provenance['mode_reason']}")
        provenance["warnings"] = [warning] if warning else []
        constant = (f"output {name!r} is a constant, and is left out" for name in constant_outputs(file.graph))
        provenance["notes"] += [*constant, *unused_weights(file.graph)]
        provenance["notes"] += filter(None, [never_changing(_left(file, options))])
        if linear_before_reset is not None and timing.axes is not None:
            timing = replace(timing, axes=replace(timing.axes, linear_before_reset=linear_before_reset))
            provenance["notes"].append(f"linear_before_reset = {linear_before_reset} in every GRU, as asked")
        model = Model(
            program,
            tuple(inputs) if inputs is not None else channels_for(*_parts(program.inputs)),
            tuple(outputs) if outputs is not None else channels_for(*_parts(program.outputs)),
            rate_hz,
            timing,
            provenance,
            name or Path(path).stem,
        )
    except EdgeLstmError as error:
        ways = never_changing(_left(file, options))
        raise ImportModelError(f"{path}: {error}{f'. Note that {ways}' if ways else ''}") from None
    except MemoryError:
        raise ImportModelError(f"{path}: reading it takes more memory than this process may have") from None
    if warning:
        warnings.warn(f"{path}: {warning}", stacklevel=2)
    if engine == "auto" and mode != "log" and provenance.get("engine"):
        warnings.warn(f"{path}: runs with ONNX Runtime, because {provenance['engine_reason']}", stacklevel=2)
    return model


def _left(file: OnnxFile, options: ImportOptions) -> Graph:
    """The graph without the inputs that the caller has given a value."""
    return replace(file.graph, inputs=tuple(v for v in file.graph.inputs if v.name not in options.constants))


def _sized(path: str | Path, file: OnnxFile, options: ImportOptions, engine: str) -> _Imported:
    """The import, and where more dimensions are open than time and batch, with the size that the weights say."""
    try:
        return _by_engine(path, file, options, engine)
    except EdgeLstmError as error:
        ways = feature_sizes(with_sizes(_left(file, options), options.sizes))
        found: list[tuple[str, int, _Imported]] = []
        for (place, size), *_ in (list(way.items()) for way in ways):
            if found and found[0][0] != place:
                break  # the innermost axis goes first
            try:
                with_it = replace(options, sizes={**options.sizes, place: size})
                found.append((place, size, _by_engine(path, file, with_it, engine)))
            except EdgeLstmError:
                continue
        # An older ONNX Runtime does not look whether W fits: what is computed node by node is known to.
        found = [one for one in found if not one[2][2].get("engine")] or found
        if len(found) > 1:
            typed = " or ".join(f"--size {place}={size}" for place, size, _ in found)
            raise ImportModelError(
                f"{error}. By the weights an open dimension has one of several sizes: {typed}"
            ) from None
        if not found:
            raise _with_size_hint(error, file, options) from None
        place, size, (program, timing, provenance) = found[0]
        provenance["notes"].append(f"the open dimension {place} is {size}, by the weights (--size {place}={size})")
        return program, timing, provenance


def _with_size_hint(error: EdgeLstmError, file: OnnxFile, options: ImportOptions) -> EdgeLstmError:
    """With the way out where an open dimension may be the size of one reading."""
    graph = with_sizes(_left(file, options), options.sizes)
    names = {d or f"{v.name}[{k}]" for v in graph.inputs for k, d in enumerate(v.dims) if isinstance(d, str)}
    carried = [v for v in graph.inputs if any(v.dims == o.dims for o in graph.outputs)]
    of_states = {d for v in carried for d in v.dims if isinstance(d, str)}  # their batch
    names = names - of_states or names
    crowded = any(sum(isinstance(d, str) for d in v.dims) > 2 for v in graph.inputs)
    step = any(like(i, o) for i in graph.inputs for o in graph.outputs)
    if not names or not (crowded or step) or isinstance(error, UnclearError):
        return error
    typed = " or ".join(f"--size {name}=N" for name in sorted(names))
    return ImportModelError(
        f"{error}. If an open dimension is neither readings nor a batch, but the size of one reading (the samples of a"
        f" chunk), say it: sizes={{{sorted(names)[0]!r}: N}} ({typed})"
    )


def _by_engine(path: str | Path, file: OnnxFile, options: ImportOptions, engine: str) -> _Imported:
    from edge_lstm.importers.onnx.fallback.build import import_fallback

    if options.mode == "log":
        because = "it is to take whole logs, and the native engine takes one reading at a time"
        if engine == "native":
            raise ImportModelError(f"mode 'log' needs engine='onnxruntime': {because}")
        return import_fallback(path, file, options, because)
    if engine == "onnxruntime":
        try:
            return import_fallback(path, file, options, "asked for", _import(file, options)[1].axes)
        except UnsupportedError as error:
            return import_fallback(path, file, options, "asked for", receptive_field=error.receptive_field)
    try:
        return _import(file, options)
    except UnsupportedError as error:
        if engine == "native":
            raise
        try:
            return import_fallback(path, file, options, str(error), receptive_field=error.receptive_field)
        except EdgeLstmError as other:
            raise ImportModelError(f"{error}. ONNX Runtime cannot stand in: {other}") from None


def _import(file: OnnxFile, options: ImportOptions) -> _Imported:
    graph = with_sizes(with_constants(file.graph, options.constants), options.sizes)
    graph = checked(without_constant_outputs(graph))
    zero = check_options(graph, options)
    sizes_said = open_sizes(file.graph, options.sizes)
    source = Source(file.opset, graph, zero, options.time_axis, filled(graph, options.constants), sizes_said)
    sizes = {int(d) for a in graph.constants.values() for d in a.shape}
    sizes |= {d for v in graph.inputs for d in v.dims if isinstance(d, int)}
    try:
        return _over_time(file, source, options, sizes)
    except ImportModelError as error:
        if (
            options.mode == "continuous"
            or isinstance(error, UnclearError)
            or (options.mode == "auto" and _no_window(error))
        ):
            raise
        try:
            return _whole_window(file, source, options, (witness(sizes, LEAST), witness(sizes, LEAST + 4)), str(error))
        except NoWindowError:
            raise error from None
        except ImportModelError as other:
            further = isinstance(other, UnclearError) or other.progress > error.progress
            raise (other if further and isinstance(error, Misfit) else error) from None


def _no_window(error: ImportModelError) -> bool:
    """Whether an error says that there is no sequence, so that a whole window would hide a lost state."""
    return "no memory" in str(error)


def _over_time(file: OnnxFile, source: Source, options: ImportOptions, dims: set[int]) -> _Imported:
    graph = source.graph
    declared = {i: o for i, o in (options.states or {}).items() if o is not None}
    asked = None if options.states is None or (source.zero and not declared) else declared
    found = settle(source, asked, dims)
    axes, pairs, earlier = found.axes, found.pairs, found.drawing
    drawing = draw(source, axes, (earlier.low.length, earlier.low.batch), pairs, earlier)
    others = prove_open(source, found, drawing, dims)
    if options.time_axis is None:
        check_names(axes, graph.inputs)
    rate = common_rate(found, drawing, others)
    program, results = _program(drawing, graph, pairs)
    alike = {(i, o) for i, x in drawing.inputs.items() for o, y in drawing.outputs.items() if x.shape == y.shape}
    window, reason = _window(options.mode, options.window, axes, pairs, program, sorted(alike))
    delays = {
        name: max(output_of(name, other.outputs[name], other.low).delay for other in (drawing, *others))
        for name, one in results.items()
    }
    delays = {name: readings for name, readings in delays.items() if readings}
    delay = max(delays.values(), default=0)
    if window is not None:
        _check_window(window, rate, delays)
        timing = Timing.over_window(window, options.before_window)
    elif axes.length and drawing.low.rates.period > 1 and None in (one.rate for one in results.values()):
        raise Misfit(
            "there are strides over time; when an output of the newest reading comes in a continuous stream can be"
            " proven only where the length is open. Export with a dynamic time axis, or use mode='window'"
        )
    else:
        timing = Timing("continuous", None, rate.first, rate.stride, delay)
    provenance = _provenance(file, (window, reason), axes, pairs, drawing, program)
    if axes.batch == 0 and drawing.low.batch == 1:
        provenance["notes"].append("its batch is open in name only: the graph's shapes allow 1")
    if window is not None:
        provenance["notes"] += [newest_of(name) for name, one in results.items() if one.rate is not None]
    if delays:
        provenance["notes"].append(f"looks ahead: {', '.join(delays)} come {delay} reading{'s' * (delay > 1)} late")
    return program, replace(timing, axes=_graph_axes(source, options, axes, pairs, results)), provenance


def _check_window(window: int, rate: Rate, delays: Mapping[str, int]) -> None:
    """Refuses a window at whose end the network has no output of its own. Raises Misfit."""
    if rate.first > window:
        raise Misfit(
            f"the network looks back, and has no output before reading {rate.first}, but a window has {window}."
            " Pad in front (causal), or use a longer window"
        )
    if delays or rate.newest(window) != window:
        why = "the network looks ahead, and sees padding behind the window" if delays else "its strides end before it"
        raise Misfit(f"the last reading of a window of {window} has no output of its own: {why}")


def _whole_window(file: OnnxFile, source: Source, options: ImportOptions, sizes: Sizes, why: str) -> _Imported:
    """The whole window at each reading."""
    axes, drawing = draw_whole(source, options.window, 1 if options.mode == "window" else 2, sizes)
    window = axes.length or options.window or 1
    program, results = _program(drawing, source.graph, {})
    reason = "asked for" if options.mode == "window" else f"the sequence length {window} is baked into the graph"
    provenance = _provenance(file, (window, reason), axes, {}, drawing, program)
    provenance["cost"] = (
        f"the whole window of {window} readings is computed anew at each reading: {program.multiply_adds:,}"
        f" multiply-adds, because {why}"
    )
    timing = Timing.over_window(window, options.before_window, whole=True)
    return program, replace(timing, axes=_graph_axes(source, options, axes, {}, results)), provenance


def _graph_axes(source: Source, options: ImportOptions, axes: Axes, pairs: Pairs, outputs: _Outputs) -> GraphAxes:
    """What ONNX Runtime needs to run the graph itself with the same timing."""
    return GraphAxes(
        {n: InputAxes(t, b) for n, (t, b) in axes.of.items() if n not in source.fixed},
        {
            n: OutputAxes(o.axes["time"], o.axes["batch"], *((o.rate.first, o.rate.stride) if o.rate else ()))
            for n, o in outputs.items()
        },
        {i: o for i, (o, _) in pairs.items()},
        tuple(sorted(source.zero)),
        {n: np.asarray(v).tolist() for n, v in options.constants.items()},
        axes.batch or 1,
        sizes=source.sizes,
    )


def _program(drawing: Drawing, graph: Graph, pairs: Pairs) -> tuple[Program, _Outputs]:
    read_from = {o for o, _ in pairs.values()}
    results = {
        v.name: output_of(v.name, drawing.outputs[v.name], drawing.low)
        for v in graph.outputs
        if v.name not in read_from
    }
    if not results:
        raise ImportModelError(
            "every output of the graph is a state; there is nothing to show. Export the network's output too"
        )
    for place, output, positions in drawing.pieces:
        place.next = newest(output, drawing.outputs[output], drawing.low)[positions]
    return drawing.low.plan.program([(name, one.ids) for name, one in results.items()]), results


def _parts(named: Sequence[Any]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    return tuple(n.name for n in named), tuple(n.slot.size for n in named)


# --- timing and provenance -----------------------------------------------------------------------------------


def _window(
    mode: str, window: int | None, axes: Axes, pairs: Pairs, program: Program, alike: Sequence[tuple[str, str]]
) -> tuple[int | None, str]:
    """The window (None: continuous) and the reason."""
    if not program.states and mode == "auto":
        candidates = ", ".join(f"{i} -> {o}" for i, o in alike)
        typed = " or ".join(f"--state {i}={o}" for i, o in alike[:4])
        raise ImportModelError(
            "the graph has no memory: no recurrent layer over time, and no input that an output clearly carries on. If"
            " it was a recurrent network, its state was lost at export, or the names of its states do not tell which"
            ' belong together: say states={"h_in": "h_out"}'
            f" ({candidates or 'no output has the shape of an input'}){f': {typed}' if typed else ''}."
            ' If it is meant to have no memory, say mode="continuous" (--mode continuous)'
        )
    if mode == "continuous":
        return None, "asked for"
    if axes.length > 1 and not pairs:
        if window not in (None, axes.length):
            raise ImportModelError(f"window = {window}, but the graph is made for {axes.length} readings")
        return axes.length, f"the sequence length {axes.length} is baked into the graph"
    if mode == "window" or window is not None:
        if window is None:
            raise ImportModelError("mode 'window': the graph does not say how many readings; give window=T")
        return window, "asked for"
    if pairs:
        return None, "the graph hands its state on from input to output"
    return None, "the sequence length is open"


def _provenance(
    file: OnnxFile, meaning: tuple[int | None, str], axes: Axes, pairs: Pairs, drawing: Drawing, program: Program
) -> dict[str, Any]:
    used = {s for op in program.operations for s in op.source}
    made = {s for step in drawing.low.plan.steps for s in step.sources}
    return origin(file) | {
        "mode": "continuous" if meaning[0] is None else "window",
        "mode_reason": meaning[1],
        "window": meaning[0],
        "axes": str(axes),
        "states": {i: {"output": o, "reason": why, "reset": "zero"} for i, (o, why) in pairs.items()},
        "notes": list(dict.fromkeys(drawing.low.notes)),
        "nodes_folded": list(dict.fromkeys(drawing.low.folded)),
        "nodes_moved": list(dict.fromkeys(drawing.low.moved)),
        "nodes_dropped": sorted(made - used),
    }


__all__ = ["Value", "import_onnx"]
