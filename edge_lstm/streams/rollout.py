"""Rollout: a network's output becomes its next reading, and so on.

    Rollout      (output, last reading) → the reading that the model expects next
    roll_out     so many steps of that, from a given memory

Its rule: what is drawn is drawn from a counter and the declared seed, so the same rollout gives the same again,
anywhere. The channels do the scaling: both ends are physical. Inputs without feedback keep their last value.

Never: touch the stream that is forecast; a memory of its own is rolled ahead.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import Channel, start_of
from edge_lstm.core.feedback import Choose
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Floats
from edge_lstm.core.outputs import probabilities, scale_of
from edge_lstm.errors import FeedbackError

_WORD = (1 << 64) - 1


class Forecast(NamedTuple):
    """readings float32 (n, n_inputs): what the model expects; outputs float32 (n, n_outputs): what it makes of them.

    `readings[0]` comes from the output that was there before, `readings[k]` from `outputs[k - 1]`.
    """

    readings: Floats
    outputs: Floats


def uniform(seed: int, number: int) -> float:
    """The number-th draw of a seed, in [0, 1): SplitMix64 (Steele, Lea & Flood 2014) of a counter, 53 bits."""
    z = (seed + (number + 1) * 0x9E3779B97F4A7C15) & _WORD
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _WORD
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53


class _Words:
    """One categorical feedback: the place of each of the output's words in the input."""

    def __init__(self, model: Model, output: Channel, input: Channel, choose: Choose, seed: int) -> None:
        start, to = start_of(model.outputs, output.name), start_of(model.inputs, input.name)
        self.source, self.target = slice(start, start + output.width), slice(to, to + input.width)
        self.places = [to + input.vocabulary.index(word) for word in output.vocabulary]
        self.seed = seed if choose == "sample" else None
        self.scale = scale_of(model.program, start)

    def put(self, y: Floats, x: Floats, draw: int) -> None:
        values = y[self.source]
        if not np.isfinite(values).all():
            x[self.target] = np.nan
            return
        if self.seed is None:
            word = int(values.argmax())
        else:
            reached = probabilities(self.scale, values).cumsum()
            word = int(np.searchsorted(reached, uniform(self.seed, draw) * reached[-1], side="right"))
            word = min(word, int(np.searchsorted(reached, reached[-1])))  # where the product rounds up to the total
        x[self.target] = 0.0
        x[self.places[word]] = 1.0


class Rollout:
    """A model's closed loop. FeedbackError where the model declares no feedback.

    choose, seed: instead of what the model declares (only for channels with vocabularies). `draw` counts the readings
    made; `fed` bool (n_inputs,): which numbers of a reading come from an output.
    """

    def __init__(self, model: Model, choose: Choose | None = None, seed: int | None = None) -> None:
        if not model.feedback:
            raise FeedbackError(
                f"model {model.name!r} declares no feedback, so no output predicts an input "
                "(edge-lstm import --feedback OUTPUT=INPUT, or Model(feedback=…))"
            )
        self.draw = 0
        self.fed: npt.NDArray[np.bool_] = np.zeros(model.program.input_size, np.bool_)
        self._words: list[_Words] = []
        source: list[int] = []
        target: list[int] = []
        for feedback in model.feedback:
            output = next(c for c in model.outputs if c.name == feedback.output)
            input = next(c for c in model.inputs if c.name == feedback.input)
            start, to = start_of(model.outputs, output.name), start_of(model.inputs, input.name)
            self.fed[to : to + input.width] = True
            words = bool(output.vocabulary and input.vocabulary)
            chosen = (choose if words else None) or feedback.choose or ("best" if words else "value")
            if chosen == "value":
                source.extend(range(start, start + output.width))
                target.extend(range(to, to + input.width))
            else:
                used = feedback.seed if seed is None else seed
                self._words.append(_Words(model, output, input, chosen, used + len(self._words)))
        self._source, self._target = np.array(source, np.intp), np.array(target, np.intp)
        self._x: Floats = np.zeros(model.program.input_size, np.float32)

    def __call__(self, y: Floats, x: Floats) -> Floats:
        """The reading expected after output y and reading x; a buffer that the next call overwrites."""
        self._x[:] = x
        if self._source.size:
            self._x[self._target] = y[self._source]
        for words in self._words:
            words.put(y, self._x, self.draw)
        self.draw += 1
        return self._x


class Steps(Protocol):
    """A stream, as far as a rollout needs it."""

    model: Model

    def step(self, x: Floats, /) -> Floats | None: ...


def roll_out(stream: Steps, rollout: Rollout, steps: int, x: Floats, y: Floats | None) -> Forecast:
    """`steps` steps of the closed loop on a stream of its own, after reading x and output y; without y, x
    is the first reading of the forecast. FeedbackError where the model has no output yet to go on from."""
    readings = np.empty((steps, x.size), np.float32)
    outputs = np.empty((steps, stream.model.program.output_size), np.float32)
    for k in range(steps):
        if y is not None:
            x = rollout(y, x)
        elif k:
            timing = stream.model.timing
            often = f", then with every {timing.stride}-th" if timing.stride > 1 else ""
            when = f"from reading {timing.first_output} on{often}"
            when = f"a window of {timing.window} readings" if timing.mode == "window" else when
            raise FeedbackError(f"model {stream.model.name!r} has no output yet ({when})")
        readings[k] = x
        y = stream.step(x)
        outputs[k] = np.nan if y is None else y
    return Forecast(readings, outputs)
