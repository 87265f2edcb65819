"""A program laid out for the interpreter: a table of instructions, packed weights, the arena after a reset.

Its rule: what decides the result (which product is added when) is the same for every number of lanes; only where a
weight stands differs. Weights are packed so that one step reads them once, from front to back: per block of `lanes`
units, first the biases, then for each input the weights of all gates of those units. Units beyond the last are zero.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import scaling
from edge_lstm.core.model import Model
from edge_lstm.core.operation import GRAIN, Floats, Operation, Slot, padded
from edge_lstm.core.operations import KINDS
from edge_lstm.core.operations.functions import DYNAMIC, INTEGERS, SCHEMES, most
from edge_lstm.core.operations.record import MATRICES, in_float16
from edge_lstm.core.program import MAX_ARENA, Program
from edge_lstm.engines.memory import aligned
from edge_lstm.engines.native.kernels import abi
from edge_lstm.engines.native.packing import elements, inverses, pack_integers
from edge_lstm.errors import ProgramError


@dataclass(frozen=True)
class Layout:
    """What the interpreter executes; shared by all streams of a model. arena (arena_size,): after a reset."""

    table: npt.NDArray[np.int64]  # (step_rows + commit_rows + output_rows, abi.ROW)
    step_rows: int
    commit_rows: int
    output_rows: int
    weights: Floats
    arena: Floats
    sizes: Mapping[int, int]  # of the weights that an instruction reads at W, without padding, by its number
    shared_rows: int  # the first of step_rows, which all windows under way need; the rest only one that ends
    batched: bool  # whether many readings may go through an instruction before the next one does


def _blocks(columns: npt.NDArray[Any], gates: int, lanes: int) -> npt.NDArray[Any]:
    """(gates * units, K) -> (blocks, K * gates * lanes), units beyond the last zero."""
    units = len(columns) // gates
    blocks = -(-units // lanes)
    whole = np.zeros((gates, blocks * lanes, columns.shape[1]), columns.dtype)
    whole[:, :units] = columns.reshape(gates, units, -1)
    packed = whole.reshape(gates, blocks, lanes, -1).transpose(1, 3, 0, 2)
    return np.ascontiguousarray(packed).reshape(blocks, -1)


def pack_matrices(op: Operation, gates: int, lanes: int) -> npt.NDArray[Any]:
    """(blocks, K * gates * lanes) as they are, float32 or float16: [block][x..., h...][gate][lane]."""
    matrices = np.concatenate([op.weights[key] for key in MATRICES if key in op.weights], axis=1)
    return _blocks(matrices, gates, lanes)


def _pack(biases: Floats, vectors: int, op: Operation, gates: int, lanes: int) -> Floats:
    """[block][biases: so many vectors][x..., h...][gate][lane], two float16 in the place of one float32; in C these
    stand elsewhere (`firmware/table.py`)."""
    parts = [_blocks(biases[:, None], vectors, lanes)]
    if lanes > 1 or not in_float16(op):
        parts.append(pack_matrices(op, gates, lanes).view(np.float32))
    packed: Floats = np.concatenate(parts, axis=1).ravel()
    return packed


def _pack_sums(op: Operation, gates: int, lanes: int) -> Floats:
    """[block][b, x..., h...][gate][lane]: `lstm.py`, `rnn.py`, `dense.py`."""
    return _pack(op.weights["b"], gates, op, gates, lanes)


def _gru_bias(op: Operation) -> Floats:
    """r z n of b, n of b_R."""
    units = len(op.weights["b_W"]) // 3
    both = op.weights["b_W"] + op.weights["b_R"]
    return np.concatenate([both[: 2 * units], op.weights["b_W"][2 * units :], op.weights["b_R"][2 * units :]])


def _pack_gru(op: Operation, lanes: int) -> Floats:
    """[block][r z n of b, n of b_R, then r z n per x and per h][lane]: `gru.py`."""
    return _pack(_gru_bias(op), 4, op, 3, lanes)


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


class _Instructions:
    """As `core.operations.record.Instructions`: the table under way, and the weights that it refers to."""

    def __init__(self, lanes: int, arena: _Extension, states: set[Slot]) -> None:
        self.lanes, self.arena = lanes, arena
        self.rows: list[list[int]] = []
        self.packed: list[Floats] = []
        self.packed_size = 0
        self.sizes: dict[int, int] = {}  # as Layout.sizes
        self._packed_sizes: dict[int, int] = {}  # the same by place
        self.states = states  # values that states take
        self.scratch = 0  # where recurrent layers may leave sums, one layer at a time
        self._places: dict[tuple[object, ...], int] = {}
        self._integers: dict[tuple[str, int], Slot] = {}

    def put(self, code: str, **fields: int) -> None:
        """One instruction."""
        row = [0] * abi.ROW
        row[abi.KIND] = getattr(abi, code)
        for name, value in fields.items():
            row[getattr(abi, name)] = int(value)
        if "W" in fields and fields["W"] in self._packed_sizes:
            self.sizes[len(self.rows)] = self._packed_sizes[fields["W"]]
        self.rows.append(row)

    def own_values(self, values: npt.NDArray[Any]) -> int:
        """Append to the weights; the offset. Each operation's weights begin at a cache line."""
        offset = self.packed_size
        whole = np.zeros(padded(values.size), np.float32)
        whole[: values.size] = values.view(np.float32)
        self.packed.append(whole)
        self.packed_size += whole.size
        self._packed_sizes[offset] = values.size
        return offset

    def _once(self, op: Operation, make: Callable[[], npt.NDArray[Any]], part: str = "") -> int:
        """The place of an operation's packed weights, made once for all that share them: the readings of a window."""
        key = (op.kind, op.attributes.get("scheme"), part, *sorted((name, id(w)) for name, w in op.weights.items()))
        if key not in self._places:
            self._places[key] = self.own_values(make())
        return self._places[key]

    def sums(self, op: Operation, gates: int) -> int:
        return self._once(op, lambda: _pack_sums(op, gates, self.lanes))

    def gru_sums(self, op: Operation) -> int:
        return self._once(op, lambda: _pack_gru(op, self.lanes))

    def values(self, op: Operation, values: npt.NDArray[Any]) -> int:
        return self._once(op, lambda: values)

    def recurrent(self, op: Operation) -> dict[str, int]:
        sizes = {"N": op.inputs[0].size, "M": op.inputs[1].size}
        return {**sizes, "SUMS": self.scratch, "KEPT": self.makes_states(op), "HALF": in_float16(op)}

    def makes_states(self, op: Operation) -> bool:
        """Whether an operation makes next states and nothing else, so that its kernel may check them."""
        return self.states.issuperset(op.outputs)

    def apart(self, program: Program, value: Slot) -> Slot:
        """A slot with this value that no commit changes: where it lies in a state, a copy of it."""
        if not any(
            value.offset < s.slot.offset + s.slot.size and s.slot.offset < value.offset + value.size
            for s in program.states
        ):
            return value
        copied = self.arena.slot(value.size)
        w, identity = self.own_values(np.zeros(2, np.float32)), abi.MAP_CODES["identity"]
        self.put("MAP", W=w, A=value.offset, Y=copied.offset, N=value.size, F=identity)
        return copied

    def operation(self, number: int, op: Operation) -> None:
        """The instructions of one operation."""
        kind = KINDS[op.kind]
        if kind.lower is None:
            why = "has no kernel in the native engine; the plain engine runs it"
            if kind.reference is None:
                why = "is an ONNX graph, which ONNX Runtime runs, not the interpreter"
            raise ProgramError(f"{op.called(number)} {why}")
        kind.lower(op, self, *(s.offset for s in (*op.inputs, *op.outputs)))

    def integer_sums(self, op: Operation, gates: int) -> int:
        if self.lanes == 1:
            return 0
        biases = _gru_bias(op) if "b_W" in op.weights else op.weights["b"]
        matrices = [(op.weights[key], op.weights[f"{key}_scale"]) for key in "WR" if key in op.weights]
        return self._once(op, lambda: pack_integers(biases, matrices, _in_sums(op), gates, self.lanes))

    def stride(self, op: Operation, role: str) -> int:
        inputs = int(op.weights[_MATRIX[role]].shape[1])
        if _scheme(op) not in INTEGERS:
            return inputs
        return elements(_in_sums(op), inputs) + (self.finer(op) if role == "x" else 0)

    def finer(self, op: Operation) -> int:
        return elements(_in_sums(op), op.weights["W"].shape[1]) if _scheme(op) in DYNAMIC and self.lanes > 1 else 0

    def quantized(self, op: Operation, role: str, values: int, rows: int = 1) -> int:
        """With int8-weights, and in C, values stay as they are. Operations run one after the other, so they share
        the place."""
        scheme = _scheme(op)
        if scheme not in INTEGERS or self.lanes == 1:
            return values
        inputs, stride = op.weights[_MATRIX[role]].shape[1], self.stride(op, role)
        size = (rows - 1) * stride + 1 + padded(stride - 1)  # whole vectors are stored, also behind the last row
        if (role, size) not in self._integers:
            self._integers[role, size] = self.arena.slot(size)
        place = self._integers[role, size].offset
        scale = op.weights.get(f"{role}_scale", np.ones(1, np.float32))
        w = self._once(op, lambda: inverses(scale, inputs), role)
        sizes = {"N": inputs, "M": rows, "F": SCHEMES.index(scheme), "SUMS": self.finer(op) if role == "x" else 0}
        self.put("QUANTIZE", W=w, A=values, B=most(scheme, inputs), Y=place, C=stride, **sizes)
        return place


_MATRIX = {"x": "W", "h": "R"}


def _scheme(op: Operation) -> str:
    return str(op.attributes["scheme"])


def _in_sums(op: Operation) -> str:
    """What is in an operation's sums, by its scheme."""
    return INTEGERS.get(_scheme(op), _scheme(op))


# Channels' scale and offset are two more instructions: network = (physical - offset) / scale, and back.


def _scale(out: _Instructions, function: str, x: Slot, operand: Floats, y: Slot) -> None:
    constant = out.arena.slot(operand.size, operand)
    code = abi.BINARY_CODES[function]
    out.put("BINARY", A=x.offset, B=constant.offset, Y=y.offset, N=x.size, F=code)


def _inputs(model: Model, out: _Instructions) -> None:
    (scale, offset), start = scaling(model.inputs), 0
    needed = bool((scale != 1).any() or (offset != 0).any())
    for named in model.program.inputs:
        network, part = named.slot, slice(start, start + named.slot.size)
        received = out.arena.slot(network.size) if needed else network
        out.put("INPUT", A=start, Y=received.offset, N=network.size)
        if needed:
            centred = out.arena.slot(network.size)
            _scale(out, "sub", received, offset[part], centred)
            _scale(out, "div", centred, scale[part], network)
        start += network.size


def _states_of(op: Operation) -> tuple[Slot, ...]:
    """The slots from which a recurrent operation of float32 takes h (and c) of the reading before; () for others."""
    return op.inputs[1:] if KINDS[op.kind].states else ()


def _may_batch(program: Program) -> bool:
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


def _outputs(model: Model, out: _Instructions) -> list[Slot]:
    """The slots that hold the outputs when the step is over."""
    (scale, offset), start, results = scaling(model.outputs), 0, []
    needed = bool((scale != 1).any() or (offset != 0).any())
    for named in model.program.outputs:
        value, part = out.apart(model.program, named.slot), slice(start, start + named.slot.size)
        if needed:
            scaled, moved = out.arena.slot(value.size), out.arena.slot(value.size)
            _scale(out, "mul", value, scale[part], scaled)
            _scale(out, "add", scaled, offset[part], moved)
            value = moved
        results.append(value)
        start += value.size
    return results


def lay_out(model: Model, lanes: int) -> Layout:
    """Lay a model out for vectors of so many lanes; with one lane for C, where quantized layers have weights and
    integers elsewhere. Raises ProgramError where the arenas would be larger than MAX_ARENA."""
    program = model.program
    arena = _Extension(program, model.timing.under_way)
    out = _Instructions(lanes, arena, {state.next for state in program.states})
    _inputs(model, out)
    layers = [op for op in program.operations if _states_of(op)]
    if layers and lanes > 1:
        sizes = [(1 if op.kind == "rnn" else 4) * padded(op.inputs[1].size) for op in layers]
        out.scratch = out.arena.slot(max(sizes)).offset
    numbered = list(enumerate(program.operations))
    apart = model.timing.mode == "window" and lanes > 1 and not program.quantized
    first = program.of_states if apart else [True] * len(numbered)
    for number, op in itertools.compress(numbered, first):
        out.operation(number, op)
    next_values = [out.apart(program, state.next) for state in program.states]
    results = [] if apart else _outputs(model, out)
    moves = _joined([(value, state.slot) for value, state in zip(next_values, program.states, strict=True)])
    own = {slot for op in layers if out.makes_states(op) for slot in op.outputs} if lanes > 1 else set()
    for value in (v for v in next_values if v not in own):  # recurrent kernels check what they make
        out.put("CHECK", A=value.offset, N=value.size)
    shared_rows = len(out.rows)
    if apart:
        for number, op in itertools.compress(numbered, [not one for one in first]):
            out.operation(number, op)
        results = _outputs(model, out)
    step_rows = len(out.rows)
    for value, slot in moves:
        out.put("COMMIT", A=value.offset, Y=slot.offset, N=value.size)
    place = 0
    for result in results:
        out.put("OUTPUT", A=result.offset, Y=place, N=result.size)
        place += result.size
    weights = aligned(max(out.packed_size, 1))
    if out.packed:
        weights[:] = np.concatenate(out.packed)
    # An odd number of cache lines from one arena to the next: an even one could put them all into few sets of it.
    slack = GRAIN if lanes == 1 or arena.size // GRAIN % 2 == 0 else 2 * GRAIN
    whole = aligned(arena.size + slack)
    whole[: arena.size] = np.concatenate(arena.parts)
    table = np.array(out.rows, np.int64)
    rows = (step_rows, len(moves), len(results))
    return Layout(table, *rows, weights, whole, out.sizes, shared_rows, _may_batch(program))
