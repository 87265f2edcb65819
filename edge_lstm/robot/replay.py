"""A recording through the same bridge and the same controller: what the robot computed, again, bit for bit.

Its rule: replay is `loop.run` with the recording as its port; nothing in the path knows the difference. Every write is
compared with what was sent then, and what was derived then with what is derived now (`evidence.py`). A recording that
was cut off (a crash, a power cut) is compared up to the cut.

Never: call a recording equal when something was not compared, without saying what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import ConfigError, LogError
from edge_lstm.robot.evidence import Evidence, Findings
from edge_lstm.robot.loop import Summary, run
from edge_lstm.robot.models import Decider
from firmware_bridge.dictionary import Dictionary, Format
from firmware_bridge.events import Event, Gap, Hello, Lost, Reading, Reset
from firmware_bridge.links.link import Link
from firmware_bridge.ports.port import Port, PortStats
from firmware_bridge.values import Chunk

if TYPE_CHECKING:
    from firmware_bridge.recordings.port import RecordingPort


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

    @property
    def same(self) -> bool:
        """Whether something was compared, nothing differs, and no damage leaves open what was sent then."""
        return self.agrees and not self.damaged

    @property
    def agrees(self) -> bool:
        """Whether something was compared and nothing of it differs."""
        return self.compared and self.writes_agree and (self.derived is None or self.derived.same)

    @property
    def compared(self) -> bool:
        """Whether there was anything to compare: a robot that takes nothing is not written to, but its readings, and
        what the model made of them, are evidence all the same."""
        return bool(self.writes) or (self.derived is not None and self.derived.readings > 0)

    @property
    def writes_agree(self) -> bool:
        """Whether none of the writes differs."""
        return not self.differing_writes and (bool(self.cut) or not self.beyond)

    def sentence(self) -> str:
        """The verdict, for people; it says what was compared."""
        derived = "" if self.derived is None else f"; {self.derived.sentence()}"
        if not self.compared:
            how = "damaged" if self.damaged else "cut off"
            cut = f": the recording is {how}: {self.cut}" if self.cut else ""
            return f"nothing could be compared, the recording holds no write{cut}"
        compared = f"{self.writes} writes ({self.bits // 8} bytes) compared"
        if not self.writes_agree:
            return (
                f"{self.differing_bits} differing bits in {self.differing_writes} writes, {compared}; "
                f"first: {self.first}{derived}"
            )
        if self.damaged:
            return (
                f"0 differing bits, {compared}, up to {self.until_s:.3f} s{derived}; the recording is damaged there: "
                f"{self.cut}; what was sent afterwards cannot be compared, so a difference cannot be excluded"
            )
        tail = f", up to {self.until_s:.3f} s" if self.cut else ""
        tail += f"; the recording is cut off: {self.cut}" if self.cut else ""
        tail += f"; the last {self.beyond} writes have nothing to be compared with" if self.beyond else ""
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
    ) -> None:
        self.comparison = Comparison()
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
        return self.write(data)

    def wake_at(self, t_ns: int) -> None:
        self._port.wake_at(t_ns)

    def finish(self, cut: str, damaged: bool = False) -> Comparison:
        """After the run: recorded writes that the replay did not make are differences, and others if it is whole."""
        for t_ns, then, _taken in self._sent:
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


def differing_bits(one: bytes, other: bytes) -> int:
    """Bits that differ; what only one of them has counts whole."""
    common = min(len(one), len(other))
    changed = int.from_bytes(one[:common], "big") ^ int.from_bytes(other[:common], "big")
    return bin(changed).count("1") + 8 * (len(one) + len(other) - 2 * common)


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


class Collector:
    """Stands where the recorder stands and passes on what it sees: rows in blocks, and what happened to the link."""

    BLOCK = 4096

    def __init__(self, controller: Decider, rows: Callable[[Rows], None]) -> None:
        self.marks: list[tuple[int, str]] = []
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


def replay(
    port: RecordingPort,
    controller: Decider,
    *,
    link: Link | None = None,
    rows: Callable[[Rows], None] | None = None,
    progress: Callable[[int], None] = lambda t_ns: None,
    derived: bool = False,
) -> tuple[Summary, Comparison, list[tuple[int, str]]]:
    """Run a recording again. Returns the summary, the comparison, and (t_ns, what happened) marks.

    controller: a new one. link: a new one, as the robot was recorded with; None: what its robot.toml says. rows: called
    with the readings and what came of them, in blocks; progress: with the time now and then; derived: compare
    readings, outputs, actions and events, too, and not what was sent alone. Raises ConfigError as `run`.
    """
    recording = port.recording
    bridge = controller.config.open_link(ask_first=recording.asked_first) if link is None else link
    comparing = ComparingPort(port, recording.writes(), bridge, progress)
    collector = None if rows is None else Collector(controller, rows)
    evidence = Evidence(recording.messages(), recording.reworded, collector) if derived else None
    unfit: list[str] = []
    summary = run(comparing, bridge, controller, evidence or collector, unfit=unfit.append)
    if controller.latest is None and unfit:  # no robot of the recording fits
        raise ConfigError(unfit[0])
    summary.recording = str(recording.path)
    if collector is not None:
        collector.flush()
    comparison = comparing.finish(recording.cut, recording.damaged)
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
