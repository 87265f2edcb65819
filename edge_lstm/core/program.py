"""A program: what a trained network does with one reading, as a list of operations over one flat arena of float32.

Its rule: every value has exactly one place in the arena and is written once per step (single assignment). A step
reads the states, never writes them; each state has a `next` value, and all states change together when the step is
over. So the order in which states are read never matters, and a step that fails has changed nothing.

A `Program` is checked when it is made: whatever holds one may execute it without looking at bounds again. That is why
this file, not the kernels, is strict; a program read from a stranger's file goes through the same check. It knows
nothing of lanes, packing or machine code (`engines/native/layout.py`), and nothing of files (`storage.py`).

Weights stand here in PyTorch's layout: rows `i f g o` for LSTM, `r z n` for GRU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.operations import (
    ATTRIBUTES,
    BINARY_FUNCTIONS,
    KINDS,
    MAP_FUNCTIONS,
    REDUCE_FUNCTIONS,
    RNN_ACTIVATIONS,
)
from edge_lstm.errors import ProgramError, TooLargeError

# What others build programs with, wherever it stands.
__all__ = (
    "BINARY_FUNCTIONS",
    "GRAIN",
    "KINDS",
    "MAP_FUNCTIONS",
    "MAX_ARENA",
    "REDUCE_FUNCTIONS",
    "RNN_ACTIVATIONS",
    "Attribute",
    "Builder",
    "Constant",
    "Floats",
    "Indices",
    "Named",
    "Operation",
    "Program",
    "Slot",
    "State",
    "padded",
)

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int32]
Attribute = str | int | float

# Every written slot starts at a multiple of this and is padded to one, so that whole vectors may be stored.
GRAIN = 16
MAX_ARENA = 1 << 26  # floats; 256 MiB. A larger arena in a file is an attack or a mistake, not a robot's network.


def padded(size: int) -> int:
    """The number of floats a slot of `size` occupies."""
    return -(-size // GRAIN) * GRAIN


@dataclass(frozen=True)
class Slot:
    """A range of the arena: `size` float32 from `offset` on."""

    offset: int
    size: int

    def part(self, start: int, size: int) -> Slot:
        """The view `[start : start + size]`; nothing is copied."""
        if start < 0 or size < 1 or start + size > self.size:
            raise ProgramError(f"part [{start} : {start + size}] lies outside a slot of {self.size}")
        return Slot(self.offset + start, size)

    @property
    def elements(self) -> npt.NDArray[np.int64]:
        """The arena element numbers of this slot, for `Builder.take`."""
        return np.arange(self.offset, self.offset + self.size, dtype=np.int64)


@dataclass(frozen=True)
class Operation:
    """One operation: reads `inputs`, writes `outputs`. `source` names what it came from (ONNX nodes, arrays)."""

    kind: str
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    weights: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    name: str = ""
    source: tuple[str, ...] = ()

    @property
    def multiply_adds(self) -> int:
        """Multiplications of a weight with a value in one step."""
        once = sum(w.size for key, w in self.weights.items() if key in ("W", "R"))
        return once * int(self.attributes.get("rows", 1))


@dataclass(frozen=True)
class Named:
    """A named place: an input or an output of the network."""

    name: str
    slot: Slot


@dataclass(frozen=True)
class State:
    """What is kept between readings. `reset` float32 (size,) is its value after a reset, `next` the value it takes."""

    name: str
    slot: Slot
    next: Slot
    reset: Floats


@dataclass(frozen=True)
class Constant:
    """Values that stand in the arena for ever."""

    slot: Slot
    values: Floats


@dataclass(frozen=True, repr=False)
class Program:
    """A checked program. Raises ProgramError where it contradicts itself."""

    arena_size: int
    inputs: tuple[Named, ...]
    outputs: tuple[Named, ...]
    states: tuple[State, ...]
    constants: tuple[Constant, ...]
    operations: tuple[Operation, ...]

    def __post_init__(self) -> None:
        _check(self)

    def __repr__(self) -> str:
        return f"<Program of {len(self.operations)} operations, {self.weight_count:,} weights>"

    @property
    def input_size(self) -> int:
        """Floats in one reading: the inputs one after the other."""
        return sum(i.slot.size for i in self.inputs)

    @property
    def output_size(self) -> int:
        """Floats in one output: the outputs one after the other."""
        return sum(o.slot.size for o in self.outputs)

    @property
    def state_size(self) -> int:
        """Floats kept between readings."""
        return sum(s.slot.size for s in self.states)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds in one step."""
        return sum(op.multiply_adds for op in self.operations)

    @property
    def weight_count(self) -> int:
        """Weights and biases read in one step; not the scales of quantized ones."""
        left_out = ("_scale", "graph")  # a graph says itself how many it holds
        weights = (w for op in self.operations for key, w in op.weights.items() if not key.endswith(left_out))
        return sum(w.size for w in weights) + sum(int(op.attributes.get("weights", 0)) for op in self.operations)

    @property
    def onnx(self) -> Operation | None:
        """The only operation of a program that is an ONNX graph, for ONNX Runtime; None where the machine runs it."""
        return self.operations[0] if self.operations and self.operations[0].kind == "onnx" else None

    def initial_arena(self) -> Floats:
        """The arena after a reset: float32 (arena_size + GRAIN,), the last GRAIN being slack for vector reads."""
        arena = np.zeros(self.arena_size + GRAIN, np.float32)
        for constant in self.constants:
            arena[constant.slot.offset :][: constant.slot.size] = constant.values
        for state in self.states:
            arena[state.slot.offset :][: state.slot.size] = state.reset
        return arena


class _Checker:
    """Walks a program in order and keeps track of which arena elements hold a value."""

    def __init__(self, arena_size: int) -> None:
        if not isinstance(arena_size, int) or arena_size % GRAIN or not 0 < arena_size <= MAX_ARENA:
            raise ProgramError(
                f"arena size {arena_size!r} is not a multiple of {GRAIN} between {GRAIN} and {MAX_ARENA}"
            )
        self.holds = np.zeros(arena_size, np.bool_)
        self.taken = np.zeros(arena_size // GRAIN, np.bool_)

    def write(self, slot: Slot, what: str) -> None:
        end = slot.offset + padded(slot.size)
        if slot.size < 1 or slot.offset < 0 or slot.offset % GRAIN or end > self.holds.size:
            raise ProgramError(f"{what} is at {slot.offset} with size {slot.size}: outside the arena or not aligned")
        grains = self.taken[slot.offset // GRAIN : end // GRAIN]
        if grains.any():
            raise ProgramError(f"{what} overlaps another value at arena element {slot.offset}")
        grains[:] = True
        self.holds[slot.offset : slot.offset + slot.size] = True

    def read(self, slot: Slot, what: str) -> None:
        if slot.size < 1 or slot.offset < 0 or slot.offset + slot.size > self.holds.size:
            raise ProgramError(f"{what} reads [{slot.offset} : {slot.offset + slot.size}], outside the arena")
        if not self.holds[slot.offset : slot.offset + slot.size].all():
            raise ProgramError(f"{what} reads [{slot.offset} : {slot.offset + slot.size}], which nothing has written")

    def values(self, slot: Slot, values: Floats, what: str) -> None:
        self.write(slot, what)
        if values.dtype != np.float32 or values.shape != (slot.size,):
            raise ProgramError(f"{what} holds {values.dtype} {values.shape}, needs float32 ({slot.size},)")
        if not np.isfinite(values).all():
            raise ProgramError(f"{what} holds NaN or infinity")


def _freeze(program: Program) -> None:
    """What was checked must stay so: nobody may change an array afterwards."""
    arrays = [w for op in program.operations for w in op.weights.values()]
    arrays += [s.reset for s in program.states] + [c.values for c in program.constants]
    for array in arrays:
        if _writeable(array):
            raise ProgramError(
                "an array can still be changed; give arrays that are read-only (Builder makes such copies)"
            )


def _check(program: Program) -> None:
    checker = _Checker(program.arena_size)
    if not program.inputs or not program.outputs:
        raise ProgramError("a program needs at least one input and one output")
    names = [s.name for s in program.states]
    if len(set(names)) != len(names):
        raise ProgramError(f"two states share a name: {sorted(names)}")
    for constant in program.constants:
        checker.values(constant.slot, constant.values, "a constant")
    for named in program.inputs:
        checker.write(named.slot, f"input {named.name!r}")
    for state in program.states:
        checker.values(state.slot, state.reset, f"state {state.name!r}")
    for number, op in enumerate(program.operations):
        what = f"operation {number} ({op.kind} {op.name})".replace(" )", ")")

        def need(condition: bool, complaint: str, what: str = what) -> None:
            if not condition:
                raise ProgramError(f"{what}: {complaint}")

        need(op.kind in KINDS, f"unknown kind; known are {', '.join(KINDS)}")
        need(op.kind != "onnx" or len(program.operations) == 1, "a graph for ONNX Runtime is a whole program")
        foreign = set(op.attributes) - ATTRIBUTES.get(op.kind, set())
        need(not foreign, f"has attributes that mean nothing to it: {', '.join(sorted(foreign))}")
        for slot in op.inputs:
            checker.read(slot, what)
        KINDS[op.kind](op, need)
        if op.kind == "take":
            indices = op.weights["indices"]
            need(bool((indices >= 0).all() and (indices < program.arena_size).all()), "an index is outside the arena")
            need(bool(checker.holds[indices].all()), "an index names an element that nothing has written")
        for slot in op.outputs:
            checker.write(slot, what)
    for state in program.states:
        checker.read(state.next, f"the next value of state {state.name!r}")
        if state.next.size != state.slot.size:
            raise ProgramError(f"state {state.name!r} has {state.slot.size} values, its next value {state.next.size}")
    for named in program.outputs:
        checker.read(named.slot, f"output {named.name!r}")
    if not checker.taken.all():
        raise ProgramError(f"the arena of {program.arena_size} is larger than what is in it")
    _freeze(program)


# --- making one
# ---------------------------------------------------------------------------------------------------------


def _frozen(values: npt.ArrayLike, dtype: Any = np.float32) -> npt.NDArray[Any]:
    """A copy that nobody can change; one that is such a copy already stays itself, so operations may share it."""
    if (
        isinstance(values, np.ndarray)
        and values.dtype == dtype
        and values.flags.c_contiguous
        and not _writeable(values)
    ):
        return values
    copied = np.array(values, dtype=dtype, order="C")
    copied.flags.writeable = False
    return copied


def _writeable(array: npt.NDArray[Any]) -> bool:
    """Whether anyone could still write to this memory through NumPy."""
    return array.flags.writeable or (isinstance(array.base, np.ndarray) and _writeable(array.base))


class Builder:
    """Makes a program, one operation at a time. Sizes are checked by `build`, which raises ProgramError."""

    def __init__(self) -> None:
        self._size = 0
        self._inputs: list[Named] = []
        self._outputs: list[Named] = []
        self._states: list[State] = []
        self._constants: list[Constant] = []
        self._operations: list[Operation] = []
        self._next: dict[Slot, Slot] = {}
        self._copies: dict[tuple[int, str], tuple[npt.ArrayLike, npt.NDArray[Any]]] = {}

    def _kept(self, values: npt.ArrayLike, dtype: Any = np.float32) -> npt.NDArray[Any]:
        """A frozen copy, the same one for the same array."""
        key = (id(values), np.dtype(dtype).str)
        if key not in self._copies:
            self._copies[key] = values, _frozen(values, dtype)  # values too, so that its id stays its own
        return self._copies[key][1]

    def _slot(self, size: int) -> Slot:
        slot = Slot(self._size, size)
        self._size += padded(size)
        if not 0 < self._size <= MAX_ARENA:
            raise TooLargeError(f"the arena would need {self._size} values; {MAX_ARENA} is the most")
        return slot

    def _add(
        self,
        kind: str,
        inputs: Iterable[Slot],
        sizes: Iterable[int],
        weights: Mapping[str, npt.NDArray[Any]] | None = None,
        attributes: Mapping[str, Attribute] | None = None,
        name: str = "",
        source: Iterable[str] = (),
    ) -> tuple[Slot, ...]:
        outputs = tuple(self._slot(size) for size in sizes)
        self._operations.append(
            Operation(kind, tuple(inputs), outputs, weights or {}, attributes or {}, name, tuple(source))
        )
        return outputs

    def input(self, name: str, size: int) -> Slot:
        """A part of the reading."""
        self._inputs.append(Named(name, self._slot(size)))
        return self._inputs[-1].slot

    def state(self, name: str, size: int, reset: npt.ArrayLike | None = None) -> Slot:
        """A value kept between readings; read-only during a step. People read it by this name: "lstm.h", "lstm.c"."""
        slot = self._slot(size)
        self._states.append(State(name, slot, slot, _frozen(np.zeros(size) if reset is None else reset)))
        return slot

    def constant(self, values: npt.ArrayLike) -> Slot:
        """Values (n,) that never change."""
        array = self._kept(values)
        self._constants.append(Constant(self._slot(array.size), array))
        return self._constants[-1].slot

    def lstm(
        self,
        x: Slot,
        h: Slot,
        c: Slot,
        *,
        W: npt.ArrayLike,
        R: npt.ArrayLike,
        b: npt.ArrayLike,
        name: str = "",
        source: Iterable[str] = (),
    ) -> tuple[Slot, Slot]:
        """Next (h, c) of an LSTM (Hochreiter & Schmidhuber 1997, with forget gates): W (4H, I), R (4H, H), b (4H,)."""
        weights = {"W": self._kept(W), "R": self._kept(R), "b": self._kept(b)}
        h_next, c_next = self._add("lstm", (x, h, c), (h.size, c.size), weights=weights, name=name, source=source)
        return h_next, c_next

    def gru(
        self,
        x: Slot,
        h: Slot,
        *,
        W: npt.ArrayLike,
        R: npt.ArrayLike,
        b_W: npt.ArrayLike,
        b_R: npt.ArrayLike,
        name: str = "",
        source: Iterable[str] = (),
    ) -> Slot:
        """Next h of a GRU with the reset gate after the product (linear_before_reset = 1): W (3H, I), R (3H, H)."""
        weights = {"W": self._kept(W), "R": self._kept(R), "b_W": self._kept(b_W), "b_R": self._kept(b_R)}
        return self._add("gru", (x, h), (h.size,), weights=weights, name=name, source=source)[0]

    def rnn(
        self,
        x: Slot,
        h: Slot,
        *,
        W: npt.ArrayLike,
        R: npt.ArrayLike,
        b: npt.ArrayLike,
        activation: str = "tanh",
        name: str = "",
        source: Iterable[str] = (),
    ) -> Slot:
        """Next h of a plain recurrent layer, activation(W x + R h + b): W (H, I), R (H, H), b (H,)."""
        weights = {"W": self._kept(W), "R": self._kept(R), "b": self._kept(b)}
        attributes = {"activation": activation}
        return self._add("rnn", (x, h), (h.size,), weights=weights, attributes=attributes, name=name, source=source)[0]

    def dense(
        self,
        x: Slot,
        *,
        W: npt.ArrayLike,
        b: npt.ArrayLike | None = None,
        activation: str = "identity",
        rows: int = 1,
        name: str = "",
        source: Iterable[str] = (),
    ) -> Slot:
        """activation(W x + b) for each of `rows` equal rows of x: W (O, I), b (O,) or None for zero; size rows * O."""
        weights = {"W": self._kept(W)}
        outputs = len(weights["W"])
        weights["b"] = _frozen(np.zeros(outputs)) if b is None else self._kept(b)
        sizes = (rows * outputs,)
        y = self._add("dense", (x,), sizes, weights=weights, attributes={"rows": rows}, name=name, source=source)[0]
        return y if activation == "identity" else self.map(activation, y, source=source)

    def quantized_lstm(
        self,
        x: Slot,
        h: Slot,
        c: Slot,
        *,
        scheme: str,
        weights: Mapping[str, npt.ArrayLike],
        name: str = "",
        source: Iterable[str] = (),
    ) -> tuple[Slot, Slot]:
        """As `lstm`, of integers: scheme one of SCHEMES; weights W int8 (4H, I), R int8 (4H, H), float32 W_scale (4H,),
        R_scale (4H,), b (4H,), and but for int8-weights x_scale (I,), h_scale (1,)."""
        whole, attributes = self._integers(weights), {"scheme": scheme}
        sizes = (h.size, c.size)
        h_next, c_next = self._add("quantized_lstm", (x, h, c), sizes, whole, attributes, name, source)
        return h_next, c_next

    def quantized_gru(
        self,
        x: Slot,
        h: Slot,
        *,
        scheme: str,
        weights: Mapping[str, npt.ArrayLike],
        name: str = "",
        source: Iterable[str] = (),
    ) -> Slot:
        """As `gru`, of integers: weights as for `quantized_lstm` with 3H rows, b_W (3H,) and b_R (3H,) for b."""
        whole, attributes = self._integers(weights), {"scheme": scheme}
        return self._add("quantized_gru", (x, h), (h.size,), whole, attributes, name, source)[0]

    def quantized_rnn(
        self,
        x: Slot,
        h: Slot,
        *,
        scheme: str,
        weights: Mapping[str, npt.ArrayLike],
        activation: str = "tanh",
        name: str = "",
        source: Iterable[str] = (),
    ) -> Slot:
        """As `rnn`, of integers: weights as for `quantized_lstm` with H rows."""
        whole, attributes = self._integers(weights), {"scheme": scheme, "activation": activation}
        return self._add("quantized_rnn", (x, h), (h.size,), whole, attributes, name, source)[0]

    def quantized_dense(
        self,
        x: Slot,
        *,
        scheme: str,
        weights: Mapping[str, npt.ArrayLike],
        rows: int = 1,
        name: str = "",
        source: Iterable[str] = (),
    ) -> Slot:
        """As `dense`, of integers: weights W int8 (O, I), float32 W_scale (O,), b (O,), and but for int8-weights
        x_scale (I,), the same for every row."""
        whole = self._integers(weights)
        attributes: dict[str, Attribute] = {"scheme": scheme, "rows": rows}
        sizes = (rows * len(whole["W"]),)
        return self._add("quantized_dense", (x,), sizes, whole, attributes, name, source)[0]

    def _integers(self, weights: Mapping[str, npt.ArrayLike]) -> dict[str, npt.NDArray[Any]]:
        """Frozen copies; matrices keep their type, so that what is not int8 is refused, not cut off."""
        return {k: self._kept(w, np.asarray(w).dtype if k in ("W", "R") else np.float32) for k, w in weights.items()}

    def onnx(
        self,
        inputs: Iterable[Slot],
        sizes: Iterable[int],
        *,
        graph: bytes,
        meaning: str,
        weights: int,
        name: str = "",
        source: Iterable[str] = (),
    ) -> tuple[Slot, ...]:
        """A whole graph for ONNX Runtime (its meaning: `engines/onnxruntime/graph.py`); `weights`: how many numbers it
        holds. `sizes`: of the outputs and of the next states."""
        content = {"graph": self._kept(np.frombuffer(graph, np.uint8), np.uint8)}
        attributes: dict[str, Attribute] = {"meaning": meaning, "weights": weights}
        return self._add("onnx", inputs, sizes, content, attributes, name, source)

    def map(self, function: str, x: Slot, *, alpha: float = 0.0, beta: float = 0.0, source: Iterable[str] = ()) -> Slot:
        """One of MAP_FUNCTIONS, element by element."""
        attributes: dict[str, Attribute] = {"function": function, "alpha": float(alpha), "beta": float(beta)}
        return self._add("map", (x,), (x.size,), attributes=attributes, source=source)[0]

    def binary(self, function: str, a: Slot, b: Slot, *, source: Iterable[str] = ()) -> Slot:
        """One of BINARY_FUNCTIONS, element by element; one side may have size 1."""
        size = max(a.size, b.size)
        return self._add("binary", (a, b), (size,), attributes={"function": function}, source=source)[0]

    def softmax(self, x: Slot, *, rows: int = 1, log: bool = False, source: Iterable[str] = ()) -> Slot:
        """Softmax, or its logarithm, over each of `rows` equal rows."""
        return self._add("softmax", (x,), (x.size,), attributes={"rows": rows, "log": int(log)}, source=source)[0]

    def reduce(self, function: str, x: Slot, *, rows: int = 1, source: Iterable[str] = ()) -> Slot:
        """One of REDUCE_FUNCTIONS over each of `rows` equal rows: size `rows`."""
        return self._add("reduce", (x,), (rows,), attributes={"function": function, "rows": rows}, source=source)[0]

    def where(self, condition: Slot, a: Slot, b: Slot, *, source: Iterable[str] = ()) -> Slot:
        """a where the condition is not zero, else b; all of one size."""
        return self._add("where", (condition, a, b), (a.size,), source=source)[0]

    def lookup(self, index: Slot, table: npt.ArrayLike, *, source: Iterable[str] = ()) -> Slot:
        """For each index the row of table (V, D) with that number, one after the other. An index is truncated as
        a cast to an integer does; a step whose index is no number of a row is refused."""
        rows = self._kept(table)
        return self._add("lookup", (index,), (index.size * rows.shape[1],), weights={"table": rows}, source=source)[0]

    def take(self, indices: npt.ArrayLike, *, source: Iterable[str] = ()) -> Slot:
        """Any data movement: element i of the result is arena element indices[i]."""
        array = self._kept(indices, np.int32)
        return self._add("take", (), (array.size,), weights={"indices": array}, source=source)[0]

    def next(self, state: Slot, value: Slot) -> None:
        """`value` becomes the state when the step is over."""
        if state in self._next:
            raise ProgramError(f"the state at {state.offset} is given two next values")
        self._next[state] = value

    def output(self, name: str, value: Slot) -> None:
        """A part of the output."""
        self._outputs.append(Named(name, value))

    def build(self) -> Program:
        """The checked program."""
        known = {s.slot for s in self._states}
        if stray := set(self._next) - known:
            raise ProgramError(
                f"a next value is given for something that is no state: {sorted(s.offset for s in stray)}"
            )
        if forgotten := [s.name for s in self._states if s.slot not in self._next]:
            raise ProgramError(f"no next value is given for the states {forgotten}")
        states = tuple(dataclasses.replace(s, next=self._next[s.slot]) for s in self._states)
        return Program(
            max(self._size, GRAIN),
            tuple(self._inputs),
            tuple(self._outputs),
            states,
            tuple(self._constants),
            tuple(self._operations),
        )
