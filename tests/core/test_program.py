"""A program is checked when it is made: whatever contradicts itself is refused, so compiled code need not look
again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edge_lstm.core.builder import Builder
from edge_lstm.core.operation import Operation, Slot
from edge_lstm.core.program import Program
from edge_lstm.errors import ProgramError
from tests.support.models.nets import network
from tests.support.models.quantized_nets import CELLS, quantized_network


def replaced(program: Program, number: int, **changes: object) -> Program:
    """The program with one operation changed."""
    operations = list(program.operations)
    operations[number] = dataclasses.replace(operations[number], **changes)  # type: ignore[arg-type]
    return dataclasses.replace(program, operations=tuple(operations))


PROGRAM = network().program
LSTM, DENSE = PROGRAM.operations
END = PROGRAM.arena_size


@pytest.mark.parametrize(
    ("number", "changes", "message"),
    [
        (0, {"kind": "conv"}, "unknown kind"),
        (0, {"inputs": (Slot(END, 8), *LSTM.inputs[1:])}, "outside the arena"),
        (0, {"inputs": (Slot(-1, 8), *LSTM.inputs[1:])}, "outside the arena"),
        (0, {"inputs": (Slot(0, 0), *LSTM.inputs[1:])}, "outside the arena"),
        (0, {"inputs": (Slot(0, 9), *LSTM.inputs[1:])}, "nothing has written"),
        (0, {"inputs": (Slot(0, 7), *LSTM.inputs[1:])}, "weight W is float32"),
        (0, {"inputs": LSTM.inputs[:2]}, "needs 3 inputs"),
        (0, {"outputs": (LSTM.outputs[0], LSTM.outputs[0])}, "overlaps"),
        (0, {"outputs": (LSTM.inputs[0], LSTM.outputs[1])}, "differ in size"),
        (0, {"outputs": (LSTM.inputs[1], LSTM.outputs[1])}, "overlaps"),
        (0, {"outputs": (Slot(LSTM.outputs[0].offset + 1, 16), LSTM.outputs[1])}, "not aligned"),
        (0, {"outputs": (Slot(END, 16), LSTM.outputs[1])}, "outside the arena"),
        (0, {"weights": {**LSTM.weights, "P": LSTM.weights["b"]}}, "has weights"),
        (0, {"weights": {**LSTM.weights, "b": LSTM.weights["b"].astype(np.float64)}}, "float64"),
        (0, {"weights": {**LSTM.weights, "b": LSTM.weights["b"] * np.nan}}, "NaN"),
        (1, {"inputs": (LSTM.outputs[1].part(0, 15),)}, "weight W"),
        (1, {"inputs": (DENSE.outputs[0],)}, "nothing has written"),
    ],
)
def test_a_broken_operation_is_refused_by_name(number, changes, message):
    """Every way an operation can reach outside its bounds, overlap or misfit raises ProgramError that says so."""
    with pytest.raises(ProgramError, match=message):
        replaced(PROGRAM, number, **changes)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (Operation("map", (Slot(0, 8),), (Slot(END, 8),), {}, {"function": "sin", "alpha": 0.0, "beta": 0.0}), "'sin'"),
        (Operation("map", (Slot(0, 8),), (Slot(END, 8),), {}, {"function": "relu"}), "alpha must be a number"),
        (Operation("binary", (Slot(0, 8), Slot(0, 3)), (Slot(END, 8),), {}, {"function": "add"}), "do not go together"),
        (Operation("softmax", (Slot(0, 8),), (Slot(END, 8),), {}, {"rows": 3, "log": 0}), "equal rows"),
        (Operation("reduce", (Slot(0, 8),), (Slot(END, 3),), {}, {"rows": 4, "function": "sum"}), "number of rows"),
        (Operation("take", (), (Slot(END, 2),), {"indices": np.int32([0, END + 99])}), "outside the arena"),
        (Operation("take", (), (Slot(END, 2),), {"indices": np.int32([0, -1])}), "outside the arena"),
        (Operation("take", (), (Slot(END, 2),), {"indices": np.int32([0, 9])}), "nothing has written"),
        (Operation("take", (), (Slot(END, 2),), {"indices": np.int64([0, 1])}), "int32"),
    ],
)
def test_a_broken_added_operation_is_refused(operation, message):
    """Unknown functions, sizes that do not go together and indices out of bounds raise ProgramError."""
    with pytest.raises(ProgramError, match=message):
        dataclasses.replace(PROGRAM, arena_size=END + 16, operations=(*PROGRAM.operations, operation))


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("W", lambda w: w.astype(np.int16), "needs int8"),
        ("W", lambda w: w[:, 1:], "needs int8"),
        ("R", lambda w: np.full_like(w, -128), "holds -128"),
        ("R", lambda w: None, "has weights"),
        ("h_scale", lambda w: None, "has weights"),
        ("x_scale", lambda w: np.zeros_like(w), "between 2"),
        ("x_scale", lambda w: -w, "between 2"),
        ("W_scale", lambda w: w * np.float32(1e-38), "between 2"),
        ("W_scale", lambda w: np.full_like(w, 2.0**127), "between 2"),
        ("R_scale", lambda w: w * np.nan, "NaN"),
        ("R_scale", lambda w: w.astype(np.float64), "float64"),
        ("x_scale", lambda w: w[:1], "needs float32"),
    ],
)
def test_integers_and_scales_that_do_not_fit_are_refused(kind, key, change, message):
    """Each array of a quantized layer that is not there, of another type or shape, or out of range raises."""
    program = quantized_network(kind).program
    weights = dict(program.operations[0].weights)
    changed = change(weights.pop(key))
    with pytest.raises(ProgramError, match=message):
        replaced(program, 0, weights=weights if changed is None else {**weights, key: changed})


def test_a_scheme_that_is_none_is_refused():
    """A scheme unknown, missing, or of other arrays than those given raises ProgramError."""
    program = quantized_network("lstm").program
    for scheme, message in (("int4", "unknown"), (["int8"], "unknown"), ("int8-weights", "has weights")):
        with pytest.raises(ProgramError, match=message):
            replaced(program, 0, attributes={"scheme": scheme})
    with pytest.raises(ProgramError, match="scheme None is unknown"):
        replaced(program, 0, attributes={})


def test_a_quantized_program_tells_its_cost():
    """Multiply-adds and weights are those of the float program; scales are no weights."""
    quantized, plain = quantized_network("gru").program, network("gru").program
    assert quantized.multiply_adds == plain.multiply_adds
    assert quantized.weight_count == plain.weight_count


@pytest.mark.parametrize("size", [0, -16, 17, 1 << 40])
def test_an_absurd_arena_is_refused_before_memory_is_taken(size):
    """An arena size that is not a sane multiple of the grain raises ProgramError."""
    with pytest.raises(ProgramError, match="arena size"):
        dataclasses.replace(PROGRAM, arena_size=size)


def test_what_was_checked_cannot_be_changed_afterwards():
    """Builder keeps copies that are read-only, one copy of one array; a program of arrays that can change is
    refused."""
    w, b = np.ones((3, 2), np.float32), Builder()
    x = b.input("x", 2)
    for _ in range(2):
        b.output("y", b.dense(x, W=w))
    program = b.build()
    w[:] = 7
    first, second = (op.weights["W"] for op in program.operations)
    assert first is second
    assert (first == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 2
    writeable = {"W": np.ones((3, 2), np.float32), "b": program.operations[0].weights["b"]}
    with pytest.raises(ProgramError, match="read-only"):
        replaced(program, 0, weights=writeable)


def test_attributes_and_room_that_mean_nothing_are_refused():
    """An attribute of another kind, and an arena larger than the values in it, raise ProgramError."""
    with pytest.raises(ProgramError, match="does not know: rows"):
        replaced(PROGRAM, 0, attributes={"rows": 2})
    with pytest.raises(ProgramError, match="larger than the values in it"):
        dataclasses.replace(PROGRAM, arena_size=END + 16)


def test_a_builder_wants_exactly_one_next_value_per_state():
    """A forgotten, a double and a stray next value are errors."""
    b = Builder()
    x, h = b.input("x", 2), b.state("h", 2)
    b.output("y", x)
    with pytest.raises(ProgramError, match=r"no next value is given for the states \['h'\]"):
        b.build()
    b.next(h, x)
    with pytest.raises(ProgramError, match="two next values"):
        b.next(h, x)
    b.next(x, h)
    with pytest.raises(ProgramError, match="no state"):
        b.build()


def test_a_program_tells_its_cost():
    """Multiply-adds, weights and state sizes are those of the formulas."""
    assert PROGRAM.multiply_adds == 4 * 16 * (8 + 16) + 4 * 16
    assert PROGRAM.weight_count == PROGRAM.multiply_adds + 4 * 16 + 4
    assert (PROGRAM.input_size, PROGRAM.output_size, PROGRAM.state_size) == (8, 4, 32)
