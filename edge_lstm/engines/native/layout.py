"""A program laid out for the machine: a table of rows, packed weights, the arena after a reset.

Its rule: what decides the result (which product is added when) is the same for every number of lanes; only where a
weight stands differs. Weights are packed so that one step reads them once, from front to back: per block of `lanes`
units, first the biases, then for each input the weights of all gates of those units. Units beyond the last are zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.model import Channel, Model
from edge_lstm.core.operations import SCHEMES, most
from edge_lstm.core.program import GRAIN, KINDS, MAX_ARENA, RNN_ACTIVATIONS, Floats, Operation, Program, Slot, padded
from edge_lstm.engines.native.kernels import abi
from edge_lstm.engines.native.packing import elements, inverses, pack_integers
from edge_lstm.errors import ProgramError

_ALIGNMENT = 64  # bytes: a cache line, and an AVX-512 vector


def aligned(size: int) -> Floats:
    """Zeros (size,) that start at a cache line."""
    raw = np.zeros(size + _ALIGNMENT // 4, np.float32)
    start = -raw.ctypes.data % _ALIGNMENT // 4
    array: Floats = raw[start : start + size]
    return array


@dataclass(frozen=True)
class Assembled:
    """What the machine executes; shared by all streams of a model. `arena` (arena_size,) is an arena after a reset."""

    table: npt.NDArray[np.int64]  # (step_rows + commit_rows + output_rows, abi.ROW)
    step_rows: int
    commit_rows: int
    output_rows: int
    weights: Floats
    arena: Floats
    ahead: bool  # whether many readings may go through a row before the next row


def _blocks(columns: Floats, gates: int, lanes: int) -> Floats:
    """(gates * units, K) -> (blocks, K, gates, lanes), units beyond the last zero."""
    units = len(columns) // gates
    blocks = -(-units // lanes)
    whole = np.zeros((gates, blocks * lanes, columns.shape[1]), np.float32)
    whole[:, :units] = columns.reshape(gates, units, -1)
    packed: Floats = whole.reshape(gates, blocks, lanes, -1).transpose(1, 3, 0, 2)
    return packed


def _pack_sums(op: Operation, gates: int, lanes: int) -> Floats:
    """[block][b, x..., h...][gate][lane]: `lstm.py`, `rnn.py`, `dense.py`."""
    matrices = [op.weights["b"][:, None], op.weights["W"]] + ([op.weights["R"]] if "R" in op.weights else [])
    return _blocks(np.concatenate(matrices, axis=1), gates, lanes).ravel()


def _gru_bias(op: Operation) -> Floats:
    """r z n of b, n of b_R."""
    units = len(op.weights["b_W"]) // 3
    both = op.weights["b_W"] + op.weights["b_R"]
    return np.concatenate([both[: 2 * units], op.weights["b_W"][2 * units :], op.weights["b_R"][2 * units :]])


def _pack_gru(op: Operation, lanes: int) -> Floats:
    """[block][r z n of b, n of b_R, then r z n per x and per h][lane]: `gru.py`."""
    first = _blocks(_gru_bias(op)[:, None], 4, lanes)  # (blocks, 1, 4, lanes)
    rest = _blocks(np.concatenate([op.weights["W"], op.weights["R"]], axis=1), 3, lanes)  # (blocks, K, 3, lanes)
    blocks = len(first)
    return np.concatenate([first.reshape(blocks, -1), rest.reshape(blocks, -1)], axis=1).ravel()


class _Scaling:
    """Channels' scale and offset as two more operations: network = (physical - offset) / scale, and back."""

    def __init__(self, channels: tuple[Channel, ...]) -> None:
        widths = [c.width for c in channels]
        self.scale = np.repeat(np.array([c.scale for c in channels], np.float32), widths)
        self.offset = np.repeat(np.array([c.offset for c in channels], np.float32), widths)
        self.needed = bool((self.scale != 1).any() or (self.offset != 0).any())


class _Extension:
    """Room at the end of a program's arena, of which there are `copies`."""

    def __init__(self, program: Program, copies: int) -> None:
        self.parts: list[Floats] = [program.initial_arena()[: program.arena_size]]
        self.size, self.copies = program.arena_size, copies

    def slot(self, size: int, values: Floats | None = None) -> Slot:
        if (whole := (self.size + padded(size)) * self.copies) > MAX_ARENA:
            raise ProgramError(f"laid out, the arena would need {whole} values; {MAX_ARENA} is the most")
        part = np.zeros(padded(size), np.float32)
        if values is not None:
            part[:size] = values
        self.parts.append(part)
        self.size += part.size
        return Slot(self.size - part.size, size)


class _Assembler:
    def __init__(self, lanes: int, arena: _Extension) -> None:
        self.lanes, self.arena = lanes, arena
        self.rows: list[list[int]] = []
        self.packed: list[Floats] = []
        self.packed_size = 0
        self.states: set[Slot] = set()  # values that states take
        self.sums = 0  # where recurrent layers may keep the inputs' share of their sums, one layer at a time
        self._places: dict[tuple[object, ...], int] = {}
        self._integers: dict[tuple[str, int], Slot] = {}

    def row(self, kind: int, **fields: int) -> None:
        row = [0] * abi.ROW
        row[abi.KIND] = kind
        for name, value in fields.items():
            row[getattr(abi, name)] = int(value)
        self.rows.append(row)

    def pack(self, values: npt.NDArray[Any]) -> int:
        """Append to the weights; the offset. Each operation's weights begin at a cache line."""
        offset = self.packed_size
        whole = np.zeros(padded(values.size), np.float32)
        whole[: values.size] = values.view(np.float32)
        self.packed.append(whole)
        self.packed_size += whole.size
        return offset

    def pack_of(self, op: Operation, make: Callable[[], npt.NDArray[Any]], part: str = "") -> int:
        """The place of an operation's packed weights, made once for all that share them: the readings of a window."""
        key = (op.kind, op.attributes.get("scheme"), part, *sorted((name, id(w)) for name, w in op.weights.items()))
        if key not in self._places:
            self._places[key] = self.pack(make())
        return self._places[key]

    def kept(self, program: Program, arena: _Extension, value: Slot) -> Slot:
        """A slot with this value that no commit changes: where it lies in a state, a copy of it."""
        if not any(
            value.offset < s.slot.offset + s.slot.size and s.slot.offset < value.offset + value.size
            for s in program.states
        ):
            return value
        copied = arena.slot(value.size)
        w, identity = self.pack(np.zeros(2, np.float32)), abi.MAP_CODES["identity"]
        self.row(abi.MAP, W=w, A=value.offset, Y=copied.offset, N=value.size, F=identity)
        return copied

    def operation(self, op: Operation) -> None:
        _ASSEMBLE[op.kind](self, op, *(s.offset for s in (*op.inputs, *op.outputs)))

    def onnx(self, op: Operation, *places: int) -> None:
        raise ProgramError(
            f"operation {op.name!r} is an ONNX graph: ONNX Runtime runs it, the machine has no such step"
        )

    def keeps(self, op: Operation) -> bool:
        """Whether all that an operation makes are next states, so that its kernel may check them."""
        return self.states.issuperset(op.outputs)

    def _sizes(self, op: Operation) -> dict[str, int]:
        return {"N": op.inputs[0].size, "M": op.inputs[1].size, "SUMS": self.sums, "KEPT": self.keeps(op)}

    def lstm(self, op: Operation, x: int, h: int, c: int, h_next: int, c_next: int) -> None:
        w = self.pack_of(op, lambda: _pack_sums(op, 4, self.lanes))
        self.row(abi.LSTM, W=w, A=x, B=h, C=c, Y=h_next, Z=c_next, **self._sizes(op))

    def gru(self, op: Operation, x: int, h: int, h_next: int) -> None:
        w = self.pack_of(op, lambda: _pack_gru(op, self.lanes))
        self.row(abi.GRU, W=w, A=x, B=h, Y=h_next, **self._sizes(op))

    def rnn(self, op: Operation, x: int, h: int, h_next: int) -> None:
        w = self.pack_of(op, lambda: _pack_sums(op, 1, self.lanes))
        function = RNN_ACTIVATIONS.index(str(op.attributes["activation"]))
        self.row(abi.RNN, W=w, A=x, B=h, Y=h_next, F=function, **self._sizes(op))

    def dense(self, op: Operation, x: int, y: int) -> None:
        w = self.pack_of(op, lambda: _pack_sums(op, 1, self.lanes))
        outputs, inputs = op.weights["W"].shape
        self.row(abi.DENSE, W=w, A=x, Y=y, N=inputs, M=outputs, F=int(op.attributes["rows"]))

    def where(self, op: Operation, condition: int, a: int, b: int, y: int) -> None:
        self.row(abi.WHERE, A=condition, B=a, C=b, Y=y, N=op.outputs[0].size)

    def lookup(self, op: Operation, index: int, y: int) -> None:
        rows, width = op.weights["table"].shape
        w = self.pack_of(op, lambda: op.weights["table"].ravel())
        self.row(abi.LOOKUP, W=w, A=index, Y=y, N=op.inputs[0].size, M=width, F=rows)

    def map(self, op: Operation, x: int, y: int) -> None:
        w = self.pack(np.array([op.attributes["alpha"], op.attributes["beta"]], np.float32))
        function = abi.MAP_CODES[str(op.attributes["function"])]
        self.row(abi.MAP, W=w, A=x, Y=y, N=op.outputs[0].size, F=function)

    def binary(self, op: Operation, a: int, b: int, y: int) -> None:
        n = op.outputs[0].size
        single = sum(bit for bit, s in zip((1, 2), op.inputs, strict=True) if s.size == 1 < n)
        self.row(abi.BINARY, A=a, B=b, Y=y, N=n, M=single, F=abi.BINARY_CODES[str(op.attributes["function"])])

    def softmax(self, op: Operation, x: int, y: int) -> None:
        rows = int(op.attributes["rows"])
        self.row(abi.SOFTMAX, A=x, Y=y, N=op.inputs[0].size // rows, M=rows, F=int(op.attributes["log"]))

    def reduce(self, op: Operation, x: int, y: int) -> None:
        rows = int(op.attributes["rows"])
        function = abi.REDUCE_CODES[str(op.attributes["function"])]
        self.row(abi.REDUCE, A=x, Y=y, N=op.inputs[0].size // rows, M=rows, F=function)

    def take(self, op: Operation, y: int) -> None:
        self.row(abi.TAKE, W=self.pack_of(op, lambda: op.weights["indices"]), Y=y, N=op.outputs[0].size)

    def quantized_lstm(self, op: Operation, x: int, h: int, c: int, h_next: int, c_next: int) -> None:
        w, x, h = self._integer_weights(op, op.weights["b"], 4), self._quantize(op, "x", x), self._quantize(op, "h", h)
        self._integer_row(abi.QUANTIZED_LSTM, op, W=w, A=x, B=h, C=c, Y=h_next, Z=c_next)

    def quantized_gru(self, op: Operation, x: int, h: int, h_next: int) -> None:
        w, x_, h_ = self._integer_weights(op, _gru_bias(op), 3), self._quantize(op, "x", x), self._quantize(op, "h", h)
        self._integer_row(abi.QUANTIZED_GRU, op, W=w, A=x_, B=h_, C=h, Y=h_next)

    def quantized_rnn(self, op: Operation, x: int, h: int, h_next: int) -> None:
        w, x, h = self._integer_weights(op, op.weights["b"], 1), self._quantize(op, "x", x), self._quantize(op, "h", h)
        function = RNN_ACTIVATIONS.index(str(op.attributes["activation"]))
        self._integer_row(abi.QUANTIZED_RNN, op, W=w, A=x, B=h, Y=h_next, Z=function)

    def quantized_dense(self, op: Operation, x: int, y: int) -> None:
        w, rows = self._integer_weights(op, op.weights["b"], 1), int(op.attributes["rows"])
        outputs, inputs = op.weights["W"].shape
        x, stride = self._quantize(op, "x", x, rows), self._stride(op, inputs)
        sizes = {"N": inputs, "M": outputs, "F": SCHEMES.index(_scheme(op))}
        self.row(abi.QUANTIZED_DENSE, W=w, A=x, C=stride, Y=y, Z=rows, **sizes)

    def _integer_row(self, kind: int, op: Operation, **fields: int) -> None:
        sizes = {"N": op.inputs[0].size, "M": op.inputs[1].size, "F": SCHEMES.index(_scheme(op))}
        self.row(kind, **fields, **sizes)

    def _integer_weights(self, op: Operation, biases: Floats, gates: int) -> int:
        if self.lanes == 1:
            return 0
        matrices = [(op.weights[key], op.weights[f"{key}_scale"]) for key in "WR" if key in op.weights]
        return self.pack_of(op, lambda: pack_integers(biases, matrices, _scheme(op), gates, self.lanes))

    def _stride(self, op: Operation, inputs: int) -> int:
        """Arena elements from one row's values to the next one's."""
        return inputs if _scheme(op) == "int8-weights" else elements(_scheme(op), inputs)

    def _quantize(self, op: Operation, role: str, values: int, rows: int = 1) -> int:
        """A row that makes integers of an operation's x or h; where they are. With int8-weights, and in C, values stay
        as they are. Rows run one after the other, so operations share the place."""
        scheme, matrix = _scheme(op), {"x": "W", "h": "R"}[role]
        if scheme == "int8-weights" or self.lanes == 1:
            return values
        inputs = op.weights[matrix].shape[1]
        stride = self._stride(op, inputs)
        size = (rows - 1) * stride + padded(stride)  # whole vectors are stored, also behind the last row
        if (role, size) not in self._integers:
            self._integers[role, size] = self.arena.slot(size)
        place = self._integers[role, size].offset
        w = self.pack_of(op, lambda: inverses(op.weights[f"{role}_scale"], inputs), role)
        sizes = {"N": inputs, "M": rows, "F": SCHEMES.index(scheme)}
        self.row(abi.QUANTIZE, W=w, A=values, B=most(scheme, inputs), Y=place, C=stride, **sizes)
        return place


def _scheme(op: Operation) -> str:
    return str(op.attributes["scheme"])


_ASSEMBLE: dict[str, Callable[..., None]] = {kind: getattr(_Assembler, kind) for kind in KINDS}


def _scale_row(out: _Assembler, arena: _Extension, function: str, x: Slot, operand: Floats, y: Slot) -> None:
    constant = arena.slot(operand.size, operand)
    code = abi.BINARY_CODES[function]
    out.row(abi.BINARY, A=x.offset, B=constant.offset, Y=y.offset, N=x.size, F=code)


def _assemble_inputs(model: Model, out: _Assembler, arena: _Extension) -> None:
    scaling, start = _Scaling(model.inputs), 0
    for named in model.program.inputs:
        network, part = named.slot, slice(start, start + named.slot.size)
        received = arena.slot(network.size) if scaling.needed else network
        out.row(abi.INPUT, A=start, Y=received.offset, N=network.size)
        if scaling.needed:
            centred = arena.slot(network.size)
            _scale_row(out, arena, "sub", received, scaling.offset[part], centred)
            _scale_row(out, arena, "div", centred, scaling.scale[part], network)
        start += network.size


def _states_of(op: Operation) -> tuple[Slot, ...]:
    """The slots from which a recurrent operation of float32 takes h (and c) of the reading before; () for others."""
    return op.inputs[1:] if op.kind in ("lstm", "gru", "rnn") else ()


def _may_go_ahead(program: Program) -> bool:
    """Whether each state is read only by the recurrent operation that makes its next value."""
    pairs = {pair for op in program.operations for pair in zip(_states_of(op), op.outputs, strict=False)}
    if pairs != {(s.slot, s.next) for s in program.states}:
        return False
    others = [s for op in program.operations for s in (op.inputs[:1] if _states_of(op) else op.inputs)]
    read = [s.elements for s in (*others, *(named.slot for named in program.outputs))]
    read += [op.weights["indices"] for op in program.operations if op.kind == "take"]
    states = [s.slot.elements for s in program.states] or [np.empty(0, np.int64)]
    return not np.isin(np.concatenate(read), np.concatenate(states)).any()


def _joined(moves: list[tuple[Slot, Slot]]) -> list[tuple[Slot, Slot]]:
    """Moves of neighbours to neighbours as one (h and c of an LSTM). Only where no padding lies between, which need
    not be finite."""
    joined: list[tuple[Slot, Slot]] = []
    for value, state in moves:
        if joined:
            (v, s), size = joined[-1], joined[-1][0].size
            if size % GRAIN == 0 and value.offset == v.offset + size and state.offset == s.offset + size:
                joined[-1] = (Slot(v.offset, size + value.size), Slot(s.offset, size + value.size))
                continue
        joined.append((value, state))
    return joined


def _assemble_outputs(model: Model, out: _Assembler, arena: _Extension) -> list[Slot]:
    """The slots that hold the outputs when the step is over."""
    scaling, start, results = _Scaling(model.outputs), 0, []
    for named in model.program.outputs:
        value, part = out.kept(model.program, arena, named.slot), slice(start, start + named.slot.size)
        if scaling.needed:
            scaled, moved = arena.slot(value.size), arena.slot(value.size)
            _scale_row(out, arena, "mul", value, scaling.scale[part], scaled)
            _scale_row(out, arena, "add", scaled, scaling.offset[part], moved)
            value = moved
        results.append(value)
        start += value.size
    return results


def assemble(model: Model, lanes: int) -> Assembled:
    """Lay a model out for a machine of so many lanes; for C with one lane, where quantized layers keep weights and
    integers elsewhere. Raises ProgramError where the arenas would be larger than MAX_ARENA."""
    program = model.program
    arena = _Extension(program, model.window or 1)
    out = _Assembler(lanes, arena)
    _assemble_inputs(model, out, arena)
    layers = [op for op in program.operations if _states_of(op)]
    if layers and lanes > 1:
        sizes = [len(op.weights["W"]) // op.inputs[1].size * padded(op.inputs[1].size) for op in layers]
        out.sums = arena.slot(max(sizes)).offset
    out.states = {state.next for state in program.states}
    for op in program.operations:
        out.operation(op)
    next_values = [out.kept(program, arena, state.next) for state in program.states]
    results = _assemble_outputs(model, out, arena)
    moves = _joined([(value, state.slot) for value, state in zip(next_values, program.states, strict=True)])
    own = {slot for op in layers if out.keeps(op) for slot in op.outputs} if lanes > 1 else set()
    for value in (v for v in next_values if v not in own):  # recurrent kernels check what they make
        out.row(abi.CHECK, A=value.offset, N=value.size)
    step_rows = len(out.rows)
    for value, slot in moves:
        out.row(abi.COMMIT, A=value.offset, Y=slot.offset, N=value.size)
    place = 0
    for result in results:
        out.row(abi.OUTPUT, A=result.offset, Y=place, N=result.size)
        place += result.size
    weights = aligned(max(out.packed_size, 1))
    if out.packed:
        weights[:] = np.concatenate(out.packed)
    # An odd number of cache lines from one arena to the next: an even one could put them all into few sets of it.
    slack = GRAIN if lanes == 1 or arena.size // GRAIN % 2 == 0 else 2 * GRAIN
    whole = aligned(arena.size + slack)
    whole[: arena.size] = np.concatenate(arena.parts)
    table = np.array(out.rows, np.int64)
    return Assembled(table, step_rows, len(moves), len(results), weights, whole, _may_go_ahead(program))
