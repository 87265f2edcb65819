"""An ONNX file as bytes that need nothing beside them, with values shown that the file keeps to itself.

Its rule: what the graph computes is never changed. Data in other files is taken in, values inside become outputs, and
the state of a forward recurrent layer becomes an input and an output, so that it can be carried from call to call.
The file has been read and checked by `read.py` before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.engines.onnxruntime.gru_reset import with_linear_before_reset
from edge_lstm.errors import ImportModelError

# Recurrent operators: how many states; where W, R and the initial states are among the inputs.
STATES = {
    ("", "LSTM"): (5, 6),
    ("", "GRU"): (5,),
    ("", "RNN"): (5,),
    ("com.microsoft", "DynamicQuantizeLSTM"): (5, 6),
}
MAX_BYTES = 1 << 30  # as a model file's


@dataclass(frozen=True)
class Layer:
    """A recurrent node at the top of a graph. `initial`: names of its first states, "" where they are left out."""

    name: str
    index: int
    x: str
    forward: bool
    initial: tuple[str, ...]
    made_of: tuple[frozenset[str], ...]  # for each of them the inputs of the graph that it is computed from
    # For each of them the inputs of the graph where it begins, and the outputs that its next value reaches, both
    # without another recurrent node in between.
    flow: tuple[tuple[frozenset[str], frozenset[str]], ...]


def taken_in(path: str | Path, linear_before_reset: int | None = None) -> Any:
    """The file as an onnx.ModelProto without external data, its GRUs changed where that is asked.

    ImportModelError where it is too large."""
    import onnx
    import onnx.inliner
    from onnx.external_data_helper import load_external_data_for_model

    if linear_before_reset is None:
        proto = onnx.load(str(path), load_external_data=False)
    else:
        proto = onnx.load_from_string(with_linear_before_reset(path, linear_before_reset))
    try:
        if proto.functions:
            proto = onnx.inliner.inline_local_functions(proto)
        load_external_data_for_model(proto, str(Path(path).parent))
    except Exception as error:  # onnx raises errors of many kinds here
        raise ImportModelError(f"it cannot be made one piece: {error}") from None
    if (size := proto.ByteSize()) > MAX_BYTES:
        raise ImportModelError(f"it needs {size:,} bytes; {MAX_BYTES:,} are the most")
    return proto


def guarded(proto: Any) -> Any:
    """The same graph, in which a recurrent node that would get an empty sequence is an error to ONNX Runtime: by itself
    it ends the process there (so few readings that a difference x[1:] - x[:-1] has none).

    In front of each stands a Reshape to its own shape, [0, 0, -1] ("0 as it is, -1 what is left over"): ONNX Runtime
    copies nothing for it, and refuses it where what is left over cannot be told, because there is nothing."""
    import onnx

    copy = type(proto)()
    copy.CopyFrom(proto)
    for graph in _graphs(copy.graph):
        nodes = list(graph.node)
        used = {n for node in nodes for n in (*node.input, *node.output)} | {t.name for t in graph.initializer}
        del graph.node[:]
        for node in nodes:
            domain = "" if node.domain == "ai.onnx" else node.domain
            if (domain, node.op_type) in STATES:
                shape, x = (_unused(f"{node.input[0]}.{what}", used) for what in ("shape", "sequence"))
                graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 0, -1]), shape))
                graph.node.append(onnx.helper.make_node("Reshape", [node.input[0], shape], [x], name=x))
                node.input[0] = x
            graph.node.append(node)
    return copy


def _graphs(graph: Any) -> Iterable[Any]:
    """A graph and those inside it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(inner)


def _unused(name: str, used: set[str]) -> str:
    while name in used:
        name += "'"
    used.add(name)
    return name


def layers(proto: Any) -> list[Layer]:
    """The recurrent nodes at the top of the graph, in its order."""
    graph = proto.graph
    maker = {o: n for n in graph.node for o in n.output if o}
    given = {v.name for v in graph.input} - {t.name for t in graph.initializer}
    near = {o: n for o, n in maker.items() if n.op_type not in {op for _, op in STATES}}
    shown = {o.name: _ancestors(o.name, near) - {""} for o in graph.output}
    found = []
    for index, node in enumerate(graph.node):
        domain = "" if node.domain == "ai.onnx" else node.domain
        if (domain, node.op_type) not in STATES:
            continue
        direction = next((a.s for a in node.attribute if a.name == "direction"), b"forward")
        places = STATES[domain, node.op_type]
        initial = tuple(node.input[k] if k < len(node.input) else "" for k in places)
        ways = tuple(frozenset(given & _ancestors(n, maker)) for n in initial)
        name = node.name or (node.output[0] if node.output else node.op_type)
        after = [frozenset(node.output[:2]), frozenset(node.output[2:3])][: len(places)]  # Y shows h as well
        begin = (frozenset(given & _ancestors(n, near)) for n in initial)
        makes = (frozenset(o for o, made in shown.items() if made & names) for names in after)
        flow = tuple(zip(begin, makes, strict=True))
        found.append(Layer(name, index, node.input[0], direction == b"forward", initial, ways, flow))
    return found


def _ancestors(name: str, maker: dict[str, Any]) -> set[str]:
    """The names whose values a value is computed from; not those of which only the shape matters."""
    found: set[str] = set()
    waiting = [name] if name else []
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            if name in maker and maker[name].op_type not in ("Shape", "Size"):
                waiting += [n for n in maker[name].input if n]
    return found


def with_outputs(proto: Any, names: Iterable[str]) -> bytes:
    """The graph with more of its values as outputs."""
    copy = type(proto)()
    copy.CopyFrom(proto)
    there = {v.name for v in copy.graph.output}
    del copy.graph.value_info[:]  # exporters leave fixed lengths there that are only those of their example
    for value in copy.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    for name in dict.fromkeys(names):
        if name and name not in there:
            copy.graph.output.add().name = name
    return bytes(copy.SerializeToString())


def with_states(proto: Any, opened: Iterable[Layer], kinds: dict[int, tuple[int, int]]) -> tuple[bytes, dict[str, str]]:
    """The graph in which the states of these layers are inputs [1, batch, units] and outputs: the bytes, and which
    output follows which input. kinds: a layer's index -> units and element type."""
    import onnx

    copy = type(proto)()
    copy.CopyFrom(proto)
    used = {n for node in copy.graph.node for n in (*node.input, *node.output)}
    states: dict[str, str] = {}
    for layer in opened:
        node = copy.graph.node[layer.index]
        domain = "" if node.domain == "ai.onnx" else node.domain
        places = STATES[domain, node.op_type]
        node.input.extend([""] * (places[-1] + 1 - len(node.input)))
        node.output.extend([""] * (len(places) + 1 - len(node.output)))
        for k, place in enumerate(places):
            before = f"{layer.name}.{'hc'[k]}"
            while before in used:
                before += "'"
            node.input[place] = before
            node.output[k + 1] = node.output[k + 1] or f"{before}.next"
            states[before] = node.output[k + 1]
            used |= {before, node.output[k + 1]}
            units, kind = kinds[layer.index]
            copy.graph.input.append(onnx.helper.make_tensor_value_info(before, kind, [1, "batch", units]))
    return with_outputs(copy, states.values()), states


def weight_count(proto: Any) -> int:
    """Numbers in the initializers, but for whole numbers of 64 bits, which are shapes."""
    import math

    kept = (t for t in proto.graph.initializer if t.data_type != 7)
    return sum(math.prod(t.dims) for t in kept)
