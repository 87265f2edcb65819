"""What MAVLink frames say: the messages by name, their rates, and a reading of each with its numbers.

Its rule: a message is named only where the frames' check is that of its definition. One that is not known is a number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from firmware_bridge.links.mavlink.definition import Message
from firmware_bridge.links.mavlink.messages import MESSAGES
from firmware_bridge.recognize.columns import by_clock, fields_of
from firmware_bridge.recognize.findings import FoundReading
from firmware_bridge.recognize.frames import HEARTBEAT, MavlinkFrame
from firmware_bridge.recognize.heard import Heard, nice_rate, rate_of

_BY_ID = {message.id: message for message in MESSAGES.values()}
_CLOCKS = ("time_boot_ms", "time_usec")
LEAST_FRAMES = 3  # of a message, before a reading is made of it


def messages_of(frames: Sequence[MavlinkFrame], heard: Heard) -> list[FoundReading]:
    """A reading for each message, the most frequent first; without fields where its definition is not known here."""
    counts = Counter(frame.message for frame in frames)
    return [_reading([f for f in frames if f.message == number], heard) for number, _ in counts.most_common()]


def _reading(frames: Sequence[MavlinkFrame], heard: Heard) -> FoundReading:
    number, extra = frames[0].message, frames[0].extra
    rate_hz = rate_of([heard.time_of(frame.at + frame.size - 1) for frame in frames])
    message = _BY_ID.get(number)
    if message is None or message.crc_extra != extra:
        return FoundReading(f"message_{number}", (), len(frames), nice_rate(rate_hz))
    name = message.name.lower()
    if number == HEARTBEAT or len(frames) < LEAST_FRAMES:
        return FoundReading(name, (), len(frames), nice_rate(rate_hz))
    return _with_fields(name, message, frames, rate_hz)


def _with_fields(name: str, message: Message, frames: Sequence[MavlinkFrame], rate_hz: float | None) -> FoundReading:
    columns = [(label, column) for label, column in message.columns.items() if column.field.type != "char"]
    rows = []
    for frame in frames:
        numbers = message.unpack(frame.payload)
        rows.append([float(numbers[column.at]) for _, column in columns])
    names = [label for label, _ in columns]
    units = [column.field.unit.replace("m/s/s", "m/s^2") for _, column in columns]  # as models spell it
    clocks = [label in _CLOCKS for label in names]
    fields = tuple(
        field if clock and field.role == "time" else field.plain()
        for field, clock in zip(fields_of(names, units, rows, rate_hz, clocks), clocks, strict=True)
    )
    keys = (("message", message.name),)
    return FoundReading(name, fields, len(frames), nice_rate(by_clock(fields) or rate_hz), keys)
