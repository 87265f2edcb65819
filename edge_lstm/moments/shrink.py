"""The fewest readings of a drive that still give the same thing: a long recording becomes a small one, and a test.

    shrunk = shrink(drive, Where("torque_limit_left < 0.15"))
    shrunk.write(drive, Path("small.mcap"), Path("test_small.py"))

Its rule: what counts is the reading at which the condition holds first; a try is the whole loop over fewer chunks, from
a model that remembers nothing, and it is good where the condition holds at that same reading. First the handshake and
the last readings before it, twice as many each time; then each reading becomes a chunk of its own, and whatever can be
left out is, in halves, quarters … single readings, until none can. So the result is minimal: without any one of its
readings it does not happen. It need not be the smallest there is.

The result holds bytes as the robot sent them and nothing that this program remembered, so it outlives its versions. The
times of the handshake are moved up to the readings, where it would otherwise be one long silence.

Never: give as a result what was not run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_lstm.errors import LogError
from edge_lstm.moments.drive import Drive, Seen
from edge_lstm.moments.where import Enough, Where, moments
from firmware_bridge.events import Reading
from firmware_bridge.values import Chunk

if TYPE_CHECKING:
    from edge_lstm.robot.controller import Decision
    from firmware_bridge.events import Event

BEFORE_NS = 5_000_000  # from the handshake to the first reading that is kept


@dataclass
class Shrunk:
    """What is left. readings: of them; of: how many there were up to that moment; minimal: without any one of them it
    does not happen (else it was stopped before that was shown); tries: runs of the loop."""

    where: str
    t_s: float
    values: dict[str, float]
    bits: bool
    of: int = 0
    readings: int = 0
    minimal: bool = False
    tries: int = 0
    chunks: list[Chunk] = field(default_factory=list, repr=False)
    recording: str | None = None
    test: str | None = None

    def sentence(self) -> str:
        """For people."""
        values = ", ".join(f"{name} = {value:.6g}" for name, value in self.values.items())
        minimal = "none of them can be left out" if self.minimal else "stopped before it was minimal"
        what = "with the same bits" if self.bits else "as well"
        return (
            f"{self.where} at {self.t_s:.3f} s ({values}); {self.readings} of {self.of} readings give it {what}, "
            f"{minimal} ({self.tries} tries)"
        )

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {name: value for name, value in vars(self).items() if name != "chunks"}


def shrink(
    drive: Drive,
    where: Where,
    *,
    from_s: float = 0.0,
    bits: bool = False,
    progress: Callable[[Shrunk], None] = lambda so_far: None,
) -> Shrunk:
    """bits: outputs and action must be the same bits there, not the condition alone. progress: called with the best so
    far; where it raises KeyboardInterrupt, as Ctrl-C does, the search ends and what was found is the result.
    LogError: the condition holds nowhere."""
    search = _Search(drive, where, bits)
    search.target(drive.first_ns + round(from_s * 1e9))
    try:
        search.suffix(progress)
        search.reduce(progress)
    except KeyboardInterrupt:
        if not search.found.chunks:
            raise
    return search.found


class _Search:
    """One search, with the best that was found so far."""

    def __init__(self, drive: Drive, where: Where, bits: bool) -> None:
        self._drive, self._where, self._bits = drive, where, bits
        self._chunks: list[Chunk] = []  # up to the moment
        self._head: list[Chunk] = []
        self._wanted: tuple[Reading, tuple[Any, ...]]

    def target(self, from_ns: int) -> None:
        """Find the moment, and the handshake."""
        drive, where = self._drive, self._where

        def kept() -> Any:
            for chunk in drive.chunks():
                self._chunks.append(chunk)
                yield chunk

        controller = drive.controller()
        for reading, decision, values in moments(drive, where, kept(), controller, from_ns):
            self._wanted = reading, _outcome(decision)
            named = dict(zip(where.condition.names, values, strict=True))
            t_s = drive.seconds(reading.t_ns)
            self.found = Shrunk(where.condition.text, t_s, named, self._bits, of=controller.counts.readings)
            break
        else:
            where_from = f" from {drive.seconds(from_ns):g} s on" if from_ns > drive.first_ns else ""
            raise LogError(f"{drive.recording.path}: {where.condition.text!r} holds at no reading{where_from}")
        link = drive.link()
        for number, chunk in enumerate(self._chunks):
            if any(type(event) is Reading for event in link.receive(chunk)):
                self._head, self._chunks = self._chunks[:number], self._chunks[number:]
                return

    def suffix(self, progress: Callable[[Shrunk], None]) -> None:
        """The last chunks that do, behind the handshake: twice as many each time, then the fewest between."""
        total, count, few = len(self._chunks), 1, 0
        while not self._try(self._chunks[-count:]):
            if count >= total:
                path = self._drive.recording.path
                if self._drive.head is not None:
                    why = "the file begins in the middle of its run, behind the handshake that a small recording needs"
                    raise LogError(f"{path}: {why}; give the folder with the first file of the run in it")
                why = "it does not happen behind the handshake alone, so nothing can be left out"
                raise LogError(f"{path}: {self._where.condition.text!r} at {self.found.t_s:.3f} s: {why}")
            few, count = count, min(2 * count, total)
            progress(self.found)
        while count - few > 1:
            middle = (few + count) // 2
            if self._try(self._chunks[-middle:]):
                count = middle
            else:
                few = middle
            progress(self.found)

    def reduce(self, progress: Callable[[Shrunk], None]) -> None:
        """Leave out whatever can be."""
        self._try(self._pieces(self._best))  # where it fails, chunks stay what they were
        size = max(1, (len(self._best) - 1) // 2)
        while True:
            start, left_out = 0, False
            while start < len(self._best) - 1:  # the last one is the moment itself
                end = min(start + size, len(self._best) - 1)
                if self._try(self._best[:start] + self._best[end:]):
                    left_out = True
                else:
                    start = end
                progress(self.found)
            if size == 1 and not left_out:
                self.found.minimal = True
                return
            size = max(1, size // 2)

    def _pieces(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """The same bytes cut behind each reading; what is not a reading's own stays a piece."""
        link, pieces, data = self._drive.link(), [], bytearray()
        for chunk in self._placed(chunks[0].t_ns):
            link.receive(chunk)
        for chunk in chunks:
            if chunk.link != "data" or not chunk.data:
                pieces.append(chunk)
                link.receive(chunk)
                continue
            for byte in chunk.data:
                data.append(byte)
                if any(type(event) is Reading for event in link.receive(Chunk(chunk.t_ns, bytes((byte,))))):
                    pieces.append(Chunk(chunk.t_ns, bytes(data)))
                    data.clear()
        return pieces

    def _placed(self, first_ns: int) -> list[Chunk]:
        """The handshake, as if it had just been."""
        if not self._head:
            return []
        later_ns = max(0, first_ns - BEFORE_NS - self._head[-1].t_ns)
        return [chunk._replace(t_ns=chunk.t_ns + later_ns) for chunk in self._head]

    def _try(self, chunks: Sequence[Chunk]) -> bool:
        """Whether it happens with these; then they are the best so far."""
        self.found.tries += 1
        wanted, outcome = self._wanted
        readings, good = 0, False

        def look(event: Event, decision: Decision | None) -> None:
            nonlocal readings, good
            if type(event) is not Reading or event.format != wanted.format:
                return
            readings += 1
            if event.t_ns == wanted.t_ns and event.values == wanted.values and event.seq == wanted.seq:
                if decision is not None:
                    holds = self._where.holds(self._where.values(event, decision))
                    good = holds and (not self._bits or _outcome(decision) == outcome)
                raise Enough

        whole = [*self._placed(chunks[0].t_ns), *chunks]
        controller = self._drive.controller()
        with suppress(Enough):
            self._drive.run(whole, Seen(controller, look).decider, alone=True)
        if good:
            self._best = list(chunks)
            self.found.chunks, self.found.readings = whole, readings
        return good

    _best: list[Chunk]


def _outcome(decision: Decision) -> tuple[Any, ...]:
    """Outputs and action, to be compared to the bit."""
    outputs = None if decision.outputs is None else [value.hex() for value in decision.outputs]
    return outputs, decision.action


def write(shrunk: Shrunk, drive: Drive, recording: Path, test: Path | None) -> None:
    """The small recording, and a test file that fails with the model in it. RecordingError where there is a file."""
    said = {"shrunk": f"from {drive.recording.path.name}: {shrunk.sentence()}"}
    recorder = drive.recorder(recording, said)
    try:
        drive.run(shrunk.chunks, drive.controller(), sink=recorder, alone=True)
    finally:
        recorder.close()
    if recorder.failed:
        raise LogError(recorder.failed)
    shrunk.recording = str(recording)
    if test is not None:
        test.write_text(_test(shrunk, drive, recording), encoding="utf-8")
        shrunk.test = str(test)


def _test(shrunk: Shrunk, drive: Drive, recording: Path) -> str:
    what = f"{shrunk.where} (made by `edge-lstm shrink` of {drive.recording.path.name}, {shrunk.t_s:.3f} s)"
    quoted = what.replace("\\", "\\\\").replace('"', '\\"')
    return f'''"""What must not happen again: {quoted}.

It fails with the model that is in {recording.name}. To prove another one: EDGE_LSTM_MODEL=new.npz pytest …
"""

import os
from pathlib import Path

from edge_lstm.moments.where import first

RECORDING = Path(__file__).with_name({recording.name!r})
WHERE = {shrunk.where!r}


def test_it_does_not_happen():
    """{shrunk.readings} readings, at none of which the condition may hold."""
    found = first(RECORDING, WHERE, model=os.environ.get("EDGE_LSTM_MODEL"))
    assert found is None, f"{{WHERE}} {{found.sentence()}}"
'''
