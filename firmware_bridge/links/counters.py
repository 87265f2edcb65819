"""What a link counts, for people, logs and comparisons.

Its rule: counters only grow; nothing that arrives goes uncounted.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Counters:
    """What a link has seen and done, since it was made. What its protocol does not have stays 0."""

    bytes: int = 0
    frames: int = 0  # intact
    skipped_bytes: int = 0  # before the first delimiter after opening, or past the length of the longest frame
    readings: int = 0  # delivered
    lost_readings: int = 0  # the sum of all gaps
    gaps: int = 0
    early_readings: int = 0  # arrived before a handshake was complete; not decoded
    faults: dict[str, int] = field(default_factory=dict)  # by status
    hellos: int = 0  # handshakes completed
    resyncs: int = 0  # times the link doubted what came and asked the robot again who it is
    resets: int = 0
    reconnects: int = 0
    bytes_sent: int = 0
    actions_sent: int = 0
    actions_held: int = 0  # not sent, because no handshake was complete
    heartbeats: int = 0
    muted: int = 0  # times that signs of life were withheld (silence, last action too old): the device became safe
