"""Sessions of the native engine: the frames through which the compiled interpreter advances a memory.

Its rule: a frame's addresses are those of arrays that live as long as the session; the one frame that points to a
caller's arrays is used within one call, which sets it first. So nothing dangles, wherever a call is interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import channels_for
from edge_lstm.core.feedback import AS_IT_COMES
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Floats
from edge_lstm.core.timing import CONTINUOUS
from edge_lstm.engines.memory import Memory, aligned
from edge_lstm.engines.native import loader
from edge_lstm.engines.native.cpu import default_lanes
from edge_lstm.engines.native.kernels import abi
from edge_lstm.engines.native.layout import Layout, lay_out

# Below this a call is over (about 5 µs) before another thread could do anything with the GIL, but giving it up to a
# busy thread may cost the switch interval (5 ms by default) to get it back.
_WORTH_RELEASING = 200_000  # multiply-adds
# So many readings of a log go through the instructions at a time: few enough that their arenas stay in a cache, the
# first level for one stream, the second for several. Of these so many share each pass over the weights; with 16, what
# they remember of 8 readings took more of the caches than reading the weights once more (AVX-512, 128 units). Where
# weights fill half of a second level they are read from afar: then 16 share a pass, two readings at a time.
_AHEAD_FLOATS, _TOGETHER_FLOATS = 6144, 24576
_FEWEST_AHEAD, _MOST_AHEAD, _MOST_TOGETHER = 8, 64, 8
_LARGE_FLOATS = 1 << 16
_MOST_AHEAD_FLOATS = 1 << 22  # 16 MiB; where those arenas would be larger, readings go one after the other


@dataclass(frozen=True)
class Native:
    """The compiled interpreter. lanes: float32 of a vector, 4, 8 or 16; None: what suits this CPU. The bits are the
    same."""

    lanes: int | None = None
    name = "native"

    def open(self, model: Model, streams: int = 1, digest: str | None = None) -> NativeSession:
        """As `Engine.open`."""
        return NativeSession(model, streams, default_lanes() if self.lanes is None else self.lanes, digest)


def layout_of(model: Model, lanes: int) -> Layout:
    """The model laid out for so many lanes; made once, shared by all its streams."""
    layout: Layout = model.shared(("native", lanes), lambda: lay_out(model, lanes))
    return layout


class NativeSession(Memory):
    """As `Session`: the windows under way of one stream, or many streams."""

    def __init__(self, model: Model, streams: int, lanes: int, digest: str | None = None) -> None:
        self._layout = layout_of(model, lanes)  # the frames point into it
        windowed = model.timing.mode == "window"
        super().__init__(model, streams * model.timing.under_way, self._layout.arena, digest)
        if not model.program.quantized:  # those go one by one
            self.group = abi.ARENAS_AT_ONCE[lanes]
        copies, inputs, outputs = len(self._arenas), model.program.input_size, model.program.output_size
        self.x = aligned(streams * inputs).reshape(streams, inputs)
        self.y = aligned(streams * outputs).reshape(streams, outputs)
        self._frame, self._long_frame = np.zeros(abi.FRAME, np.int64), np.zeros(abi.FRAME, np.int64)
        for field, value in (
            (abi.TABLE, self._layout.table.ctypes.data),
            (abi.STEP_ROWS, self._layout.step_rows),
            (abi.COMMIT_ROWS, self._layout.commit_rows),
            (abi.SHARED_ROWS, self._layout.shared_rows),
            (abi.OUTPUT_ROWS, self._layout.output_rows),
            (abi.WEIGHTS, self._layout.weights.ctypes.data),
            (abi.ARENA, self._arenas.ctypes.data),
            (abi.ARENA_SIZE, self._initial.size),
            (abi.INITIAL, self._initial.ctypes.data),
            (abi.COPIES, copies),
            (abi.WINDOW, windowed),
            (abi.X, self.x.ctypes.data),
            (abi.X_STEP, inputs),
            (abi.X_COPY, inputs if streams > 1 else 0),  # all windows get the same reading
            (abi.Y_OUT, self.y.ctypes.data),
            (abi.Y_STEP, outputs),
            (abi.Y_COPY, outputs if streams > 1 else 0),
            (abi.STEPS, 1),
            (abi.READY, model.timing.ready),
            (abi.EVERY, model.timing.stride),
        ):
            self._frame[field] = self._long_frame[field] = value
        self._ahead: Floats | None = None  # made when the first log is taken
        # Two ways in: one that holds the GIL, and one that releases it.
        hold, release = loader.bind(self._frame.ctypes.data, lanes)
        long = model.program.multiply_adds * copies > _WORTH_RELEASING
        self.advance = partial(self.exclusively, release) if long else hold
        _, self._advance_long = loader.bind(self._long_frame.ctypes.data, lanes)
        # Where zeros stand in for the readings before the first, all windows are under way from the beginning.
        if windowed and model.timing.before_window == "zeros":
            self._start, self._begun = self._windows_of_zeros(lanes), copies
        self.reset()

    @property
    def seen(self) -> int:
        """Readings since the reset, as the frame counts them."""
        return int(self._frame[abi.SEEN])

    @seen.setter
    def seen(self, readings: int) -> None:
        self._frame[abi.SEEN] = readings

    def _windows_of_zeros(self, lanes: int) -> Floats:
        """The copies before the first reading: the window of copy k ends with reading k, so it has taken T - k zeros,
        and copy 0 begins with the first reading. Zeros of the network, whatever the channels' scaling."""
        model, size = self.model, self.model.program.input_size
        inputs = channels_for(("zero",), (size,))
        plain = replace(model, inputs=inputs, timing=CONTINUOUS, feedback=(), policy=AS_IT_COMES)
        network = NativeSession(plain, 1, lanes, self._digest.hex())
        start: Floats = np.repeat(self._initial[None], len(self._arenas), axis=0)
        for copy in range(len(start) - 1, 0, -1):
            if status := network.advance():
                raise self.refusal(status, network.x[0], "a reading of zeros before the first window")
            start[copy, self._elements] = network._arenas[0, self._elements]
        return start

    def _arenas_ahead(self) -> Floats | None:
        """Arenas for the readings of a log, of as many streams as advance together; None where they are too large."""
        size = self._initial.size
        large = self._layout.weights.size > _LARGE_FLOATS
        copies = min(len(self._arenas), 2 * _MOST_TOGETHER if large else _MOST_TOGETHER)
        fewest = 2 if copies > _MOST_TOGETHER else _FEWEST_AHEAD
        fit = (_AHEAD_FLOATS if copies == 1 else _TOGETHER_FLOATS // copies) // size
        readings = min(max(fit, fewest), _MOST_AHEAD)
        floats = (1 + readings) * copies * size
        if floats > _MOST_AHEAD_FLOATS:
            return None
        arenas = aligned(floats).reshape(-1, size)
        arenas[:] = self._initial
        self._long_frame[abi.AHEAD], self._long_frame[abi.AHEAD_ARENAS] = arenas.ctypes.data, len(arenas)
        self._long_frame[abi.AHEAD_COPIES] = copies
        return arenas

    def frame_for(self, xs: Floats, ys: Floats) -> npt.NDArray[np.int64]:
        """The frame that takes these readings to these outputs, as in `advance_many`; the next call sets it anew."""
        streams, steps = xs.shape[:2]
        windowed = self.model.timing.mode == "window"
        if steps > 1 and self._ahead is None and self._layout.batched and not windowed:
            self._ahead = self._arenas_ahead()
        frame = self._long_frame
        frame[abi.COPIES] = len(self._arenas) if windowed else streams
        frame[abi.X], frame[abi.X_COPY] = xs.ctypes.data, xs.strides[0] // 4 if streams > 1 else 0
        frame[abi.Y_OUT], frame[abi.Y_COPY] = ys.ctypes.data, ys.strides[0] // 4 if streams > 1 else 0
        frame[abi.STEPS], frame[abi.SEEN] = steps, self._frame[abi.SEEN]
        return frame

    def advance_many(self, xs: Floats, ys: Floats) -> tuple[int, int]:
        """As `Session.advance_many`."""
        return self.exclusively(self._advance_many, xs, ys)

    def _advance_many(self, xs: Floats, ys: Floats) -> tuple[int, int]:
        frame = self.frame_for(xs, ys)
        status = self._advance_long()
        self._frame[abi.SEEN] = frame[abi.SEEN]
        return status, int(frame[abi.DONE])
