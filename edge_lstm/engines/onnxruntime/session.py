"""Sessions of ONNX Runtime's engine: a whole graph behind the same memory as an interpreted program's.

Its rule: the stream in front of it notices no difference. States lie in the arena as float32, readings are checked
before the graph sees them, and what a step computes is taken over only when all of it is there and finite. Of a window
the last T - 1 readings are the memory; the graph computes all T at each reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edge_lstm.core.channels import scaling
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Floats
from edge_lstm.core.operations.graph import axes_of
from edge_lstm.engines.memory import Memory, aligned
from edge_lstm.engines.onnxruntime.graph import Array, OnnxGraph, open_session
from edge_lstm.engines.status import BAD_INDEX, BAD_READING, BAD_STATE, NOT_YET, OK
from edge_lstm.errors import EdgeLstmError, ImportModelError, ModelFileError, ReadingError, StateError

PAST = "past"  # the state that holds the readings of a window before the newest
_DAMAGE = (ValueError, TypeError, LookupError, AttributeError, ImportModelError, ModelFileError)


@dataclass(frozen=True)
class OnnxRuntime:
    """ONNX Runtime, for models that hold a graph (`Program.onnx`)."""

    name = "onnxruntime"

    def open(self, model: Model, streams: int = 1, digest: str | None = None) -> OnnxSession:
        """As `Engine.open`."""
        return OnnxSession(model, streams, digest)


def graph_of(model: Model) -> OnnxGraph:
    """The graph of a model, ready to run, shared by all its streams. ModelFileError where it is not what the model
    declares."""
    graph: OnnxGraph = model.shared(("onnxruntime",), lambda: _load(model))
    return graph


def _load(model: Model) -> OnnxGraph:
    op = model.program.onnx
    if op is None:
        raise ModelFileError(f"model {model.name!r} holds no ONNX graph")
    try:
        graph = OnnxGraph(open_session(op.weights["graph"].tobytes()), axes_of(op))
        _check(model, graph)
    except _DAMAGE as error:
        raise ModelFileError(f"model {model.name!r}: {error}; its graph is damaged, import it again") from None
    return graph


def _check(model: Model, graph: OnnxGraph) -> None:
    program = model.program
    past = ((model.timing.window or 1) - 1) * graph.reading_size
    states = {n: int(np.prod(shape, dtype=np.int64)) for n, shape in graph.state_shapes().items()}
    states = ({PAST: past} if past > 0 else {}) | states
    for what, declared, found in (
        ("inputs", program.input_size, graph.reading_size),
        ("states", [s.slot.size for s in program.states], list(states.values())),
        ("outputs", [o.name for o in program.outputs], list(graph.outputs)),
    ):
        if declared != found:
            raise ValueError(f"its {what} are {declared}, the graph's {found}")


class OnnxSession(Memory):
    """As `Session`."""

    def __init__(self, model: Model, streams: int, digest: str | None = None) -> None:
        self._graph = graph_of(model)
        if model.timing.mode == "log" and streams != 1:
            raise ReadingError(f"model {model.name!r} takes whole logs; use a Stream for each")
        if model.timing.mode == "window":
            raise ModelFileError(f"model {model.name!r}: ONNX Runtime computes a window anew; import it again")
        program = model.program
        super().__init__(model, streams, program.initial_arena(), digest)
        self.x = aligned(streams * program.input_size).reshape(streams, -1)
        self.y = aligned(streams * program.output_size).reshape(streams, -1)
        self._window = model.timing.window or 0
        self._places = [s.slot for s in program.states]
        self._shapes = self._graph.state_shapes()
        self._zero = {n: v for n, v in self._graph.first_states().items() if n not in self._shapes}
        self._scale, self._offset = scaling(model.inputs)
        self._y_scale, self._y_offset = scaling(model.outputs)
        self._why = ""
        self.advance = self._no_reading if model.timing.mode == "log" else self._advance
        self.reset()

    def _advance(self) -> int:
        return self.exclusively(self._take, self.x, self.y)

    def advance_many(self, xs: Floats, ys: Floats) -> tuple[int, int]:
        """As `Session.advance_many`."""
        return self.exclusively(self._advance_many, xs, ys)

    def _advance_many(self, xs: Floats, ys: Floats) -> tuple[int, int]:
        if self.model.timing.mode == "log":
            return self._whole_log(xs[0], ys[0])
        status = OK
        for t in range(xs.shape[1]):
            status = self._take(xs[:, t], ys[:, t])
            if status not in (OK, NOT_YET):
                return status, t
        return status, xs.shape[1]

    def _take(self, xs: Floats, ys: Floats) -> int:
        """One reading of each of the first so many streams, to the outputs."""
        shown = self.model.timing.comes_with(self.seen + 1)
        found = []
        with np.errstate(all="ignore"):
            for x, arena in zip(xs, self._arenas, strict=False):
                if not np.isfinite(x).all():
                    return BAD_READING
                step = self._step((x - self._offset) / self._scale, arena, shown)
                if isinstance(step, int):
                    return step
                y, after = step
                found.append((y * self._y_scale + self._y_offset if shown else y, after))
        for k, (y, after) in enumerate(found):
            self._arenas[k, self._elements] = after
            if shown:
                ys[k] = y
        self.seen += 1
        return OK if shown else NOT_YET

    def _no_reading(self) -> int:
        self._why = "the model reads logs from the end as well: it takes whole ones, with `run`"
        return BAD_INDEX

    def _whole_log(self, xs: Floats, ys: Floats) -> tuple[int, int]:
        """Takes the readings as one log."""
        if not (whole := np.isfinite(xs).all(axis=1)).all():
            return BAD_READING, int(np.argmin(whole))
        if self.seen or not len(xs):
            self._why = (
                "the model takes a whole log at once: reset it before the next (a missing reading cuts one in two)"
            )
            return BAD_INDEX if len(xs) else OK, 0
        if len(xs) < (least := self.model.timing.first_output):
            self._why = f"the model takes logs of {least} readings or more, this one has {len(xs)}"
            return BAD_INDEX, 0
        try:
            with np.errstate(all="ignore"):
                y = self._graph.whole((xs - self._offset) / self._scale, self._zero).astype(np.float32)
                ys[:] = y * self._y_scale + self._y_offset
        except ImportModelError as error:
            self._why = str(error)
            return BAD_INDEX, 0
        self.seen = len(xs)
        return OK, len(xs)

    def _step(self, x: Floats, arena: Floats, shown: bool) -> tuple[Floats, Floats] | int:
        """The output and the states after a reading in network units; or the status that refuses it."""
        rows, states = x[None], self._zero
        if self._window > 1:
            past = self._places[0]
            earlier = arena[past.offset : past.offset + past.size].reshape(-1, x.size)
            rows = np.concatenate([earlier, rows])
            if not shown:
                return x, rows[1:].reshape(-1)
        if self._shapes:
            states = {**states, **self._carried(arena)}
        try:
            y, after = self._graph.newest(rows, states)
            carried = [np.asarray(after[name], np.float32).reshape(-1) for name in self._shapes]
        except ImportModelError as error:
            self._why = str(error)
            return BAD_INDEX
        if y.size != self._y_scale.size:
            raise ModelFileError(
                f"model {self.model.name!r}: its graph gives {y.size} numbers, not {self._y_scale.size}"
            )
        remembered = np.concatenate([*([rows[1:].reshape(-1)] if self._window > 1 else []), *carried, x[:0]])
        self._why = ""
        if not np.isfinite(remembered).all():
            return BAD_STATE
        for (name, exact), now in zip(((n, after[n]) for n in self._shapes), carried, strict=True):
            if exact.dtype.kind in "iu" and [int(v) for v in exact.flat] != [int(v) for v in now]:
                self._why = f"made state {name!r} a whole number that float32 does not hold"
                return BAD_STATE
        return y.astype(np.float32), remembered

    def _carried(self, arena: Floats) -> Mapping[str, Array]:
        places = self._places[1:] if self._window > 1 else self._places
        return {
            name: arena[place.offset : place.offset + place.size].reshape(shape).astype(self._graph.types[name])
            for (name, shape), place in zip(self._shapes.items(), places, strict=True)
        }

    def refusal(self, status: int, x: Floats, what: str) -> EdgeLstmError:
        """As `Session.refusal`; also ONNX Runtime's own message."""
        if status == BAD_INDEX:
            what = "the log" if self.model.timing.mode == "log" and what.startswith("row") else what
            return ReadingError(f"{what} was not taken: {self._why}")
        if status == BAD_STATE and self._why:
            return StateError(f"{what} would have {self._why}; it was not taken")
        return super().refusal(status, x, what)
