"""What a recording holds, in a file of any format: its topics, and what a message on each of them says.

Its rule: the wire's topics are the recording; they hold every byte with its time and are all that a replay reads. The
others say the same for people and viewers, as JSON objects without nesting.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any, NamedTuple

from firmware_bridge.events import DeviceStatus, Event, Fault, Gap, Hello, Lost, Opened, Reading, Reset, Silent
from firmware_bridge.values import Chunk

WIRE = "/wire/"  # topics that begin so are the recording; all others are derived from them
RECEIVED = "/wire/received"  # raw bytes; an empty message is silence
LINK = "/wire/link"  # JSON: the port's link was opened or lost
SENT = "/wire/sent"  # raw bytes
UNSENT = "/wire/dropped"  # raw bytes that the port did not take: they never left the host
CALLS = "/wire/calls/"  # + model: raw; what a program's own loop asked of it, and what it answered
READINGS = "/readings/"  # + format
OUTPUTS = "/outputs"
ACTIONS = "/actions"
VALUES = "/values/"  # + name: numbers that a program's own loop gave
MARKS = "/marks"  # JSON: sentences that a program's own loop gave
EVENTS = "/link"  # JSON: handshakes, gaps, faults, resets …
DEVICE = "/device"  # JSON: the device's own counters
DROPPED = "dropped"  # in the summary at the end of the file: how many items were left out

FORM = "form"  # in the metadata: whether another version wrote the derived messages, in other words
OUR_FORM = "3"  # another one where a sentence or a value of an event becomes another; 0.1 says none
LISTENS = "3"  # since then our own link writes nothing until it has heard its robot


def link_object(chunk: Chunk) -> dict[str, str]:
    """The message on LINK for a chunk that says how the port's link changed."""
    return {"link": chunk.link, "description": chunk.data.decode(errors="surrogateescape")}


def link_chunk(t_ns: int, data: bytes) -> Chunk:
    """The chunk that a message on LINK was made of. Raises ValueError saying what is wrong with the message."""
    try:
        tree = json.loads(data)
        description, link = tree["description"].encode(errors="surrogateescape"), tree["link"]
        if link not in ("opened", "lost"):
            raise ValueError(f"{link!r} is neither opened nor lost")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return Chunk(t_ns, description, link)


def event_object(event: Event) -> dict[str, Any]:
    """An event without its time; "text" is a sentence about it, for the log panels of viewers."""
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
        return {key: value for key, value in tree.items() if value is not None}  # only protocol 2 says all of them
    return {"event": type(event).__name__.lower(), "text": text, **tree}


def schema_of(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema of an object like this one: texts and numbers by name."""
    types = {key: {"type": "string" if isinstance(value, str) else "number"} for key, value in tree.items()}
    return {"type": "object", "properties": types}


def json_bytes(tree: Mapping[str, Any]) -> bytes:
    """An object as a message. Raises ValueError for NaN and infinities, which JSON does not have."""
    return json.dumps(tree, separators=(",", ":"), allow_nan=False).encode()


EVENT_SCHEMA = json_bytes(
    schema_of(
        dict.fromkeys(("event", "text", "format", "status", "detail", "data", "device", "version"), "")
        | dict.fromkeys(("what", "why", "dictionary"), "")
        | dict.fromkeys(("first_seq", "count", "boot_id"), 0)
    )
)


class Message(NamedTuple):
    """One message of a recording. schema: the JSON schema of its channel; empty where the data is bytes of the line."""

    topic: str
    schema: bytes
    t_ns: int
    data: bytes


class Numbers:
    """Messages of numbers under fixed names on one topic. units: of each, "" where it has none."""

    def __init__(self, topic: str, names: Sequence[str], units: Sequence[str] = ()) -> None:
        schema = schema_of(dict.fromkeys(names, 0.0))
        for name, unit in zip(names, units, strict=False):
            if unit:
                schema["properties"][name]["description"] = f"in {unit}"
        self.topic, self._names, self._schema = topic, tuple(names), json_bytes(schema)
        self._template = _template(self._names)

    def __call__(self, t_ns: int, numbers: list[float]) -> Message:
        """One for each name, in their order; what JSON cannot say is null."""
        return Message(self.topic, self._schema, t_ns, _numbers(self._template, self._names, numbers))


class Encoder:
    """What a recorder writes of all that happens, as a function of it: so a replay can say what a recording must hold.

    A reading needs the Hello of its format before it.
    """

    def __init__(self) -> None:
        self._formats: dict[str, Numbers] = {}  # of each reading that may come

    def chunk(self, chunk: Chunk) -> Message:
        """What a port saw."""
        if chunk.link == "data":
            return Message(RECEIVED, b"", chunk.t_ns, chunk.data)
        tree = link_object(chunk)
        return Message(LINK, _schema(tuple(tree), text=True), chunk.t_ns, json_bytes(tree))

    def values(self, topic: str, t_ns: int, values: Mapping[str, float]) -> Message:
        """Named numbers; what JSON cannot say is null. Raises TypeError or ValueError for what is no number."""
        names = tuple(values)
        numbers = [float(value) for value in values.values()]
        return Message(topic, _schema(names), t_ns, _numbers(_template(names), names, numbers))

    def tree(self, topic: str, t_ns: int, tree: Mapping[str, Any]) -> Message:
        """Named texts and numbers. Raises TypeError or ValueError for what JSON cannot say."""
        return Message(topic, json_bytes(schema_of(tree)), t_ns, json_bytes(tree))

    def event(self, event: Event) -> Message | None:
        """What the link made of a chunk; None for a reading whose Hello is missing."""
        if isinstance(event, Reading):
            known = self._formats.get(event.format)
            if known is None:
                return None
            return known(event.t_ns, [event.seq, event.t_device_us, *event.values])
        tree = event_object(event)
        if isinstance(event, DeviceStatus):
            return Message(DEVICE, json_bytes(schema_of(tree)), event.t_ns, json_bytes(tree))
        if isinstance(event, Hello):
            self._declare(event)
        return Message(EVENTS, EVENT_SCHEMA, event.t_ns, json_bytes(tree))

    def _declare(self, event: Hello) -> None:
        """The readings that are going to come."""
        self._formats = {}
        for item in event.dictionary.readings:
            names = ["_seq", "_t_device_us", *(field.name for field in item.fields)]
            units = ["", "", *(field.unit for field in item.fields)]
            self._formats[item.name] = Numbers(READINGS + item.name, names, units)


@lru_cache(maxsize=256)
def _schema(names: tuple[str, ...], text: bool = False) -> bytes:
    return json_bytes(schema_of(dict.fromkeys(names, "" if text else 0.0)))


@lru_cache(maxsize=256)
def _template(names: tuple[str, ...]) -> str:
    """An object of numbers, for `%`: as json.dumps writes it, in a quarter of the time."""
    return "{" + ",".join(json.dumps(name).replace("%", "%%") + ":%r" for name in names) + "}"


def _numbers(template: str, names: tuple[str, ...], numbers: list[float]) -> bytes:
    if all(map(math.isfinite, numbers)):
        return (template % tuple(numbers)).encode()
    return json_bytes({name: n if math.isfinite(n) else None for name, n in zip(names, numbers, strict=True)})
