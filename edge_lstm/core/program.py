"""A program: what a trained network does with one reading, as a list of operations over one flat arena of float32.

Its rule: every value has exactly one place in the arena and is written once per step (single assignment). A step
reads the states, never writes them; each state has a `next` value, and all states change together when the step is
over. So the order in which states are read never matters, and a step that fails has changed nothing.

A `Program` is checked when it is made: whatever holds one may execute it without looking at bounds again. That is why
this file, not the kernels, is strict; a program read from a stranger's file goes through the same check. It knows
nothing of lanes, packing or machine code (`engines/`), and nothing of files (`storage.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.operation import GRAIN, Floats, Operation, Slot, padded
from edge_lstm.core.operations import KINDS
from edge_lstm.core.operations.record import in_float16
from edge_lstm.errors import ProgramError

MAX_ARENA = 1 << 26  # floats; 256 MiB. A larger arena in a file is an attack or a mistake, not a robot's network.


@dataclass(frozen=True)
class Named:
    """A named place: an input or an output of the network."""

    name: str
    slot: Slot


@dataclass(frozen=True)
class State:
    """A value remembered between readings. reset: float32 (size,), after a reset; next: the value that it takes."""

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

    def __copy__(self) -> Program:
        return self  # nothing of it ever changes

    def __deepcopy__(self, memo: object) -> Program:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its parts, and checked anew when it is read."""
        return _revived, tuple(getattr(self, f.name) for f in fields(self))

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
        """Floats remembered between readings."""
        return sum(s.slot.size for s in self.states)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds in one step."""
        return sum(op.multiply_adds for op in self.operations)

    @property
    def quantized(self) -> bool:
        """Whether any operation computes in integers."""
        return any(op.kind.startswith("quantized_") for op in self.operations)

    @property
    def rounded(self) -> bool:
        """Whether any layer's weights are integers or float16: what it gives is not what it was made of would give."""
        return self.quantized or any("W" in op.weights and in_float16(op) for op in self.operations)

    @property
    def of_states(self) -> list[bool]:
        """Of each operation, whether a state is computed from what it makes, or it may refuse a reading (an index
        without an entry). The others only an output needs."""
        needed = np.zeros(self.arena_size, np.bool_)
        for state in self.states:
            needed[state.next.elements] = True
        found = []
        for op in reversed(self.operations):
            found.append(op.kind == "lookup" or any(needed[slot.elements].any() for slot in op.outputs))
            if found[-1]:
                for slot in op.inputs:
                    needed[slot.elements] = True
                if op.kind == "take":
                    needed[op.weights["indices"]] = True
        return found[::-1]

    @property
    def weight_count(self) -> int:
        """Weights and biases read in one step; not the scales of quantized ones."""
        left_out = ("_scale", "graph")  # of a graph, `attributes` has how many it holds
        weights = (w for op in self.operations for key, w in op.weights.items() if not key.endswith(left_out))
        return sum(w.size for w in weights) + sum(int(op.attributes.get("weights", 0)) for op in self.operations)

    @property
    def onnx(self) -> Operation | None:
        """The only operation of a program that is an ONNX graph, for ONNX Runtime; None where the native engine
        can run it."""
        return self.operations[0] if self.operations and self.operations[0].kind == "onnx" else None

    def initial_arena(self) -> Floats:
        """The arena after a reset: float32 (arena_size + GRAIN,), the last GRAIN being slack for vector reads."""
        arena = np.zeros(self.arena_size + GRAIN, np.float32)
        for constant in self.constants:
            arena[constant.slot.offset :][: constant.slot.size] = constant.values
        for state in self.states:
            arena[state.slot.offset :][: state.slot.size] = state.reset
        return arena


def _revived(*parts: Any) -> Program:
    """A program from a pickle, whose arrays come back as ones that can be changed."""
    _, _, _, states, constants, operations = parts
    arrays = [w for op in operations for w in op.weights.values()]
    for array in (*arrays, *(s.reset for s in states), *(c.values for c in constants)):
        array.flags.writeable = False
    return Program(*parts)


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


def writeable(array: npt.NDArray[Any]) -> bool:
    """Whether anyone could still write to this memory through NumPy."""
    return array.flags.writeable or (isinstance(array.base, np.ndarray) and writeable(array.base))


def _freeze(program: Program) -> None:
    """What was checked must stay so: nobody may change an array afterwards."""
    arrays = [w for op in program.operations for w in op.weights.values()]
    arrays += [s.reset for s in program.states] + [c.values for c in program.constants]
    for array in arrays:
        if writeable(array):
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
        what = op.called(number)

        def need(condition: bool, complaint: str, what: str = what) -> None:
            if not condition:
                raise ProgramError(f"{what}: {complaint}")

        kind = KINDS.get(op.kind)
        if kind is None:
            raise ProgramError(f"{what}: unknown kind of operation; known are {', '.join(KINDS)}")
        need(op.kind != "onnx" or len(program.operations) == 1, "an ONNX graph must be the only operation")
        foreign = set(op.attributes) - kind.attributes
        need(not foreign, f"has attributes that this kind does not know: {', '.join(sorted(foreign))}")
        for slot in op.inputs:
            checker.read(slot, what)
        kind.check(op, need)
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
        raise ProgramError(f"the arena of {program.arena_size} is larger than the values in it")
    _freeze(program)
