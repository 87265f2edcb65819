"""What a recording holds, in a file of any format: its topics, and what a message on each of them says.

Rule: the wire's topics are the recording; they hold every byte with its time and are all that a replay reads. The
others say the same for people and viewers, as JSON objects without nesting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from firmware_bridge.events import Event, Fault, Gap, Hello, Lost, Opened, Reset, Silent
from firmware_bridge.values import Chunk

RECEIVED = "/wire/received"  # raw bytes; an empty message is silence
LINK = "/wire/link"  # JSON: the port's link was opened or lost
SENT = "/wire/sent"  # raw bytes
UNSENT = "/wire/dropped"  # raw bytes that the port did not take: they never left the host
READINGS = "/readings/"  # + format
EVENTS = "/link"  # JSON: handshakes, gaps, faults, resets …
DEVICE = "/device"  # JSON: the device's own counters
DROPPED = "dropped"  # in the summary at the end of the file: how many items were left out


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
        return tree
    return {"event": type(event).__name__.lower(), "text": text, **tree}


def schema_of(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema of an object like this one: texts and numbers by name."""
    types = {key: {"type": "string" if isinstance(value, str) else "number"} for key, value in tree.items()}
    return {"type": "object", "properties": types}


EVENT_SCHEMA = schema_of(
    dict.fromkeys(("event", "text", "format", "status", "detail", "data", "device", "version"), "")
    | dict.fromkeys(("what", "why", "dictionary"), "")
    | dict.fromkeys(("first_seq", "count", "boot_id"), 0)
)


def json_bytes(tree: Mapping[str, Any]) -> bytes:
    """An object as a message. Raises ValueError for NaN and infinities, which JSON does not have."""
    return json.dumps(tree, separators=(",", ":"), allow_nan=False).encode()
