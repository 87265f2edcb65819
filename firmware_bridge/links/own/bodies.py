"""The payloads of the link's own frames, as both halves pack them. PROTOCOL.md has them as tables.

Rule: a layout is written once, here. All numbers are little-endian.
"""

from __future__ import annotations

import struct

from firmware_bridge.dictionary import MAX_JSON, Dictionary
from firmware_bridge.errors import DictionaryError
from firmware_bridge.links.own.framing import MAX_PAYLOAD

HELLO = struct.Struct("<I8sHB")  # boot id, digest, length of the compressed dictionary, state
STATUS = struct.Struct("<BI7I")  # state, boot id, seven counters in the order of `device.DeviceCounters`
BLOCK = struct.Struct("<HH")  # DICTIONARY: offset, length of the whole compressed dictionary; then the bytes from there
BLOCK_REQUEST = struct.Struct("<H")  # DICTIONARY_REQUEST: offset
START = struct.Struct("<I")  # boot id; then any number of START_RATE
START_RATE = struct.Struct("<BH")  # stream id, send every n-th reading (0: none)

STATES = ("idle", "running", "safe")
IDLE, RUNNING, SAFE = 0, 1, 2


def check_sizes(dictionary: Dictionary) -> None:
    """Raises DictionaryError for a dictionary that no host would take, or a format longer than a frame's payload."""
    if len(dictionary.json) > MAX_JSON:
        raise DictionaryError(f"The dictionary is {len(dictionary.json)} bytes of JSON; {MAX_JSON} is the most.")
    for item in dictionary.formats:
        if item.size > MAX_PAYLOAD:
            raise DictionaryError(
                f"Format {item.name!r} is {item.size} bytes long; "
                f"a message carries at most {MAX_PAYLOAD}. Split it in two."
            )
