"""Writing a recording: every byte received and sent, with its time, and what it meant.

Its rule: recording never delays and never stops the robot. The path's side is one append to a bounded queue; a thread
encodes and writes. What does not fit is dropped, counted and noted in the file: what can be derived from the bytes
first, since it may only fill half of the queue. What is written is readable after `kill -9`, all but the last second,
and after a power cut, all but the last two. However long it runs, memory stays as it is.

A recorder of keyframes goes on where a disk was full: then in a new file, which begins with a keyframe. So does one
that is to begin a new file every so often. Each of its files replays alone.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from firmware_bridge.errors import RecordingError
from firmware_bridge.events import Event, Hello, Reading
from firmware_bridge.recordings import keyframe, shelf
from firmware_bridge.recordings.contents import (
    DROPPED,
    EVENT_SCHEMA,
    EVENTS,
    FORM,
    GOES_ON,
    HEAD,
    KEYFRAME,
    MARK,
    OUR_FORM,
    PART,
    RECEIVED,
    RUN,
    SENT,
    UNSENT,
    Encoder,
    Message,
    json_bytes,
    schema_of,
)
from firmware_bridge.recordings.limits import Limits
from firmware_bridge.recordings.mcap_writer import McapWriter
from firmware_bridge.values import Chunk

QUEUE_ITEMS = 100_000  # 4 s of 5 kHz with all channels, some 30 MB
DRAIN_S = 0.15
FLUSH_S = 0.45  # at most 0.5 s of data are not yet in the file
SYNC_S = 0.9  # at most a second of it not yet on the disk
RETRY_S = 1.0  # after a disk was full
ROOM = 16 << 20  # bytes beyond the floor that it must have then
BATCH = 64  # items between two breaths; each is some µs of Python that the path would have to wait for
BREATH_S = 0.0001
NAMES = 1000  # that are tried where files of earlier runs are
MOST_PARTS = 10_000  # files of a run that a mark may reach back to
MARKS_S = 0.05  # of a turn, for waiting until the disk has the marks of earlier files
KEYFRAME_SCHEMA = json_bytes(schema_of({"keyframe": 0, "crc32": ""}))
MARK_SCHEMA = json_bytes(schema_of({"text": ""}))
CLOSE_S = 30.0  # how long closing waits for the writer; a disk that hangs must not hang the program


class Derived(Protocol):
    """Who is told what follows from a chunk."""

    def event(self, event: Event) -> None: ...

    def numbers(self, topic: str, t_ns: int, names: tuple[str, ...], numbers: Sequence[float]) -> None: ...

    def tell(self, topic: str, t_ns: int, tree: Mapping[str, Any]) -> None: ...


class Recorder:
    """A recording in the making. Raises RecordingError if it cannot be begun; afterwards nothing raises.

    `metadata` are texts (model digest, configuration …), `attachments` files that replay needs (the model, the
    configuration); units: by topic and name, of the numbers that are given there. An existing file is never touched.
    With `wait` a full queue makes the caller wait instead of dropping (for simulated time, which runs faster than the
    writer). keyframe_s: how often a keyframe is wanted, None: never, nor after one that no message holds; limits: when
    a new file is begun, and which go; marks: of what `tell` is given, why the file is kept (marked once for each
    reason), "" where it is not. `path` is the file that is written now.
    """

    def __init__(
        self,
        path: str | Path,
        metadata: Mapping[str, str] | None = None,
        attachments: Mapping[str, bytes] | None = None,
        *,
        wait: bool = False,
        queue_items: int = QUEUE_ITEMS,
        compression: str = "lz4",
        keyframe_s: float | None = None,
        limits: Limits | None = None,
        units: Mapping[str, Mapping[str, str]] | None = None,
        marks: Callable[[str, Mapping[str, Any]], str] = lambda topic, tree: "",
    ) -> None:
        self.path = Path(path)
        # Items left out: the first is counted by the path's side, the second by the thread, so neither needs a lock.
        self._refused = 0
        self._unwritten = 0
        self.failed = ""  # why nothing more is written; a recorder of keyframes may come back
        self.keyframeless = ""  # why no keyframe is written any more: one was of what no message holds
        self.odd = ""  # the first item that could not be encoded, or trouble of a disk, by which items were left out
        self.turns = 0  # how often the thread has gone round: one that stands still waits for the disk
        # How to write it, what it is, and how many were left out before it.
        self._queue: deque[tuple[Callable[..., None], tuple[Any, ...], int]] = deque()
        self._queue_items, self._derived_items = queue_items, (queue_items + 1) // 2
        self._wait = wait
        self._closing = False
        self._taking = True  # neither failed nor closing
        self._breath = threading.Event()  # never set: a pause without a clock
        self._wake = threading.Event()  # the thread has something to do before its time
        self._noted = 0  # items left out, as far as the file says so
        self._known = self._before = 0  # items left out before the one that is written; of those, by earlier files
        self._time_ns = 0  # of the last chunk that was written
        self._keyframe_ns = None if keyframe_s is None else round(keyframe_s * 1e9)
        self._keyframe_at: int | None = None  # when the next one is due
        self._encoder, self._marks = Encoder(units=units), marks
        self._marked: set[str] = set()  # why the file is kept, by `marks`
        self._now = _Now(self)
        self._metadata = {FORM: OUR_FORM, RUN: self.path.stem, **(metadata or {})}
        self._attachments, self._compression = dict(attachments or {}), compression
        self._part = 0
        self._first_ns: int | None = None  # of the file
        self._key_ns = 0  # when a keyframe was written last
        self._past: deque[tuple[Path, int]] = deque(maxlen=MOST_PARTS)  # earlier files, each with its last time
        self._unsynced: deque[Path] = deque()  # of them, those whose marks may not be on the disk yet
        self._file: McapWriter | None = self._open("start")  # None: the disk is full
        self._add = self._file.add
        self._shelf = shelf.Shelf(self.path, limits or Limits())
        self._watched = limits is not None or keyframe_s is not None  # another file may be begun
        self._flushed_s = self._synced_s = self._full_s = time.monotonic()
        self._full_ns = 0  # the first chunk after it; 0: none yet
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many items are in no file."""
        return self._refused + self._unwritten

    # ------------------------------------------------------------------------------------------ the path's side

    def received(self, chunk: Chunk) -> None:
        """A chunk, before the link sees it."""
        if len(self._queue) < self._queue_items and self._taking:
            self._queue.append((self._write_chunk, (chunk,), self._refused))
        else:
            self._put(self._queue_items, self._write_chunk, chunk)

    def sent(self, t_ns: int, data: bytes) -> None:
        """Bytes written to the port in answer to the chunk of time `t_ns`; empty ones are not worth a message."""
        if data:
            if len(self._queue) < self._queue_items and self._taking:
                self._queue.append((self._write_bytes, (SENT, t_ns, data), self._refused))
            else:
                self._put(self._queue_items, self._write_bytes, SENT, t_ns, data)

    def unsent(self, t_ns: int, data: bytes) -> None:
        """Bytes that the port did not take in answer to the chunk of time `t_ns`."""
        if data:
            self._put(self._queue_items, self._write_bytes, UNSENT, t_ns, data)

    def event(self, event: Event) -> None:
        """What the link made of a chunk."""
        hello = type(event) is Hello  # no reading can be written without it
        self._put(self._queue_items if hello else self._derived_items, self._write_event, event)

    def values(self, topic: str, t_ns: int, values: Mapping[str, float]) -> None:
        """Named numbers on a channel of their own, such as "/outputs" or "/actions/motor_limits"."""
        self._put(self._derived_items, self._write_values, topic, t_ns, dict(values))

    def made(self, make: Callable[..., Iterable[Message]], *arguments: Any) -> None:
        """What `make` makes of the arguments, in the writer's thread: messages that belong together, whole or not at
        all. The recording holds them as it holds bytes of the wire."""
        self._put(self._queue_items, self._write_made, make, arguments)

    def tell(self, topic: str, t_ns: int, tree: Mapping[str, Any]) -> None:
        """Named texts and numbers on a channel of their own, such as "/events"."""
        self._put(self._derived_items, self._write_tree, topic, t_ns, dict(tree))

    def later(self, say: Callable[..., None], *arguments: Any) -> None:
        """All that follows from a chunk: `say(derived, *arguments)` says it, in the writer's thread, so nobody may
        change the arguments any more."""
        if self._wait and len(self._queue) >= self._derived_items:
            self._make_room()
        if len(self._queue) < self._derived_items and self._taking:
            self._queue.append((self._write_later, (say, arguments), self._refused))
            return
        told = _Told(self._marks)  # it does not fit: what would it be?
        say(told, *arguments)
        for hello in told.hellos:
            self.event(hello)
        for t_ns, why in told.marks:
            self.mark(t_ns, why)
        self._refused += told.count

    def keyframe_due(self, t_ns: int, idle: bool = True) -> bool:
        """Whether a keyframe is wanted, when all that came of a chunk of this time is done and given. idle: nothing
        has come, so there is time; where something always comes, it is half an interval late."""
        if self._keyframe_ns is None or self.keyframeless:
            return False
        if self._keyframe_at is None:
            self._keyframe_at = t_ns + self._keyframe_ns
        return t_ns >= (self._keyframe_at if idle else self._keyframe_at + self._keyframe_ns // 2)

    def keyframe(self, t_ns: int, state: Any) -> None:
        """All that is remembered (`keyframe.py` says of what it may be made); nobody may change it afterwards. The next
        one is due one interval later."""
        if self._keyframe_ns is not None:
            self._keyframe_at = t_ns + self._keyframe_ns
        self._put(self._queue_items, self._write_keyframe, t_ns, state)

    def attach(self, name: str, content: bytes) -> None:
        """A file that replay needs from now on: the head of each further file of the run holds it, too."""
        self._attachments[name] = content

    def detach(self, name: str) -> None:
        """It is needed no more by what is recorded from now on: files that begin later do not hold it."""
        if (content := self._attachments.get(name)) is not None and len(self._queue) < self._queue_items:
            self._put(self._queue_items, self._write_detached, name, content)

    def mark(self, t_ns: int, text: str, last_s: float = 0.0) -> None:
        """Keep the file that is written now for ever, and those in which the last seconds before `t_ns` are."""
        self._put(self._queue_items, self._write_mark, t_ns, text, last_s)

    def close(self) -> None:
        """Write what is queued and the file's index. Waits `CLOSE_S` at most; `failed` is set if that was too short.
        May be called twice."""
        self._closing, self._taking = True, False
        self._wake.set()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self.failed = f"{self.path} could not be finished within {CLOSE_S:g} s: the disk does not answer."

    def _put(self, most: int, write: Callable[..., None], *item: Any) -> None:
        """Queue an item where fewer than `most` are waiting."""
        if self._wait and len(self._queue) >= most:
            self._make_room()
        if len(self._queue) < most and self._taking:
            self._queue.append((write, item, self._refused))
        else:
            self._refused += 1

    def _make_room(self) -> None:
        """Wait until three quarters of the queue are written."""
        self._wake.set()
        while len(self._queue) > self._queue_items // 4 and not self.failed:
            self._breath.wait(10 * BREATH_S)

    # ------------------------------------------------------------------------------------------ the writer's thread

    def _run(self) -> None:
        try:
            while not self._closing:
                self._wake.wait(DRAIN_S)
                self._wake.clear()
                self._guarded(self._work)
                self.turns += 1
            self._guarded(self._end)
        except Exception as error:  # the robot goes on, the reason is shown
            self._fail(f"{self.path} could not be written any further: {error!r}.")

    def _guarded(self, work: Callable[[], None]) -> None:
        """Trouble of a disk ends the file, and the recording where no keyframe could begin another."""
        try:
            work()
        except (OSError, RecordingError) as error:
            reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
            self._fail(f"{self.path} could not be written any further: {reason}.")

    def _fail(self, why: str) -> None:
        """Nothing is written any more, until there is room."""
        self.failed, self._taking = why, False
        if self._keyframe_ns is not None:
            self.odd = self.odd or why
        self._unwritten += len(self._queue)
        self._queue.clear()
        if self._file is not None:
            self._unwritten += self._file.waiting  # in a block that the disk did not take
            self._file.abandon()
            self._past.append((self.path, self._time_ns))
        self._file, self._add, self._full_s = None, self._lose, time.monotonic()

    def _work(self) -> None:
        """What there is to do now."""
        if self._file is None and self.failed:
            self._come_back()
            return
        self._drain()
        self._sync_marks(MARKS_S)
        now_s = time.monotonic()
        if self._file is None or now_s - self._flushed_s < FLUSH_S:
            return
        self._flushed_s = now_s
        self._file.flush()
        if now_s - self._synced_s >= SYNC_S:
            self._synced_s = now_s
            self._file.sync()
        why = self._shelf.tidy(self._file.length)
        if why:
            self._finish(self._file)
            self._fail(f"{self.path} was ended: {why}.")

    def _come_back(self) -> None:
        """Where the disk has room again, take what comes; a file is begun by the next keyframe."""
        now_s = time.monotonic()
        if self._keyframe_ns is None or now_s - self._full_s < RETRY_S:
            return
        self._full_s = now_s
        if not self._shelf.tidy(0) and self._shelf.free() >= self._shelf.limits.floor_bytes + ROOM:
            self._full_ns = 0
            self._keyframe_at = 0
            self.failed, self._taking = "", not self._closing

    def _end(self) -> None:
        """The file's end."""
        self._drain()
        if self._file is not None:
            self._file.finish(self._summary(goes_on=False))
            if not self._file.is_at(self.path):
                self.failed = f"{self.path} was deleted or replaced while it was written: the recording is lost."
        try:
            self._sync_marks()
        except OSError as error:  # the file itself is whole, and closed
            self.failed = self.failed or f"{self.path}: a mark of an earlier file may be lost: {error.strerror}."

    def _drain(self) -> None:
        queue, breathing = self._queue, not self._wait
        for turn in range(1, len(queue) + 1):
            write, item, refused = queue[0]
            if refused + self._unwritten > self._known:
                self._note(refused + self._unwritten)  # before it: a file that is cut off says all that it lacks
            try:
                write(*item)
            except (OSError, RecordingError):
                raise
            except Exception as error:
                self._leave_out(item[-1], error)
            queue.popleft()
            if turn % BATCH == 0 and breathing and not self._closing:
                time.sleep(BREATH_S)
        self._note(self.dropped)

    def _leave_out(self, item: object, error: Exception) -> None:
        """One item that cannot be encoded must not cost all that come after it."""
        self._unwritten += 1
        self.odd = self.odd or f"{item!r:.200} cannot be encoded ({error!r:.200})"

    def _note(self, dropped: int) -> None:
        """Say in the file how many items it lacks, where that is more than it says so far."""
        self._known = max(self._known, dropped)
        lacks = self._known - self._before
        if lacks > self._noted and self._file is not None:
            self._noted = lacks
            why = self.odd or "the writer was too slow"
            text = f"{self._noted} items are missing from this recording so far: {why}."
            tree = {"event": DROPPED, "count": self._noted, "text": text}
            self._add(EVENTS, EVENT_SCHEMA, self._time_ns, json_bytes(tree))

    def _summary(self, goes_on: bool = True) -> dict[str, str]:
        dropped = str((self.dropped if self._closing else self._known) - self._before)
        return {DROPPED: dropped, **({GOES_ON: "yes"} if goes_on else {})}

    # --------------------------------------------------------------------------------------------------- its files

    def _open(self, head: str) -> McapWriter:
        """The file at `path`. head: how it is begun."""
        metadata = {**self._metadata, PART: str(self._part), HEAD: head}
        return McapWriter(self.path, metadata, dict(self._attachments), self._compression)

    def _finish(self, file: McapWriter) -> None:
        """The file's end; others may follow."""
        file.finish(self._summary())
        if not file.is_at(self.path):
            self.odd = self.odd or f"{self.path} was deleted or replaced while it was written"
        self._past.append((self.path, self._time_ns))
        self._file, self._add = None, self._lose

    def _begin(self, t_ns: int, head: str) -> None:
        """The next file, after the one before was finished."""
        if self._file is not None:
            self._finish(self._file)
        self._part += 1
        for _ in range(NAMES):
            self.path = shelf.following(self.path, self._part)
            try:
                self._file = self._open(head)
                self._add = self._file.add
                break
            except RecordingError as error:
                if not isinstance(error.__context__, FileExistsError):
                    raise
        else:
            raise RecordingError("all names for the next file are taken")
        self._shelf.begin(self.path)
        self._before, self._noted, self._first_ns = self._known, 0, t_ns
        self._marked.clear()

    def _is_long(self, t_ns: int) -> bool:
        """Whether the file is as long as it should be."""
        limits = self._shelf.limits
        if self._file is None or self._first_ns is None:
            return False
        old = limits.rotate_s is not None and t_ns - self._first_ns >= limits.rotate_s * 1e9
        return old or (limits.longest is not None and self._file.length >= limits.longest)

    def _write_keyframe(self, t_ns: int, state: Any) -> None:
        try:
            data = keyframe.encode(state)
        except (TypeError, ValueError) as error:  # nothing of the robot is missing, and the next one would be no other
            self.keyframeless = self.keyframeless or f"no keyframes are written, what is remembered cannot be: {error}"
            return
        self._key_ns = t_ns
        begun = self._file is None or self._is_long(t_ns)
        if begun:
            self._begin(t_ns, "keyframe")
        self._add(KEYFRAME, KEYFRAME_SCHEMA, t_ns, data)
        if begun:
            self._repeat_hello(t_ns)

    def _repeat_hello(self, t_ns: int) -> None:
        """At the head of a file: what its readings are."""
        hello = self._encoder.hello
        if hello is not None and (message := self._encoder.event(hello)) is not None:
            self._add(*message._replace(t_ns=t_ns))

    def _write_detached(self, name: str, content: bytes) -> None:
        """In its turn: a file may still have to begin with a keyframe that was made before. Not where it has come
        again meanwhile."""
        if self._attachments.get(name) is content:
            del self._attachments[name]

    def _write_mark(self, t_ns: int, text: str, last_s: float) -> None:
        self._add(MARK, MARK_SCHEMA, t_ns, json_bytes({"text": text}))
        shelf.mark(self.path, t_ns, text)
        shelf.sync_mark(self.path)
        for path, until_ns in self._past:
            if until_ns >= t_ns - last_s * 1e9 and path.exists():
                shelf.mark(path, t_ns, text)
                self._unsynced.append(path)

    def _sync_marks(self, seconds: float = float("inf")) -> None:
        """Wait until the disk has them, a few at a time: those of a week would hold up what is to be written now, and
        look as a disk does that hangs."""
        end_s = time.monotonic() + seconds
        while self._unsynced:
            shelf.sync_mark(self._unsynced.popleft())
            if time.monotonic() >= end_s:
                return

    # ------------------------------------------------------------------------------------------------- its messages

    def _write_chunk(self, chunk: Chunk) -> None:
        if self._watched:
            self._look(chunk.t_ns)
        if chunk.link == "data":
            self._add(RECEIVED, b"", chunk.t_ns, chunk.data)
        else:
            self._add(*self._encoder.chunk(chunk))
        self._time_ns = chunk.t_ns

    def _look(self, t_ns: int) -> None:
        """Begin another file where it is time and no keyframe has come for long: a loop that gives none must not fill
        the disk either."""
        if self._first_ns is None:
            self._first_ns = t_ns
        # A keyframe is up to half an interval late where something always comes, and may be just before a file is long.
        patience_ns = 0 if self._keyframe_ns is None else 2 * self._keyframe_ns
        if t_ns - max(self._first_ns, self._key_ns) > patience_ns and self._is_long(t_ns):
            self._begin(t_ns, "continues")
            self._repeat_hello(t_ns)
        elif self._file is None and self._keyframe_ns is not None:
            self._full_ns = self._full_ns or t_ns
            if t_ns - self._full_ns > 4 * self._keyframe_ns:
                self._begin(t_ns, "gap")
                self._repeat_hello(t_ns)

    def _write_bytes(self, topic: str, t_ns: int, data: bytes) -> None:
        self._add(topic, b"", t_ns, data)

    def _write_values(self, topic: str, t_ns: int, values: Mapping[str, Any]) -> None:
        self._add(*self._encoder.values(topic, t_ns, values))

    def _write_tree(self, topic: str, t_ns: int, tree: Mapping[str, Any]) -> None:
        self._add(*self._encoder.tree(topic, t_ns, tree))
        if (why := self._marks(topic, tree)) and why not in self._marked:
            self._marked.add(why)
            self._write_mark(t_ns, why, 0.0)

    def _write_event(self, event: Event) -> None:
        message = self._encoder.event(event)
        if message is None:  # the Hello before it was dropped
            self._unwritten += 1
        else:
            self._add(*message)

    def _write_made(self, make: Callable[..., Iterable[Message]], arguments: tuple[Any, ...]) -> None:
        for message in [*make(*arguments)]:
            self._add(*message)

    def _write_later(self, say: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        say(self._now, *arguments)

    def _lose(self, topic: str, schema: bytes, t_ns: int, data: bytes) -> None:
        """The disk was full, and no keyframe has come since."""
        self._unwritten += 1


class _Now:
    """What is said is written at once, in the writer's thread; each of it that cannot be is left out alone."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder, self._encoder = recorder, recorder._encoder

    def event(self, event: Event) -> None:
        try:
            if type(event) is Reading and (known := self._encoder.readings.get(event.format)) is not None:
                schema, data = known.write((event.seq, event.t_device_us, *event.values))
                self._recorder._add(known.topic, schema, event.t_ns, data)
            else:
                self._recorder._write_event(event)
        except (OSError, RecordingError):
            raise
        except Exception as error:
            self._recorder._leave_out(event, error)

    def numbers(self, topic: str, t_ns: int, names: tuple[str, ...], numbers: Sequence[float]) -> None:
        try:
            schema, data = self._encoder.numbers(topic, names).write(numbers)
            self._recorder._add(topic, schema, t_ns, data)
        except (OSError, RecordingError):
            raise
        except Exception as error:
            self._recorder._leave_out(numbers, error)

    def tell(self, topic: str, t_ns: int, tree: Mapping[str, Any]) -> None:
        try:
            self._recorder._write_tree(topic, t_ns, tree)
        except (OSError, RecordingError):
            raise
        except Exception as error:
            self._recorder._leave_out(tree, error)


class _Told:
    """What is said is counted, but for handshakes, and for what marks a file."""

    def __init__(self, marks: Callable[[str, Mapping[str, Any]], str]) -> None:
        self.count = 0
        self.marks: list[tuple[int, str]] = []
        self._why = marks
        self.hellos: list[Hello] = []

    def event(self, event: Event) -> None:
        if isinstance(event, Hello):
            self.hellos.append(event)
        else:
            self.count += 1

    def numbers(self, topic: str, t_ns: int, names: tuple[str, ...], numbers: Sequence[float]) -> None:
        self.count += 1

    def tell(self, topic: str, t_ns: int, tree: Mapping[str, Any]) -> None:
        self.count += 1
        if why := self._why(topic, tree):
            self.marks.append((t_ns, why))


def begin(wanted: Path, metadata: Mapping[str, str], attachments: Mapping[str, bytes], **options: Any) -> Recorder:
    """A recorder at `wanted`, with these `options` of it; where there is a file already, `~2` and so on is added to the
    name.

    Raises RecordingError, and what a machine without memory or threads raises; then nothing is left behind.
    """
    for path in (wanted, *(wanted.with_stem(f"{wanted.stem}~{count}") for count in range(2, NAMES + 2))):
        try:
            return Recorder(path, metadata, attachments, **options)
        except RecordingError as error:
            if isinstance(error.__context__, FileExistsError):
                continue
            _remove(path)
            raise
        except (OSError, RuntimeError, MemoryError):
            _remove(path)
            raise
    raise RecordingError(f"{wanted} and its ~2 … all exist")


def _remove(path: Path) -> None:
    """What was begun and could not be: a rest that nobody can read."""
    with contextlib.suppress(OSError):
        path.unlink()
