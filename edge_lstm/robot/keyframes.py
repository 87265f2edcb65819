"""Replays that begin in the middle: from which keyframe, and whether those on the way say what is remembered there.

Its rule: a file is begun from the keyframe at its head, else where it begins; from another moment on, from the nearest
keyframe before it. One that is damaged is passed over with a sentence, for what was remembered at the end of the file
before, or for the next one. Keyframes on the way are compared with what the replay itself remembers there, to the bit.

Never: go on from a state of which a part does not fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from edge_lstm.robot.loop import Begun, take_up
from firmware_bridge.errors import RecordingError, SnapshotError
from firmware_bridge.events import Hello
from firmware_bridge.recordings import keyframe
from firmware_bridge.recordings.keyframe import Keyframe
from firmware_bridge.words import counted, plural

if TYPE_CHECKING:
    from edge_lstm.robot.decider import Decider
    from firmware_bridge.links.link import Link
    from firmware_bridge.recordings.port import RecordingPort
    from firmware_bridge.recordings.reader import Recording
    from firmware_bridge.remembered import Tree


class Beginning(NamedTuple):
    """Where a replay begins. after: only what came after this keyframe; begun: link and controller go on from there;
    notes: sentences for people; own: what the keyframe holds is what they went on from, and not what was remembered at
    the end of the file before."""

    after: Keyframe | None = None
    begun: Begun | None = None
    notes: tuple[str, ...] = ()
    own: bool = True


def beginning(
    recording: Recording,
    link: Link,
    controller: Decider,
    start_ns: int | None = None,
    before: Tree = None,
    at: Keyframe | None = None,
) -> Beginning:
    """Let a new link and controller go on from where a replay of this file begins. start_ns: the first time that is
    asked for; before: what was remembered at the end of the file before, where it is known; at: this keyframe and no
    other. RecordingError: it can be begun nowhere."""
    notes: list[str] = []
    if at is not None:
        if (begun := _taken(at, link, controller, notes)) is None:
            raise RecordingError(f"{recording.path}: {'; '.join(notes)}")
        return Beginning(at, begun)
    if start_ns is not None:
        for one in recording.keyframes_before(start_ns):
            if (begun := _taken(one, link, controller, notes)) is not None:
                return Beginning(one, begun, tuple(notes))
    first = next(recording.wire(), None)
    if isinstance(first, Keyframe):
        if (begun := _taken(first, link, controller, notes)) is not None:
            return Beginning(first, begun, tuple(notes))
        if before is not None:
            notes.append("so it goes on from what was remembered at the end of the file before")
            return Beginning(first, take_up(link, controller, before), tuple(notes), own=False)
        for one in recording.keyframes():
            if one != first and (begun := _taken(one, link, controller, notes)) is not None:
                notes.append(f"the replay begins {(one.t_ns - first.t_ns) / 1e9:.1f} s after the file does")
                return Beginning(one, begun, tuple(notes))
        raise RecordingError(f"{recording.path} goes on from another run or file, and {'; '.join(notes)}")
    if recording.head == "continues" and before is not None:
        return Beginning(None, take_up(link, controller, before), tuple(notes))
    if recording.head in ("continues", "gap"):
        why = "goes on from another file, of which nothing is known here: bits may differ"
        notes.append(f"{recording.path.name} {why}")
    return Beginning(notes=tuple(notes))


def _taken(one: Keyframe, link: Link, controller: Decider, notes: list[str]) -> Begun | None:
    """What a keyframe begins; None, and a sentence, where it is damaged or not of these models and configuration."""
    try:
        return take_up(link, controller, one.state())
    except (ValueError, SnapshotError) as error:
        notes.append(f"the keyframe at t_ns {one.t_ns} was passed over: {error}")
        return None


def hello_of(link: Link, t_ns: int) -> Hello | None:
    """The robot that is there."""
    dictionary = link.dictionary
    if dictionary is None:
        return None
    boot_id = getattr(link, "boot_id", None)
    boot_id = link.counters.resets if boot_id is None else boot_id
    return Hello(t_ns, dictionary.device, dictionary.version, boot_id, dictionary)


@dataclass
class Kept:
    """What became of the keyframes of a recording."""

    compared: int = 0
    differing: int = 0
    differing_bits: int = 0
    damaged: int = 0
    first: str = ""  # where the first difference is, and what it is

    def sentence(self) -> str:
        """For people; "" where there was none."""
        if not self.compared + self.damaged:
            return ""
        were = plural(self.damaged, "other is damaged and was", "others are damaged and were")
        damaged = f"; {self.damaged} {were} passed over" if self.damaged else ""
        if self.differing:
            where = f"in {self.differing} of {counted(self.compared, 'keyframe')}"
            return f"{counted(self.differing_bits, 'differing bit')} {where}; first: {self.first}{damaged}"
        return f"{counted(self.compared, 'keyframe says', 'keyframes say')} what is remembered there{damaged}"


@dataclass
class Compared:
    """Stands where the recorder stands, as `loop.Keyframes`. end: what is remembered after the last chunk."""

    port: RecordingPort
    kept: Kept = field(default_factory=Kept)
    end: Tree = None

    def keyframe_due(self, t_ns: int, idle: bool = True) -> bool:
        """Where the recording has one, and at its end."""
        return self.port.follows is not None or self.port.last

    def keyframe(self, t_ns: int, state: Tree) -> None:
        """What is remembered now, beside what the recording says."""
        if self.port.last:
            self.end = state
        if self.port.follows is not None:
            self.compare(self.port.follows, state)

    def compare(self, then: Keyframe, state: Tree) -> None:
        """One of the recording with what is remembered now."""
        try:
            state_then = then.state()
        except ValueError:
            self.kept.damaged += 1
            return
        self.kept.compared += 1
        now = keyframe.encode(state)
        if now != then.data:
            self.kept.differing += 1
            self.kept.differing_bits += differing_bits(then.data, now)
            found = next(_differences(state_then, keyframe.decode(now)), "in what no tree shows")
            self.kept.first = self.kept.first or f"at t_ns {then.t_ns}: {found}"


def differing_bits(one: bytes, other: bytes) -> int:
    """Bits that differ; what only one of them has counts whole."""
    common = min(len(one), len(other))
    changed = int.from_bytes(one[:common], "big") ^ int.from_bytes(other[:common], "big")
    return bin(changed).count("1") + 8 * (len(one) + len(other) - 2 * common)


def _differences(then: Any, now: Any, where: str = "") -> Iterator[str]:
    """The values that differ, by their way in the tree."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in {**then, **now}:
            yield from _differences(then.get(key), now.get(key), f"{where}.{key}" if where else str(key))
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for k, (one, other) in enumerate(zip(then, now, strict=True)):
            yield from _differences(one, other, f"{where}[{k}]")
    elif repr(then) != repr(now):
        yield f"{where}: then {then!r:.60}, now {now!r:.60}"
