"""A model: a program with what people need to use it: channels, rate, timing, where it came from.

Its rule: frozen, and data only. Any number of streams share one model; nothing here changes after it is made. It opens
the streams that run it, and reaches up to nothing else.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy.typing as npt

from edge_lstm.core.channels import Channel, encode
from edge_lstm.core.description import describe_program
from edge_lstm.core.feedback import AS_IT_COMES, Feedback, Policy
from edge_lstm.core.operation import Floats
from edge_lstm.core.operations.graph import takes_logs
from edge_lstm.core.outputs import Word, decode
from edge_lstm.core.program import MAX_ARENA, Program
from edge_lstm.core.readable import Readable
from edge_lstm.core.timing import CONTINUOUS, Timing
from edge_lstm.errors import ModelFileError

if TYPE_CHECKING:
    from edge_lstm.streams.gates import GateStream
    from edge_lstm.streams.stream import Stream, Streams


@dataclass(frozen=True, repr=False)
class Model(metaclass=Readable):
    """A trained network, ready to run one reading at a time.

    rate_hz: readings per second it was trained for, or None where that is not known.
    timing: when outputs come, and from which readings they are computed.
    provenance: where it came from, for people; nothing that a program does depends on it.
    feedback: which outputs predict which inputs of the next reading. policy: what stands in for missing readings,
    unless the caller chooses another.
    """

    program: Program
    inputs: tuple[Channel, ...]
    outputs: tuple[Channel, ...]
    rate_hz: float | None = None
    timing: Timing = CONTINUOUS
    provenance: Mapping[str, Any] = field(default_factory=dict)
    name: str = "model"
    feedback: tuple[Feedback, ...] = ()
    policy: Policy = AS_IT_COMES
    _shared: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __repr__(self) -> str:
        timing = self.timing
        time = "whole logs" if timing.mode == "log" else f"window of {timing.window}" if timing.window else "continuous"
        time += f", an output every {timing.stride} readings" if timing.stride > 1 else ""
        weights = f"{self.program.weight_count:,} weights"
        return f"<Model {self.name!r}: {len(self.inputs)} → {len(self.outputs)} channels, {weights}, {time}>"

    def __copy__(self) -> Model:
        return self  # nothing of it ever changes

    def __deepcopy__(self, memo: object) -> Model:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled without what engines have made of it, and checked anew when it is read."""
        return Model, tuple(getattr(self, f.name) for f in fields(self) if f.init)

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
        if self.timing.under_way * self.program.arena_size > MAX_ARENA:
            windows = self.timing.under_way
            raise ModelFileError(
                f"model {self.name!r}: its {windows} windows under way need {windows * self.program.arena_size} values;"
                f" {MAX_ARENA} are the most"
            )
        if (self.timing.mode == "log") != takes_logs(self.program.onnx):
            raise ModelFileError(
                f"model {self.name!r}: the timing is {self.timing.mode!r}, but the program is"
                f" {'not ' if self.timing.mode == 'log' else ''}a graph that takes whole logs"
            )
        self._check_feedback()

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds for one reading: every window under way takes it, and what only an output needs is computed for
        the one that ends (of quantized networks for all)."""
        program, windows = self.program, self.timing.under_way
        if windows == 1 or program.quantized:
            return program.multiply_adds * windows
        pairs = zip(program.operations, program.of_states, strict=True)
        return sum(op.multiply_adds * (windows if of_state else 1) for op, of_state in pairs)

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
                    f"{what}: the output is {output.width} wide, the input {input.width}, or their vocabularies differ"
                )
        if self.policy.missing == "predict" and not self.feedback:
            raise ModelFileError(f"model {self.name!r}: its policy is to predict, but it declares no feedback")

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over everything that decides what it computes, as format 1 of the model file has it; not over
        name, provenance and the axes of the graph it came from."""
        header, arrays = describe_program(self.program)
        decides = {
            "format": 1,
            "rate_hz": self.rate_hz,
            "inputs": [c.as_dict() for c in self.inputs],
            "outputs": [c.as_dict() for c in self.outputs],
            "program": header,
            **self.timing.in_format_1(),
            **self.declared(),
        }
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode())
        for array in arrays:
            digest.update(str((array.dtype.str, array.shape)).encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def declared(self) -> dict[str, Any]:
        """Feedback and policy as JSON values; defaults are left out."""
        found: dict[str, Any] = {"feedback": [asdict(f) for f in self.feedback]} if self.feedback else {}
        return found | ({"policy": asdict(self.policy)} if self.policy != AS_IT_COMES else {})

    def shared(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What an engine makes of this model, once for all its streams; `key` begins with the engine's name."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    @overload
    def stream(self, gates: Literal[False] = False) -> Stream: ...

    @overload
    def stream(self, gates: Literal[True]) -> GateStream: ...

    def stream(self, gates: bool = False) -> Stream | GateStream:
        """A new stream in the reset state. Streams of one model share its weights.

        gates: a stream that also shows every gate of every recurrent layer; its outputs have the same bits.
        """
        if gates:
            from edge_lstm.streams.gates import GateStream

            return GateStream(self)
        from edge_lstm.streams.stream import Stream

        return Stream(self)

    def streams(self, count: int) -> Streams:
        """`count` new streams that step together, with one pass over the weights for several of them."""
        from edge_lstm.streams.stream import Streams

        return Streams(self, count)

    def encode(self, values: Mapping[str, Any]) -> Floats:
        """A reading, float32 (n_inputs,), from values by channel name.

        A number for a channel; for one with a vocabulary the word, its index or the vector. None or NaN: missing, NaN
        in the reading. Raises ReadingError: unknown or left-out channel, unknown word, wrong length.
        """
        return encode(self.inputs, values)

    def decode(self, y: npt.ArrayLike) -> dict[str, float | Word]:
        """An output by channel name: a number, or the most probable word with all probabilities."""
        return decode(self.name, self.outputs, self.program, y)
