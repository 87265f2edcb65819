"""The plain engine: a program in NumPy, operation by operation, by each record's reference formula.

Its rule: no cleverness, so that its numbers can be trusted and a new operation can be tried before it has a kernel. It
computes in float64 within a step, and remembers float32; so its bits are its own, near the native engine's, the same
on every call, and a thousand times slower. It runs the records' formulas and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import scaling
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Floats, Operation
from edge_lstm.core.operations import KINDS
from edge_lstm.core.operations.record import Reference
from edge_lstm.core.program import Program
from edge_lstm.engines.memory import Memory, aligned
from edge_lstm.engines.status import BAD_INDEX, BAD_READING, BAD_STATE, NOT_YET, OK
from edge_lstm.errors import ModelFileError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Plain:
    """NumPy, for tests, for a debugger, and for operations that have no kernel yet."""

    name = "plain"

    def open(self, model: Model, streams: int = 1, digest: str | None = None) -> PlainSession:
        """As `Engine.open`."""
        return PlainSession(model, streams, digest)


class Formulas:
    """A program's operations, ready to be computed in this float type. ModelFileError where one has no formula."""

    def __init__(self, program: Program, dtype: npt.DTypeLike = np.float64) -> None:
        self.program, self.dtype = program, np.dtype(dtype)
        self._operations = [(op, *self._prepared(k, op)) for k, op in enumerate(program.operations)]

    def _prepared(self, number: int, op: Operation) -> tuple[Reference, dict[str, Array], bool]:
        kind = KINDS[op.kind]
        if kind.reference is None:
            runs = "ONNX Runtime" if kind.lower is None else "the native engine"
            raise ModelFileError(f"{op.called(number)} has no formula: {runs} runs it")
        weights = {k: w if w.dtype.kind == "i" else w.astype(self.dtype) for k, w in op.weights.items()}
        return kind.reference, weights, kind.anywhere

    def step(self, arena: Array, x: Array) -> Array:
        """One reading (n_inputs,) in network units; all values of the step are left in the arena, states as they were.
        Returns the output (n_outputs,). Raises IndexError where a lookup has no such row."""
        start = 0
        for named in self.program.inputs:
            arena[named.slot.offset :][: named.slot.size] = x[start : start + named.slot.size]
            start += named.slot.size
        for op, reference, weights, anywhere in self._operations:
            inputs = [arena] if anywhere else [arena[s.offset : s.offset + s.size].copy() for s in op.inputs]
            for slot, values in zip(op.outputs, reference(inputs, weights, op.attributes), strict=True):
                arena[slot.offset : slot.offset + slot.size] = values
        y: Array = np.concatenate([arena[o.slot.offset :][: o.slot.size] for o in self.program.outputs])
        return y

    def commit(self, arena: Array) -> None:
        """The step is over: all states take their next values."""
        following = [arena[s.next.offset :][: s.next.size].copy() for s in self.program.states]
        for state, values in zip(self.program.states, following, strict=True):
            arena[state.slot.offset :][: state.slot.size] = values


class PlainSession(Memory):
    """As `Session`."""

    def __init__(self, model: Model, streams: int, digest: str | None = None) -> None:
        program = model.program
        super().__init__(model, streams * model.timing.under_way, program.initial_arena(), digest)
        self._formulas, self._windowed = Formulas(program), model.timing.mode == "window"
        self.x = aligned(streams * program.input_size).reshape(streams, -1)
        self.y = aligned(streams * program.output_size).reshape(streams, -1)
        (self._scale, self._offset), (self._y_scale, self._y_offset) = scaling(model.inputs), scaling(model.outputs)
        if self._windowed and model.timing.before_window == "zeros":
            self._start, self._begun = self._windows_of_zeros(), len(self._arenas)
        self.reset()

    def _windows_of_zeros(self) -> Floats:
        """As in `native/session.py`: copy k has taken T - k zeros."""
        zeros = np.zeros(self.model.program.input_size)
        arena = self._initial.astype(np.float64)
        start: Floats = np.repeat(self._initial[None], len(self._arenas), axis=0)
        for copy in range(len(start) - 1, 0, -1):
            self._formulas.step(arena, zeros)
            self._formulas.commit(arena)
            start[copy, self._elements] = arena[self._elements]
        return start

    def advance(self) -> int:
        """As `Session.advance`."""
        return self.exclusively(self._take, self.x, self.y)

    def advance_many(self, xs: Floats, ys: Floats) -> tuple[int, int]:
        """As `Session.advance_many`."""
        return self.exclusively(self._advance_many, xs, ys)

    def _advance_many(self, xs: Floats, ys: Floats) -> tuple[int, int]:
        status = OK
        for t in range(xs.shape[1]):
            status = self._take(xs[:, t], ys[:, t])
            if status not in (OK, NOT_YET):
                return status, t
        return status, xs.shape[1]

    def _take(self, xs: Floats, ys: Floats) -> int:
        """One reading of each of the first streams, to the outputs. All copies change, or none."""
        if not np.isfinite(xs).all():
            return BAD_READING
        seen, count = self.seen + 1, len(self._arenas)
        begun = min(seen, count) if self._windowed else len(xs)
        after, outputs = self._arenas[:begun].astype(np.float64), np.empty((begun, self._y_scale.size))
        with np.errstate(all="ignore"):
            for copy in range(begun):
                x = xs[0 if self._windowed else copy]
                try:
                    y = self._formulas.step(after[copy], (x - self._offset) / self._scale)
                except IndexError:
                    return BAD_INDEX
                self._formulas.commit(after[copy])
                outputs[copy] = y * self._y_scale + self._y_offset
        if not np.isfinite(after[:, self._elements].astype(np.float32)).all():
            return BAD_STATE
        self._arenas[:begun, self._elements] = after[:, self._elements]
        self.seen = seen
        shown = self.model.timing.comes_with(seen)
        if self._windowed and seen >= count:  # the oldest window ends with this reading, and begins anew
            ys[0] = outputs[seen % count]
            self._arenas[seen % count] = self._initial
            return OK
        if shown and not self._windowed:
            ys[:] = outputs
        return OK if shown else NOT_YET
