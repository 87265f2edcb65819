"""What rounding does to a network: how far two correct runtimes may be apart, and which of its inputs are masks.

Its rule: measured on the model itself, never on the difference that is to be judged. A wrong weight makes no rounding.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.operation import Operation, Slot
from edge_lstm.engines.plain import Formulas
from edge_lstm.errors import ModelFileError

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.core.program import Program

Array = npt.NDArray[Any]
LAST_BIT = 2.0**-23  # of a float32, relative
MOST_FORMULAS = 400_000  # that a run in float64 may take: some seconds
AFFINE = ("identity", "affine", "neg", "not", "round", "clip")  # of a mask: done, 1 - done, keep


def jittered(model: Model) -> Model:
    """The model with every weight moved by its last bit, up or down, and every sum within the network by half the last
    bit of one: what rounding does to any runtime, and how far this network amplifies it."""
    rng, known = np.random.default_rng(0), dict[tuple[int, bool], Array]()
    shown = {named.slot for named in model.program.outputs}

    def moved(weight: Array, *, sums: bool) -> Array:
        if weight.dtype.kind != "f":
            return weight
        if (key := (id(weight), sums)) not in known:
            signs = rng.choice([-1.0, 1.0], (2, *weight.shape))
            array = (weight * (1 + LAST_BIT * signs[0]) + sums * LAST_BIT / 2 * signs[1]).astype(np.float32)
            array.flags.writeable = False
            known[key] = array
        return known[key]

    operations = tuple(
        replace(
            op,
            weights={k: moved(w, sums=k[0] == "b" and shown.isdisjoint(op.outputs)) for k, w in op.weights.items()},
        )
        for op in model.program.operations
    )
    return replace(model, program=replace(model.program, operations=operations))


def exact(model: Model, rows: Array, steps: npt.NDArray[np.int64]) -> Array | None:
    """The model's outputs (steps, n_out) in network units for readings (T, n_in), all of it in float64; None where that
    would take too long, or has no formulas."""
    program, timing, window = model.program, model.timing, model.timing.window or 0
    each = timing.mode == "window"
    taken = len(steps) * window if each else int(steps.max(initial=-1)) + 1
    if timing.mode == "log" or taken * max(len(program.operations), 1) > MOST_FORMULAS:
        return None
    try:
        formulas = Formulas(program)
    except ModelFileError:
        return None
    start = program.initial_arena().astype(np.float64)
    zeros = np.zeros((window - 1 if timing.before_window == "zeros" else 0, rows.shape[1]))
    values = np.concatenate([zeros, rows])

    def run(readings: Array) -> list[Array]:
        arena, found = start.copy(), []
        for x in readings:
            found.append(formulas.step(arena, x))
            formulas.commit(arena)
        return found

    with np.errstate(all="ignore"):
        try:
            if each:
                return np.array([run(values[t + len(zeros) + 1 - window : t + len(zeros) + 1])[-1] for t in steps])
            return np.array(run(values[: taken + len(zeros)]))[steps + len(zeros)]
        except IndexError:  # a lookup that the model would refuse
            return None


def masks(program: Program) -> npt.NDArray[np.bool_]:
    """Which numbers of a reading (n_inputs,) are masks: an input, or one less an input, that a state is multiplied
    with. Between 0 and 1 they keep or blank the memory; beyond, they would make it grow without end."""
    given = np.full(program.arena_size, -1)  # the number of the reading that a value is an affine function of
    stated = np.zeros(program.arena_size, np.bool_)  # values of states, moved or masked
    fixed = np.zeros(program.arena_size, np.bool_)
    start = 0
    for named in program.inputs:
        given[_elements(named.slot)] = np.arange(start, start + named.slot.size)
        start += named.slot.size
    for state in program.states:
        stated[_elements(state.slot)] = True
    for constant in program.constants:
        fixed[_elements(constant.slot)] = True
    found = np.zeros(program.input_size, np.bool_)
    for op in program.operations:
        if op.kind == "take":
            places, y = op.weights["indices"], _elements(op.outputs[0])
            given[y], stated[y], fixed[y] = given[places], stated[places], fixed[places]
        elif op.kind == "map" and op.attributes["function"] in AFFINE:
            given[_elements(op.outputs[0])] = given[_elements(op.inputs[0])]
        elif op.kind == "binary":
            found[_through_binary(op, given, stated, fixed)] = True
    return found


def _through_binary(op: Operation, given: Array, stated: Array, fixed: Array) -> Array:
    """The masks that show in this operation; what its results are is noted."""
    y = _elements(op.outputs[0])
    a, b = (np.broadcast_to(_elements(slot), y.shape) for slot in op.inputs)
    function = op.attributes["function"]
    if function in ("add", "sub", "mul"):
        given[y] = np.where(fixed[a], given[b], np.where(fixed[b], given[a], -1))
    if function != "mul":
        return np.empty(0, np.int64)
    hits = np.concatenate([given[a][(given[a] >= 0) & stated[b]], given[b][(given[b] >= 0) & stated[a]]])
    stated[y] = (stated[a] & ((given[b] >= 0) | fixed[b])) | (stated[b] & ((given[a] >= 0) | fixed[a]))
    return hits


def _elements(slot: Slot) -> Array:
    return slot.elements
