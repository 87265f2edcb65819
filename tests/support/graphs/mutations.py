"""Damaged and changed model files, one for each seed: bytes, protobuf fields, graphs that still make sense, archives.

Its rule: half of the damage keeps the file well-formed, because a parser stops the rest; some of it is a meaningful
other network, which must then be read as what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper

from tests.support.graphs.archive_mutations import FLOATS, NUMBERS, model_file, weights_file
from tests.support.graphs.onnx_files import node
from tests.support.graphs.random_graphs import RandomGraph

VECTORS = Path(__file__).parents[2] / "vectors" / "onnx"
EXAMPLES = Path(__file__).parents[3] / "edge_lstm" / "examples"
WORDS = ("forward", "reverse", "bidirectional", "Relu", "SAME_UPPER", "reflect", "edge", "", "\x00", "x" * 5000)
UNARY = ("Abs", "Neg", "Tanh", "Relu", "Identity", "Sigmoid", "Exp", "Softplus", "Round", "Sign", "Softmax", "Sin")
BINARY = ("Add", "Sub", "Mul", "Div", "Max", "Min", "MatMul", "Concat", "Less")
OTHERS = ("Transpose", "Reshape", "Squeeze", "Flatten", "Gather", "Slice", "LSTM", "GRU", "RNN", "Conv", "If", "Loop")


class Mutation:
    """One file: `write` puts it into a folder. `story` says what was done."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.kind = str(
            self.rng.choice(["onnx", "onnx", "onnx", "onnx", "onnx bytes", "model", "model bytes", "weights"])
        )
        self.story: list[str] = [self.kind]

    def write(self, folder: Path) -> Path:
        """The path of the new file."""
        path = folder / ("m.onnx" if self.kind.startswith("onnx") else "m.npz")
        path.write_bytes(self.content(folder))
        return path

    def content(self, folder: Path) -> bytes:
        source = self._source(folder)
        if self.kind == "onnx":
            model = onnx.load_model_from_string(source)
            for _ in range(1 if self.chance(0.6) else int(self.rng.integers(2, 4))):
                self.pick(GRAPH)(self, model)
            return bytes(model.SerializeToString())
        if self.kind == "model":
            return model_file(self, source)
        if self.kind == "weights":
            return weights_file(self)
        return self.damaged(source)

    # --- what is changed ------------------------------------------------------------------------------------------

    def _source(self, folder: Path) -> bytes:
        if self.kind.startswith("onnx") and self.chance(0.4):
            graph = RandomGraph(folder, int(self.rng.integers(1 << 20)))
            data = graph.path.read_bytes()
            graph.path.unlink()
            return data
        if self.kind.startswith("onnx"):
            return self.pick(sorted(p for p in VECTORS.glob("*.onnx") if "flat" not in p.name)).read_bytes()
        if self.kind == "weights":
            return b""
        return self.pick(sorted(EXAMPLES.glob("*.npz"))).read_bytes()

    def pick(self, choices: Sequence[Any]) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def tell(self, text: str) -> None:
        self.story.append(text[:120])

    def number(self, old: int = 0) -> int:
        if self.chance(0.5):
            return int(old) + int(self.rng.integers(-2, 3)) if abs(int(old)) < 1 << 40 else 0
        return int(self.pick(NUMBERS))

    # --- bytes ----------------------------------------------------------------------------------------------------

    def damaged(self, data: bytes) -> bytes:
        damaged = bytearray(data)
        for _ in range(int(self.rng.integers(1, 8))):
            if not damaged:
                break
            place, how = int(self.rng.integers(len(damaged))), int(self.rng.integers(5))
            many = int(self.rng.integers(1, 40))
            if how == 0:
                damaged[place] ^= 1 << int(self.rng.integers(8))
            elif how == 1:
                del damaged[place : place + many]
            elif how == 2:
                damaged[place:place] = self.rng.bytes(many)
            elif how == 3:
                damaged[place : place + many] = damaged[:many]
            else:
                del damaged[place:]
            self.tell(f"bytes {how} at {place}")
        return bytes(damaged)


# --- graphs -----------------------------------------------------------------------------------------------------------

Change = Callable[[Mutation, Any], None]


def _node(m: Mutation, model: Any) -> Any:
    """Any node, also of a subgraph; None where there is none."""
    graph = model.graph
    chosen = m.pick(graph.node) if len(graph.node) else None
    while chosen is not None:
        inner = [a.g for a in chosen.attribute if a.type == AttributeProto.GRAPH and len(a.g.node)]
        if not inner or m.chance(0.4):
            break
        chosen = m.pick(m.pick(inner).node)
    return chosen


def attribute(m: Mutation, model: Any) -> None:
    """Another value, type or name of an attribute; one too many, or one less."""
    n = _node(m, model)
    if n is None or not len(n.attribute) or m.chance(0.15):
        if n is not None:
            n.attribute.append(helper.make_attribute(m.pick(["axis", "perm", "layout", "clip", "foo"]), m.number()))
        return
    a = m.pick(n.attribute)
    m.tell(f"attribute {n.op_type}.{a.name}")
    if m.chance(0.1):
        a.type = int(m.rng.integers(0, 15))
    elif m.chance(0.1):
        n.attribute.remove(a)
    elif a.type == AttributeProto.INT:
        a.i = m.number(a.i)
    elif a.type == AttributeProto.FLOAT:
        a.f = float(m.pick(FLOATS))
    elif a.type == AttributeProto.STRING:
        a.s = m.pick(WORDS).encode()
    elif a.type == AttributeProto.INTS and len(a.ints):
        k = int(m.rng.integers(len(a.ints)))
        if m.chance(0.6):
            a.ints[k] = m.number(a.ints[k])
        else:
            a.ints.extend(list(a.ints)[:1] if m.chance(0.5) else [m.number()] * 3)
    elif a.type == AttributeProto.STRINGS and len(a.strings):
        a.strings[int(m.rng.integers(len(a.strings)))] = m.pick([*WORDS, "Sigmoid", "Tanh", "Softsign"]).encode()
    elif a.type == AttributeProto.TENSOR:
        _spoil(m, a.t)


def constant(m: Mutation, model: Any) -> None:
    """Another shape, type, size or content of an initializer; two exchanged; one missing or doubled."""
    tensors = model.graph.initializer
    if not len(tensors):
        return
    t, other = m.pick(tensors), m.pick(tensors)
    m.tell(f"initializer {t.name}")
    if m.chance(0.15):
        t.name, other.name = other.name, t.name
    elif m.chance(0.1):
        tensors.remove(t)
    elif m.chance(0.05):
        tensors.append(t)
    else:
        _spoil(m, t)


def _spoil(m: Mutation, t: Any) -> None:
    how = int(m.rng.integers(8))
    if how == 0 and len(t.dims):
        k = int(m.rng.integers(len(t.dims)))
        t.dims[k] = m.number(t.dims[k])
    elif how == 1:
        t.data_type = int(m.rng.integers(0, 28))
    elif how == 2:
        t.raw_data = t.raw_data[: len(t.raw_data) // 2]
    elif how == 3:
        t.raw_data = t.raw_data + b"\x00" * int(m.rng.integers(1, 9))
    elif how == 4 and len(t.dims) > 1:
        dims = list(t.dims)
        del t.dims[:]
        t.dims.extend(dims[::-1])
    elif how == 5:
        t.data_location = TensorProto.EXTERNAL
        place = m.pick(["../../etc/passwd", "/etc/passwd", "missing", "m.onnx", "."])
        t.external_data.add(key="location", value=place)
        t.external_data.add(key="length", value=str(m.number()))
    elif len(t.raw_data) >= 4 and t.data_type == TensorProto.FLOAT:
        values = np.frombuffer(t.raw_data, np.float32).copy()
        values[int(m.rng.integers(values.size))] = m.pick(FLOATS)
        t.raw_data = values.tobytes() if m.chance(0.5) else (values * np.float32(m.pick([-1, 0, 3, 100]))).tobytes()
    elif len(t.raw_data) >= 8 and t.data_type == TensorProto.INT64:
        whole = np.frombuffer(t.raw_data, np.int64).copy()
        whole[int(m.rng.integers(whole.size))] = m.number(int(whole[0]))
        t.raw_data = whole.tobytes()


def value(m: Mutation, model: Any) -> None:
    """Another type or shape of an input or an output; one less."""
    group = model.graph.input if m.chance(0.7) else model.graph.output
    if not len(group):
        return
    v = m.pick(group)
    kind = v.type.tensor_type
    m.tell(f"value {v.name}")
    if m.chance(0.1):
        kind.elem_type = int(m.rng.integers(0, 20))
    elif m.chance(0.1):
        group.remove(v)
    elif m.chance(0.1):
        kind.ClearField("shape")
    elif len(kind.shape.dim):
        d = m.pick(kind.shape.dim)
        if m.chance(0.4):
            d.dim_param = m.pick(["T", "B", "batch", "", "\x07", "T" * 999])
        else:
            d.dim_value = m.number(d.dim_value)
        if m.chance(0.1):
            kind.shape.dim.add(dim_value=m.number(1))


def wiring(m: Mutation, model: Any) -> None:
    """Inputs exchanged, left out, or read from elsewhere (also a cycle); nodes gone, doubled, reordered."""
    graph, n = model.graph, _node(m, model)
    if n is None:
        return
    names = [*(o for k in graph.node for o in k.output), *(t.name for t in graph.initializer), "nowhere", ""]
    how = int(m.rng.integers(8))
    m.tell(f"wiring {how} of {n.op_type}")
    if how <= 1 and len(n.input) > 1:
        a, b = m.rng.integers(len(n.input), size=2)
        n.input[a], n.input[b] = n.input[b], n.input[a]
    elif how <= 3 and len(n.input):
        n.input[int(m.rng.integers(len(n.input)))] = m.pick(names)
    elif how == 4 and len(n.input):
        del n.input[-1]
    elif how == 5 and len(n.output):
        n.output[0] = m.pick(names)
    elif how == 6 and n in graph.node:
        graph.node.remove(n)
    else:
        graph.node.insert(int(m.rng.integers(len(graph.node) + 1)), n)


def operator(m: Mutation, model: Any) -> None:
    """Another operator or domain."""
    n = _node(m, model)
    if n is None:
        return
    m.tell(f"operator {n.op_type}")
    if m.chance(0.15):
        n.domain = m.pick(["com.microsoft", "ai.onnx.ml", "ai.onnx", "x"])
    else:
        n.op_type = m.pick([*UNARY, *BINARY, *OTHERS])
        m.tell(f"-> {n.op_type}")


def insert(m: Mutation, model: Any) -> None:
    """A node more between two others: a network that means something else, and mostly a valid one."""
    graph = model.graph
    readers = [(n, k) for n in graph.node for k, name in enumerate(n.input) if name]
    if not readers:
        return
    n, k = m.pick(readers)
    source, name = n.input[k], f"extra_{int(m.rng.integers(1 << 30))}"
    how = int(m.rng.integers(6))
    if how <= 1:
        new = node(m.pick(UNARY), [source], [name])
    elif how == 2:
        new = node("Transpose", [source], [name], perm=[int(p) for p in m.rng.permutation(int(m.rng.integers(2, 5)))])
    elif how == 3:
        new = node(m.pick(["Add", "Sub", "Mul", "Max", "MatMul"]), [source, source], [name])
    elif how == 4:
        new = node("Concat", [source, source], [name], axis=int(m.rng.integers(-1, 3)))
    else:
        new = node(m.pick(["Flatten", "Squeeze", "Shape", "CumSum", "ReduceMean", "ReduceMax"]), [source], [name])
    n.input[k] = name
    at = next(i for i, other in enumerate(graph.node) if other is n or other.output == n.output)
    graph.node.insert(at, new)
    m.tell(f"insert {new.op_type} before {n.op_type}")


def nest(m: Mutation, model: Any) -> None:
    """A tower of If within If, or of Loop within Loop."""
    graph = model.graph
    source = m.pick([o for n in graph.node for o in n.output] or ["x"])
    depth, op = int(m.pick([1, 2, 3, 8, 10, 16, 17, 30])), m.pick(["If", "Loop"])
    inner = helper.make_graph(
        [node("Identity", [source], ["out_0"])], "g", [], [helper.make_tensor_value_info("out_0", 1, None)]
    )
    for k in range(1, depth + 1):
        branches = {"then_branch": inner, "else_branch": inner} if op == "If" else {"body": inner}
        body = node(op, ["deep"] if op == "If" else ["many", "deep"], [f"out_{k}"], **branches)
        if op == "If" and depth > 10:
            del body.attribute[1]  # otherwise it doubles with each floor
        inner = helper.make_graph([body], "g", [], [helper.make_tensor_value_info(f"out_{k}", 1, None)])
    graph.initializer.append(helper.make_tensor("deep", TensorProto.BOOL, [], [True]))
    graph.initializer.append(helper.make_tensor("many", TensorProto.INT64, [], [m.number(3)]))
    graph.node.append(inner.node[0])
    if m.chance(0.5) and len(graph.output):
        graph.node.append(node("Identity", [f"out_{depth}"], ["tower"]))
        graph.output[0].name = "tower"
    m.tell(f"{depth} x {op}")


def versions(m: Mutation, model: Any) -> None:
    """Another operator set, twice the same one, functions, sparse weights, notes without end."""
    how = int(m.rng.integers(6))
    m.tell(f"versions {how}")
    if how <= 2 and len(model.opset_import):
        model.opset_import[0].version = int(m.pick([*range(5, 27), 0, -1, 1 << 40]))
    elif how == 3:
        model.opset_import.append(helper.make_opsetid(m.pick(["", "ai.onnx", "com.microsoft"]), m.number(17)))
    elif how == 4:
        model.graph.sparse_initializer.add()
    else:
        model.metadata_props.add(key="note", value="x" * 100_000)


GRAPH: tuple[Change, ...] = (
    attribute, attribute, constant, constant, value, value, wiring, wiring, operator, insert, insert, insert, nest,
    versions,
)  # fmt: skip
