"""From an ONNX file to a Model: axes, states, meaning in time, outputs.

Its rule: what a graph means in time is a visible choice, written into the provenance with its reason. Open
dimensions are lowered twice, with two pairs of witness sizes, and both drawings must be the same program.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.errors import EdgeLstmError, ImportModelError
from edge_lstm.importers.onnx_axes import Axes, assignments, witnesses
from edge_lstm.importers.onnx_graph import Graph, OnnxFile, Value, used_names
from edge_lstm.importers.onnx_lower import Carry, Lag, Lowering, Operand
from edge_lstm.importers.onnx_read import read_onnx
from edge_lstm.importers.onnx_states import Pairs, pair_states
from edge_lstm.importers.onnx_tags import MAX_BATCH, MAX_LENGTH, Misfit, Tagged, find_axis, first_unique
from edge_lstm.importers.plan import Ids, Place
from edge_lstm.model import Channel, Model, channels_for
from edge_lstm.program import Program

MODES = ("auto", "continuous", "window")
MAX_CARRIES = 64


@dataclass
class Drawing:
    """A graph lowered under one assignment of axes."""

    low: Lowering
    inputs: dict[str, Tagged]
    outputs: dict[str, Tagged]
    pieces: list[tuple[Place, str, Ids]]  # state, output it is read from, positions in it


def import_onnx(
    path: str | Path,
    mode: str = "auto",
    *,
    name: str | None = None,
    states: Mapping[str, str | None] | None = None,
    rate_hz: float | None = None,
    window: int | None = None,
    inputs: Sequence[Channel] | None = None,
    outputs: Sequence[Channel] | None = None,
) -> Model:
    """Brings in a recurrent network from an ONNX file.

    mode: "continuous" (the state goes on for ever), "window" (each output belongs to the last T readings), or
    "auto": window where T is baked into the graph, continuous where it is open or the graph is one step with states.
    states: {input: output} of a step graph, all of them, where it is not clear by itself ({}: there are none); None as
    output: the input is zero.
    window: T, for mode "window" of a graph whose length is open. rate_hz: readings per second it was trained for.
    inputs, outputs: channels in the order of the graph's values, where names and units are known.

    Raises ImportModelError with node, operator, attribute and value for everything that is not understood.
    """
    if mode not in MODES:
        raise ImportModelError(f"mode {mode!r} is unknown; known are {', '.join(MODES)}")
    file = read_onnx(path)
    try:
        return _import(file, Path(path), mode, name, states, rate_hz, window, inputs, outputs)
    except EdgeLstmError as error:
        raise ImportModelError(f"{path}: {error}") from None


def _import(
    file: OnnxFile,
    path: Path,
    mode: str,
    name: str | None,
    states: Mapping[str, str | None] | None,
    rate_hz: float | None,
    window: int | None,
    inputs: Sequence[Channel] | None,
    outputs: Sequence[Channel] | None,
) -> Model:
    graph = _checked(file.graph)
    zero = {i for i, o in (states or {}).items() if o is None}
    if unknown := zero - {v.name for v in graph.inputs}:
        raise ImportModelError(f"states: {sorted(unknown)[0]!r} is no input of the graph")
    said = {i: o for i, o in (states or {}).items() if o is not None}
    asked = None if states is None or (zero and not said) else said
    live = [v for v in graph.inputs if v.name not in zero]
    if not live:
        raise ImportModelError("the graph has no inputs that carry readings")
    sizes = {int(d) for a in graph.constants.values() for d in a.shape}
    sizes |= {d for v in graph.inputs for d in v.dims if isinstance(d, int)}
    first, second = witnesses(sizes)
    axes, pairs, traced = _explore(file.opset, graph, zero, asked, first)
    drawing = _draw(file.opset, graph, axes, zero, first, pairs, traced)
    if axes.length == 0 or axes.batch == 0:
        other = _draw(file.opset, graph, axes, zero, second, pairs, traced)
        if other.low.plan.signature() != drawing.low.plan.signature():
            raise ImportModelError(
                "the network computes differently for sequences or batches of different size (a constant in it depends"
                " on the open dimension); it cannot run on a stream. Export it with a fixed length for a window"
            )
    read_from = {o for o, _ in pairs.values()}
    shown = [
        (v.name, newest(v.name, drawing.outputs[v.name], drawing.low)) for v in graph.outputs if v.name not in read_from
    ]
    if not shown:
        raise ImportModelError(
            "every output of the graph is a state; there is nothing to show. Export the network's output too"
        )
    for place, output, positions in drawing.pieces:
        place.next = newest(output, drawing.outputs[output], drawing.low)[positions]
    program = drawing.low.plan.program(shown)
    alike = (f"{i} -> {o}" for i, x in drawing.inputs.items() for o, y in drawing.outputs.items() if x.shape == y.shape)
    meaning = _meaning(mode, window, axes, pairs, program, ", ".join(alike))
    return Model(
        program,
        tuple(inputs) if inputs is not None else channels_for(*_parts(program.inputs)),
        tuple(outputs) if outputs is not None else channels_for(*_parts(program.outputs)),
        rate_hz,
        meaning[0],
        _provenance(file, meaning, axes, pairs, drawing, program),
        name or path.stem,
    )


def _parts(named: Sequence[Any]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    return tuple(n.name for n in named), tuple(n.slot.size for n in named)


def _checked(graph: Graph) -> Graph:
    """Refuses graphs whose inputs are no readings, and weights that nothing uses."""
    for value in graph.inputs:
        if value.dtype != "float32":
            raise ImportModelError(
                f"input {value} holds {value.dtype}; only float32 readings are supported. Export with model.float(), or"
                " take the conversion out of the exported part"
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


# --- drawing ----------------------------------------------------------------------------------------------------------


def _explore(
    opset: int, graph: Graph, zero: set[str], asked: Mapping[str, str] | None, sizes: tuple[int, int]
) -> tuple[Axes, Pairs, Drawing]:
    """The first assignment of axes under which the whole graph can be lowered and has a memory, and its states.

    Without a memory anything fits as one wide reading; so that is taken only where nothing likelier has failed.
    """
    furthest: tuple[int, ImportModelError] | None = None
    memoryless: tuple[Axes, Pairs, Drawing] | None = None
    for axes in assignments(graph.inputs):
        try:
            drawing = _draw(opset, graph, axes, zero, sizes, {}, None)
            for name, tags in drawing.outputs.items():
                newest(name, tags, drawing.low)
        except Misfit as error:
            progress = getattr(error, "progress", len(graph.nodes))
            if furthest is None or progress > furthest[0]:
                furthest = (progress, error)
            continue
        pairs = pair_states(drawing.inputs, drawing.outputs, graph.inputs, drawing.low, asked)
        if stray := [name for name, _ in drawing.low.once if name not in pairs]:
            text = f"input {stray[0]!r} has no time axis and is no state; give it one value per reading"
            furthest = furthest or (0, ImportModelError(text))
        elif pairs or drawing.low.plan.states:
            return axes, pairs, drawing
        elif furthest is None and memoryless is None:
            memoryless = axes, pairs, drawing
    if memoryless is not None:
        return memoryless
    if furthest is not None:
        raise furthest[1]
    shapes = ", ".join(str(v) for v in graph.inputs)
    raise ImportModelError(f"no axes of the inputs {shapes} can be time and batch; at most two dimensions may be open")


def _draw(
    opset: int,
    graph: Graph,
    axes: Axes,
    zero: set[str],
    sizes: tuple[int, int],
    pairs: Pairs,
    traced: Drawing | None,
) -> Drawing:
    """Lowers the graph; a loop written out in time is found by failing, and tried again with its state."""
    carries: list[Carry] = []
    while True:
        low = Lowering(opset, axes.length or sizes[0], axes.batch or sizes[1])
        low.carries = [replace(c, place=None, found={}) for c in carries]
        try:
            drawing = _run(low, graph, axes, zero, pairs, traced)
            low.close()
            return drawing
        except Lag as lag:
            newer, older = lag.operands[lag.newer], lag.operands[1 - lag.newer]
            inner = first_unique(older.ids.reshape(-1))[1].reshape(older.shape)
            carry = Carry(lag.node.op, lag.newer, newer.ids.tobytes(), newer.shape, inner, older.b)
            known = any(
                (c.op, c.newer, c.ids, c.shape) == (carry.op, carry.newer, carry.ids, carry.shape) for c in carries
            )
            if known or len(carries) >= MAX_CARRIES:
                lag.progress = low.progress  # type: ignore[attr-defined]
                raise
            carries.append(carry)
        except ImportModelError as error:
            sizes_shown = [str(n) for n, size in zip(sizes, (axes.length, axes.batch), strict=True) if size == 0]
            text = str(error)
            if any(re.search(rf"\b{n}\b", text) for n in sizes_shown):
                text += f" (open dimensions are tried with the sizes {' and '.join(sizes_shown)})"
            told = Misfit(text) if isinstance(error, Misfit) else ImportModelError(text)
            told.progress = low.progress  # type: ignore[attr-defined]
            raise told from None


def _run(low: Lowering, graph: Graph, axes: Axes, zero: set[str], pairs: Pairs, traced: Drawing | None) -> Drawing:
    if low.length > MAX_LENGTH or low.batch > MAX_BATCH:
        raise ImportModelError(f"a sequence of {low.length} or a batch of {low.batch} is too long")
    values: dict[str, Operand] = {}
    inputs: dict[str, Tagged] = {}
    pieces: list[tuple[Place, str, Ids]] = []
    for value in graph.inputs:
        dims = axes.dims(value, low.length, low.batch)
        if value.name in zero:
            values[value.name] = np.zeros(dims, np.float32)
            continue
        time, stream = axes.of[value.name]
        count = int(np.prod([d for k, d in enumerate(dims) if k not in (time, stream)], dtype=np.int64))
        if value.name in pairs:
            ids = np.empty(count, np.int64)
            for label, positions in _pieces(value.name, count, traced):
                place = low.plan.state(label, positions.size)
                ids[positions] = place.ids
                pieces.append((place, pairs[value.name][0], positions))
            places = np.sort(ids)
        else:
            ids = places = low.plan.input(value.name, count)
        if low.length > 1 and time is None:
            low.once.append((value.name, places))
        values[value.name] = inputs[value.name] = low.spread(ids, dims, time, stream)
    low.keep = frozenset(v.name for v in graph.outputs)
    low.run(graph, values)
    outputs: dict[str, Tagged] = {}
    for value in graph.outputs:
        result = values[value.name]
        if not isinstance(result, Tagged):
            raise ImportModelError(f"output {value.name!r} is a constant; it does not depend on the readings")
        for name, places in low.once:
            if np.isin(result.ids, places).any():
                raise Misfit(
                    f"output {value.name!r} shows input {name!r}, which has no time axis, while the sequence has"
                    f" {low.length} readings; a stream has no such value at every reading"
                )
        outputs[value.name] = result
    return Drawing(low, inputs, outputs, pieces)


def _pieces(name: str, count: int, traced: Drawing | None) -> list[tuple[str, Ids]]:
    """A state input cut into the states of the layers that read it, by their names, where they share it out exactly."""
    whole = [(name, np.arange(count))]
    if traced is None:
        return whole
    start = next(p.start for p in traced.low.plan.inputs if p.name == name)
    pieces = []
    for port in traced.low.ports:
        positions = port.before - start
        if positions.size and ((positions >= 0) & (positions < count)).all():
            pieces.append((port.name, positions))
    covered = np.sort(np.concatenate([p for _, p in pieces])) if pieces else np.array([])
    return pieces if np.array_equal(covered, np.arange(count)) else whole


def newest(name: str, y: Tagged, low: Lowering) -> Ids:
    """The ids of an output that belong to the newest reading of one stream, in the output's own order."""
    tags = y.tags
    if low.batch > 1 and y.b.any():
        axis = find_axis(y.b, low.batch)
        if axis is None:
            raise Misfit(
                f"output {name!r} [{_shape(y)}] mixes the streams of the batch; export with a batch of its own axis"
            )
        if (np.take(y.ids, [0], axis) != y.ids).any():
            raise Misfit(f"output {name!r} [{_shape(y)}] is computed differently for different streams of the batch")
        tags = np.take(tags, 0, axis)
    y = Tagged(tags)
    if low.length > 1:
        axis = find_axis(y.t, low.length)
        if axis is not None:
            if (np.take(y.ids, [0], axis) != y.ids).any():
                raise Misfit(
                    f"output {name!r} [{_shape(y)}] is computed differently at different readings of the sequence"
                )
            tags = np.take(tags, -1, axis)
        elif ((y.t != low.length) & (y.t != 0)).any():
            raise Misfit(
                f"output {name!r} [{_shape(y)}] holds readings {sorted(set(y.t.reshape(-1).tolist()))[:4]} … of a"
                f" sequence of {low.length}; it must be the newest one, or all of them along one axis"
            )
    ids = Tagged(tags).ids.reshape(-1)
    if not ids.size:
        raise ImportModelError(f"output {name!r} is empty")
    return ids


def _shape(y: Tagged) -> str:
    return ", ".join(map(str, y.shape))


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
        if window is not None:
            raise ImportModelError(f"window = {window} contradicts mode 'continuous'")
        return None, "asked for"
    if axes.length > 1 and not pairs:
        if window not in (None, axes.length):
            raise ImportModelError(f"window = {window}, but the graph is made for {axes.length} readings")
        return axes.length, f"the sequence length {axes.length} is baked into the graph"
    if window is not None and window < 1:
        raise ImportModelError(f"window = {window} must be at least 1")
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
        "axes": str(axes),
        "states": {i: {"output": o, "reason": why, "reset": "zero"} for i, (o, why) in pairs.items()},
        "notes": list(drawing.low.notes),
        "nodes_folded": drawing.low.folded,
        "nodes_moved": drawing.low.moved,
        "nodes_dropped": sorted(made - kept),
    }


__all__ = ["Value", "import_onnx"]
