"""What a link makes of the bytes that arrive, and what a device makes of them: plain values, equal if their parts are.

Its rule: `t_ns` is the host's time of arrival and comes from the port only; `t_device_us` is the device's own clock.
What went wrong on the wire is one of these values too (`Fault`, `Gap`), never an exception.
"""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge.dictionary import Dictionary
from firmware_bridge.values import Action

# ---------------------------------------------------------------------------------------------- of the host's half


@dataclass(frozen=True, slots=True)
class Hello:
    """A handshake is complete: from here on readings of `dictionary` come, until the next `Lost` or `Reset`."""

    t_ns: int
    device: str
    version: str
    boot_id: int
    dictionary: Dictionary


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading, in its format's units and field order. `t_device_us` is unwrapped to 64 bits within a boot."""

    t_ns: int
    format: str
    seq: int
    t_device_us: int
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """`count` readings from number `first_seq` (mod 2^16) on will never arrive; the next reading follows directly."""

    t_ns: int
    format: str
    first_seq: int
    count: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Bytes or a message of no use. `status` is one word, `detail` a sentence or empty.

    PROTOCOL.md explains each status of our own link. A dialect's: no message at all (shape, check, length, long …), one
    that cannot be (limits, time, counter), or none where one was asked for (unanswered).
    """

    t_ns: int
    status: str
    data: bytes
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Reset:
    """The board has started again (its boot id is a new one): its clock, counters and sequence numbers began afresh."""

    t_ns: int
    boot_id: int


@dataclass(frozen=True, slots=True)
class Opened:
    """The link is open; `what` names the device file. A handshake begins."""

    t_ns: int
    what: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The link is gone (unplugged, closed, failed); `why` says how that was noticed."""

    t_ns: int
    why: str


@dataclass(frozen=True, slots=True)
class Silent:
    """No intact frame has arrived for `silent_ns`. Comes once; the silence ends with the next intact frame."""

    t_ns: int


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """What the device counts about itself, about once a second, and its state ("idle", "running", "safe", "fault").

    Only a device of protocol 2 says the last three: actions and heartbeats refused because they came too late, the age
    of the last action that it obeyed (None: none yet), and why it is in "fault" ("": it is not).
    """

    t_ns: int
    state: str
    boot_id: int
    dropped_readings: int
    frames: int
    damaged: int
    actions: int
    refused: int
    missed_actions: int
    timeouts: int
    late: int | None = None
    age_us: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks of the run: the chunk's own bytes, a line of JSON and what goes with it behind the line."""

    t_ns: int
    data: bytes


Event = Hello | Reading | Gap | Fault | Reset | Opened | Lost | Silent | DeviceStatus | Request


# ---------------------------------------------------------------------------------------------- of the device's half


@dataclass(frozen=True, slots=True)
class SafeOutput:
    """The device's own decision to be safe: every action format at its declared safe values, and the reason."""

    reason: str
    actions: tuple[Action, ...]
