"""What a program's own loop asks of its models, and what it is answered, as a recording holds it.

Its rule: a call is one message of bytes that hold all that decides: the reading as the model takes it (float32 bits), a
reset, how many readings are missing, and the bits of the output. The messages for people and viewers (`/readings/NAME`,
`/outputs/NAME`, `/link`) follow from these bytes and from nothing else. What travels with them so that they replay: the
model file (`NAME.npz`), what was remembered when the recording began (`NAME.state`), and which they are (`LOOP`).

Never: step a model, or read a clock.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import numpy as np

from edge_lstm.core.channels import flat_names, flat_units
from edge_lstm.core.feedback import Policy
from edge_lstm.core.storage import load_file
from edge_lstm.errors import LogError, ModelFileError, StateError
from edge_lstm.streams.missing import Filled, MissingReadings, Moment
from firmware_bridge.recordings.contents import (
    CALLS,
    EVENT_SCHEMA,
    EVENTS,
    OUTPUTS,
    READINGS,
    Message,
    Numbers,
    json_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_lstm.core.feedback import Missing
    from edge_lstm.core.model import Model
    from edge_lstm.core.operation import Floats
    from firmware_bridge.recordings.reader import Recording
    from firmware_bridge.recordings.series import Recorded

LOOP = "loop"  # in the metadata: JSON, name → what `Begun` says; its presence says what kind of recording it is
STEP, RESET, MISSING = b"s", b"r", b"m"  # kinds of calls
NOTHING, OUTPUT, REFUSED = range(3)  # what came of one: no output, one, or the memory would have become infinite
_HEAD = struct.Struct("<QcBQ")  # number of the call from 1, kind, what came of it, count of missing readings (else 0)
_SUM = struct.Struct("<I")  # at the end: CRC-32 of what stands before it


class Call(NamedTuple):
    """One call. reading, output: float32 bits, empty where there is none."""

    t_ns: int
    number: int
    kind: bytes
    came: int
    missing: int  # readings
    reading: bytes
    output: bytes
    intact: bool = True  # as it was recorded: its checksum is right


class Form:
    """How the calls of one model are written."""

    def __init__(
        self,
        name: str,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        units: tuple[str, ...] = (),
        text: bool = False,
    ) -> None:
        """inputs, outputs: a name for each number; units: of all of them, in that order; text: the messages for people
        are JSON, as before form 4."""
        self.name, self.topic = name, CALLS + name
        self._width, self._results = 4 * len(inputs), 4 * len(outputs)
        types = ["float32"] * len(inputs), ["float32"] * len(outputs)
        self._inputs = Numbers(READINGS + name, inputs, units[: len(inputs)], types[0], text)
        self._outputs = Numbers(f"{OUTPUTS}/{name}", outputs, units[len(inputs) :], types[1], text)

    @classmethod
    def of(cls, name: str, model: Model) -> Form:
        """That of a model."""
        units = flat_units(model.inputs) + flat_units(model.outputs)
        return cls(name, flat_names(model.inputs), flat_names(model.outputs), units)

    def read(self, t_ns: int, data: bytes) -> Call:
        """Raises ValueError saying why these bytes are no call."""
        if len(data) < _HEAD.size + _SUM.size:
            raise ValueError("it has no head")
        number, kind, came, missing = _HEAD.unpack_from(data)
        width = self._width if kind == STEP else 0
        end = _HEAD.size + width + (self._results if came == OUTPUT else 0)
        if kind not in (STEP, RESET, MISSING) or came not in (NOTHING, OUTPUT, REFUSED) or len(data) != end + _SUM.size:
            raise ValueError(f"its kind is {kind!r}, what came of it {came}, its length {len(data)}")
        split = _HEAD.size + width
        intact = data[end:] == _SUM.pack(crc32(data[:end]))
        return Call(t_ns, number, kind, came, missing, data[_HEAD.size : split], data[split:end], intact)

    def messages(self, call: Call) -> list[Message]:
        """What a recording holds of a call: its bytes, and what follows from them."""
        data = _HEAD.pack(call.number, call.kind, call.came, call.missing) + call.reading + call.output
        return [Message(self.topic, b"", call.t_ns, data + _SUM.pack(crc32(data))), *self.derived(call)]

    def derived(self, call: Call) -> list[Message]:
        """The messages for people."""
        found = []
        if call.kind == STEP:
            found.append(self._inputs(call.t_ns, np.frombuffer(call.reading, "<f4").tolist()))
        else:
            reset = {"event": "reset", "format": self.name, "text": f"{self.name} was reset."}
            text = f"{call.missing} readings of {self.name} are missing."
            gap = {"event": "gap", "format": self.name, "count": call.missing, "text": text}
            tree = reset if call.kind == RESET else gap
            found.append(Message(EVENTS, EVENT_SCHEMA, call.t_ns, json_bytes(tree)))
        if call.came == OUTPUT:
            found.append(self._outputs(call.t_ns, np.frombuffer(call.output, "<f4").tolist()))
        return found


@dataclass(frozen=True)
class Begun:
    """One model as it was when the recording began. fresh: it remembered nothing yet; each: as `MissingReadings`."""

    digest: str
    policy: Policy
    fresh: bool
    inputs: tuple[str, ...]  # a name for each number
    outputs: tuple[str, ...]
    each: tuple[Missing | None, ...] = ()

    @classmethod
    def of(cls, filler: MissingReadings, moment: Moment) -> Begun:
        """moment: what it remembers."""
        model = filler.stream.model
        fresh = not moment.known and moment.memory == model.stream().snapshot()
        names = flat_names(model.inputs), flat_names(model.outputs)
        return cls(model.digest, filler.policy, fresh, *names, filler.each)


_EACH: dict[str | None, Missing | None] = {None: None, "hold": "hold", "skip": "skip"}


def loop_text(models: Mapping[str, Begun]) -> str:
    """For the metadata."""
    return json.dumps({name: asdict(begun) for name, begun in models.items()})


def loop_of(recording: Recorded) -> dict[str, Begun]:
    """The models of a recording of a program's own loop. LogError where it does not say them."""
    try:
        tree = json.loads(recording.metadata[LOOP])
        return {
            str(name): Begun(
                str(of["digest"]),
                Policy(**of["policy"]),
                bool(of["fresh"]),
                tuple(map(str, of["inputs"])),
                tuple(map(str, of["outputs"])),
                tuple(_EACH[one] for one in of.get("each", ())),
            )
            for name, of in tree.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ModelFileError) as error:
        raise LogError(f"{recording.path}: does not say which models its program ran ({error!r:.200})") from None


def model_of(recording: Recording, name: str, begun: Begun) -> Model:
    """The model that travels in the recording. ModelFileError where none does, or another than the one that ran."""
    place = f"{name}.npz in {recording.path}"
    if f"{name}.npz" not in recording.attachments:
        raise ModelFileError(f"{recording.path}: holds no {name}.npz; say which with --model")
    model = load_file(BytesIO(recording.attachments[f"{name}.npz"]), place)
    if model.digest != begun.digest:
        ran = f"the model that ran has {begun.digest[:16]}…"
        raise ModelFileError(f"{place}: has digest {model.digest[:16]}…, but {ran}; say which one ran with --model")
    return model


def calls_of(recording: Recording, form: Form, t_ns: int, data: bytes) -> Call:
    """A recorded call. LogError where it is damaged."""
    try:
        return form.read(t_ns, data)
    except ValueError as error:
        why = f"its message on {form.topic} at t_ns {t_ns} is no call of the model ({error})"
        raise LogError(f"{recording.path} is damaged: {why}") from None


# --- what was remembered ---------------------------------------------------------------------------------


def moment_bytes(moment: Moment) -> bytes:
    """For `NAME.state`."""
    bits = {
        "memory": moment.memory.hex(),
        "reading": moment.reading.tobytes().hex(),
        "output": None if moment.output is None else moment.output.tobytes().hex(),
        "counts": asdict(moment.counts),
    }
    return json.dumps({**moment._asdict(), **bits}).encode()


def moment_of(recording: Recording, name: str, model: Model) -> Moment:
    """What the model remembered when the recording began. LogError where it does not say so, StateError where it is
    another model's."""

    def floats(text: str) -> Floats:
        values: Floats = np.frombuffer(bytes.fromhex(text), "<f4").copy()
        return values

    try:
        tree = json.loads(recording.attachments[f"{name}.state"])
        numbers = {key: int(tree[key]) for key in ("unreal", "in_a_row", "gone", "draw")}
        moment = Moment(
            memory=bytes.fromhex(tree["memory"]),
            known=bool(tree["known"]),
            reading=floats(tree["reading"]),
            output=None if tree["output"] is None else floats(tree["output"]),
            counts=Filled(**tree["counts"]),
            **numbers,
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise LogError(f"{recording.path}: does not say what {name!r} remembered at first ({error!r:.200})") from None
    sizes = model.program.input_size, model.program.output_size
    if moment.reading.size != sizes[0] or (moment.output is not None and moment.output.size != sizes[1]):
        raise StateError(f"a reading or an output of {model.name!r} is of another size")
    return moment
