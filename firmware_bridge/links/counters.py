"""What the bridge counts, for people, logs and comparisons.

Rule: counters only grow; nothing that arrives goes uncounted.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Counters:
    """What the bridge has seen and done, since it was made."""

    bytes: int = 0
    frames: int = 0  # intact
    skipped_bytes: int = 0  # before the first delimiter after opening, or beyond the longest frame
    readings: int = 0  # delivered
    lost_readings: int = 0  # the sum of all gaps
    gaps: int = 0
    early_readings: int = 0  # arrived before a handshake was complete; not decoded
    faults: dict[str, int] = field(default_factory=dict)  # by status
    hellos: int = 0  # handshakes completed
    resyncs: int = 0  # times the bridge doubted what it heard and asked HELLO again
    resets: int = 0
    reconnects: int = 0
    bytes_sent: int = 0
    actions_sent: int = 0
    actions_held: int = 0  # not sent, because no handshake was complete
    heartbeats: int = 0
    muted: int = 0  # times that signs of life were withheld (silence, last action too old): the device became safe
