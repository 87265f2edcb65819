"""What is remembered where ONNX Runtime runs the graph: the same memory as the machine's, advanced by a session.

Its rule: the stream in front of it notices no difference. States lie in the arena as float32, readings are checked
before the graph sees them, and what a step computes is taken over only when all of it is there and finite. Of a window
the last T - 1 readings are the memory; the graph computes all T at each reading.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from edge_lstm.engines.native.kernels import abi
from edge_lstm.engines.native.layout import aligned
from edge_lstm.engines.native.session import Memory
from edge_lstm.engines.onnxruntime.graph import Array, OnnxGraph, open_session
from edge_lstm.errors import ImportModelError, ModelFileError, ReadingError, StateError

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.core.program import Floats, Program

PAST = "past"  # the state that holds the readings of a window before the newest
_DAMAGE = (ValueError, TypeError, LookupError, AttributeError, ImportModelError)


def graph_of(model: Model) -> OnnxGraph:
    """The graph of a model, ready to run. ModelFileError where it is not what the model says of it."""
    op = model.program.onnx
    assert op is not None
    try:
        graph = OnnxGraph(open_session(op.weights["graph"].tobytes()), json.loads(str(op.attributes["meaning"])))
        _check(model.program, graph)
    except _DAMAGE as error:
        raise ModelFileError(f"model {model.name!r}: {error}; its graph is damaged, import it again") from None
    return graph


def _check(program: Program, graph: OnnxGraph) -> None:
    past = (graph.meaning["window"] - 1) * graph.reading_size
    states = {n: int(np.prod(shape, dtype=np.int64)) for n, shape in graph.state_shapes().items()}
    states |= {PAST: past} if past > 0 else {}
    for what, said, found in (
        ("inputs", program.input_size, graph.reading_size),
        ("states", [s.slot.size for s in program.states], list(states.values())),
        ("outputs", [o.name for o in program.outputs], list(graph.outputs)),
    ):
        if said != found:
            raise ValueError(f"its {what} are {said}, the graph's {found}")


class GraphMemory(Memory):
    """As `Memory`: so many copies of a model's states, in the reset state."""

    def __init__(self, model: Model, copies: int, digest: str | None = None) -> None:
        self.model = model
        self._digest = bytes.fromhex(model.digest if digest is None else digest)
        self._graph: OnnxGraph = model.graph
        program = model.program
        self._window = int(self._graph.meaning["window"])
        self._places = [s.slot for s in program.states]
        self._shapes = self._graph.state_shapes()
        self._zero = {n: v for n, v in self._graph.first_states().items() if n not in self._shapes}
        self._initial = program.initial_arena()
        self._arenas = aligned(copies * self._initial.size).reshape(copies, -1)
        self._elements = np.concatenate([*(s.elements for s in self._places), np.empty(0, np.int64)])
        self._frame = np.zeros(abi.FRAME, np.int64)
        for field, value in ((abi.COPIES, copies), (abi.READY, model.ready), (abi.EVERY, model.every)):
            self._frame[field] = value
        self._scale, self._offset = _scaling(model, "inputs")
        self._y_scale, self._y_offset = _scaling(model, "outputs")
        self._why = ""
        self.advance = self.advance_many = self._advance
        if model.whole_log:
            if copies != 1:
                raise ReadingError(f"model {model.name!r} takes whole logs; use a Stream for each")
            self.advance, self.advance_many = self._no_reading, self._whole_log
        self.reset()

    def point_at(self, xs: Floats, ys: Floats, steps: int, *, x_copy: int = 0, y_copy: int = 0) -> None:
        """As `Memory.point_at`."""
        copies, program = int(self._frame[abi.COPIES]), self.model.program
        views = []
        for values, width, copy in ((xs, program.input_size, x_copy), (ys, program.output_size, y_copy)):
            strides = (4 * copy, 4 * width, 4)
            views.append(np.lib.stride_tricks.as_strided(values, (copies, steps, width), strides))
        self._xs, self._ys = views

    def pointing(self) -> bytes:
        """As `Memory.pointing`."""
        self._pointed = self._xs, self._ys
        return super().pointing()

    def point_back(self, pointing: bytes) -> None:
        """As `Memory.point_back`, to the latest `pointing`."""
        self._xs, self._ys = self._pointed
        super().point_back(pointing)

    def reset(self) -> None:
        """Every copy as it began."""
        self._arenas[:] = self._initial
        self._frame[abi.SEEN] = 0

    def _advance(self) -> int:
        """Takes the readings that were pointed at, one after the other; the status of the last."""
        frame, status = self._frame, abi.OK
        frame[abi.DONE] = 0
        for t in range(self._xs.shape[1]):
            seen = int(frame[abi.SEEN]) + 1
            speaks = seen >= self.model.ready and (seen - self.model.ready) % self.model.every == 0
            found = []
            for x, arena in zip(self._xs[:, t], self._arenas, strict=False):
                if not np.isfinite(x).all():
                    return abi.BAD_READING
                step = self._step((x - self._offset) / self._scale, arena, speaks)
                if isinstance(step, int):
                    return step
                found.append(step)
            for k, (y, after) in enumerate(found):
                self._arenas[k, self._elements] = after
                self._ys[k, t] = y * self._y_scale + self._y_offset if speaks else np.nan
            frame[abi.SEEN], frame[abi.DONE] = seen, t + 1
            status = abi.OK if speaks else abi.NOT_YET
        return status

    def _no_reading(self) -> int:
        self._why = "the model reads logs from the end as well: it takes whole ones, with `run`"
        return abi.BAD_INDEX

    def _whole_log(self) -> int:
        """Takes the readings that were pointed at as one log."""
        frame, xs = self._frame, self._xs[0]
        frame[abi.DONE] = 0
        if not (whole := np.isfinite(xs).all(axis=1)).all():
            frame[abi.DONE] = int(np.argmin(whole))
            return abi.BAD_READING
        if frame[abi.SEEN] or not len(xs):
            self._why = (
                "the model takes a whole log at once: reset it before the next (a missing reading cuts one in two)"
            )
            return abi.BAD_INDEX if len(xs) else abi.OK
        if len(xs) < (least := int(self._graph.meaning["log"])):
            self._why = f"the model takes logs of {least} readings or more, this one has {len(xs)}"
            return abi.BAD_INDEX
        try:
            y = self._graph.whole((xs - self._offset) / self._scale, self._zero).astype(np.float32)
        except ImportModelError as error:
            self._why = str(error)
            return abi.BAD_INDEX
        self._ys[0] = y * self._y_scale + self._y_offset
        frame[abi.SEEN] = frame[abi.DONE] = len(xs)
        return abi.OK

    def _step(self, x: Floats, arena: Floats, speaks: bool) -> tuple[Floats, Floats] | int:
        """The output and the states after a reading in network units; or the status that refuses it."""
        rows, states = x[None], self._zero
        if self._window > 1:
            past = self._places[0]
            held = arena[past.offset : past.offset + past.size].reshape(-1, x.size)
            rows = np.concatenate([held, rows])
            if not speaks:
                return x, rows[1:].reshape(-1)
        if self._shapes:
            states = {**states, **self._carried(arena)}
        try:
            with np.errstate(all="ignore"):
                y, after = self._graph.newest(rows, states)
                carried = [np.asarray(after[name], np.float32).reshape(-1) for name in self._shapes]
        except ImportModelError as error:
            self._why = str(error)
            return abi.BAD_INDEX
        if y.size != self._y_scale.size:
            raise ModelFileError(
                f"model {self.model.name!r}: its graph gives {y.size} numbers, not {self._y_scale.size}"
            )
        remembered = np.concatenate([*([rows[1:].reshape(-1)] if self._window > 1 else []), *carried, x[:0]])
        self._why = ""
        if not np.isfinite(remembered).all():
            return abi.BAD_STATE
        for (name, held), now in zip(((n, after[n]) for n in self._shapes), carried, strict=True):
            if held.dtype.kind in "iu" and [int(v) for v in held.flat] != [int(v) for v in now]:
                self._why = f"made state {name!r} a whole number that float32 does not hold"
                return abi.BAD_STATE
        return y.astype(np.float32), remembered

    def _carried(self, arena: Floats) -> Mapping[str, Array]:
        places = self._places[1:] if self._window > 1 else self._places
        return {
            name: arena[place.offset : place.offset + place.size].reshape(shape).astype(self._graph.types[name])
            for (name, shape), place in zip(self._shapes.items(), places, strict=True)
        }

    def fail(self, status: int, x: Floats, what: str) -> NoReturn:
        """As `Memory.fail`; also what ONNX Runtime says."""
        if status == abi.BAD_INDEX:
            what = "the log" if self.model.whole_log and what.startswith("row") else what
            raise ReadingError(f"{what} was not taken: {self._why}")
        if status == abi.BAD_STATE and self._why:
            raise StateError(f"{what} would have {self._why}; it was not taken")
        super().fail(status, x, what)


def _scaling(model: Model, side: str) -> tuple[Floats, Floats]:
    channels = model.inputs if side == "inputs" else model.outputs
    widths = [c.width for c in channels]
    scale, offset = ([getattr(c, key) for c in channels] for key in ("scale", "offset"))
    return np.repeat(np.array(scale, np.float32), widths), np.repeat(np.array(offset, np.float32), widths)
