"""Writing a recording: every byte received and sent, with its time, and what it meant, as MCAP.

Rule: recording never delays and never stops the robot. The path's side is one append to a bounded queue; a thread
encodes and writes. What does not fit is dropped, counted and said in the file; a full disk ends the recording
(`failed`), not the run. What is written is readable after `kill -9`, all but the last second.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

from mcap.writer import CompressionType, Writer

from firmware_bridge.errors import RecordingError
from firmware_bridge.formats import Format
from firmware_bridge.messages import Chunk, DeviceStatus, Event, Fault, Gap, Hello, Lost, Opened, Reading, Reset, Silent

RECEIVED = "/wire/received"  # raw bytes; an empty message is silence
LINK = "/wire/link"  # JSON: the port's link was opened or lost
SENT = "/wire/sent"  # raw bytes
UNSENT = "/wire/dropped"  # raw bytes that the port did not take: they never left the host
READINGS = "/readings/"  # + format
EVENTS = "/link"  # JSON: handshakes, gaps, faults, resets …
DEVICE = "/device"  # JSON: the device's own counters
METADATA, SUMMARY = "recording", "summary"  # names of the metadata records at the file's beginning and end
WIRE_ENCODING = "firmware-bridge"  # of the raw channels; PROTOCOL.md says what the bytes are

QUEUE_ITEMS = 100_000  # 4 s of 5 kHz with all channels, some 30 MB
DRAIN_S = 0.05
FLUSH_EVERY = 4  # drains: at most 0.2 s of data are not yet in the file
BATCH = 16  # items between two breaths; each is some 10 µs of Python that the path would have to wait for
BREATH_S = 0.0001
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
        self._refused = (
            0  # items left out, counted by the path's side; the other by the thread, so neither needs a lock
        )
        self._unwritten = 0
        self.failed = ""  # why nothing more is written
        self.odd = ""  # the first item that could not be encoded, and was left out
        self._queue: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._queue_items = queue_items
        self._wait = wait
        self._closing = False
        self._breath = threading.Event()  # never set: a pause without a clock
        self._wake = threading.Event()  # the thread has something to do before its time
        self._told = 0  # drops that the file already tells
        self._time_ns = 0  # of the last item written
        self._channels: dict[tuple[str, ...], int] = {}
        self._formats: dict[str, tuple[int, Format, str]] = {}  # reading → channel, format, JSON template
        try:
            self._file: BinaryIO = self.path.open("xb")
        except FileExistsError:
            raise RecordingError(
                f"{path} exists already; a recording never overwrites a file. Name another one."
            ) from None
        except OSError as error:
            raise RecordingError(f"{path} cannot be written: {error.strerror}.") from error
        self._writer = Writer(self._file, compression=CompressionType.LZ4)
        try:
            self._writer.start(profile="", library="edge-lstm firmware_bridge")
            self._writer.add_metadata(METADATA, dict(metadata or {}))
            for name, data in (attachments or {}).items():
                self._writer.add_attachment(0, 0, name, "application/octet-stream", data)
            self._writer.flush()  # type: ignore[no-untyped-call]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.close()
            raise RecordingError(f"{path} cannot be written: {error.strerror}.") from error
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many items are not in the file."""
        return self._refused + self._unwritten

    # ------------------------------------------------------------------------------------------ the path's side

    def received(self, chunk: Chunk) -> None:
        """A chunk, before the bridge sees it."""
        self._put(self._write_chunk, chunk)

    def sent(self, t_ns: int, data: bytes) -> None:
        """Bytes written to the port in answer to the chunk of time `t_ns`; empty ones are not worth a message."""
        if data:
            self._put(self._write_sent, t_ns, data)

    def unsent(self, t_ns: int, data: bytes) -> None:
        """Bytes that the port did not take in answer to the chunk of time `t_ns`."""
        if data:
            self._put(self._write_unsent, t_ns, data)

    def event(self, event: Event) -> None:
        """What the bridge made of a chunk."""
        self._put(self._write_event, event)

    def values(self, topic: str, t_ns: int, values: Mapping[str, float]) -> None:
        """Named numbers on a channel of their own, such as "/outputs" or "/actions/motor_limits"."""
        self._put(self._write_values, topic, t_ns, dict(values))

    def close(self) -> None:
        """Write what is queued and the file's index; waits `CLOSE_S` at most, then `failed` says so. May be called
        twice."""
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self.failed = f"{self.path} could not be finished within {CLOSE_S:g} s: the disk does not answer."

    def _put(self, write: Callable[..., None], *item: Any) -> None:
        if self._wait and len(self._queue) >= self._queue_items:
            self._make_room()
        if len(self._queue) >= self._queue_items or self.failed or self._closing:
            self._refused += 1
        else:
            self._queue.append((write, item))

    def _make_room(self) -> None:
        """Wait until half of the queue is written."""
        self._wake.set()
        while len(self._queue) > self._queue_items // 2 and not self.failed:
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
                    self._writer.flush()  # type: ignore[no-untyped-call]
            self._drain()
            self._writer.add_metadata(SUMMARY, {"dropped": str(self.dropped)})
            self._writer.finish()  # type: ignore[no-untyped-call]
            self._file.close()
        except Exception as error:  # a full disk, most of all; the robot goes on, the reason is shown
            reason = error.strerror if isinstance(error, OSError) else repr(error)
            self.failed = f"{self.path} could not be written any further: {reason}."
            self._unwritten += len(self._queue)
            self._queue.clear()
            with contextlib.suppress(OSError):
                self._file.close()

    def _drain(self) -> None:
        for turn in range(len(self._queue)):
            write, item = self._queue[0]
            try:
                write(*item)
            except OSError:
                raise
            except Exception as error:  # one item that cannot be encoded must not cost all that come after it
                self._unwritten += 1
                self.odd = self.odd or f"{item[-1]!r:.200} cannot be encoded ({error!r:.200})"
            self._queue.popleft()
            if turn % BATCH == BATCH - 1 and not self._closing:
                self._breath.wait(BREATH_S)
        if self.dropped != self._told:
            self._told = self.dropped
            why = self.odd or "the writer was too slow"
            text = f"{self._told} items are missing from this recording so far: {why}."
            self._write_link({"event": "dropped", "count": self._told, "text": text}, self._time_ns)

    def _write_chunk(self, chunk: Chunk) -> None:
        self._time_ns = chunk.t_ns
        if chunk.link == "data":
            self._add(self._raw_channel(RECEIVED), chunk.t_ns, chunk.data)
        else:
            tree = {"link": chunk.link, "description": chunk.data.decode(errors="surrogateescape")}
            self._add(self._json_channel(LINK, _object(tree)), chunk.t_ns, _json(tree))

    def _write_sent(self, t_ns: int, data: bytes) -> None:
        self._add(self._raw_channel(SENT), t_ns, data)

    def _write_unsent(self, t_ns: int, data: bytes) -> None:
        self._add(self._raw_channel(UNSENT), t_ns, data)

    def _write_values(self, topic: str, t_ns: int, values: dict[str, Any]) -> None:
        numbers = {key: float(value) for key, value in values.items()}
        tree = {key: value if math.isfinite(value) else None for key, value in numbers.items()}
        self._add(self._json_channel(topic, _object(numbers)), t_ns, _json(tree))

    def _write_event(self, event: Event) -> None:
        if isinstance(event, Reading):
            self._write_reading(event)
            return
        tree = _event_tree(event)
        if isinstance(event, DeviceStatus):
            self._add(self._json_channel(DEVICE, _object(tree)), event.t_ns, _json(tree))
            return
        if isinstance(event, Hello):
            self._declare(event)
        self._write_link(tree, event.t_ns)

    def _write_link(self, tree: dict[str, Any], t_ns: int) -> None:
        self._add(self._json_channel(EVENTS, _EVENT_SCHEMA), t_ns, _json(tree))

    def _write_reading(self, event: Reading) -> None:
        if event.format not in self._formats:  # the Hello before it was dropped
            self._unwritten += 1
            return
        channel, item, template = self._formats[event.format]
        if all(map(math.isfinite, event.values)):
            data = (template % (event.seq, event.t_device_us, *event.values)).encode()
        else:  # JSON has no NaN
            values = [value if math.isfinite(value) else None for value in event.values]
            tree = dict(zip([field.name for field in item.fields], values, strict=True))
            data = _json({"_seq": event.seq, "_t_device_us": event.t_device_us} | tree)
        self._add(channel, event.t_ns, data)

    def _declare(self, event: Hello) -> None:
        """The channels of the readings that are going to come."""
        self._formats = {}
        for item in event.dictionary.readings:
            names = ["_seq", "_t_device_us", *(field.name for field in item.fields)]
            schema = _object(dict.fromkeys(names, 0.0))
            for field in item.fields:
                if field.unit:
                    schema["properties"][field.name]["description"] = f"in {field.unit}"
            keys = [json.dumps(name).replace("%", "%%") for name in names]
            template = "{" + ",".join(f"{key}:{'%d' if at < 2 else '%r'}" for at, key in enumerate(keys)) + "}"
            self._formats[item.name] = (self._json_channel(READINGS + item.name, schema), item, template)

    def _raw_channel(self, topic: str) -> int:
        key = (topic,)
        if key not in self._channels:
            self._channels[key] = self._writer.register_channel(topic, WIRE_ENCODING, 0)
        return self._channels[key]

    def _json_channel(self, topic: str, schema: dict[str, Any]) -> int:
        """The channel of a topic; one that gets other properties becomes another channel of the same topic."""
        key = (topic, *schema["properties"])
        if key not in self._channels:
            schema_id = self._writer.register_schema(topic.strip("/").replace("/", "."), "jsonschema", _json(schema))
            self._channels[key] = self._writer.register_channel(topic, "json", schema_id)
        return self._channels[key]

    def _add(self, channel: int, t_ns: int, data: bytes) -> None:
        if not 0 <= t_ns < 1 << 64:  # before a byte of it is in the block
            raise ValueError(f"the time {t_ns} ns is outside 64 bits")
        self._writer.add_message(channel, log_time=t_ns, data=data, publish_time=t_ns)


def _event_tree(event: Event) -> dict[str, Any]:
    """An event as JSON values; "text" says it in a sentence, for the log panels of viewers."""
    tree = {item.name: getattr(event, item.name) for item in fields(event) if item.name != "t_ns"}
    if isinstance(event, Hello):
        tree["dictionary"] = event.dictionary.json.decode()
        text = f"{event.device} {event.version} answered, boot {event.boot_id:08x}."
    elif isinstance(event, Gap):
        text = f"{event.count} readings of {event.format} are missing, from number {event.first_seq} on."
    elif isinstance(event, Fault):
        tree["data"] = event.data.hex()
        text = f"Bytes of no use ({event.status}). {event.detail}".rstrip()
    elif isinstance(event, Reset):
        text = f"The board has started again, boot {event.boot_id:08x}."
    elif isinstance(event, Opened):
        text = f"Opened {event.what}."
    elif isinstance(event, Lost):
        text = f"Lost the link: {event.why}."
    elif isinstance(event, Silent):
        text = "Nothing intact arrives any more."
    else:
        return tree
    return {"event": type(event).__name__.lower(), "text": text, **tree}


def _object(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema of one flat object."""
    kinds = {key: {"type": "string" if isinstance(value, str) else "number"} for key, value in tree.items()}
    return {"type": "object", "properties": kinds}


_EVENT_SCHEMA = _object(
    dict.fromkeys(("event", "text", "format", "status", "detail", "data", "device", "version"), "")
    | dict.fromkeys(("what", "why", "dictionary"), "")
    | dict.fromkeys(("first_seq", "count", "boot_id"), 0)
)


def _json(tree: Mapping[str, Any]) -> bytes:
    return json.dumps(tree, separators=(",", ":"), allow_nan=False).encode()
