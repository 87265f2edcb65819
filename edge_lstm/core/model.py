"""A model: a program with what people need to use it — channels, rate, meaning in time, where it came from.

Its rule: frozen. Any number of streams share one model; nothing here ever changes after it is made.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

from edge_lstm.core.program import MAX_ARENA, Program
from edge_lstm.errors import ModelFileError

if TYPE_CHECKING:
    import numpy.typing as npt

    from edge_lstm.core.channels import Word
    from edge_lstm.core.program import Floats
    from edge_lstm.engines.native.layout import Assembled
    from edge_lstm.engines.onnxruntime.graph import OnnxGraph
    from edge_lstm.streams.gates import GateStream
    from edge_lstm.streams.stream import Stream, Streams

Choose = Literal["value", "best", "sample"]
Missing = Literal["skip", "hold", "predict"]
BeforeWindow = Literal["wait", "zeros"]
_LARGEST = 3.4028235e38  # float32
CHOICES: tuple[Choose, ...] = ("value", "best", "sample")
MISSING: tuple[Missing, ...] = ("skip", "hold", "predict")
BEFORE_WINDOW: tuple[BeforeWindow, ...] = ("wait", "zeros")


@dataclass(frozen=True)
class Channel:
    """One quantity of a reading or an output. physical = network * scale + offset, so a network that wants standardized
    inputs has the standard deviation as scale and the mean as offset. `unit` is free text ("deg/s"), compared as
    written.

    A categorical channel has a vocabulary and is one-hot: as wide as the vocabulary is long.
    """

    name: str
    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0
    vocabulary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name:
            raise ModelFileError("a channel has no name")
        for key, value in (("scale", self.scale), ("offset", self.offset)):
            try:
                object.__setattr__(self, key, float(value))  # also from NumPy's numbers
            except (TypeError, ValueError):
                raise ModelFileError(f"channel {self.name!r}: {key} {value!r} is not a number") from None
        if not (abs(self.offset) < _LARGEST and 1 / _LARGEST < abs(self.scale) < _LARGEST):
            raise ModelFileError(
                f"channel {self.name!r}: scale {self.scale} and offset {self.offset} do not fit float32 (scale: nor 0)"
            )
        if not self.name.isprintable() or not self.unit.isprintable():
            raise ModelFileError(f"channel {self.name!r}: name and unit {self.unit!r} must be printable")
        if len(set(self.vocabulary)) != len(self.vocabulary):
            raise ModelFileError(f"channel {self.name!r}: its vocabulary holds a word twice")

    @property
    def width(self) -> int:
        """How many numbers of the reading it takes."""
        return len(self.vocabulary) or 1


@dataclass(frozen=True)
class Feedback:
    """An output channel that predicts what an input channel will hold in the next reading: the closed loop.

    choose: "value" hands over the numbers, in physical units (so each channel's own scaling applies); "best" the most
    probable word, as one-hot; "sample" a word drawn by its probability, from `seed`. None means "best" where both
    channels have a vocabulary and "value" elsewhere. Words are matched by name.
    """

    output: str
    input: str
    choose: Choose | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.choose not in (None, *CHOICES):
            raise ModelFileError(f"feedback {self.output!r}: choose must be one of {CHOICES}, not {self.choose!r}")
        if type(self.seed) is not int or not 0 <= self.seed < 1 << 64:
            raise ModelFileError(f"feedback {self.output!r}: seed {self.seed!r} is no whole number below 2^64")


@dataclass(frozen=True)
class Policy:
    """What stands in for a reading, or for the channels of one, that did not come.

    missing: "skip" nothing, the memory waits; "hold" the last value; "predict" the model's own prediction (`Feedback`),
    and the last value in channels without one. longest_gap: after more missing readings than this in a row the memory
    is reset; None means never.
    """

    missing: Missing = "skip"
    longest_gap: int | None = None

    def __post_init__(self) -> None:
        if self.missing not in MISSING:
            raise ModelFileError(f"policy: missing must be one of {MISSING}, not {self.missing!r}")
        if self.longest_gap is not None and (type(self.longest_gap) is not int or self.longest_gap < 0):
            raise ModelFileError(f"policy: longest_gap must be a number of readings, not {self.longest_gap!r}")


def channels_for(names: tuple[str, ...], sizes: tuple[int, ...]) -> tuple[Channel, ...]:
    """Channels for parts that have only a name and a size: "x" of size 3 becomes x[0], x[1], x[2]."""
    return tuple(
        Channel(name if size == 1 else f"{name}[{k}]")
        for name, size in zip(names, sizes, strict=True)
        for k in range(size)
    )


@dataclass(frozen=True, repr=False)
class Model:
    """A trained network, ready to run one reading at a time.

    rate_hz: readings per second it was trained for, or None where that is not known.
    window: None means continuous (the state goes on for ever); T means that an output belongs to the last T readings,
    computed from the reset state, as the network was trained.
    ready, every: outputs come with reading number `ready` after a reset and with every `every`-th from there on.
    before_window: "wait" means no output before there are T readings; "zeros" means that the network's inputs are zero
    in place of the readings before the first (a channel's zero in physical units is its offset).
    feedback: which outputs predict which inputs of the next reading. policy: what stands in for missing readings, where
    nobody says otherwise.
    """

    program: Program
    inputs: tuple[Channel, ...]
    outputs: tuple[Channel, ...]
    rate_hz: float | None = None
    window: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    name: str = "model"
    feedback: tuple[Feedback, ...] = ()
    policy: Policy = Policy()
    ready: int = 1
    every: int = 1
    before_window: BeforeWindow = "wait"
    _assembled: dict[int, Assembled] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __repr__(self) -> str:
        window = self.window or (self.provenance.get("window") if self.provenance.get("mode") == "window" else None)
        time = "whole logs" if self.whole_log else f"window of {window}" if window else "continuous"
        time += f", an output every {self.every} readings" if self.every > 1 else ""
        weights = f"{self.program.weight_count:,} weights"
        return f"<Model {self.name!r}: {len(self.inputs)} → {len(self.outputs)} channels, {weights}, {time}>"

    def __post_init__(self) -> None:
        for what, channels, size in (
            ("inputs", self.inputs, self.program.input_size),
            ("outputs", self.outputs, self.program.output_size),
        ):
            width = sum(c.width for c in channels)
            if width != size:
                raise ModelFileError(f"model {self.name!r}: its {what} are {width} wide, its program needs {size}")
            names = [c.name for c in channels]
            if len(set(names)) != len(names):
                twice = sorted({n for n in names if names.count(n) > 1})
                raise ModelFileError(f"model {self.name!r}: {what} share the name {twice[0]!r}")
        if self.rate_hz is not None and not (
            isinstance(self.rate_hz, (int, float)) and math.isfinite(self.rate_hz) and self.rate_hz > 0
        ):
            raise ModelFileError(f"model {self.name!r}: rate {self.rate_hz} Hz is not a positive number")
        if not self.name.isprintable():
            raise ModelFileError(f"the model's name {self.name!r} must be printable")
        for key, value in (("window", self.window), ("ready", self.ready), ("every", self.every)):
            if not (type(value) is int or (key == "window" and value is None)):
                raise ModelFileError(f"model {self.name!r}: {key} {value!r} is not a whole number")
        if self.window is not None and not 1 <= self.window <= 1 << 20:
            raise ModelFileError(f"model {self.name!r}: a window of {self.window} readings is out of range")
        if (self.window or 1) * self.program.arena_size > MAX_ARENA:
            raise ModelFileError(f"model {self.name!r}: {self.window} windows of it at a time need too much memory")
        if min(self.ready, self.every) < 1 or max(self.ready, self.every) > 1 << 20:
            raise ModelFileError(f"model {self.name!r}: ready {self.ready} and every {self.every} are out of range")
        if self.window is not None and (self.ready, self.every) != (1, 1):
            raise ModelFileError(f"model {self.name!r}: has a window, so ready and every are the window's")
        if self.before_window not in BEFORE_WINDOW:
            raise ModelFileError(
                f"model {self.name!r}: before_window must be one of {BEFORE_WINDOW}, not {self.before_window!r}"
            )
        if self.before_window == "zeros" and self.window is None and self.ready != 1:
            raise ModelFileError(f"model {self.name!r}: its first output comes with reading {self.ready}, not before")
        self._check_feedback()

    def _check_feedback(self) -> None:
        fed: set[str] = set()
        for feedback in self.feedback:
            what = f"model {self.name!r}: feedback {feedback.output!r} → {feedback.input!r}"
            output = next((c for c in self.outputs if c.name == feedback.output), None)
            input = next((c for c in self.inputs if c.name == feedback.input), None)
            for side, channel, name, channels in (
                ("output", output, feedback.output, self.outputs),
                ("input", input, feedback.input, self.inputs),
            ):
                if channel is None:
                    raise ModelFileError(
                        f"{what}: there is no {side} channel {name!r}; there are {', '.join(c.name for c in channels)}"
                    )
            assert output is not None
            assert input is not None
            if input.name in fed:
                raise ModelFileError(f"{what}: another output feeds this input already")
            fed.add(input.name)
            if output.unit and input.unit and output.unit != input.unit:
                raise ModelFileError(f"{what}: the output is in {output.unit!r}, the input in {input.unit!r}")
            if feedback.choose in ("best", "sample") and not (output.vocabulary and input.vocabulary):
                raise ModelFileError(f"{what}: choose {feedback.choose!r} needs a vocabulary in both channels")
            if output.vocabulary and input.vocabulary and feedback.choose != "value":
                strange = [word for word in output.vocabulary if word not in input.vocabulary]
                if strange:
                    raise ModelFileError(f"{what}: the input's vocabulary has no word {strange[0]!r}")
            elif output.width != input.width or (output.vocabulary or input.vocabulary) != input.vocabulary:
                raise ModelFileError(
                    f"{what}: the output is {output.width} wide, the input {input.width}, or their words differ"
                )
        if self.policy.missing == "predict" and not self.feedback:
            raise ModelFileError(f"model {self.name!r}: its policy is to predict, but it declares no feedback")

    @property
    def first(self) -> int:
        """The number of the reading, counted from 1 after a reset, with which the first output comes."""
        return 1 if self.before_window == "zeros" else self.window or self.ready

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over everything that decides what it computes; not over name and provenance."""
        from edge_lstm.core.storage import describe

        header, arrays = describe(self)
        meaning = {k: v for k, v in header.items() if k not in ("name", "provenance")}
        digest = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode())
        for array in arrays:
            digest.update(str((array.dtype.str, array.shape)).encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    @cached_property
    def whole_log(self) -> bool:
        """Whether it takes whole logs (`Stream.run`) and no single readings: something in it reads from the end."""
        op = self.program.onnx
        return op is not None and bool(json.loads(str(op.attributes["meaning"])).get("log"))

    @cached_property
    def graph(self) -> OnnxGraph:
        """The session of a model that ONNX Runtime runs (`program.onnx`), shared by all streams. Raises ModelFileError
        where the graph is damaged."""
        from edge_lstm.engines.onnxruntime.session import graph_of

        return graph_of(self)

    def assembled(self, lanes: int) -> Assembled:
        """Laid out for a machine of so many lanes; made once, shared by all streams."""
        from edge_lstm.engines.native.layout import assemble

        if lanes not in self._assembled:
            self._assembled[lanes] = assemble(self, lanes)
        return self._assembled[lanes]

    @overload
    def stream(self, gates: Literal[False] = False) -> Stream: ...

    @overload
    def stream(self, gates: Literal[True]) -> GateStream: ...

    def stream(self, gates: bool = False) -> Stream | GateStream:
        """A new stream in the reset state. Streams of one model share its weights.

        gates: a stream that also tells every gate of every recurrent layer; its outputs have the same bits.
        """
        if gates:
            from edge_lstm.streams.gates import GateStream

            return GateStream(self)
        from edge_lstm.streams.stream import Stream

        return Stream(self)

    def streams(self, count: int) -> Streams:
        """So many new streams that step together, with one pass over the weights for several of them."""
        from edge_lstm.streams.stream import Streams

        return Streams(self, count)

    def encode(self, values: Mapping[str, Any]) -> Floats:
        """A reading, float32 (n_inputs,), from values by channel name.

        A number for a channel; for one with a vocabulary the word, its index or the vector. None or NaN: missing, NaN
        in the reading. Raises ReadingError: unknown or left-out channel, unknown word, wrong length.
        """
        from edge_lstm.core.channels import encode

        return encode(self.inputs, values)

    def decode(self, y: npt.ArrayLike) -> dict[str, float | Word]:
        """An output by channel name: a number, or the most probable word with all probabilities."""
        from edge_lstm.core.channels import decode

        return decode(self, y)
