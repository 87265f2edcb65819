"""What a recording holds, in a file of any format: its topics, and what a message on each of them says.

Its rule: the wire's topics are the recording; they hold every byte with its time and are all that a replay reads. The
others say the same for people and viewers: numbers in ROS's encoding (cdr.py), sentences as JSON objects without
nesting. README.md beside this file says it to those who write another reader.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any, NamedTuple

from firmware_bridge.dictionary import Dictionary, Field
from firmware_bridge.events import DeviceStatus, Event, Fault, Gap, Hello, Lost, Opened, Reading, Request, Reset, Silent
from firmware_bridge.recordings.cdr import Layout, Narrow
from firmware_bridge.values import Chunk

WIRE = "/wire/"  # topics that begin so are the recording; all others are derived from them
RECEIVED = "/wire/received"  # raw bytes; an empty message is silence
LINK = "/wire/link"  # JSON: the port's link was opened or lost
CONTROL = "/wire/control"  # a line of JSON that asks something of the run; behind it what goes with it, such as a model
CHUNKS = frozenset({RECEIVED, LINK, CONTROL})  # what a port gave: all that a replay reads
SENT = "/wire/sent"  # raw bytes
UNSENT = "/wire/dropped"  # raw bytes that the port did not take: they never left the host
KEYFRAME = "/wire/keyframe"  # JSON: all that is remembered, right after what came of the chunk before it (keyframe.py)
MARK = "/wire/mark"  # JSON: why this file is kept
CALLS = "/wire/calls/"  # + model: raw; what a program's own loop asked of it, and what it answered
READINGS = "/readings/"  # + format
OUTPUTS = "/outputs"
ACTIONS = "/actions"
VALUES = "/values/"  # + name: numbers that a program's own loop gave
MARKS = "/marks"  # JSON: sentences that a program's own loop gave
EVENTS = "/link"  # JSON: handshakes, gaps, faults, resets …
DEVICE = "/device"  # JSON: the device's own counters
WIRE_ENCODING = "firmware-bridge"  # of the raw channels and of their schema
MOST_KEPT = 1000  # kinds of messages whose layout is remembered
GOES_ON = "goes on"  # there, too: the run went on after this file
DROPPED = "dropped"  # in the summary at the end of the file: how many items were left out

FORM = "form"  # in the metadata: whether another version wrote the derived messages, in other words
OUR_FORM = "4"  # another one where a sentence or a value of an event becomes another; 0.1 says none
WORDED = ("3", "4")  # forms whose events are worded as ours
NUMBERS = "4"  # since then numbers are cdr; before, they were JSON, and null where they were none
RUN, PART, HEAD = "run", "part", "head"  # there too: the run's first file, how many were before it, how it begins
LONGEST_LINE = 1000  # characters of a request that are shown
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
    elif isinstance(event, Request):
        line, _, more = event.data.partition(b"\n")
        tree["data"] = line.decode(errors="replace")[:LONGEST_LINE]
        text = f"Asked: {tree['data']}" + (f" with {len(more)} bytes." if more else ".")
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
    """One message of a recording. schema: of its channel, as `encodings` knows it; empty where the data is bytes of the
    line."""

    topic: str
    schema: bytes
    t_ns: int
    data: bytes

    def tree(self) -> dict[str, Any]:
        """What it says, by name. Raises ValueError where it is damaged, or its schema is not ours."""
        return decoder(self.schema)(self.data)

    def names(self) -> tuple[str, ...]:
        """Of its numbers, where they are not in its data."""
        return names_of(self.schema)


def encodings(schema: bytes) -> tuple[str, str]:
    """What MCAP calls (a schema, the messages of its channels): JSON's begins with a brace, ROS's with a word, that of
    the line is empty."""
    if not schema:
        return WIRE_ENCODING, WIRE_ENCODING
    return ("jsonschema", "json") if schema.startswith(b"{") else ("ros2msg", "cdr")


@lru_cache(maxsize=256)
def decoder(schema: bytes) -> Callable[[bytes], dict[str, Any]]:
    """What reads the messages of a channel; it raises ValueError for one that is damaged. ValueError: a schema that
    nobody of us has written."""
    return Layout.read(schema).tree if encodings(schema)[1] == "cdr" else _object


@lru_cache(maxsize=256)
def names_of(schema: bytes) -> tuple[str, ...]:
    """Of numbers in cdr; of all else none."""
    try:
        return Layout.read(schema).names if encodings(schema)[1] == "cdr" else ()
    except ValueError:
        return ()


def _object(data: bytes) -> dict[str, Any]:
    try:
        tree = json.loads(data)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    if not isinstance(tree, dict):
        raise ValueError("it is no object")
    return tree


class Numbers:
    """Messages of numbers under fixed names on one topic. units: of each, "" where it has none; types: of each, as
    cdr.py knows them, float64 where none is said; text: as JSON, as recordings before form 4 have them."""

    def __init__(
        self,
        topic: str,
        names: Sequence[str],
        units: Sequence[str] = (),
        types: Sequence[str] = (),
        text: bool = False,
    ) -> None:
        self.topic, self._names = topic, tuple(names)
        units = tuple(units) or ("",) * len(self._names)
        self.write: Callable[[Sequence[float]], tuple[bytes, bytes]]  # numbers → schema, message
        if text or not self._names:
            schema = schema_of(dict.fromkeys(names, 0.0))
            for name, unit in zip(names, units, strict=True):
                if unit:
                    schema["properties"][name]["description"] = f"in {unit}"
            self._schema, self._template = json_bytes(schema), _template(self._names)
            self.write = self._text
        else:
            self.write = Narrow(self._names, units, tuple(types) or ("float64",) * len(self._names))

    def __call__(self, t_ns: int, numbers: Sequence[float]) -> Message:
        """One for each name, in their order. Raises TypeError, ValueError or struct.error for what is none."""
        schema, data = self.write(numbers)
        return Message(self.topic, schema, t_ns, data)

    def _text(self, numbers: Sequence[float]) -> tuple[bytes, bytes]:
        """What JSON cannot say is null."""
        if all(map(math.isfinite, numbers)):
            return self._schema, (self._template % tuple(numbers)).encode()
        pairs = zip(self._names, numbers, strict=True)
        return self._schema, json_bytes({name: n if math.isfinite(n) else None for name, n in pairs})


class Encoder:
    """What a recorder writes of all that happens, as a function of it: so a replay can say what a recording must hold.

    A reading needs the Hello of its format before it. text: numbers are JSON, as recordings before form 4 have them.
    """

    def __init__(self, text: bool = False, units: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """units: by topic and name, of `values`."""
        self._text, self._units = text, units or {}
        self.readings: dict[str, Numbers] = {}  # of each reading that may come
        self._values: dict[tuple[str, tuple[str, ...]], Numbers] = {}  # by topic and names
        self._latest: dict[str, tuple[tuple[str, ...], Numbers]] = {}  # by topic: names
        self.hello: Hello | None = None  # the latest
        self._dictionary: Dictionary | None = None

    def chunk(self, chunk: Chunk) -> Message:
        """What a port saw."""
        if chunk.link == "data":
            return Message(RECEIVED, b"", chunk.t_ns, chunk.data)
        if chunk.link == "control":
            return Message(CONTROL, b"", chunk.t_ns, chunk.data)
        tree = link_object(chunk)
        return Message(LINK, _text_schema(tuple(tree)), chunk.t_ns, json_bytes(tree))

    def values(self, topic: str, t_ns: int, values: Mapping[str, float]) -> Message:
        """Named numbers. Raises TypeError, ValueError or struct.error for what is no number."""
        return self.numbers(topic, tuple(values))(t_ns, [*map(float, values.values())])

    def numbers(self, topic: str, names: tuple[str, ...]) -> Numbers:
        """What writes numbers of these names."""
        latest = self._latest.get(topic)
        if latest is None or latest[0] != names:
            latest = self._latest[topic] = names, self._numbers_of(topic, names)
        return latest[1]

    def _numbers_of(self, topic: str, names: tuple[str, ...]) -> Numbers:
        found = self._values.get((topic, names))
        if found is None:
            if len(self._values) >= MOST_KEPT:  # a robot that declares ever new formats
                self._values.clear()
                self._latest.clear()
            units = self._units.get(topic) or self._action_units(topic)
            of_names = [units.get(name, "") for name in names]
            found = self._values[topic, names] = Numbers(topic, names, of_names, text=self._text)
        return found

    def tree(self, topic: str, t_ns: int, tree: Mapping[str, Any]) -> Message:
        """Named texts and numbers. Raises TypeError or ValueError for what JSON cannot say."""
        return Message(topic, json_bytes(schema_of(tree)), t_ns, json_bytes(tree))

    def event(self, event: Event) -> Message | None:
        """What the link made of a chunk; None for a reading whose Hello is missing."""
        if type(event) is Reading:
            known = self.readings.get(event.format)
            if known is None:
                return None
            return known(event.t_ns, (event.seq, event.t_device_us, *event.values))
        tree = event_object(event)
        if isinstance(event, DeviceStatus):
            return Message(DEVICE, json_bytes(schema_of(tree)), event.t_ns, json_bytes(tree))
        if isinstance(event, Hello):
            self.hello = event
            self.declare(event.dictionary)
        return Message(EVENTS, EVENT_SCHEMA, event.t_ns, json_bytes(tree))

    def _action_units(self, topic: str) -> dict[str, str]:
        """Of the robot's fields, by name."""
        name = topic.removeprefix(f"{ACTIONS}/")
        if self._dictionary is None or name == topic or name not in self._dictionary:
            return {}
        return {field.name: field.unit for field in self._dictionary[name].fields}

    def declare(self, dictionary: Dictionary) -> None:
        """The readings that are going to come."""
        self._dictionary, self.readings = dictionary, {}
        self._values.clear()  # the same names may have other units now
        self._latest.clear()
        for item in dictionary.readings:
            names = ["_seq", "_t_device_us", *(field.name for field in item.fields)]
            units = ["", "", *(field.unit for field in item.fields)]
            types = ["uint64", "int64", *map(_number_type, item.fields)]
            self.readings[item.name] = Numbers(READINGS + item.name, names, units, types, self._text)


def _number_type(field: Field) -> str:
    """What holds every value of a field, and those of a float32 on the line in half the bytes."""
    small = field.type in ("f32", "i8", "u8", "i16", "u16") and field.scale == 1 and field.offset == 0
    return "float32" if small else "float64"


@lru_cache(maxsize=256)
def _text_schema(names: tuple[str, ...]) -> bytes:
    return json_bytes(schema_of(dict.fromkeys(names, "")))


@lru_cache(maxsize=256)
def _template(names: tuple[str, ...]) -> str:
    """An object of numbers, for `%`: as json.dumps writes it, in a quarter of the time."""
    return "{" + ",".join(json.dumps(name).replace("%", "%%") + ":%r" for name in names) + "}"
