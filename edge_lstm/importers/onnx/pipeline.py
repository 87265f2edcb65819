"""From an ONNX file to a Model, stage by stage: read → options → axes and states → lower → outputs → Program + Timing.

Its rule: each stage is a function with a typed result, or a `Refusal`, and what they came to can be looked at
(`Stages`). What a graph means in time is a visible choice, written into the provenance with its reason. Open dimensions
are lowered more than once, with several witness sizes, and all drawings must be the same program.

Constants are folded while a graph is lowered, not in a stage before: what shapes give is known only under the sizes
that an assignment of axes assumes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edge_lstm.core.axes import GraphAxes, InputAxes, OutputAxes
from edge_lstm.core.channels import Channel, channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.program import Program
from edge_lstm.core.timing import BeforeWindow, Timing
from edge_lstm.errors import EdgeLstmError, ImportModelError
from edge_lstm.importers.onnx.axes import LEAST, Axes, check_names, witness
from edge_lstm.importers.onnx.draw import Drawing, Source, draw, draw_whole
from edge_lstm.importers.onnx.explore import Candidate, Search, common_rate, like, prove_open, settle
from edge_lstm.importers.onnx.graph import Graph, OnnxFile, Value
from edge_lstm.importers.onnx.gru_reset import doubtful, with_reset
from edge_lstm.importers.onnx.options import (
    ENGINES,
    OLD_ENGINES,
    ImportOptions,
    check_options,
    checked,
    constant_outputs,
    feature_sizes,
    filled,
    never_changing,
    open_sizes,
    options_of,
    origin,
    unused_weights,
    with_constants,
    with_sizes,
    without_constant_outputs,
)
from edge_lstm.importers.onnx.outputs import ALL_STATES, Output, newest, newest_of, output_of, shown_outputs
from edge_lstm.importers.onnx.provenance import Misfit
from edge_lstm.importers.onnx.rates import Rate
from edge_lstm.importers.onnx.read import read_onnx
from edge_lstm.importers.onnx.refusal import About, Refusal
from edge_lstm.importers.onnx.states import Pairs, agrees
from edge_lstm.importers.spelling import N, T, any_pair, say

Sizes = tuple[int, int]


class Imported(NamedTuple):
    """What an import comes to."""

    program: Program
    timing: Timing
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Lowered:
    """The stage `lower`: the graph drawn under the axes that were found, with its states, and the drawings of other
    lengths that prove that an open one makes no difference."""

    found: Candidate
    drawing: Drawing
    others: Sequence[Drawing]


@dataclass(frozen=True)
class Shown:
    """The stage `outputs`: what each output holds, how late it comes, and with which readings all come."""

    program: Program
    results: Mapping[str, Output]
    delays: Mapping[str, int]
    rate: Rate


@dataclass(frozen=True)
class Stages:
    """What each stage of an import for the native engine came to, as far as it came."""

    source: Source | None
    result: Imported | Refusal
    search: Search | None = None
    lowered: Lowered | None = None
    shown: Shown | None = None


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
    options = options_of(mode, window, states, constants, time_axis, before_window, linear_before_reset, sizes)
    engine = OLD_ENGINES.get(engine, engine)
    if engine not in ENGINES:
        raise ImportModelError(f"engine {engine!r} is unknown; known are {', '.join(ENGINES)}")
    file = read_onnx(path)
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


def import_stages(path: str | Path, options: ImportOptions) -> tuple[OnnxFile, Stages]:
    """The file, and what each stage of its import for the native engine comes to: to be looked at.

    Raises ImportModelError where the file cannot be read.
    """
    file = read_onnx(path)
    if options.linear_before_reset is not None:
        file = with_reset(file, options.linear_before_reset)
    with np.errstate(all="ignore"):
        return file, stages(file, options)


def _left(file: OnnxFile, options: ImportOptions) -> Graph:
    """The graph without the inputs that the caller has given a value."""
    return replace(file.graph, inputs=tuple(v for v in file.graph.inputs if v.name not in options.constants))


def _sized(path: str | Path, file: OnnxFile, options: ImportOptions, engine: str) -> Imported:
    """The import, and where more dimensions are open than time and batch, with the size that the weights say."""
    result = _by_engine(path, file, options, engine)
    if isinstance(result, Imported):
        return result
    ways = feature_sizes(with_sizes(_left(file, options), options.sizes))
    found: list[tuple[str, int, Imported]] = []
    for (place, size), *_ in (list(way.items()) for way in ways):
        if found and found[0][0] != place:
            break  # the innermost axis goes first
        one = _by_engine(path, file, replace(options, sizes={**options.sizes, place: size}), engine)
        if isinstance(one, Imported):
            found.append((place, size, one))
    # An older ONNX Runtime does not look whether W fits: what is computed node by node is known to.
    found = [one for one in found if not one[2].provenance.get("engine")] or found
    if len(found) > 1:
        typed = any_pair("sizes", [{place: size} for place, size, _ in found])
        raise ImportModelError(f"{result}. By the weights an open dimension has one of several sizes: {typed}")
    if not found:
        raise _with_size_hint(result, file, options)
    place, size, imported = found[0]
    imported.provenance["notes"].append(
        f"the open dimension {place} is {size}, by the weights ({any_pair('sizes', [{place: size}])})"
    )
    return imported


def _with_size_hint(refusal: Refusal, file: OnnxFile, options: ImportOptions) -> EdgeLstmError:
    """With the way out where an open dimension may be the size of one reading."""
    graph = with_sizes(_left(file, options), options.sizes)
    names = {d or f"{v.name}[{k}]" for v in graph.inputs for k, d in enumerate(v.dims) if isinstance(d, str)}
    carried = [v for v in graph.inputs if any(v.dims == o.dims for o in graph.outputs)]
    of_states = {d for v in carried for d in v.dims if isinstance(d, str)}  # their batch
    names = names - of_states or names
    crowded = any(sum(isinstance(d, str) for d in v.dims) > 2 for v in graph.inputs)
    step = any(like(i, o) for i in graph.inputs for o in graph.outputs)
    if not names or not (crowded or step) or refusal.about is About.UNCLEAR:
        return refusal.error
    return ImportModelError(
        f"{refusal}. If an open dimension is neither readings nor a batch, but the size of one reading (the samples of"
        f" a chunk), say it: {' or '.join(say(sizes={name: N}) for name in sorted(names))}"
    )


def _by_engine(path: str | Path, file: OnnxFile, options: ImportOptions, engine: str) -> Imported | Refusal:
    """By the native engine, or by ONNX Runtime where that is asked for or the native one lacks something."""
    if options.mode == "log":
        because = "it is to take whole logs, and the native engine takes one reading at a time"
        if engine == "native":
            no_log = f"mode 'log' needs {say(engine='onnxruntime')}: {because}"
            return Refusal.of(ImportModelError(no_log))
        return _fallback(path, file, options, because)
    native = stages(file, options).result
    if engine == "onnxruntime":
        if isinstance(native, Imported):
            return _fallback(path, file, options, "asked for", native.timing.axes)
        return _fallback(path, file, options, "asked for", None, native) if native.of_engine else native
    if isinstance(native, Imported) or engine == "native" or not native.of_engine:
        return native
    other = _fallback(path, file, options, str(native), None, native)
    if isinstance(other, Refusal):
        return Refusal.of(ImportModelError(f"{native}. ONNX Runtime cannot stand in: {other}"))
    return other


def _fallback(
    path: str | Path,
    file: OnnxFile,
    options: ImportOptions,
    because: str,
    proven: GraphAxes | None = None,
    native: Refusal | None = None,
) -> Imported | Refusal:
    """By ONNX Runtime. proven: the axes, where the import for the native engine found them; native: its refusal."""
    from edge_lstm.importers.onnx.fallback.build import import_fallback

    far = native.receptive_field if native else 0
    try:
        return Imported(*import_fallback(path, file, options, because, proven, far))
    except EdgeLstmError as error:
        return Refusal.of(error)


def stages(file: OnnxFile, options: ImportOptions) -> Stages:
    """A graph brought in for the native engine, one reading at a time or by whole windows."""
    try:
        source = _source(file, options)
    except ImportModelError as error:
        return Stages(None, Refusal.of(error))
    graph = source.graph
    sizes = {int(d) for a in graph.constants.values() for d in a.shape}
    sizes |= {d for v in graph.inputs for d in v.dims if isinstance(d, int)}
    steps = _over_time(file, source, options, sizes)
    stream = steps.result
    if isinstance(stream, Imported) or options.mode == "continuous" or stream.about is About.UNCLEAR:
        return steps
    if options.mode == "auto" and stream.about is About.MEMORY:
        return steps  # there is no sequence: a whole window would hide a lost state
    if any(after is not None for after in (options.states or {}).values()):
        return steps  # a whole window begins anew at each reading, and would carry none of them on
    window = _whole_window(file, source, options, (witness(sizes, LEAST), witness(sizes, LEAST + 4)), str(stream))
    if not isinstance(window, Refusal):
        return replace(steps, result=window)
    asked = stream.of_engine and window.about is About.UNCLEAR  # the native engine holds the window, once it is said
    if asked or (stream.of_axes and window.about is not About.NO_WINDOW):
        return replace(steps, result=max(stream, window, key=_says_more))
    return steps


def _says_more(refusal: Refusal) -> tuple[bool, float]:
    """Of a stream and of a window: which refusal comes nearer to what the user can do."""
    return refusal.about is About.UNCLEAR, refusal.progress


def _source(file: OnnxFile, options: ImportOptions) -> Source:
    """The stage `options`: the graph with the values and sizes that are said. Raises ImportModelError."""
    graph = with_sizes(with_constants(file.graph, options.constants), options.sizes)
    graph = checked(without_constant_outputs(graph))
    zero = check_options(graph, options)
    sizes_said = open_sizes(file.graph, options.sizes)
    return Source(file.opset, graph, zero, options.time_axis, filled(graph, options.constants), sizes_said)


def _over_time(file: OnnxFile, source: Source, options: ImportOptions, dims: set[int]) -> Stages:
    """One reading at a time."""
    declared = {i: o for i, o in (options.states or {}).items() if o is not None}
    asked = None if options.states is None or (source.zero and not declared) else declared
    search = settle(source, asked, dims)
    if isinstance(search.result, Refusal):
        return Stages(source, search.result, search)
    lowered = _lowered(source, search.result, dims)
    if isinstance(lowered, Refusal):
        return Stages(source, lowered, search)
    shown = _outputs(source, lowered)
    if isinstance(shown, Refusal):
        return Stages(source, shown, search, lowered)
    return Stages(source, _timed(file, source, options, lowered, shown), search, lowered, shown)


def _lowered(source: Source, found: Candidate, dims: set[int]) -> Lowered | Refusal:
    """The stage `lower`."""
    earlier = found.drawing
    drawing = draw(source, found.axes, (earlier.low.length, earlier.low.batch), found.pairs, earlier)
    if isinstance(drawing, Refusal):
        return drawing
    try:
        others = prove_open(source, found, drawing, dims)
        if isinstance(others, Refusal):
            return others
        if source.time_axis is None:
            check_names(found.axes, source.graph.inputs)
    except ImportModelError as error:
        return Refusal.of(error)
    return Lowered(found, drawing, others)


def _outputs(source: Source, lowered: Lowered) -> Shown | Refusal:
    """The stage `outputs`."""
    found, drawing, others = lowered.found, lowered.drawing, lowered.others
    try:
        rate = common_rate(found, drawing, others)
        program, results = _program(drawing, source.graph, found.pairs)
        delays = {
            name: max(output_of(name, other.outputs[name], other.low).delay for other in (drawing, *others))
            for name in results
        }
    except ImportModelError as error:
        return Refusal.of(error)
    return Shown(program, results, {name: readings for name, readings in delays.items() if readings}, rate)


def _timed(
    file: OnnxFile, source: Source, options: ImportOptions, lowered: Lowered, shown: Shown
) -> Imported | Refusal:
    """The last stage: what an output belongs to, and when it comes."""
    drawing, (axes, pairs) = lowered.drawing, (lowered.found.axes, lowered.found.pairs)
    program, results, delays, rate = shown.program, shown.results, shown.delays, shown.rate
    alike = {(i, o) for i, x in drawing.inputs.items() for o, y in drawing.outputs.items() if x.shape == y.shape}
    meaning = _window(options.mode, options.window, axes, pairs, program, sorted(alike))
    if isinstance(meaning, Refusal):
        return meaning
    window, _ = meaning
    delay = max(delays.values(), default=0)
    if window is not None:
        if why := _unlike_window(window, rate, delays):
            return Refusal.of(Misfit(why))
        timing = Timing.over_window(window, options.before_window)
    elif axes.length and drawing.low.rates.period > 1 and None in (one.rate for one in results.values()):
        why = (
            "there are strides over time; when an output of the newest reading comes in a continuous stream can be"
            f" proven only where the length is open. Export with a dynamic time axis, or use {say(mode='window')}"
        )
        return Refusal.of(Misfit(why))
    else:
        timing = Timing("continuous", None, rate.first, rate.stride, delay)
    provenance = _provenance(file, meaning, axes, pairs, drawing, program)
    if axes.batch == 0 and drawing.low.batch == 1:
        provenance["notes"].append("its batch is open in name only: the graph's shapes allow 1")
    if window is not None:
        provenance["notes"] += [newest_of(name) for name, one in results.items() if one.rate is not None]
    provenance["notes"] += _of_outputs(options, source.graph, pairs, sorted(alike))
    if delays:
        provenance["notes"].append(f"looks ahead: {', '.join(delays)} come {delay} reading{'s' * (delay > 1)} late")
    return Imported(program, replace(timing, axes=_graph_axes(source, options, axes, pairs, results)), provenance)


def _unlike_window(window: int, rate: Rate, delays: Mapping[str, int]) -> str:
    """Why the network has no output of its own at the end of a window; "" where it has one."""
    if rate.first > window:
        return (
            f"the network looks back, and has no output before reading {rate.first}, but a window has {window}."
            " Pad in front (causal), or use a longer window"
        )
    if delays or rate.newest(window) != window:
        why = "the network looks ahead, and sees padding behind the window" if delays else "its strides end before it"
        return f"the last reading of a window of {window} has no output of its own: {why}"
    return ""


def _whole_window(file: OnnxFile, source: Source, options: ImportOptions, sizes: Sizes, why: str) -> Imported | Refusal:
    """The whole window at each reading. why: a stream cannot run the graph."""
    drawn = draw_whole(source, options.window, 1 if options.mode == "window" else 2, sizes)
    if isinstance(drawn, Refusal):
        return drawn
    axes, drawing = drawn
    window = axes.length or options.window or 1
    try:
        program, results = _program(drawing, source.graph, {})
    except ImportModelError as error:
        return Refusal.of(error)
    reason = "asked for" if options.mode == "window" else f"the sequence length {window} is baked into the graph"
    provenance = _provenance(file, (window, reason), axes, {}, drawing, program)
    provenance["cost"] = (
        f"the whole window of {window} readings is computed anew at each reading: {program.multiply_adds:,}"
        f" multiply-adds, because {why}"
    )
    timing = Timing.over_window(window, options.before_window, whole=True)
    return Imported(program, replace(timing, axes=_graph_axes(source, options, axes, {}, results)), provenance)


def _graph_axes(
    source: Source, options: ImportOptions, axes: Axes, pairs: Pairs, outputs: Mapping[str, Output]
) -> GraphAxes:
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


def _program(drawing: Drawing, graph: Graph, pairs: Pairs) -> tuple[Program, dict[str, Output]]:
    results = {
        name: output_of(name, drawing.outputs[name], drawing.low)
        for name in shown_outputs([v.name for v in graph.outputs], {i: o for i, (o, _) in pairs.items()})
    }
    for place, output, positions in drawing.pieces:
        place.next = newest(output, drawing.outputs[output], drawing.low)[positions]
    return drawing.low.plan.program([(name, one.ids) for name, one in results.items()]), results


def _of_outputs(options: ImportOptions, graph: Graph, pairs: Pairs, alike: Sequence[tuple[str, str]]) -> list[str]:
    """Notes: that all outputs are states, and which inputs are readings though they look like states."""
    after = {o for o, _ in pairs.values()}
    notes = [ALL_STATES] if all(v.name in after for v in graph.outputs) else []
    if options.states is not None:
        notes += [
            f"input {i!r} is a reading, since no state is said of it, though output {o!r} agrees in name and shape"
            for i, o in alike
            if i not in pairs and o not in after and agrees(i, o)
        ]
    return notes


def _parts(named: Sequence[Any]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    return tuple(n.name for n in named), tuple(n.slot.size for n in named)


# --- timing and provenance -----------------------------------------------------------------------------------


def _window(
    mode: str, window: int | None, axes: Axes, pairs: Pairs, program: Program, alike: Sequence[tuple[str, str]]
) -> tuple[int | None, str] | Refusal:
    """The window (None: continuous) and the reason."""
    if not program.states and mode == "auto":
        candidates = ", ".join(f"{i} -> {o}" for i, o in alike)
        ways = any_pair("states", [{i: o} for i, o in alike[:4]])
        lost = (
            "the graph has no memory: no recurrent layer over time, and no input that an output clearly carries on. If"
            " it was a recurrent network, its state was lost at export, or the names of its states do not tell which"
            f" belong together: say {say(states={'h_in': 'h_out'})}"
            f" ({candidates or 'no output has the shape of an input'}){f': {ways}' if ways else ''}."
            f" If it is meant to have no memory, say {say(mode='continuous')}"
        )
        return Refusal(ImportModelError(lost), About.MEMORY)
    if mode == "continuous":
        return None, "asked for"
    if axes.length > 1 and not pairs:
        if window not in (None, axes.length):
            other = f"window = {window}, but the graph is made for {axes.length} readings"
            return Refusal.of(ImportModelError(other))
        return axes.length, f"the sequence length {axes.length} is baked into the graph"
    if mode == "window" or window is not None:
        if window is None:
            unsaid = f"mode 'window': the graph does not say how many readings; give {say(window=T)}"
            return Refusal.of(ImportModelError(unsaid))
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


__all__ = ["Value", "import_onnx", "import_stages"]
