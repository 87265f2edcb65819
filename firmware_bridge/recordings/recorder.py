"""Writing a recording: every byte received and sent, with its time, and what it meant.

Its rule: recording never delays and never stops the robot. The path's side is one append to a bounded queue; a thread
encodes and writes. What does not fit is dropped, counted and noted in the file: what can be derived from the bytes
first, since it may only fill half of the queue; a full disk ends the recording (`failed`), not the run. What is
written is readable after `kill -9`, all but the last second. However long it runs, memory stays as it is.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from firmware_bridge.errors import RecordingError
from firmware_bridge.events import Event, Hello
from firmware_bridge.recordings.contents import (
    DROPPED,
    EVENT_SCHEMA,
    EVENTS,
    FORM,
    OUR_FORM,
    SENT,
    UNSENT,
    Encoder,
    Message,
    json_bytes,
)
from firmware_bridge.recordings.mcap_writer import McapWriter
from firmware_bridge.values import Chunk

QUEUE_ITEMS = 100_000  # 4 s of 5 kHz with all channels, some 30 MB
DRAIN_S = 0.05
FLUSH_EVERY = 10  # drains: at most 0.5 s of data are not yet in the file
BATCH = 16  # items between two breaths; each is some 10 µs of Python that the path would have to wait for
BREATH_S = 0.0001
NAMES = 1000  # that are tried where files of earlier runs are
CLOSE_S = 30.0  # how long closing waits for the writer; a disk that hangs must not hang the program


class Recorder:
    """A recording in the making. Raises RecordingError if it cannot be begun; afterwards nothing raises.

    `metadata` are texts (model digest, configuration …), `attachments` files that replay needs (the model, the
    configuration). An existing file is never touched. With `wait` a full queue makes the caller wait instead of
    dropping (for simulated time, which runs faster than the writer).
    """

    def __init__(
        self,
        path: str | Path,
        metadata: Mapping[str, str] | None = None,
        attachments: Mapping[str, bytes] | None = None,
        *,
        wait: bool = False,
        queue_items: int = QUEUE_ITEMS,
    ) -> None:
        self.path = Path(path)
        # Items left out: the first is counted by the path's side, the second by the thread, so neither needs a lock.
        self._refused = 0
        self._unwritten = 0
        self.failed = ""  # why nothing more is written
        self.odd = ""  # the first item that could not be encoded, and was left out
        # How to write it, what it is, and how many were left out before it.
        self._queue: deque[tuple[Callable[..., None], tuple[Any, ...], int]] = deque()
        self._queue_items, self._derived_items = queue_items, (queue_items + 1) // 2
        self._wait = wait
        self._closing = False
        self._breath = threading.Event()  # never set: a pause without a clock
        self._wake = threading.Event()  # the thread has something to do before its time
        self._noted = 0  # items left out, as far as the file says so
        self._time_ns = 0  # of the last item written
        self._encoder = Encoder()
        self._file = McapWriter(self.path, {FORM: OUR_FORM, **(metadata or {})}, attachments or {})
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many items are not in the file."""
        return self._refused + self._unwritten

    # ------------------------------------------------------------------------------------------ the path's side

    def received(self, chunk: Chunk) -> None:
        """A chunk, before the link sees it."""
        self._put(self._queue_items, self._write_chunk, chunk)

    def sent(self, t_ns: int, data: bytes) -> None:
        """Bytes written to the port in answer to the chunk of time `t_ns`; empty ones are not worth a message."""
        if data:
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

    def close(self) -> None:
        """Write what is queued and the file's index. Waits `CLOSE_S` at most; `failed` is set if that was too short.
        May be called twice."""
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self.failed = f"{self.path} could not be finished within {CLOSE_S:g} s: the disk does not answer."

    def _put(self, most: int, write: Callable[..., None], *item: Any) -> None:
        """Queue an item where fewer than `most` are waiting."""
        if self._wait and len(self._queue) >= most:
            self._make_room()
        if len(self._queue) >= most or self.failed or self._closing:
            self._refused += 1
        else:
            self._queue.append((write, item, self._refused))

    def _make_room(self) -> None:
        """Wait until three quarters of the queue are written."""
        self._wake.set()
        while len(self._queue) > self._queue_items // 4 and not self.failed:
            self._breath.wait(10 * BREATH_S)

    # ------------------------------------------------------------------------------------------ the writer's thread

    def _run(self) -> None:
        try:
            drains = 0
            while not self._closing:
                self._wake.wait(DRAIN_S)
                self._wake.clear()
                self._drain()
                drains += 1
                if drains % FLUSH_EVERY == 0:
                    self._file.flush()
            self._drain()
            self._file.finish({DROPPED: str(self.dropped)})
            if not self._file.is_at(self.path):
                self.failed = f"{self.path} was deleted or replaced while it was written: the recording is lost."
        except Exception as error:  # a full disk, most of all; the robot goes on, the reason is shown
            reason = error.strerror if isinstance(error, OSError) else repr(error)
            self.failed = f"{self.path} could not be written any further: {reason}."
            self._unwritten += len(self._queue)
            self._queue.clear()
            self._file.abandon()

    def _drain(self) -> None:
        for turn in range(len(self._queue)):
            write, item, refused = self._queue[0]
            self._note(refused + self._unwritten)  # before it: a file that is cut off says all that it lacks
            try:
                write(*item)
            except OSError:
                raise
            except Exception as error:  # one item that cannot be encoded must not cost all that come after it
                self._unwritten += 1
                self.odd = self.odd or f"{item[-1]!r:.200} cannot be encoded ({error!r:.200})"
            self._queue.popleft()
            if turn % BATCH == BATCH - 1 and not (self._closing or self._wait):
                self._breath.wait(BREATH_S)
        self._note(self.dropped)

    def _note(self, dropped: int) -> None:
        """Say in the file how many items it lacks, where that is more than it says so far."""
        if dropped > self._noted:
            self._noted = dropped
            why = self.odd or "the writer was too slow"
            text = f"{self._noted} items are missing from this recording so far: {why}."
            tree = {"event": DROPPED, "count": self._noted, "text": text}
            self._write(Message(EVENTS, EVENT_SCHEMA, self._time_ns, json_bytes(tree)))

    def _write_chunk(self, chunk: Chunk) -> None:
        self._write(self._encoder.chunk(chunk))

    def _write_bytes(self, topic: str, t_ns: int, data: bytes) -> None:
        self._write(Message(topic, b"", t_ns, data))

    def _write_values(self, topic: str, t_ns: int, values: dict[str, Any]) -> None:
        self._write(self._encoder.values(topic, t_ns, values))

    def _write_tree(self, topic: str, t_ns: int, tree: dict[str, Any]) -> None:
        self._write(self._encoder.tree(topic, t_ns, tree))

    def _write_event(self, event: Event) -> None:
        message = self._encoder.event(event)
        if message is None:  # the Hello before it was dropped
            self._unwritten += 1
        else:
            self._write(message)

    def _write_made(self, make: Callable[..., Iterable[Message]], arguments: tuple[Any, ...]) -> None:
        for message in [*make(*arguments)]:
            self._write(message)

    def _write(self, message: Message) -> None:
        self._file.add(*message)
        self._time_ns = message.t_ns


def begin(wanted: Path, metadata: Mapping[str, str], attachments: Mapping[str, bytes]) -> Recorder:
    """A recorder at `wanted`; where there is a file already, `~2` and so on is added to the name.

    Raises RecordingError, and what a machine without memory or threads raises; then nothing is left behind.
    """
    for path in (wanted, *(wanted.with_stem(f"{wanted.stem}~{count}") for count in range(2, NAMES + 2))):
        try:
            return Recorder(path, metadata, attachments)
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
