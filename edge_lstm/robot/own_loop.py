"""A program's own loop, recorded: its models are stepped through the recording, so that `edge-lstm replay` proves it.

    with edge_lstm.record("run.mcap", model) as r:
        while running:
            y = r.step(read_sensor())           # or {"gyro": …} by channel name; r.step("name", x) with several models
            if y is not None:
                left = move_motor(y)
                r.action({"left": left})        # what the program made of it: recorded, not recomputed in a replay

Its rule: what a model is given and what it answers goes through here and is recorded to the bit, with the model file
and what it remembered at first. The models work as on a robot: NaN is a missing reading, for which the policy stands
in. The recording never delays the loop and never stops it: its trouble is a note, unless it is `required`.

Never: decide what becomes of an output, or swallow an exception of the loop.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from edge_lstm.core.model import Model
from edge_lstm.core.storage import content
from edge_lstm.core.version import __version__
from edge_lstm.errors import EdgeLstmError, LogError, ReadingError, StateError, nearest
from edge_lstm.robot import calls
from edge_lstm.robot.calls import MISSING, NOTHING, OUTPUT, REFUSED, RESET, STEP, Begun, Call, Form
from edge_lstm.streams.gates import GateStream
from edge_lstm.streams.missing import MissingReadings
from edge_lstm.streams.readings import as_readings
from edge_lstm.streams.stream import Stream
from firmware_bridge.errors import RecordingError
from firmware_bridge.ports.clock import steady_clock
from firmware_bridge.recordings.contents import ACTIONS, MARKS, VALUES, Encoder, Message, json_bytes, schema_of
from firmware_bridge.recordings.recorder import Recorder, begin
from firmware_bridge.words import counted

if TYPE_CHECKING:
    from edge_lstm.core.operation import Floats

Recordable = Model | Stream | GateStream | MissingReadings
ONLY = "model"  # the name of a model that is given without one
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_MARK = json_bytes(schema_of({"text": ""}))


def record(
    path: str | PathLike[str], models: Recordable | Mapping[str, Recordable], *, required: bool = False
) -> RecordedLoop:
    """Begin a recording of a loop of your own.

    path: the file (.mcap); where there is one already, `~2` and so on is added to its name. models: a model (a new
    stream of it), a stream or a MissingReadings, which go on from what they remember; or several of them by name. They
    are stepped through the recording alone, and replay with the engine that a model has where nobody names one.
    required: trouble with the file is a LogError at the next call; otherwise it is a warning, the loop runs on, and
    `notes` has it.
    """
    return RecordedLoop(Path(path), models, required)


class _One:
    """One model of the loop."""

    def __init__(self, name: str, given: Recordable) -> None:
        if not isinstance(given, Recordable):
            raise ReadingError(
                f"{name!r}: a {type(given).__name__} cannot be recorded; give a model, a stream or a filler"
            )
        if not _NAME.fullmatch(name):
            raise ReadingError(f"a model's name in a recording is letters, digits and _ . -, not {name!r}")
        stream = given.stream() if isinstance(given, Model) else given
        filler = stream if isinstance(stream, MissingReadings) else MissingReadings(stream)
        model = filler.stream.model
        if model.timing.mode == "log":
            raise ReadingError(f"model {model.name!r} takes whole logs, no single readings: a loop cannot step it")
        if filler.stream.sizes != (model.program.input_size, model.program.output_size):
            raise ReadingError(f"{name!r}: inputs and outputs around a model cannot be recorded; give its own stream")
        if filler.unsettled:
            raise StateError(f"{name!r} has overdue readings; take the next one, or say that they are missing, before")
        self.name, self.model, self.filler, self.form = name, model, filler, Form.of(name, model)
        self.shape = (model.program.input_size,)
        self.number = 0  # of the latest call


class RecordedLoop:
    """Made by `record`. `path` is where it is, None where it could not be begun. For one thread."""

    def __init__(self, path: Path, models: Recordable | Mapping[str, Recordable], required: bool) -> None:
        named = models if isinstance(models, Mapping) else {ONLY: models}
        if not named:
            raise ReadingError("there is no model to record")
        self._all = {name: _One(name, given) for name, given in named.items()}
        if len({id(one.filler.stream) for one in self._all.values()}) < len(self._all):
            raise ReadingError("two names are one stream; each needs its own")
        self._only = next(iter(self._all.values())) if len(self._all) == 1 else None
        self._required, self._never = required, ""
        self._now_ns, self._encoder = steady_clock(), Encoder()
        self._recorder = self._begin(path)
        self.path = self._recorder.path if self._recorder else None

    def _begin(self, path: Path) -> Recorder | None:
        begun: dict[str, Begun] = {}
        attachments: dict[str, bytes] = {}
        for name, one in self._all.items():
            moment = one.filler.snapshot()
            begun[name] = Begun.of(one.filler, moment)
            attachments[f"{name}.npz"] = content(one.model)
            attachments[f"{name}.state"] = calls.moment_bytes(moment)
        metadata = {"program": f"edge-lstm {__version__}", calls.LOOP: calls.loop_text(begun)}
        try:
            return begin(path, metadata, attachments)
        except (OSError, RuntimeError, MemoryError, RecordingError) as error:
            self._never = f"the recording could not be begun: {error}"
        if self._required:
            raise LogError(self._never)
        warnings.warn(f"{self._never} Nothing is recorded; the loop runs.", RuntimeWarning, stacklevel=4)
        return None

    # --------------------------------------------------------------------------------------------- models

    @overload
    def step(self, x: npt.ArrayLike | Mapping[str, Any], /, *, t_ns: int | None = None) -> Floats | None: ...

    @overload
    def step(self, name: str, x: npt.ArrayLike | Mapping[str, Any], /, *, t_ns: int | None = None) -> Floats | None: ...

    def step(self, *given: Any, t_ns: int | None = None) -> Floats | None:
        """Take one reading: x (n_inputs,), or values by channel name; with several models, the model's name before it.

        Returns the output as `MissingReadings.step` does, a read-only view that the next call overwrites, or None. NaN
        is a missing reading. t_ns: when it was taken; None: now. Raises ReadingError (wrong length or type, unknown
        name; nothing is recorded then) or StateError, as a stream does.
        """
        one, x = self._pick(given, 1)
        t_ns = self._time(t_ns)
        if type(x) is not np.ndarray and isinstance(x, Mapping):
            x = one.model.encode(x)
        reading = as_readings(one.model, x, one.shape)
        bits = reading.tobytes()
        one.number += 1
        try:
            y = one.filler.step(reading)
        except StateError:
            self._called(one, t_ns, STEP, REFUSED, b"", 0, bits)
            raise
        except EdgeLstmError:
            one.number -= 1
            raise
        self._called(one, t_ns, STEP, *_came(y), 0, bits)
        return y

    @overload
    def missing(self, count: int = 1, /, *, t_ns: int | None = None) -> Floats | None: ...

    @overload
    def missing(self, name: str, count: int, /, *, t_ns: int | None = None) -> Floats | None: ...

    def missing(self, *given: Any, t_ns: int | None = None) -> Floats | None:
        """So many readings will never come. Returns what `MissingReadings.missing` does."""
        one, count = self._pick(given or (1,), 1)
        if type(count) is not int or not 0 < count < 1 << 63:
            raise ReadingError(f"{count!r} readings cannot be missing; 1 or more can")
        t_ns = self._time(t_ns)
        one.number += 1
        y = one.filler.missing(count)
        self._called(one, t_ns, MISSING, *_came(y), count)
        return y

    def reset(self, name: str | None = None, *, t_ns: int | None = None) -> None:
        """Back to the state before the first reading: one model, or all of them."""
        t_ns = self._time(t_ns)
        for one in self._all.values() if name is None else [self._pick((name,), 0)[0]]:
            one.number += 1
            one.filler.reset()
            self._called(one, t_ns, RESET, NOTHING)

    # ------------------------------------------------------------------------------- what the program did

    def action(self, values: Mapping[str, Any], name: str = "", *, t_ns: int | None = None) -> None:
        """What the program did: numbers by name (an array is name[0], name[1] …), on "/actions" or "/actions/NAME".
        Recorded as they are; a replay does not recompute them."""
        self._numbers(f"{ACTIONS}/{name}" if name else ACTIONS, values, t_ns)

    def values(self, name: str, values: Mapping[str, Any], *, t_ns: int | None = None) -> None:
        """Other numbers, on "/values/NAME", as `action`."""
        self._numbers(VALUES + name, values, t_ns)

    def mark(self, text: str, *, t_ns: int | None = None) -> None:
        """A sentence, on "/marks"."""
        self._put(lambda t_ns: [Message(MARKS, _MARK, t_ns, json_bytes({"text": str(text)}))], self._time(t_ns))

    # ---------------------------------------------------------------------------------------- the recording

    @property
    def notes(self) -> list[str]:
        """Sentences about the recording: why it is not there, or not whole. Empty: all is well."""
        recorder = self._recorder
        if recorder is None:
            return [self._never]
        if recorder.dropped:
            why = recorder.failed or recorder.odd or "the disk was too slow"
            return [f"the recording is not whole, it lacks {counted(recorder.dropped, 'message')}: {why}"]
        return [f"the recording is not whole: {recorder.failed}"] if recorder.failed else []

    def close(self) -> None:
        """Finish the file; `with` does it. May be called twice. LogError where it is required and not whole."""
        if self._recorder is None:
            return
        self._recorder.close()
        for note in self.notes:
            if self._required:
                raise LogError(note)
            warnings.warn(note, RuntimeWarning, stacklevel=3)

    def __enter__(self) -> RecordedLoop:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
            return
        with contextlib.suppress(LogError, RuntimeWarning):  # the loop's own exception says more
            self.close()

    def _pick(self, given: tuple[Any, ...], more: int) -> tuple[_One, Any]:
        """The model that is meant, and what is asked of it. more: how many arguments follow a name."""
        if len(given) == more and more and self._only is not None:
            return self._only, given[0]
        if len(given) != more + 1 or not isinstance(given[0], str):
            raise ReadingError(f"say which model, before the rest: {', '.join(map(repr, self._all))}")
        one = self._all.get(given[0])
        if one is None:
            raise ReadingError(f"there is no model {given[0]!r}{nearest(given[0], self._all)}")
        return one, given[-1]

    def _time(self, t_ns: int | None) -> int:
        """The time of a call, before anything is changed by it."""
        if self._required and self._recorder is not None and self._recorder.failed:
            raise LogError(self._recorder.failed)
        if t_ns is None:
            return self._now_ns()
        if not isinstance(t_ns, int | np.integer) or not 0 <= t_ns < 1 << 63:
            raise ReadingError(f"t_ns is a time in ns, 0 or more, not {t_ns!r}")
        return int(t_ns)

    def _called(
        self, one: _One, t_ns: int, kind: bytes, came: int, output: bytes = b"", missing: int = 0, reading: bytes = b""
    ) -> None:
        self._put(one.form.messages, Call(t_ns, one.number, kind, came, missing, reading, output))

    def _numbers(self, topic: str, values: Mapping[str, Any], t_ns: int | None) -> None:
        self._put(lambda *item: [self._encoder.values(*item)], topic, self._time(t_ns), _flat(values))

    def _put(self, make: Any, *arguments: Any) -> None:
        if self._recorder is not None:
            self._recorder.made(make, *arguments)


def _came(y: Floats | None) -> tuple[int, bytes]:
    """What came of a call, and its bits, which the next call overwrites in y."""
    return (NOTHING, b"") if y is None else (OUTPUT, y.tobytes())


def _flat(values: Mapping[str, Any]) -> dict[str, float]:
    """Numbers by name, now: an array may be another one when it is written. ReadingError for what is no number."""
    found: dict[str, float] = {}
    for name, value in values.items():
        try:
            if value is None:
                found[name] = np.nan
            elif isinstance(value, Iterable):
                found |= {f"{name}[{k}]": float(number) for k, number in enumerate(value)}
            else:
                found[name] = float(value)
        except (TypeError, ValueError):
            raise ReadingError(f"{name!r} is recorded as a number, or some; it is {value!r:.100}") from None
    return found
