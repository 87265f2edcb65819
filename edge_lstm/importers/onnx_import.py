"""From an ONNX file to a Model: meaning in time, outputs, provenance.

Its rule: what a graph means in time is a visible choice, written into the provenance with its reason. Open
dimensions are lowered twice, with two pairs of witness sizes, and both drawings must be the same program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError, ImportModelError
from edge_lstm.importers.onnx_axes import Axes, witnesses
from edge_lstm.importers.onnx_draw import (
    Drawing,
    NoWindowError,
    Source,
    draw,
    draw_whole,
    explore,
    newest,
    progress_of,
    shown,
)
from edge_lstm.importers.onnx_graph import Graph, OnnxFile, Value, used_names
from edge_lstm.importers.onnx_read import read_onnx
from edge_lstm.importers.onnx_states import Pairs
from edge_lstm.importers.onnx_tags import Misfit
from edge_lstm.importers.plan import Plan
from edge_lstm.model import Channel, Model, channels_for
from edge_lstm.program import Program

MODES = ("auto", "continuous", "window")
READABLE = ("float32", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "bool")
Sizes = tuple[int, int]
# Of the outputs: name -> which of its axes are time and batch.
_Shown = dict[str, dict[str, int | None]]
_Imported = tuple[Program, int | None, int, dict[str, Any]]  # window, the first reading with an output, provenance


@dataclass(frozen=True)
class _Wish:
    """What the caller asks for."""

    mode: str
    window: int | None
    states: Mapping[str, str | None] | None
    constants: Mapping[str, npt.ArrayLike]
    time_axis: int | str | None


def import_onnx(
    path: str | Path,
    mode: str = "auto",
    *,
    name: str | None = None,
    states: Mapping[str, str | None] | None = None,
    rate_hz: float | None = None,
    window: int | None = None,
    constants: Mapping[str, npt.ArrayLike] | None = None,
    time_axis: int | str | None = None,
    inputs: Sequence[Channel] | None = None,
    outputs: Sequence[Channel] | None = None,
) -> Model:
    """Brings in a recurrent network from an ONNX file.

    mode: "continuous" (the state goes on for ever), "window" (each output belongs to the last T readings), or
    "auto": window where T is baked into the graph, continuous where it is open or the graph is one step with states.
    states: {input: output} of a step graph, all of them, where it is not clear by itself ({}: there are none); None as
    output: the input is zero.
    window: T, for mode "window" of a graph whose length is open. rate_hz: readings per second it was trained for.
    constants: {input: value} for inputs that never change (a sample rate). time_axis: which axis of the inputs is time,
    where a graph without recurrent layers does not show it; "none": one run of the graph is one reading of one stream.
    inputs, outputs: channels in the order of the graph's values, where names and units are known.

    Raises ImportModelError with node, operator, attribute and value for everything that is not understood.
    """
    if mode not in MODES:
        raise ImportModelError(f"mode {mode!r} is unknown; known are {', '.join(MODES)}")
    if not (time_axis in (None, "none") or (isinstance(time_axis, int) and time_axis >= 0)):
        raise ImportModelError(f'time_axis = {time_axis!r} must be a number from 0 on, or "none"')
    file = read_onnx(path)
    wish = _Wish(mode, window, states, constants or {}, time_axis)
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused where it would enter the program
            program, meaning, ready, provenance = _import(file, wish)
        return Model(
            program,
            tuple(inputs) if inputs is not None else channels_for(*_parts(program.inputs)),
            tuple(outputs) if outputs is not None else channels_for(*_parts(program.outputs)),
            rate_hz,
            meaning,
            provenance,
            name or Path(path).stem,
            ready=ready,
        )
    except EdgeLstmError as error:
        raise ImportModelError(f"{path}: {error}") from None


def _import(file: OnnxFile, wish: _Wish) -> _Imported:
    graph = _checked(_with_constants(file.graph, wish.constants))
    zero = frozenset(i for i, o in (wish.states or {}).items() if o is None)
    if unknown := zero - {v.name for v in graph.inputs}:
        raise ImportModelError(f"states: {sorted(unknown)[0]!r} is no input of the graph")
    if all(v.name in zero for v in graph.inputs):
        raise ImportModelError("the graph has no inputs that carry readings")
    source = Source(file.opset, graph, zero, wish.time_axis)
    sizes = {int(d) for a in graph.constants.values() for d in a.shape}
    sizes |= {d for v in graph.inputs for d in v.dims if isinstance(d, int)}
    if wish.window is not None and wish.window < 1:
        raise ImportModelError(f"window = {wish.window} must be at least 1")
    if wish.window is not None and wish.mode == "continuous":
        raise ImportModelError(f"window = {wish.window} contradicts mode 'continuous'")
    first, second = witnesses(sizes)
    try:
        return _over_time(file, source, wish, first, second)
    except ImportModelError as error:
        if wish.mode == "continuous" or (wish.mode == "auto" and _no_window(error)):
            raise
        try:
            return _whole(file, source, wish, first, str(error))
        except NoWindowError:
            raise error from None
        except ImportModelError as other:
            further = isinstance(error, Misfit) and progress_of(other) >= progress_of(error)
            raise (other if further else error) from None


def _no_window(error: ImportModelError) -> bool:
    """Whether an error says that there is no sequence, so that a whole window would hide a lost state."""
    return "no memory" in str(error)


def _over_time(file: OnnxFile, source: Source, wish: _Wish, first: Sizes, second: Sizes) -> _Imported:
    graph = source.graph
    said = {i: o for i, o in (wish.states or {}).items() if o is not None}
    asked = None if wish.states is None or (source.zero and not said) else said
    axes, pairs, traced = explore(source, asked, first)
    drawing = draw(source, axes, first, pairs, traced)
    if axes.length == 0 or axes.batch == 0:
        other = draw(source, axes, second, pairs, traced)
        if other.low.plan.signature() != drawing.low.plan.signature():
            raise Misfit(
                f"{_first_difference(drawing.low.plan, other.low.plan)}: works on different readings together, or"
                " computes differently"
                " for batches of different size (its result depends on how long the open dimension is); a"
                " continuous stream cannot run it. Use mode='window', window=T: then each output belongs to the last T"
                " readings"
            )
    program, shown_axes = _program(drawing, graph, pairs)
    alike = (f"{i} -> {o}" for i, x in drawing.inputs.items() for o, y in drawing.outputs.items() if x.shape == y.shape)
    window, reason = _meaning(wish.mode, wish.window, axes, pairs, program, ", ".join(alike))
    if window is not None and drawing.low.ready > window:
        raise Misfit(
            f"the network looks back, and has no output before reading {drawing.low.ready}, but a window has {window}."
            " Pad in front (causal), or use a longer window"
        )
    provenance = _provenance(file, (window, reason), axes, pairs, drawing, program)
    provenance["graph"] = _meaning_of(source, wish, axes, pairs, shown_axes)
    return program, window, drawing.low.ready if window is None else 1, provenance


def _whole(file: OnnxFile, source: Source, wish: _Wish, sizes: Sizes, why: str) -> _Imported:
    """The whole window at each reading."""
    axes, drawing = draw_whole(source, wish.window, 1 if wish.mode == "window" else 2, sizes)
    window = axes.length or wish.window or 1
    program, shown_axes = _program(drawing, source.graph, {})
    reason = "asked for" if wish.mode == "window" else f"the sequence length {window} is baked into the graph"
    provenance = _provenance(file, (window, reason), axes, {}, drawing, program)
    provenance["graph"] = _meaning_of(source, wish, axes, {}, shown_axes)
    provenance["cost"] = (
        f"the whole window of {window} readings is computed anew at each reading: {program.multiply_adds:,}"
        f" multiply-adds, because {why}"
    )
    return program, None, window, provenance


def _meaning_of(source: Source, wish: _Wish, axes: Axes, pairs: Pairs, outputs: _Shown) -> dict[str, Any]:
    """What `edge_lstm.engines` needs to run the graph itself in the same meaning."""
    return {
        "inputs": {n: {"time": t, "batch": b} for n, (t, b) in axes.of.items() if n not in source.zero},
        "outputs": outputs,
        "states": {i: o for i, (o, _) in pairs.items()},
        "zero": sorted(source.zero),
        "streams": axes.batch or 1,
        "constants": {n: np.asarray(v).tolist() for n, v in wish.constants.items()},
    }


def _program(drawing: Drawing, graph: Graph, pairs: Pairs) -> tuple[Program, _Shown]:
    read_from = {o for o, _ in pairs.values()}
    results = {
        v.name: shown(v.name, drawing.outputs[v.name], drawing.low) for v in graph.outputs if v.name not in read_from
    }
    if not results:
        raise ImportModelError(
            "every output of the graph is a state; there is nothing to show. Export the network's output too"
        )
    for place, output, positions in drawing.pieces:
        place.next = newest(output, drawing.outputs[output], drawing.low)[positions]
    program = drawing.low.plan.program([(name, ids) for name, (ids, _) in results.items()])
    return program, {name: found for name, (_, found) in results.items()}


def _first_difference(one: Plan, other: Plan) -> str:
    """The node at which two drawings part."""
    for a, b, step in zip(one.signature(), other.signature(), one.steps, strict=False):
        if a != b:
            return ", ".join(step.sources) or "the network"
    return "the network"


def _parts(named: Sequence[Any]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    return tuple(n.name for n in named), tuple(n.slot.size for n in named)


def _with_constants(graph: Graph, constants: Mapping[str, npt.ArrayLike]) -> Graph:
    """Inputs with a fixed value are constants of the graph."""
    fixed = {}
    inputs = {v.name: v for v in graph.inputs}
    for name, given in constants.items():
        if name not in inputs:
            known = ", ".join(map(repr, inputs))
            raise ImportModelError(f"constants: {name!r} is no input of the graph; there are {known}")
        value = inputs[name]
        array = np.asarray(given)
        if array.dtype.kind not in "fiub":
            raise ImportModelError(f"constants: {name!r} must be numbers, is {given!r}")
        if value.dtype not in READABLE and value.dtype not in ("float64", "float16"):
            raise ImportModelError(f"constants: input {value} holds {value.dtype}")
        shape = tuple(d if isinstance(d, int) else -1 for d in value.dims)
        if array.size == 1 and -1 not in shape:
            array = np.broadcast_to(array.reshape(()), shape)
        if array.ndim != len(shape) or any(want not in (-1, got) for want, got in zip(shape, array.shape, strict=True)):
            raise ImportModelError(f"constants: {name!r} has shape {list(array.shape)}, the input is {value}")
        fixed[name] = np.array(array.astype(value.dtype))
    kept = tuple(v for v in graph.inputs if v.name not in fixed)
    return replace(graph, inputs=kept, constants={**graph.constants, **fixed}) if fixed else graph


def _checked(graph: Graph) -> Graph:
    """Refuses graphs whose inputs are no readings, and weights that nothing uses."""
    for value in graph.inputs:
        if value.dtype not in READABLE:
            raise ImportModelError(
                f"input {value} holds {value.dtype}; only float32 readings are supported, whole numbers and truths."
                " Export with model.float(), or take the conversion out of the exported part"
            )
        if 0 in value.dims:
            raise ImportModelError(f"input {value} has an empty dimension")
    used = used_names(graph)
    for name, array in graph.constants.items():
        if name not in used and array.dtype.kind == "f" and array.size > 1:
            raise ImportModelError(
                f"the weight {name!r} {list(array.shape)} is used by no node; the graph is incomplete"
            )
    return graph


# --- meaning in time and provenance -----------------------------------------------------------------------------------


def _meaning(
    mode: str, window: int | None, axes: Axes, pairs: Pairs, program: Program, candidates: str
) -> tuple[int | None, str]:
    """The window (None: continuous) and the reason."""
    if not program.states and mode == "auto":
        raise ImportModelError(
            "the graph has no memory: no recurrent layer over time, and no input that an output clearly carries on. If"
            " it was a recurrent network, its state was lost at export, or the names of its states do not tell which"
            ' belong together: say states={"h_in": "h_out"}'
            f" ({candidates or 'no output has the shape of an input'})."
            ' If it is meant to have no memory, say mode="continuous"'
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
    kept = {s for op in program.operations for s in op.source}
    made = {s for step in drawing.low.plan.steps for s in step.sources}
    return {
        "source": file.file,
        "sha256": file.sha256,
        "format": "onnx",
        "producer": file.producer,
        "opset": file.opset,
        "mode": "continuous" if meaning[0] is None else "window",
        "mode_reason": meaning[1],
        "window": meaning[0],
        "axes": str(axes),
        "states": {i: {"output": o, "reason": why, "reset": "zero"} for i, (o, why) in pairs.items()},
        "notes": list(dict.fromkeys(drawing.low.notes)),
        "nodes_folded": list(dict.fromkeys(drawing.low.folded)),
        "nodes_moved": list(dict.fromkeys(drawing.low.moved)),
        "nodes_dropped": sorted(made - kept),
    }


__all__ = ["Value", "import_onnx"]
