"""What the caller of an ONNX import asks for, and the graph as far as it can be checked before it is followed.

Its rule: options that no graph can meet, inputs that are no readings and nodes that draw random numbers are refused
here, whichever engine would run the graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.timing import BEFORE_WINDOW, BeforeWindow
from edge_lstm.errors import ImportModelError, UnsupportedError, nearest
from edge_lstm.importers.onnx.graph import Array, Graph, Node, OnnxFile, used_names
from edge_lstm.importers.onnx.operators.table import TABLE
from edge_lstm.importers.spelling import Blank, say

MODES = ("auto", "continuous", "window", "log")
ENGINES = ("auto", "native", "onnxruntime")
OLD_ENGINES = {"machine": "native"}  # names that older scripts use
WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")
LARGEST_SIZE = 1 << 20
READABLE = ("float32", *WHOLE, "bool")


@dataclass(frozen=True)
class ImportOptions:
    """What the caller of `import_onnx` asks for, in the words of its arguments."""

    mode: str
    window: int | None
    states: Mapping[str, str | None] | None
    constants: Mapping[str, npt.ArrayLike]
    time_axis: int | str | None
    before_window: BeforeWindow
    linear_before_reset: int | None
    sizes: Mapping[str, int] = field(default_factory=dict)


def options_of(
    mode: str = "auto",
    window: int | None = None,
    states: Mapping[str, str | None] | None = None,
    constants: Mapping[str, npt.ArrayLike] | None = None,
    time_axis: int | str | None = None,
    before_window: BeforeWindow = "wait",
    linear_before_reset: int | None = None,
    sizes: Mapping[str, int] | None = None,
) -> ImportOptions:
    """The options as `import_onnx` takes them. Refuses words that none of them has."""
    if mode not in MODES:
        raise ImportModelError(f"mode {mode!r} is unknown; known are {', '.join(MODES)}")
    if not (time_axis in (None, "none") or (isinstance(time_axis, int) and time_axis >= 0)):
        raise ImportModelError(f'time_axis = {time_axis!r} must be a number from 0 on, or "none"')
    if before_window not in BEFORE_WINDOW:
        raise ImportModelError(f"before_window {before_window!r} is unknown; known are {', '.join(BEFORE_WINDOW)}")
    return ImportOptions(
        mode, window, states, constants or {}, time_axis, before_window, linear_before_reset, sizes or {}
    )


def check_options(graph: Graph, options: ImportOptions) -> frozenset[str]:
    """The inputs that are to be zero. Refuses options that no graph can meet."""
    zero = frozenset(i for i, o in (options.states or {}).items() if o is None)
    if unknown := zero - {v.name for v in graph.inputs}:
        raise ImportModelError(f"states: {sorted(unknown)[0]!r} is no input of the graph")
    if all(v.name in zero or v.name in options.constants for v in graph.inputs):
        raise ImportModelError("the graph has no inputs that carry readings")
    if options.window is not None and options.window < 1:
        raise ImportModelError(f"window = {options.window} must be at least 1")
    if options.window is not None and options.mode in ("continuous", "log"):
        raise ImportModelError(f"window = {options.window} contradicts mode {options.mode!r}")
    return zero


def with_constants(graph: Graph, constants: Mapping[str, npt.ArrayLike]) -> Graph:
    """Inputs with a fixed value are constants of the graph. One number fills the input's shape; where that is open, the
    input stays one, and is filled when its sizes are known (`filled`)."""
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
        if array.size == 1 and -1 in shape:
            continue
        if array.size == 1:
            array = np.broadcast_to(array.reshape(()), shape)
        if array.ndim != len(shape) or any(want not in (-1, got) for want, got in zip(shape, array.shape, strict=True)):
            raise ImportModelError(f"constants: {name!r} has shape {list(array.shape)}, the input is {value}")
        fixed[name] = np.array(array.astype(value.dtype))
    left = tuple(v for v in graph.inputs if v.name not in fixed)
    used = used_names(graph)
    read = {name: array for name, array in fixed.items() if name in used}
    return replace(graph, inputs=left, constants={**graph.constants, **read}) if fixed else graph


def open_sizes(graph: Graph, sizes: Mapping[str, int]) -> dict[str, int]:
    """The sizes of open dimensions as the caller says them, by name or by place, by their places: {"x[1]": 576}.

    Raises ImportModelError where one is no open dimension, or no size."""
    found: dict[str, int] = {}
    places = {f"{v.name}[{k}]": d for v in graph.inputs for k, d in enumerate(v.dims) if isinstance(d, str)}
    for name, size in sizes.items():
        mine = [place for place, d in places.items() if name in (d, place) and name]
        if not mine:
            known = list(dict.fromkeys(d or place for place, d in places.items()))
            raise ImportModelError(f"sizes: {name!r} is no open dimension of an input{nearest(name, known)}")
        if not 1 <= size <= LARGEST_SIZE:
            raise ImportModelError(f"sizes: {name!r} = {size} must be from 1 to {LARGEST_SIZE}")
        found.update(dict.fromkeys(mine, int(size)))
    return found


def with_sizes(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph whose inputs have these sizes, and outputs where they name the same dimensions."""
    found = open_sizes(graph, sizes)
    inputs, names = [], dict[int | str, int]()
    for value in graph.inputs:
        dims = [found.get(f"{value.name}[{k}]", d) for k, d in enumerate(value.dims)]
        names.update((d, int(n)) for d, n in zip(value.dims, dims, strict=True) if d and d != n)
        inputs.append(replace(value, dims=tuple(dims)))
    outputs = (replace(v, dims=tuple(names.get(d, d) for d in v.dims)) for v in graph.outputs)
    return replace(graph, inputs=tuple(inputs), outputs=tuple(outputs)) if found else graph


def feature_sizes(graph: Graph) -> list[dict[str, int]]:
    """Sizes that open dimensions may have by the weights, the likeliest axes first: of inputs of which more dimensions
    are open than time and batch. Empty where there is none."""
    crowded = [v for v in graph.inputs if sum(isinstance(d, str) for d in v.dims) > 2]
    if len(crowded) != 1 or len(crowded[0].dims) > 4:
        return []
    value, sizes = crowded[0], dict[int, None]()
    for node in graph.nodes:
        weight = graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
        if weight is None or weight.ndim < 2:
            continue
        if (record := TABLE.get(node.op)) is not None and record.features is not None:
            sizes[record.features(node, weight)] = None
    ways = []
    for axis in reversed(range(len(value.dims))):
        if isinstance(value.dims[axis], str):
            ways += [{f"{value.name}[{axis}]": size} for size in sizes]
    return ways


def filled(graph: Graph, constants: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    """The inputs of open shape that one number fills, by name."""
    given = {v.name: np.asarray(constants[v.name]).astype(v.dtype) for v in graph.inputs if v.name in constants}
    return {name: array.reshape(()) for name, array in given.items()}


def checked(graph: Graph, types: Sequence[str] = READABLE) -> Graph:
    """Refuses graphs whose inputs are no readings, inputs that nothing uses, and random numbers."""
    used = used_names(graph)
    for value in graph.inputs:
        if value.dtype not in types:
            raise UnsupportedError(
                f"input {value} holds {value.dtype}; readings are float32, whole numbers or booleans."
                " Export with model.float(), or take the conversion out of the exported part"
            )
        if 0 in value.dims:
            raise ImportModelError(f"input {value} has an empty dimension")
        if value.name not in used:
            raise ImportModelError(
                f"input {value} is read by no node. If two example inputs were one and the same tensor at export, the"
                " exporter has joined them (h and c, say): export again with a tensor of its own for each. If it is"
                f" meant, say {say(constants={value.name: 0})}"
            )
    needed = {v.name for v in graph.outputs}
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(node.outputs):
            needed.update(node.reads)
            check_not_random(node, graph.constants)
    return graph


def check_not_random(node: Node, constants: Mapping[str, Array]) -> None:
    """Refuses a node that draws random numbers, for whichever engine: a replay could not give the same bits."""
    for value in node.attributes.values():
        for inner in value.nodes if isinstance(value, Graph) else ():
            check_not_random(inner, value.constants)
    record = TABLE.get(node.op)
    if record is not None and record.random is not None and (why := record.random(node, constants)):
        raise ImportModelError(f"{node}: {why}")


def constant_outputs(graph: Graph) -> list[str]:
    """The outputs that no input reaches (a version number): none of a stream's, unless there are no others."""
    live = {v.name for v in graph.inputs}
    for node in graph.nodes:
        if node.op not in ("Shape", "Size") and not live.isdisjoint(node.reads):
            live.update(node.outputs)
    found = [v.name for v in graph.outputs if v.name not in live]
    return found if len(found) < len(graph.outputs) else []


def without_constant_outputs(graph: Graph) -> Graph:
    """The graph without them."""
    left_out = constant_outputs(graph)
    return replace(graph, outputs=tuple(v for v in graph.outputs if v.name not in left_out)) if left_out else graph


def unused_weights(graph: Graph) -> list[str]:
    """A sentence for each weight of the file that no node reads."""
    used = used_names(graph)
    return [
        f"the weight {name!r} {list(array.shape)} is used by no node of the file"
        for name, array in graph.constants.items()
        if name not in used and array.dtype.kind == "f" and array.size > 1
    ]


def never_changing(graph: Graph) -> str:
    """The way out where a single whole number (a sample rate) decides what a graph does; "" where none does."""
    found = []
    for value in graph.inputs:
        single = value.dtype in WHOLE and all(d == 1 for d in value.dims)
        if single and (numbers := _compared_with(graph, value.name)):
            shown = [f"{n:g}" for n in numbers]
            found.append(
                f"input {value} decides what the graph does: it is compared with {', '.join(shown)}. If it never"
                f" changes (a sample rate), say {say(constants={value.name: Blank(shown[-1])})}"
            )
    return "; ".join(found)


def _compared_with(graph: Graph, name: str) -> list[float]:
    """The constants that an input is compared with."""
    same, constants, found = {name}, dict(graph.constants), set[float]()
    for node in graph.nodes:
        if node.op == "Constant":
            values = [v for v in node.attributes.values() if isinstance(v, np.ndarray)]
            constants.update(zip(node.outputs, values, strict=False))
        record = TABLE.get(node.op)
        if record is None:
            continue
        if record.same and node.inputs[0] in same:
            same.update(node.outputs)
        if record.truth and not same.isdisjoint(node.inputs):
            values = [constants[n] for n in node.inputs if n in constants and constants[n].size == 1]
            found.update(float(v.reshape(-1)[0]) for v in values)
    return sorted(found)


def origin(file: OnnxFile) -> dict[str, Any]:
    """The file, for the provenance."""
    return {
        "source": file.file,
        "sha256": file.sha256,
        "format": "onnx",
        "producer": file.producer,
        "opset": file.opset,
    }
