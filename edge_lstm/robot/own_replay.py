"""A recording of a program's own loop through its models again: what they were asked then, and what they answer now.

Its rule: every recorded call (reading, reset, missing readings) is made again, in its order, from what the models
remembered at first; each output is compared with the recorded one, bit by bit. What the program did with it was made by
the program alone: it is in the recording as it was given, and the verdict says that nobody recomputed it.

Never: call a recording equal where a call is missing, or something was not compared, without saying what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_lstm.errors import FeedbackError, LogError, StateError
from edge_lstm.robot.calls import (
    MISSING,
    NOTHING,
    OUTPUT,
    REFUSED,
    RESET,
    STEP,
    Begun,
    Call,
    Form,
    calls_of,
    loop_of,
    model_of,
    moment_of,
)
from edge_lstm.robot.evidence import Findings, noted, said
from edge_lstm.robot.keyframes import differing_bits
from edge_lstm.streams.missing import MissingReadings
from firmware_bridge.recordings.contents import ACTIONS, CALLS, EVENTS, MARKS, OUTPUTS, READINGS, VALUES, Message
from firmware_bridge.words import counted, plural

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from firmware_bridge.recordings.reader import Recording

KINDS = {STEP: "step", RESET: "reset", MISSING: "missing"}


@dataclass
class Comparison:
    """What the recording holds against what the models answer now. `cut`: why it ends early, "" if it is whole."""

    cut: str = ""
    damaged: bool = False  # what the cut took away is not the end alone
    calls: int = 0  # made again and compared
    outputs: int = 0  # of these calls, that had an output then or have one now
    bits: int = 0
    differing_bits: int = 0
    differing_calls: int = 0
    until_s: float = 0.0  # since the first call: up to here was compared
    lost: int = 0  # calls that the recording does not hold
    after_lost: int = 0  # calls after one that it does not hold: they cannot be compared
    first: str = ""  # where the first difference is, and what it is
    given: dict[str, int] = field(default_factory=dict)  # topic → messages made by the program, not recomputed
    derived: Findings | None = None  # what is said of the calls for people; None where it was not compared

    @property
    def same(self) -> bool:
        """Whether something was compared, nothing differs, nothing is missing, and no damage leaves it open."""
        return self.agrees and not self.damaged

    @property
    def agrees(self) -> bool:
        """Whether something was compared and nothing of it differs or is missing."""
        whole = bool(self.calls) and not self.differing_calls and not self.lost
        return whole and (self.derived is None or self.derived.same)

    def why(self) -> str:
        """Why it is not the same."""
        if self.agrees:
            return "the recording is damaged, so a difference cannot be excluded"
        if self.lost and not self.differing_calls:
            return "calls are missing from the recording"
        return "the replay differs from the recording" if self.calls else "nothing could be compared"

    def sentence(self) -> str:
        """The verdict, for people; it says what was compared."""
        how = "damaged" if self.damaged else "cut off"
        if not self.calls and not self.lost:
            cut = f": the recording is {how}: {self.cut}" if self.cut else ""
            return f"nothing could be compared, the recording holds no call of a model{cut}"
        head = counted(self.differing_bits, "differing bit")
        head += f" in {counted(self.differing_calls, 'call')}" if self.differing_calls else ""
        outputs = f"{counted(self.outputs, 'output')} ({counted(self.bits // 8, 'byte')})"
        text = f"{head}, {outputs} of {counted(self.calls, 'call')} compared"
        text += f"; first: {self.first}" if self.differing_calls else ""
        if self.lost:
            text += f"; {counted(self.lost, 'call is', 'calls are')} missing, so "
            text += f"{self.after_lost} after {plural(self.lost, 'it', 'them')} cannot be compared"
        if self.cut:
            text += f", up to {self.until_s:.3f} s; the recording is {how}: {self.cut}"
        if self.damaged:
            text += "; what came afterwards cannot be compared, so a difference cannot be excluded"
        if self.given:
            given = ", ".join(f"{count} of {topic}" for topic, count in sorted(self.given.items()))
            text += f"; as the program gave them, not recomputed: {given}"
        return text + ("" if self.derived is None else f"; {self.derived.sentence()}")

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self) | {"same": self.same, "complete": not self.cut}


@dataclass
class Summary:
    """What a recorded loop came to. models: name → model, digest, and what became of its readings."""

    seconds: float
    readings: int
    steps: int
    lost: int
    resets: int
    models: dict[str, dict[str, Any]]
    recording: str
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        found = [
            f"{counted(self.readings, 'reading')} in a run of {self.seconds:.1f} s, {counted(self.steps, 'step')}",
            f"{self.lost} missing, {counted(self.resets, 'reset')}",
        ]
        for name, of in self.models.items():
            told = ", ".join(f"{count} {what}" for what, count in of["became"].items() if count)
            found.append(f"{name}: model {of['model']}, digest {of['digest'][:16]}…; {told or 'no reading'}")
        return [*found, f"recording {self.recording}", *(f"note: {note}" for note in self.notes)]


@dataclass(frozen=True)
class Row:
    """One reading with what comes of it now: float32 bits, output empty where there is none."""

    model: str
    t_ns: int
    reading: bytes
    output: bytes


class _Again:
    """One model, made again."""

    def __init__(self, recording: Recording, name: str, begun: Begun, given: Model | None) -> None:
        self.name, self.form = name, Form(name, begun.inputs, begun.outputs, text=recording.text)
        self.model = given or model_of(recording, name, begun)
        own = self.model.digest == begun.digest
        if begun.each and len(begun.each) != len(begun.inputs):
            raise LogError(f"{recording.path} is damaged: {name!r} is missing in {len(begun.each)} ways")
        if (size := self.model.program.input_size) != len(begun.inputs):
            raise LogError(f"{recording.path}: {name!r} was given {len(begun.inputs)} numbers, the model takes {size}")
        self.filler = MissingReadings(self.model.stream(), begun.policy, begun.each)
        self.note = ""
        self.number = self.lost = 0  # of the latest call; calls that the recording does not hold
        self.readings = self.missing = 0  # that the program gave, and that it said were missing
        try:
            if own or not begun.fresh:
                self.filler.restore(moment_of(recording, name, self.model))
        except (StateError, FeedbackError) as error:
            if own:
                raise LogError(f"{recording.path} is damaged: {error}") from None
            self.note = f"{name} begins anew: what it remembered at first is another model's ({error})"

    def answer(self, call: Call) -> tuple[int, bytes]:
        """What comes of the call now."""
        y = None
        try:
            if call.kind == STEP:
                self.readings += 1
                y = self.filler.step(np.frombuffer(call.reading, "<f4"))
            elif call.kind == MISSING:
                self.missing += call.missing
                y = self.filler.missing(call.missing)
            else:
                self.filler.reset()
        except StateError:
            return REFUSED, b""
        return (NOTHING, b"") if y is None else (OUTPUT, y.tobytes())

    def told(self) -> dict[str, Any]:
        """For the summary."""
        became = asdict(self.filler.counts)
        return {"model": self.model.name, "digest": self.model.digest, "became": became}


class _Derived:
    """The messages that must follow each call, against those that do."""

    def __init__(self) -> None:
        self.findings = Findings()
        self._due: list[Message] = []
        self._noted = 0

    def call(self, messages: list[Message]) -> None:
        """What must follow now; what was due before is missing."""
        self._missing()
        self._due = messages
        for message in messages:
            self.findings.compared[message.topic] = self.findings.compared.get(message.topic, 0) + 1

    def message(self, then: Message) -> None:
        """One that the recording holds."""
        if then.topic == EVENTS and (count := noted(then.data)) is not None:
            self._noted = max(self._noted, count)
            return
        now = self._due.pop(0) if self._due else None
        if now is None or not _alike(then, now):
            self.findings.differing += 1
            beside = "nothing" if now is None else said(now)
            self.findings.first = self.findings.first or f"then {said(then)}, now {beside}"

    def finish(self, cut: bool) -> Findings:
        if not cut:
            self._missing()
        return self.findings

    def _missing(self) -> None:
        self.findings.missing += len(self._due)
        if self._due and not self.findings.first:
            self.findings.first = f"then nothing, now {said(self._due[0])}"
        self._due = []


def _alike(then: Message, now: Message) -> bool:
    return (then.topic, then.t_ns, then.data, then.names()) == (now.topic, now.t_ns, now.data, now.names())


def replay(
    recording: Recording,
    models: Mapping[str, Model] | None = None,
    *,
    rows: Callable[[Row], None] | None = None,
    given: Callable[[str, int, dict[str, Any]], None] | None = None,
    pace: Callable[[int], None] = lambda t_ns: None,
    progress: Callable[[int], None] = lambda t_ns: None,
    derived: bool = False,
) -> tuple[Summary, Comparison, list[tuple[int, str]]]:
    """Make all calls again. Returns the summary, the comparison, and (t_ns, what happened) marks.

    models: by name, instead of those in the recording. rows: called with each reading and what came of it; given:
    with what the program recorded (topic, t_ns, values). pace, progress: with the time of each call, before and after.
    derived: also compare what the recording says of the calls for people. LogError: it is damaged, or a model takes
    other readings.
    """
    models = models or {}
    again = {name: _Again(recording, name, begun, models.get(name)) for name, begun in loop_of(recording).items()}
    found = Comparison()
    beside = _Derived() if derived else None
    marks: list[tuple[int, str]] = []
    first_ns = last_ns = None
    for number, message in enumerate(recording.records()):
        topic, _schema, t_ns, data = message
        if topic.startswith(CALLS):
            one = again.get(topic[len(CALLS) :])
            if one is None:
                raise LogError(
                    f"{recording.path} is damaged: it holds calls of {topic[len(CALLS) :]!r:.60}, no model of it"
                )
            call = calls_of(recording, one.form, t_ns, data)
            first_ns, last_ns = t_ns if first_ns is None else first_ns, t_ns
            pace(t_ns)
            row = _call(found, one, call, first_ns)
            if beside is not None:
                beside.call(one.form.derived(call))
            if call.kind != STEP:
                marks.append((t_ns, "reset" if call.kind == RESET else "gap"))
            elif rows is not None:
                rows(row)
            if number % 512 == 0:
                progress(t_ns)
        elif topic.startswith((ACTIONS, VALUES, MARKS)):
            found.given[topic] = found.given.get(topic, 0) + 1
            if topic == MARKS:
                marks.append((t_ns, str(_object(message).get("text", ""))))
            elif given is not None:
                given(topic, t_ns, _object(message))
        elif beside is not None and topic.startswith((READINGS, OUTPUTS, EVENTS)):
            beside.message(message)
    found.cut, found.damaged = recording.cut, recording.damaged
    if beside is not None:
        found.derived = beside.finish(bool(found.cut))
    seconds = 0.0 if first_ns is None or last_ns is None else (last_ns - first_ns) / 1e9
    return _summary(recording, again, seconds, marks), found, marks


def _call(found: Comparison, one: _Again, call: Call, first_ns: int) -> Row:
    """Make one call again and compare what comes of it."""
    one.lost += call.number - one.number - 1
    if call.number != one.number + 1:
        found.lost += max(1, abs(call.number - one.number - 1))
    one.number = call.number
    came, output = one.answer(call)
    row = Row(one.name, call.t_ns, call.reading, output)
    if one.lost:
        found.after_lost += 1
        return row
    found.calls += 1
    found.until_s = (call.t_ns - first_ns) / 1e9
    found.outputs += OUTPUT in (came, call.came)
    found.bits += 8 * max(len(output), len(call.output))
    if (came, output) != (call.came, call.output) or not call.intact:
        found.differing_calls += 1
        found.differing_bits += differing_bits(call.output, output)
        if not found.first:
            when = f"at {found.until_s:.6f} s (t_ns {call.t_ns}), {KINDS[call.kind]} {call.number} of {one.name}"
            found.first = f"{when}: then {_came(call.came, call.output)}, now {_came(came, output)}"
            found.first += "" if call.intact else "; its bytes are not the recorded ones (their checksum differs)"
    return row


def _came(came: int, output: bytes) -> str:
    if came != OUTPUT:
        return "refused" if came == REFUSED else "no output"
    values = np.frombuffer(output, "<f4")
    return ", ".join(map(str, values[:8])) + (", …" if len(values) > 8 else "")


def _summary(
    recording: Recording, again: Mapping[str, _Again], seconds: float, marks: list[tuple[int, str]]
) -> Summary:
    told = {name: one.told() for name, one in again.items()}
    counts = [one.filler.counts for one in again.values()]
    summary = Summary(
        seconds=seconds,
        readings=sum(one.readings for one in again.values()),
        steps=sum(c.real + c.patched + c.filled for c in counts),
        lost=sum(one.missing for one in again.values()),
        resets=sum(what == "reset" for _, what in marks),
        models=told,
        recording=str(recording.path),
        notes=[one.note for one in again.values() if one.note],
    )
    if dropped := recording.dropped:
        summary.notes.append(f"the recorder had to leave out {dropped} items, so this replay cannot be complete")
    return summary


def _object(message: Message) -> dict[str, Any]:
    """What a message of the program says; empty where it is damaged."""
    try:
        return message.tree()
    except ValueError:
        return {}
