"""A recording through the same bridge and the same controller: what the robot computed, again, bit for bit.

Its rule: replay is `loop.run` with the recording as its port; nothing in the path knows the difference. Every write is
compared with what was sent then, and what was derived then with what is derived now (`evidence.py`). A recording that
was cut off (a crash, a power cut) is compared up to the cut.

Never: call a recording equal when something was not compared, without saying what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import ConfigError, LogError
from edge_lstm.robot.decider import Decider
from edge_lstm.robot.evidence import Evidence, Findings
from edge_lstm.robot.keyframes import Beginning, Compared, Kept, beginning, differing_bits, hello_of
from edge_lstm.robot.loop import Summary, run
from firmware_bridge.dictionary import Dictionary, Format
from firmware_bridge.events import Event, Gap, Hello, Lost, Reading, Reset
from firmware_bridge.links.altered import altered
from firmware_bridge.links.link import Link
from firmware_bridge.ports.port import Port, PortStats
from firmware_bridge.values import Chunk
from firmware_bridge.words import counted

if TYPE_CHECKING:
    from firmware_bridge.recordings.keyframe import Keyframe
    from firmware_bridge.recordings.port import RecordingPort
    from firmware_bridge.remembered import Tree


@dataclass
class Comparison:
    """What the recording holds against what the replay makes of its bytes: what was sent, and, where asked for, what
    was derived. `cut`: why the recording ends early, "" if it is whole."""

    cut: str = ""
    writes: int = 0  # compared
    bits: int = 0  # compared
    differing_bits: int = 0
    differing_writes: int = 0
    until_s: float = 0.0  # since the recording's first chunk: up to here was compared
    beyond: int = 0  # writes of the replay that the recording ends before; only of a cut one is that to be expected
    damaged: bool = False  # what the cut took away is not the end alone, so what was sent there is unknown
    first: str = ""  # where the first difference of the writes is, and what it is
    derived: Findings | None = None  # readings, outputs, actions, events; None where they were not compared
    keyframes: Kept = field(default_factory=Kept)  # those on the way, where they were compared

    @property
    def same(self) -> bool:
        """Whether something was compared, nothing differs, and no damage leaves open what was sent then."""
        return self.agrees and not self.damaged

    @property
    def agrees(self) -> bool:
        """Whether something was compared and nothing of it differs."""
        derived = self.derived is None or self.derived.same
        return self.compared and self.writes_agree and derived and not self.keyframes.differing

    @property
    def compared(self) -> bool:
        """Whether there was anything to compare: a robot that takes nothing is not written to, but its readings, and
        what the model made of them, are evidence all the same."""
        return bool(self.writes) or (self.derived is not None and self.derived.readings > 0)

    @property
    def writes_agree(self) -> bool:
        """Whether none of the writes differs."""
        return not self.differing_writes and (bool(self.cut) or not self.beyond)

    def why(self) -> str:
        """Why it is not the same."""
        if self.agrees:
            return "the recording is damaged, so a difference cannot be excluded"
        return "the replay differs from the recording" if self.compared else "nothing could be compared"

    def sentence(self) -> str:
        """The verdict, for people; it says what was compared."""
        derived = "" if self.derived is None else f"; {self.derived.sentence()}"
        derived += f"; {kept}" if (kept := self.keyframes.sentence()) else ""
        if not self.compared:
            how = "damaged" if self.damaged else "cut off"
            cut = f": the recording is {how}: {self.cut}" if self.cut else ""
            return f"nothing could be compared, the recording holds no write{cut}"
        compared = f"{counted(self.writes, 'write')} ({counted(self.bits // 8, 'byte')}) compared"
        if not self.writes_agree:
            return (
                f"{counted(self.differing_bits, 'differing bit')} in "
                f"{counted(self.differing_writes, 'write')}, {compared}; "
                f"first: {self.first}{derived}"
            )
        if self.damaged:
            return (
                f"0 differing bits, {compared}, up to {self.until_s:.3f} s{derived}; the recording is damaged there: "
                f"{self.cut}; what was sent afterwards cannot be compared, so a difference cannot be excluded"
            )
        beyond = "the last write has" if self.beyond == 1 else f"the last {self.beyond} writes have"
        tail = f", up to {self.until_s:.3f} s" if self.cut else ""
        tail += f"; the recording is cut off: {self.cut}" if self.cut else ""
        tail += f"; {beyond} nothing to be compared with" if self.beyond else ""
        return f"0 differing bits, {compared}{tail}{derived}"

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self) | {"same": self.same, "complete": not self.cut}


class ComparingPort:
    """A recording as the port of a replay: passes its chunks on, compares each write with the recorded one."""

    def __init__(
        self,
        port: Port,
        sent: Iterable[tuple[int, bytes, bool]],
        bridge: Link,
        progress: Callable[[int], None] = lambda t_ns: None,
        *,
        goes_on: bool = False,
    ) -> None:
        """goes_on: the run went on after this, so nothing stops the robot."""
        self.comparison, self._goes_on = Comparison(), goes_on
        self._port, self._sent, self._bridge, self._progress = port, iter(sent), bridge, progress
        self._t_ns = self._first_ns = 0
        self._extra = ""  # the first write that the recording ends before

    @property
    def stats(self) -> PortStats:
        return self._port.stats

    def chunks(self) -> Iterator[Chunk]:
        """The recording's chunks."""
        for number, chunk in enumerate(self._port.chunks()):
            self._t_ns = chunk.t_ns
            if number == 0:
                self._first_ns = chunk.t_ns
            if number % 512 == 0:
                self._progress(chunk.t_ns)
            yield chunk
        self._progress(self._t_ns)

    def write(self, data: bytes) -> bool:
        """Compare with the next recorded write; it is taken where that one was."""
        found = self.comparison
        recorded = next(self._sent, None)
        if recorded is None:
            found.beyond += 1
            if not self._extra:
                self._extra = f"{self._when(self._t_ns)}: sent now, but not then: {self._read(data)}"
            return True
        t_ns, then, taken = recorded
        found.writes += 1
        found.until_s = (t_ns - self._first_ns) / 1e9
        found.bits += 8 * max(len(then), len(data))
        if then != data:
            self._differs(t_ns, then, data)
        if not taken:
            self.stats.dropped(len(data))
        return taken

    def write_last(self, data: bytes, cut: bytes) -> bool:
        """As `write`."""
        return True if self._goes_on else self.write(data)

    def wake_at(self, t_ns: int) -> None:
        self._port.wake_at(t_ns)

    def finish(self, cut: str, damaged: bool = False, until_ns: int | None = None) -> Comparison:
        """After the run: recorded writes that the replay did not make are differences, and others if it is whole.
        until_ns: later ones were not asked for."""
        for t_ns, then, _taken in self._sent:
            if until_ns is not None and t_ns > until_ns:
                break
            self.comparison.writes += 1
            self.comparison.bits += 8 * len(then)
            self._differs(t_ns, then, b"")
        self.comparison.cut, self.comparison.damaged = cut, damaged
        if not cut and not self.comparison.first:
            self.comparison.first = self._extra
        return self.comparison

    def stop(self) -> None:
        self._port.stop()

    def close(self) -> None:
        self._port.close()

    def _differs(self, t_ns: int, then: bytes, now: bytes) -> None:
        found = self.comparison
        found.differing_writes += 1
        found.differing_bits += differing_bits(then, now)
        if not found.first:
            found.first = f"{self._when(t_ns)}: then {self._read(then)}, now {self._read(now)}"

    def _when(self, t_ns: int) -> str:
        return f"at {(t_ns - self._first_ns) / 1e9:.6f} s (t_ns {t_ns})"

    def _read(self, data: bytes) -> str:
        """What the bytes say, by the link."""
        return self._bridge.explain(data) if data else "nothing"


@dataclass
class Rows:
    """Some readings with what came of them. values, joined, outputs, actions: (T, n) float64, not_real (T,): how many
    of the latest 100 readings were missing wholly or in part; NaN where there is no output. joined: the values of other
    formats that were the latest, by (FORMAT.FIELD, unit)."""

    reading: Format
    action: Format | None
    joined: tuple[tuple[str, str], ...]
    outputs: tuple[str, ...]
    output_units: tuple[str, ...]
    t_ns: list[int]
    t_device_us: list[int]
    boot_id: list[int]
    values: npt.NDArray[np.float64]
    joined_values: npt.NDArray[np.float64]
    output_values: npt.NDArray[np.float64]
    not_real: npt.NDArray[np.float64]
    action_values: npt.NDArray[np.float64]


def outputs_of(blocks: Sequence[Rows]) -> dict[str, npt.NDArray[np.float64]]:
    """Each output (T,) of all rows, NaN where there is none, or another robot's model has no such output."""
    names = dict.fromkeys(name for rows in blocks for name in rows.outputs)
    return {
        name: np.concatenate(
            [
                rows.output_values[:, rows.outputs.index(name)]
                if name in rows.outputs
                else np.full(len(rows.t_ns), np.nan)
                for rows in blocks
            ]
        )
        for name in names
    }


class Collector:
    """Stands where the recorder stands and passes on what it sees: rows in blocks, and what happened to the link."""

    BLOCK = 4096

    def __init__(self, controller: Decider, rows: Callable[[Rows], None], start_ns: int | None = None) -> None:
        """start_ns: of the first row."""
        self.marks: list[tuple[int, str]] = []
        self._start_ns = start_ns
        self._controller, self._give = controller, rows
        self._dictionary: Dictionary | None = None
        self._fits = False  # another robot's readings are nobody's rows
        self._boot_id = 0
        self._rows: list[tuple[Reading, int]] = []
        self._joined: list[list[float]] = []
        self._outputs: list[list[float]] = []
        self._actions: list[list[float]] = []

    def received(self, chunk: Chunk) -> None:
        """Bytes are the port's business."""

    def sent(self, t_ns: int, data: bytes) -> None:
        """Bytes are the port's business."""

    def unsent(self, t_ns: int, data: bytes) -> None:
        """Bytes are the port's business."""

    def event(self, event: Event) -> None:
        """A reading begins a row; a new dictionary ends the block."""
        if isinstance(event, Reading):
            if self._fits and event.format == self._controller.config.reading:
                if self._start_ns is not None and event.t_ns < self._start_ns:
                    self.flush()  # so that what comes of it is nobody's
                    return
                if len(self._rows) >= self.BLOCK:
                    self.flush()
                self._rows.append((event, self._boot_id))
                self._joined.append([])
                self._outputs.append([])
                self._actions.append([])
        elif isinstance(event, Hello):
            if self._dictionary is not None and self._dictionary != event.dictionary:
                self.flush()
            self._dictionary, self._boot_id = event.dictionary, event.boot_id
            latest = self._controller.latest
            self._fits = latest is not None and latest.binding.dictionary == event.dictionary
        elif isinstance(event, Reset):
            self._boot_id = event.boot_id
            self.marks.append((event.t_ns, "reset"))
        elif isinstance(event, Lost):
            self.marks.append((event.t_ns, "link lost"))
        elif isinstance(event, Gap):
            self.marks.append((event.t_ns, "gap"))

    def values(self, topic: str, t_ns: int, values: Mapping[str, float]) -> None:
        """What came of the latest reading: its outputs and action, and what other formats gave it."""
        kind, _, name = topic[1:].partition("/")
        action = self._controller.config.action
        if not self._rows:
            return
        if topic == "/ticks":
            self._joined[-1] = list(values.values())
        elif kind == "outputs":
            self._take_outputs(name, list(values.values()))
        elif kind == "actions" and action is not None and name == action.format:  # and not an event's
            self._actions[-1] = list(values.values())

    def _take_outputs(self, model: str, values: list[float]) -> None:
        """The model's outputs, and how many of its readings were not real; of several models the most."""
        if not model:
            self._outputs[-1] = values
            return
        names = self._controller.output_names
        row = self._outputs[-1] = self._outputs[-1] or [np.nan] * (len(names) + 1)
        start = next(k for k, name in enumerate(names) if name.startswith(f"{model}."))
        row[start : start + len(values) - 1] = values[:-1]
        row[-1] = values[-1] if row[-1] != row[-1] else max(row[-1], values[-1])

    def tell(self, topic: str, t_ns: int, tree: Mapping[str, Any]) -> None:
        """A mark: an event of the outputs."""
        self.marks.append((t_ns, f"{tree['event']} {tree['what']}"))

    def flush(self) -> None:
        """Pass on what has gathered."""
        if not self._rows or self._dictionary is None:
            return
        config = self._controller.config
        reading = self._dictionary[config.reading]
        action = self._dictionary[config.action.format] if config.action else None
        latest = self._controller.latest
        joined = () if latest is None else tuple((name, unit) for _, name, unit in latest.binding.feed.joined)
        names = (*self._controller.output_names, "_not_real")
        readings = [r for r, _ in self._rows]
        outputs = _filled(self._outputs, len(names))
        self._give(
            Rows(
                reading,
                action,
                joined,
                names[:-1],
                self._controller.output_units,
                [r.t_ns for r in readings],
                [r.t_device_us for r in readings],
                [boot_id for _, boot_id in self._rows],
                np.array([r.values for r in readings], np.float64),
                _filled(self._joined, len(joined)),
                outputs[:, :-1],
                outputs[:, -1],
                _filled(self._actions, len(action.fields) if action else 0),
            )
        )
        self._rows, self._joined, self._outputs, self._actions = [], [], [], []


def _filled(rows: list[list[float]], width: int) -> npt.NDArray[np.float64]:
    nothing = [np.nan] * width
    return np.array([row or nothing for row in rows], np.float64).reshape(len(rows), width)


@dataclass
class Chain:
    """From file to file of one run. end: what is remembered at the end of the last one; wanted: it will be needed; own:
    the last one was not begun from the end of the one before it because its keyframe is another model's."""

    wanted: bool = False
    end: Tree = None
    own: bool = True


class Part(NamedTuple):
    """Of a recording: what came after one keyframe, until another; None: from its beginning, to its end."""

    after: Keyframe | None = None
    until: Keyframe | None = None


def _begun_notes(begins: Beginning) -> list[str]:
    """For people: where a replay began in the middle."""
    if begins.begun is None or begins.after is None:
        return list(begins.notes)
    since_s = (begins.after.t_ns - begins.begun.first_ns) / 1e9
    said = f"begun from the keyframe {since_s:.1f} s after the start of its run, from which all is counted"
    return [*begins.notes, said]


def replay(
    port: RecordingPort,
    controller: Decider,
    *,
    link: Link | None = None,
    rows: Callable[[Rows], None] | None = None,
    progress: Callable[[int], None] = lambda t_ns: None,
    derived: bool = False,
    start_ns: int | None = None,
    until_ns: int | None = None,
    chain: Chain | None = None,
    part: Part | None = None,
) -> tuple[Summary, Comparison, list[tuple[int, str]]]:
    """Run a recording again. Returns the summary, the comparison, and (t_ns, what happened) marks.

    controller: a new one. link: a new one, as the robot was recorded with; None: what its robot.toml says. rows: called
    with the readings and what came of them, in blocks; progress: with the time now and then; derived: compare
    readings, outputs, actions and events, too, and not what was sent alone; keyframes, too. start_ns, until_ns: rows
    and what is compared are of that time, from the keyframe before it on; chain: what is known of the file before, and
    then of this one. part: what lies between two keyframes and no more, counters of which go on from what the first
    one says. Raises ConfigError as `run`, RecordingError where it can be begun nowhere.
    """
    recording = port.recording
    bridge = controller.config.open_link(ask_first=recording.asked_first) if link is None else link
    bridge = altered(bridge, recording.metadata)
    chain, part = chain or Chain(), part or Part()
    begins = beginning(recording, bridge, controller, start_ns, chain.end, part.after)
    after, until = begins.after, part.until
    port.after, port.until, port.until_ns = after, until, until_ns
    goes_on = until is not None or until_ns is not None or recording.goes_on
    comparing = ComparingPort(port, recording.writes(after, until), bridge, progress, goes_on=goes_on)
    collector = None if rows is None else Collector(controller, rows, start_ns)
    evidence = None
    if derived:
        records, headed = recording.records(after, until), after is not None or recording.head != "start"
        if until_ns is not None:
            records = takewhile(lambda message: message.t_ns <= until_ns, records)
        evidence = Evidence(records, recording.reworded, collector, text=recording.text, headed=headed)
    if begins.begun is not None and (hello := hello_of(bridge, begins.begun.t_ns)) is not None:
        if evidence is not None:
            evidence.begin(hello.dictionary)
        if collector is not None:
            collector.event(hello)
    compared = Compared(port)
    keyframes = compared if (derived and not recording.reworded) or chain.wanted else None
    unfit: list[str] = []
    summary = run(
        comparing,
        bridge,
        controller,
        evidence or collector,
        unfit=unfit.append,
        keyframes=keyframes,
        begun=begins.begun,
    )
    chain.end, chain.own = compared.end, begins.own
    summary.notes[:0] = _begun_notes(begins)
    if controller.latest is None and unfit:  # no robot of the recording fits
        raise ConfigError(unfit[0])
    summary.recording = str(recording.path)
    if collector is not None:
        collector.flush()
    comparison = comparing.finish(recording.cut, recording.damaged, until_ns)
    comparison.keyframes = compared.kept
    dropped = recording.dropped
    if evidence is not None:
        comparison.derived = evidence.finish(dropped, bool(recording.cut))
    then, now = recording.metadata.get("dialect_sha256", ""), controller.config.link.source_digest()
    if then != now and link is None:
        name = recording.metadata.get("dialect", controller.config.link.dialect)
        summary.notes.append(
            f"the file of the dialect {name!r} is another one than when this was recorded "
            f"(SHA-256 {then[:16] or 'none'}… then, {now[:16] or 'none'}… now)"
        )
    if dropped:
        summary.notes.append(f"the recorder had to leave out {dropped} items, so this replay cannot be complete")
    return summary, comparison, [] if collector is None else collector.marks


class RowTexts:
    """Rows as texts for a CSV file: times, the reading's fields, those of other formats, outputs, the action's
    fields."""

    def __init__(self, first: Rows) -> None:
        self._reading, self._action = first.reading, first.action
        fields = chain(first.reading.fields, first.action.fields if first.action else ())
        titles = [f"{f.name} ({f.unit})" if f.unit else f.name for f in fields]
        split = len(first.reading.fields)
        joined = [f"{name} ({unit})" if unit else name for name, unit in first.joined]
        self.header = ["t_ns", "t_device_us", *titles[:split], *joined, *first.outputs, "_not_real", *titles[split:]]

    def __call__(self, rows: Rows) -> Iterator[list[str]]:
        """Shortest exact texts, float32 where the wire has float32. LogError where the device has other fields now."""
        if rows.reading != self._reading or rows.action != self._action:
            raise LogError(
                f"at t_ns {rows.t_ns[0]} the device declares other fields than before; one table cannot hold both"
            )
        columns = [[str(t) for t in rows.t_ns], [str(t) for t in rows.t_device_us]]
        columns += _columns(rows.values, rows.reading)
        columns += [_texts(column, False) for column in rows.joined_values.T]
        columns += [_texts(column, True) for column in rows.output_values.T]
        columns += [["" if n != n else str(int(n)) for n in rows.not_real.tolist()]]
        columns += _columns(rows.action_values, rows.action) if rows.action else []
        return (list(row) for row in zip(*columns, strict=True))


def _columns(values: npt.NDArray[np.float64], form: Format) -> list[list[str]]:
    plain = [f.type == "f32" and f.scale == 1 and f.offset == 0 for f in form.fields]
    return [_texts(column, single) for column, single in zip(values.T, plain, strict=True)]


def _texts(column: npt.NDArray[np.float64], single: bool) -> list[str]:
    if single:
        texts: list[str] = column.astype(np.float32).astype(str).tolist()
        return ["" if text == "nan" else text for text in texts]
    return ["" if value != value else repr(value) for value in column.tolist()]
