"""One model of a model with its inputs and outputs: raw numbers in, what the robot takes out.

Its rule: the three programs stand one behind the other in one arena, each operation as it was, so the bits are those
of the three run apart (`runtime.Signals`), in Python and in C. What `previous` carries over is a state.

The one difference is what is not finite in between. Apart, the model refuses a reading of which an input has made no
number, and an output that is not finite is not carried over; here the step is refused where it would put such a number
into a memory, and nothing is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.feedback import Policy
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Indices, Operation, Slot
from edge_lstm.core.program import Constant, Named, Program, State
from edge_lstm.errors import ProgramError
from edge_lstm.signals.programs import Inputs, Outputs


def join(inputs: Inputs, model: Model, outputs: Outputs | None) -> Model:
    """The model of raw numbers (`inputs.raw`) → outputs, those of the model where none are declared.

    Raises ProgramError for a model of which this cannot be made: one with a window or a stride, whose outputs do not
    come with each reading; a graph for ONNX Runtime; one that takes words.
    """
    what = f"model {model.name!r}"
    if model.timing.mode != "continuous" or not model.timing.each:
        raise ProgramError(f"{what} has no output with each reading, so it cannot be made one with its inputs")
    if model.program.onnx is not None:
        raise ProgramError(f"{what} is a graph for ONNX Runtime, so it cannot be made one with its inputs")
    if words := [c.name for c in model.inputs if c.vocabulary]:
        raise ProgramError(f"{what} takes words as {words[0]!r}, so it cannot be made one with its inputs")
    arena = _Arena()
    read, named = arena.stand(inputs.model.program, "inputs.")
    _, named = arena.stand(model.program, "", _elements(named))
    numbers, channels = _elements(named), model.outputs
    if outputs is not None:
        _, named = arena.stand(outputs.model.program, "outputs.", numbers)
        numbers, channels = np.concatenate([numbers, _elements(named)]), outputs.model.outputs
    for name, place in zip(read[len(inputs.raw) :], inputs.previous, strict=True):
        arena.states.append(State(name.name, name.slot, Slot(int(numbers[place]), 1), _frozen(np.zeros(1, np.float32))))
    return replace(
        model,
        program=Program(
            arena.size,
            tuple(read[: len(inputs.raw)]),
            tuple(named),
            tuple(arena.states),
            tuple(arena.constants),
            tuple(arena.operations),
        ),
        inputs=inputs.model.inputs[: len(inputs.raw)],
        outputs=channels,
        feedback=(),
        policy=Policy("skip", model.policy.longest_gap),
    )


def _elements(named: Sequence[Named]) -> Indices:
    return np.concatenate([name.slot.elements for name in named]).astype(np.int32)


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.flags.writeable = False
    return array


class _Arena:
    """The arena of several programs, one behind the other."""

    def __init__(self) -> None:
        self.size = 0
        self.states: list[State] = []
        self.constants: list[Constant] = []
        self.operations: list[Operation] = []

    def stand(self, program: Program, prefix: str, values: Indices | None = None) -> tuple[list[Named], list[Named]]:
        """A program behind the others; returns its inputs and outputs. prefix: of its states' names; values: arena
        elements that become its inputs (None: they are the reading's)."""
        by = self.size

        def moved(slot: Slot) -> Slot:
            return Slot(slot.offset + by, slot.size)

        inputs, outputs = ([Named(n.name, moved(n.slot)) for n in side] for side in (program.inputs, program.outputs))
        if values is not None:
            start = 0
            for name in inputs:
                indices = _frozen(values[start : start + name.slot.size].copy())
                self.operations.append(Operation("take", (), (name.slot,), {"indices": indices}))
                start += name.slot.size
        for op in program.operations:
            weights = op.weights
            if op.kind == "take":
                weights = {"indices": _frozen(op.weights["indices"] + np.int32(by))}
            slots = tuple(map(moved, op.inputs)), tuple(map(moved, op.outputs))
            self.operations.append(replace(op, inputs=slots[0], outputs=slots[1], weights=weights))
        self.constants += [replace(c, slot=moved(c.slot)) for c in program.constants]
        self.states += [State(f"{prefix}{s.name}", moved(s.slot), moved(s.next), s.reset) for s in program.states]
        self.size += program.arena_size
        return inputs, outputs
