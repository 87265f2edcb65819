"""The network as a TensorFlow Lite file, written with the schema that ai-edge-litert brings; no converter is needed.

`cell` is one step of elementary operators with the states passed; `fused` is the sequence LSTM operator over one
reading, which keeps its states itself. With int8 the matrices are int8 and the runtime quantizes what they are
multiplied by as it goes (the converter's dynamic range quantization): one scale per row, or for the fused operator,
whose kernel wants it so, per matrix.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tools.bench.network import INPUTS, OUTPUTS, Floats, Network


class _File:
    """One subgraph, written tensor by tensor and operator by operator."""

    def __init__(self, int8: bool) -> None:
        self.int8 = int8
        self.model = schema.ModelT()
        self.model.version, self.model.description = 3, b"lstm"
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, *shape: int, values: Any = None, variable: bool = False) -> int:
        """A float32, int32 or int8 tensor; its number."""
        tensor = schema.TensorT()
        tensor.name = f"t{len(self.graph.tensors)}".encode()
        tensor.shape, tensor.isVariable, tensor.buffer = list(shape), variable, 0
        kind = "float32" if values is None else values.dtype.name
        tensor.type = getattr(schema.TensorType, kind.upper())
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, values: Any) -> int:
        """A tensor that never changes."""
        return self.tensor(*values.shape, values=values)

    def matrix(self, values: Floats, by_row: bool = True) -> int:
        """A matrix of weights (rows, inputs), quantized where this is an int8 file."""
        if not self.int8:
            return self.constant(values)
        largest = np.abs(values).max(axis=1, keepdims=True) if by_row else np.abs(values).max(keepdims=True)
        scale = largest / 127
        number = self.constant(np.rint(values / scale).astype(np.int8))
        quantization = schema.QuantizationParametersT()
        quantization.scale = scale.ravel().astype(np.float32)
        quantization.zeroPoint = np.zeros(scale.size, np.int64)
        quantization.quantizedDimension = 0
        self.graph.tensors[number].quantization = quantization
        return number

    def operator(self, kind: str, inputs: list[int], outputs: list[int], options: Any = None) -> None:
        """One operator."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.model.operatorCodes) - 1, inputs, outputs
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__[:-1])
        self.graph.operators.append(operator)

    def written(self, inputs: list[int], outputs: list[int]) -> bytes:
        """The file."""
        self.graph.inputs, self.graph.outputs = inputs, outputs
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def cell(network: Network, int8: bool = False) -> bytes:
    """Inputs x, h, c; outputs y, h', c'."""
    file, units = _File(int8), network.units
    x, h, c = (file.tensor(1, n) for n in (INPUTS, units, units))
    joined, sums = file.tensor(1, INPUTS + units), file.tensor(1, 4 * units)
    concatenation, split = schema.ConcatenationOptionsT(), schema.SplitOptionsT()
    concatenation.axis, split.numSplits = 1, 4
    file.operator("CONCATENATION", [x, h], [joined], concatenation)
    matrix = file.matrix(np.concatenate([network.W, network.R], axis=1))
    file.operator(
        "FULLY_CONNECTED", [joined, matrix, file.constant(network.b)], [sums], schema.FullyConnectedOptionsT()
    )
    i, f, g, o = (file.tensor(1, units) for _ in range(4))
    file.operator("SPLIT", [file.constant(np.array(1, np.int32)), sums], [i, f, g, o], split)

    def unary(kind: str, a: int) -> int:
        file.operator(kind, [a], [result := file.tensor(1, units)])
        return result

    def binary(kind: str, a: int, b: int) -> int:
        options = schema.MulOptionsT() if kind == "MUL" else schema.AddOptionsT()
        file.operator(kind, [a, b], [result := file.tensor(1, units)], options)
        return result

    kept = binary("MUL", unary("LOGISTIC", f), c)
    memory = binary("ADD", kept, binary("MUL", unary("LOGISTIC", i), unary("TANH", g)))
    hidden = binary("MUL", unary("LOGISTIC", o), unary("TANH", memory))
    y = file.tensor(1, OUTPUTS)
    head = [hidden, file.matrix(network.V), file.constant(network.v)]
    file.operator("FULLY_CONNECTED", head, [y], schema.FullyConnectedOptionsT())
    return file.written([x, h, c], [y, hidden, memory])


def fused(network: Network, int8: bool = False) -> bytes:
    """Input x (1, 1, I); output y."""
    file, units = _File(int8), network.units

    def gates(array: Floats) -> list[Floats]:
        return np.split(network.rows("ifgo", array), 4)

    x = file.tensor(1, 1, INPUTS)
    matrices = [file.matrix(part, by_row=False) for array in (network.W, network.R) for part in gates(array)]
    inputs = [x, *matrices, -1, -1, -1, *map(file.constant, gates(network.b)), -1, -1]
    inputs += [file.tensor(1, units, variable=True), file.tensor(1, units, variable=True), -1, -1, -1, -1]
    options = schema.UnidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.TANH
    options.cellClip = options.projClip = 0.0
    sequence, y = file.tensor(1, 1, units), file.tensor(1, OUTPUTS)
    file.operator("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [sequence], options)
    head = [sequence, file.matrix(network.V), file.constant(network.v)]
    file.operator("FULLY_CONNECTED", head, [y], schema.FullyConnectedOptionsT())
    return file.written([x], [y])
