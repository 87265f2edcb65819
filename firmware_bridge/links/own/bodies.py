"""The payloads of the link's own frames, as both halves pack them. PROTOCOL.md has them as tables.

Its rule: a layout is written once, here. All numbers are little-endian.
"""

from __future__ import annotations

import struct

from firmware_bridge.dictionary import MAX_JSON, Dictionary
from firmware_bridge.errors import DictionaryError
from firmware_bridge.links.own.framing import MAX_PAYLOAD

HELLO = struct.Struct("<I8sHB")  # boot id, digest, length of the compressed dictionary, state
STATUS = struct.Struct("<BI7I")  # state, boot id, seven counters in the order of `device.DeviceCounters`
STATUS_2 = struct.Struct("<BI9I")  # the same, late frames, age of the last action obeyed in µs; then the fault's reason
BLOCK = struct.Struct("<HH")  # DICTIONARY: offset, length of the whole compressed dictionary; then the bytes from there
BLOCK_REQUEST = struct.Struct("<H")  # DICTIONARY_REQUEST: offset
START = struct.Struct("<I")  # boot id; then any number of START_RATE
START_RATE = struct.Struct("<BH")  # stream id, send every n-th reading (0: none)
CLEAR = struct.Struct("<I")  # boot id
OF = struct.Struct("<I")  # in front of ACTION's fields, and HEARTBEAT: the device's own time that it answers

NO_AGE = 0xFFFFFFFF  # in STATUS: no action has been obeyed yet
LONGEST_REASON = 64  # bytes of a fault's reason
# The host reckons the device's time on from the last frame, with its own clock: it may be a little early.
EARLY_US = 100_000

STATES = ("idle", "running", "safe", "fault")
IDLE, RUNNING, SAFE, FAULT = 0, 1, 2, 3


def check_sizes(dictionary: Dictionary) -> None:
    """Raises DictionaryError for a dictionary that no host would take, or a format longer than a frame's payload."""
    if len(dictionary.json) > MAX_JSON:
        raise DictionaryError(f"The dictionary is {len(dictionary.json)} bytes of JSON; {MAX_JSON} is the most.")
    for item in dictionary.formats:
        most = MAX_PAYLOAD - (OF.size if item.max_age_ms is not None else 0)
        if item.size > most:
            raise DictionaryError(
                f"Format {item.name!r} is {item.size} bytes long; a message carries at most {most}. Split it in two."
            )


def age_us(now_us: int, of_us: int) -> int | None:
    """How old a frame is by the device's own clock, both mod 2^32; None where it is of a time yet to come."""
    age = (now_us - of_us) & 0xFFFFFFFF
    if age >> 31:
        return 0 if (1 << 32) - age <= EARLY_US else None
    return age
