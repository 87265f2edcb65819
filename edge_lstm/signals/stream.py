"""A model with its inputs and outputs as one stream: raw numbers of a tick → the model's outputs and derived ones.

    around = Around(model.stream(), Signals(inputs, model, outputs))
    y = around.step(raw)              # float32 (model's outputs + those of [outputs],), None while a window is not full

Its rule: one step is the two calls of `Signals` with one step of the model between them, so whoever fills missing
readings (`streams/missing.py`) fills raw numbers: what is held, what advances over a gap and what is taken back is the
same for the filters of the inputs and outputs as for the model's memory.

Where the model refuses what the inputs made (a quaternion of zeros, a memory that would be infinite), its memory and
the outputs are as they were; the filters of the inputs have followed the reading, which was a real one. Where the
outputs refuse what the model said, the derived numbers of this step are NaN.

Never: carry over an output that was not made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import Encoder
from edge_lstm.errors import ReadingError, StateError
from edge_lstm.signals.runtime import Moment, Signals

if TYPE_CHECKING:
    from edge_lstm.core.operation import Floats
    from edge_lstm.streams.missing import Steps


class Around:
    """Made in the reset state of `signals`, around a stream in whatever state."""

    def __init__(self, stream: Steps, signals: Signals) -> None:
        self.stream, self.signals, self.model = stream, signals, stream.model
        self.sizes = len(signals.raw), signals.size
        words = any(channel.vocabulary for channel in self.model.inputs)
        self._encode = Encoder(self.model.inputs).one if words else None
        self._none: Floats = np.full(signals.size - self.model.program.output_size, np.nan, np.float32)

    def step(self, x: Any) -> Floats | None:
        """x: raw numbers in the order of `Signals.raw`. Returns a view that the next call overwrites. Raises as
        `Stream.step` does."""
        values = self.signals.channels(x)
        y = self.stream.step(values if self._encode is None else self._encode(values.tolist()))
        return None if y is None else self._out_of(y)

    def _out_of(self, y: Floats) -> Floats:
        try:
            return self.signals.finish(y)
        except (ReadingError, StateError):
            return np.concatenate([y, self._none])

    def run(self, xs: npt.ArrayLike) -> Floats:
        """xs float32 (T, raw numbers) → (T, outputs), NaN where there is none; the bits of T steps. Raises as they do;
        then nothing has been taken."""
        before = self.snapshot()
        rows = np.asarray(xs, np.float32)
        ys = np.full((len(rows), self.sizes[1]), np.nan, np.float32)
        try:
            for k, row in enumerate(rows.tolist()):
                y = self.step(row)
                if y is not None:
                    ys[k] = y
        except (ReadingError, StateError):
            self.restore(before)
            raise
        return ys

    def reset(self) -> None:
        """Model, inputs and outputs as they began."""
        self.stream.reset()
        self.signals.reset()

    def snapshot(self) -> tuple[bytes, tuple[bytes, ...]]:
        """Everything that is remembered, for `restore`."""
        return self.stream.snapshot(), tuple(self.signals.snapshot())

    def restore(self, moment: tuple[bytes, tuple[bytes, ...]]) -> None:
        """Take up what `snapshot` gave."""
        self.stream.restore(moment[0])
        self.signals.restore(Moment(*moment[1]))
