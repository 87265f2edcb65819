"""Reads an ONNX file into a plain graph.

Its rule: a model file is untrusted. Sizes are checked before memory is taken, external data stays inside the model's
folder, and whatever is damaged, missing, cyclic or absurd is an ImportModelError in words. It must never run anything.
It is the only file that imports onnx, and it imports it only when a file is read. Format: onnx.ai, "Open Neural Network
Exchange Intermediate Representation" (IR version 3 on).
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx.graph import DTYPES, Array, Graph, Node, OnnxFile, Value
from firmware_bridge.installing import not_importable

MAX_FILE = 1 << 30  # bytes of one file; a robot's recurrent network is a thousandth of this
MAX_TENSOR = 1 << 28  # elements of one constant
MAX_NODES = 200_000
MAX_RANK = 16
MAX_DEPTH = 16  # of subgraphs within subgraphs
OPSETS = (7, 25)  # below 7 broadcasting was an attribute; above, nobody has read the changes yet


def read_onnx(path: str | Path) -> OnnxFile:
    """Reads an ONNX file. Raises ImportModelError where it is missing, damaged, cyclic, too large or of an unknown
    opset.
    """
    path = Path(path)
    data = _read(path)
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise ImportModelError(f"{path}: to be read, needs {not_importable('onnx', error)}") from error

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RecursionError, ValueError) as error:
        raise ImportModelError(f"{path}: not an ONNX model, or a damaged one ({error}); export it again") from None
    if not model.HasField("graph") or not model.graph.node:
        raise ImportModelError(f"{path}: holds no graph; it is not an ONNX model, or it is empty")
    if not model.graph.output:
        raise ImportModelError(f"{path}: its graph has no outputs; export it again")
    opset = _opset(path, model)
    try:
        graph = _Reader(path, opset).graph(model.graph, frozenset(), 0)
    except UnicodeDecodeError as error:
        raise ImportModelError(f"{path}: a name in it is not text ({error}); the file is damaged") from None
    producer = f"{model.producer_name} {model.producer_version}".strip()
    metadata = {p.key: p.value for p in model.metadata_props}
    return OnnxFile(graph, opset, path.name, hashlib.sha256(data).hexdigest(), producer, metadata)


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_FILE:
            raise ImportModelError(f"{path}: {size} bytes; more than {MAX_FILE} are not read")
        return path.read_bytes()
    except OSError as error:
        raise ImportModelError(f"{path}: cannot be read: {error.strerror or error}") from None


def _opset(path: Path, model: Any) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions:
        raise ImportModelError(f"{path}: names no operator set; it is damaged or older than ONNX IR 3")
    opset = int(max(versions))
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise ImportModelError(
            f"{path}: operator set {opset}; known are {OPSETS[0]} to {OPSETS[1]}. Export with opset 17"
        )
    return opset


class _Reader:
    """Turns protobuf messages into the plain classes above."""

    def __init__(self, path: Path, opset: int) -> None:
        self.path, self.opset = path, opset
        self.folder = path.parent.resolve()
        self.external: dict[str, bytes] = {}
        self.nodes = 0
        self.types: dict[str, Mapping[str, int]] = {}

    def fail(self, text: str) -> ImportModelError:
        return ImportModelError(f"{self.path}: {text}")

    def word(self, value: Any) -> str:
        """A name; protobuf hands over bytes where they are no text."""
        if not isinstance(value, str):
            raise self.fail(f"a name in it is not text ({value[:20]!r}); the file is damaged")
        return value

    def graph(self, proto: Any, outer: frozenset[str], depth: int) -> Graph:
        if depth > MAX_DEPTH:
            raise self.fail(f"subgraphs are nested more than {MAX_DEPTH} deep")
        if len(proto.sparse_initializer):
            raise self.fail("it holds sparse initializers, which are not supported; export dense weights")
        if len(proto.quantization_annotation):
            raise self.fail("it holds quantization annotations, which are not supported; export the float model")
        constants: dict[str, Array] = {}
        for tensor in proto.initializer:
            name = self.word(tensor.name)
            if name in constants:
                raise self.fail(f"two initializers share the name {name!r}")
            constants[name] = self.tensor(tensor, f"initializer {name!r}")
        inputs = tuple(self.value(v, depth) for v in proto.input if v.name not in constants)
        for v in proto.input:
            if depth == 0 and v.name not in constants and not v.type.tensor_type.HasField("shape"):
                raise self.fail(f"input {v.name!r} has no shape; export it again, or run onnx.shape_inference on it")
        known = outer | set(constants) | {v.name for v in inputs}
        visible = known | {o for n in proto.node for o in n.output}  # to subgraphs
        nodes = tuple(self.node(n, visible, depth) for n in proto.node)
        outputs = tuple(self.value(v, depth) for v in proto.output)
        ordered = self.order(nodes, known)
        produced = known | {o for n in nodes for o in n.outputs}
        for output in outputs:
            if output.name not in produced:
                raise self.fail(f"output {output.name!r} is produced by no node")
        return Graph(ordered, constants, inputs, outputs)

    def value(self, proto: Any, depth: int) -> Value:
        name, kind = self.word(proto.name), proto.type.WhichOneof("value")
        if kind is None or (kind == "sequence_type" and depth):  # allowed in subgraphs
            return Value(name, "", ())
        if kind != "tensor_type":
            raise self.fail(
                f"{name!r} is a {kind}, not a tensor; only tensors are supported. If it is a list of outputs, stack"
                " them in the exported part (torch.stack), or return each as an output of its own"
            )
        dims: list[int | str] = []
        for d in proto.type.tensor_type.shape.dim:
            if (
                d.HasField("dim_value") and d.dim_value == -1
            ):  # as some converters write it; so does ONNX Runtime read it
                dims.append("")
            elif d.HasField("dim_value"):
                if not 0 <= d.dim_value <= MAX_TENSOR:
                    raise self.fail(f"{name!r} has a dimension of {d.dim_value}")
                dims.append(int(d.dim_value))
            else:
                dims.append(self.word(d.dim_param))
        if len(dims) > MAX_RANK:
            raise self.fail(f"{name!r} has {len(dims)} dimensions")
        number = proto.type.tensor_type.elem_type
        return Value(name, DTYPES.get(number, f"element type {number}"), tuple(dims))

    def node(self, proto: Any, known: frozenset[str], depth: int) -> Node:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self.fail(f"more than {MAX_NODES} nodes")
        op, domain = self.word(proto.op_type), self.word(proto.domain)
        domain = "" if domain == "ai.onnx" else domain
        inputs, outputs = (tuple(self.word(name) for name in names) for names in (proto.input, proto.output))
        name = self.word(proto.name) or (outputs[0] if outputs else "?")
        types = self.attribute_types(op) if not domain else {}
        if not domain:
            self.check_arity(op, name, len(inputs), len(outputs))
        attributes = {}
        for a in proto.attribute:
            key = self.word(a.name)
            what = f"node {name!r} ({op}): attribute {key!r}"
            if key in attributes:
                raise self.fail(f"{what} is given twice")
            if types.get(key, a.type) != a.type:
                raise self.fail(f"{what} has the wrong type ({a.type} for {types[key]}); the file is damaged")
            attributes[key] = self.attribute(a, what, known, depth)
        return Node(op, name, inputs, outputs, attributes, domain)

    def check_arity(self, op: str, name: str, inputs: int, outputs: int) -> None:
        """Refuses a node with more or fewer inputs or outputs than its operator has."""
        import onnx

        if not onnx.defs.has(op):  # refused where it is read, if anything needs it
            return
        try:
            schema = onnx.defs.get_schema(op, self.opset)
        except onnx.defs.SchemaError:
            raise self.fail(
                f"node {name!r} ({op}): this operator does not exist in operator set {self.opset}"
            ) from None
        for count, least, most, what in (
            (inputs, schema.min_input, schema.max_input, "inputs"),
            (outputs, schema.min_output, schema.max_output, "outputs"),
        ):
            if not least <= count <= most:
                known = least if least == most else f"{least} to {most}"
                raise self.fail(
                    f"node {name!r} ({op}): it has {count} {what}, known are {known} (operator set {self.opset})"
                )

    def attribute_types(self, op: str) -> Mapping[str, int]:
        """The types of the attributes of an operator, by the specification; empty where it is unknown."""
        if op not in self.types:
            import onnx

            self.types[op] = {}
            if onnx.defs.has(op):
                try:
                    schema = onnx.defs.get_schema(op, self.opset)
                except onnx.defs.SchemaError:  # not in this operator set
                    return self.types[op]
                self.types[op] = {name: int(a.type.value) for name, a in schema.attributes.items()}  # type: ignore[attr-defined]
        return self.types[op]

    def attribute(self, a: Any, what: str, known: frozenset[str], depth: int) -> Any:
        if a.ref_attr_name:
            raise self.fail(f"{what} refers to a function's attribute {a.ref_attr_name!r}; inline the functions first")
        if a.type in (1, 2):
            return a.f if a.type == 1 else a.i
        if a.type in (6, 7):
            return tuple(a.floats if a.type == 6 else a.ints)
        if a.type == 3:
            return a.s.decode()
        if a.type == 8:
            return tuple(s.decode() for s in a.strings)
        if a.type == 4:
            return self.tensor(a.t, what)
        if a.type == 5:
            return self.graph(a.g, known, depth + 1)
        raise self.fail(f"{what} has type {a.type}, which is not supported")

    def order(self, nodes: tuple[Node, ...], known: frozenset[str]) -> tuple[Node, ...]:
        """The nodes in an order in which they can be run (Kahn's algorithm, keeping the file's order where it can)."""
        maker: dict[str, int] = {}
        for number, node in enumerate(nodes):
            for output in filter(None, node.outputs):
                if output in maker or output in known:
                    raise self.fail(f"{node}: its output {output!r} is produced twice")
                maker[output] = number
        waiting: list[set[int]] = []
        users: dict[int, list[int]] = {}
        for number, node in enumerate(nodes):
            makers = set()
            for name in node.reads:
                if name in maker:
                    makers.add(maker[name])
                elif name not in known:
                    raise self.fail(
                        f"{node}: its input {name!r} is neither an initializer, an input nor a node's output"
                    )
            waiting.append(makers)
            for need in makers:
                users.setdefault(need, []).append(number)
        ready = [n for n in range(len(nodes)) if not waiting[n]]
        done: list[int] = []
        while ready:
            number = heapq.heappop(ready)
            done.append(number)
            for user in users.get(number, ()):
                waiting[user].discard(number)
                if not waiting[user]:
                    heapq.heappush(ready, user)
        if len(done) < len(nodes):
            stuck = next(node for n, node in enumerate(nodes) if waiting[n])
            raise self.fail(f"{stuck}: it depends on its own output; a graph must not have cycles")
        return tuple(nodes[n] for n in done)

    def tensor(self, proto: Any, what: str) -> Array:
        """A constant as an array; its size is known to fit the bytes that are there before the array is made."""
        import onnx

        name = DTYPES.get(proto.data_type)
        if name is None or name == "string":
            kind = (
                onnx.TensorProto.DataType.Name(proto.data_type) if proto.data_type in range(1, 27) else proto.data_type
            )
            raise self.fail(f"{what} has element type {kind}, which is not supported; export the model in float32")
        dims = tuple(int(d) for d in proto.dims)
        count = math.prod(dims)
        if any(d < 0 for d in dims) or len(dims) > MAX_RANK or count > MAX_TENSOR:
            raise self.fail(f"{what} has the absurd shape {list(dims)}")
        dtype = np.dtype(name)
        if proto.data_location == onnx.TensorProto.EXTERNAL:
            data = self.outside(proto, count * dtype.itemsize, what)
            return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(dims)
        if proto.HasField("raw_data"):
            here, needed = len(proto.raw_data), count * dtype.itemsize
        else:
            fields = {"float32": "float_data", "float64": "double_data", "int64": "int64_data"}
            stored = "uint64_data" if name in ("uint32", "uint64") else fields.get(name, "int32_data")
            here, needed = len(getattr(proto, stored)), count
        if here != needed:
            raise self.fail(
                f"{what} of shape {list(dims)} holds {here} of {needed} bytes or values; the file is damaged"
            )
        try:
            return np.array(onnx.numpy_helper.to_array(proto), order="C")
        except (ValueError, TypeError, OverflowError) as error:
            raise self.fail(f"{what} cannot be read ({error}); the file is damaged") from None

    def outside(self, proto: Any, needed: int, what: str) -> bytes:
        """The bytes of a constant that stands in a file beside the model."""
        entries = {self.word(e.key): self.word(e.value) for e in proto.external_data}
        location = entries.get("location", "")
        file = (self.folder / location.replace("\0", "?")).resolve()
        if not location or not file.is_relative_to(self.folder):
            raise self.fail(f"{what}: its external data {location!r} lies outside the model's folder; it is not read")
        if location not in self.external:
            if not file.is_file():
                raise self.fail(f"{what}: its external data {location!r} is missing; it belongs beside the model file")
            self.external[location] = _read(file)
        data = self.external[location]
        try:
            offset = int(entries.get("offset", "0"))
            length = int(entries.get("length", str(needed)))
        except ValueError:
            raise self.fail(
                f"{what}: offset or length of its external data is no number; the file is damaged"
            ) from None
        if length != needed or offset < 0 or offset + length > len(data):
            raise self.fail(
                f"{what}: needs {needed} bytes from offset {offset} of {location!r}, which is given as {length} bytes"
                f" of {len(data)}; the file is damaged or not the one that was exported with the model"
            )
        return data[offset : offset + length]
