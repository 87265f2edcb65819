"""After a crash, a `kill -9` or a power cut: the new run goes on with what the old one remembered.

Its rule: a crash is an unplug. What the last recording holds is run again through the same loop, from its last keyframe
to its last chunk, with what was written going nowhere; then the link is lost. So the new run begins as any run goes on
when its robot is plugged in again: the link says what is missing, and the policy what stands in for it.

It goes on only where the last run did not end by itself (a run that ends puts its robot into its safe output, and so is
over), where what is remembered is not older than [recording] resume, and where model, robot.toml, dialect and program
are the same. Otherwise everything begins reset. Either is said. A shadow, which moved nothing, does not go on.

Never: go on from something of which a bit is in doubt.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_lstm.robot.controlled import without_shadow
from edge_lstm.robot.keyframes import beginning, hello_of
from edge_lstm.robot.loop import Begun, run, take_up
from edge_lstm.robot.replay import ComparingPort
from firmware_bridge.errors import RecordingError, SnapshotError
from firmware_bridge.recordings import keyframe
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.reader import Recording
from firmware_bridge.values import Chunk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_lstm.robot.config import RobotConfig
    from edge_lstm.robot.decider import Decider
    from firmware_bridge.events import Hello
    from firmware_bridge.links.link import Link
    from firmware_bridge.recordings.recorder import Recorder
    from firmware_bridge.remembered import Tree

ENDED = b"the program before ended without a word"
_AHEAD_NS = 1_000_000_000  # by which what was recorded may be later than now: the wall clock was set a little
_TIME = r"\d{8}T\d{6}Z"  # in the names of a folder's files
_SAME = ("program", "digest", "dialect", "dialect_sha256")  # of a recording's metadata


@dataclass
class Resumed:
    """What a new run begins with. why: a sentence, in either case."""

    link: Link
    controller: Decider
    why: str
    begun: Begun | None = None
    state: Tree = None

    def head(self, recorder: Recorder) -> None:
        """What a recording of the new run begins with, so that it replays alone."""
        if self.begun is None:
            return
        recorder.keyframe(self.begun.t_ns, self.state)
        hello: Hello | None = hello_of(self.link, self.begun.t_ns)
        if hello is not None:
            recorder.event(hello)


class _Refused(Exception):
    """It begins reset; the message says why."""


def latest(wanted: Path) -> Path | None:
    """The recording that was written last of those beside which a new one is begun at `wanted`; but none in which there
    is nothing yet, as a run leaves that was killed when it had just begun it: then the one before."""
    timed = re.fullmatch(f"(.+)-{_TIME}", wanted.stem)
    pattern = f"{re.escape(timed[1])}-{_TIME}" if timed else re.escape(wanted.stem)
    alike = re.compile(rf"{pattern}(~\d+)?\.mcap")
    found = [path for path in wanted.parent.glob("*.mcap") if alike.fullmatch(path.name) and path.is_file()]
    found.sort(key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    return next((path for path in found if not _just_begun(path)), None)


def _just_begun(path: Path) -> bool:
    """Whether nothing of a run is in it, and nobody writes it any more: the run before is the last that anything is
    known of."""
    try:
        return not _is_written(path) and (not Recording.is_begun(path) or Recording(path).times() is None)
    except (RecordingError, OSError):
        return False


def _is_written(path: Path) -> bool:
    """Whether another program writes it. Raises OSError."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def resumed(
    path: Path | None,
    robot: RobotConfig,
    controller: Decider,
    again: Decider,
    *,
    metadata: Mapping[str, str],
    resume_s: float,
    now_ns: int,
) -> Resumed:
    """The link of a new run and its controller, which go on from the recording at `path` where they may. again: another
    new controller, to run the end of it with, which finds models that came during the run (`controlled.brought`);
    metadata: of the new recording."""
    fresh = robot.open_link()
    try:
        if path is None:
            raise _Refused("there is no recording of an earlier run")
        recording = _crashed(path, robot, metadata)
        times = recording.times()
        if times is None:
            raise _Refused(f"{path.name} holds nothing")
        _age_ns(path, times[1], now_ns, resume_s)  # nothing needs to be run again for one that ended long ago
        state, end_ns = _state(recording, robot, again, times[1])
        age_ns = _age_ns(path, end_ns, now_ns, resume_s)  # it may be damaged before its end
        shadow = without_shadow(state["controller"])
        _can_be_kept(state)
        begun = take_up(fresh, controller, state)
    except (_Refused, RecordingError, SnapshotError, OSError) as error:
        return Resumed(fresh, controller, f"the memory begins reset: {error}")
    why = f"the memory goes on from {path.name}, {max(0, age_ns) / 1e9:.1f} s after its end"
    why += f", without the shadow {shadow}" if shadow else ""
    return Resumed(fresh, controller, why, begun, state)


def _age_ns(path: Path, end_ns: int, now_ns: int, resume_s: float) -> int:
    """How long ago that was. Refused where it is too long, or not yet."""
    age_ns = now_ns - end_ns
    if age_ns > resume_s * 1e9:
        raise _Refused(f"{path.name} ends {age_ns / 1e9:.1f} s ago, and [recording] resume says {resume_s:g} s")
    if age_ns < -_AHEAD_NS:
        raise _Refused(f"{path.name} ends {-age_ns / 1e9:.1f} s after now: the clock was set back")
    return age_ns


def _can_be_kept(state: Tree) -> None:
    """The new recording begins with it, or it would not replay alone."""
    try:
        keyframe.encode(state)
    except (TypeError, ValueError) as error:
        raise _Refused(f"what is remembered cannot be kept: {error}") from None


def _crashed(path: Path, robot: RobotConfig, metadata: Mapping[str, str]) -> Recording:
    """The recording, if its run did not end by itself and was one as this."""
    if _is_written(path):
        raise _Refused(f"{path.name} is being written by another program")
    recording = Recording(path)
    if recording.dropped is not None and not recording.goes_on:
        raise _Refused(f"the run of {path.name} ended by itself")
    if recording.attachments.get("robot.toml") != robot.text.encode():
        raise _Refused(f"{path.name} was made with another robot.toml")
    for name in _SAME:
        if recording.metadata.get(name) != metadata.get(name):
            raise _Refused(f"{path.name} was made with another {name.partition('_')[0].replace('digest', 'model')}")
    return recording


class _Rest(RecordingPort):
    """What came after a keyframe; then the link is lost."""

    lost = False
    end_ns = 0  # of the last that came

    def chunks(self) -> Iterator[Chunk]:
        self.end_ns = 0 if self.after is None else self.after.t_ns
        for chunk in super().chunks():
            self.end_ns = chunk.t_ns
            yield chunk
        self.lost = True
        yield Chunk(self.end_ns, ENDED, "lost")


class _Last:
    """Keeps what is remembered then."""

    def __init__(self, port: _Rest) -> None:
        self._port = port
        self.state: Tree = None

    def keyframe_due(self, t_ns: int, idle: bool = True) -> bool:
        return self._port.lost

    def keyframe(self, t_ns: int, state: Tree) -> None:
        self.state = state


def _state(recording: Recording, robot: RobotConfig, controller: Decider, last_ns: int) -> tuple[Tree, int]:
    """What is remembered when the link of this run is lost, and when that is."""
    link = robot.open_link()
    begins = beginning(recording, link, controller, last_ns)
    if begins.begun is None and recording.head != "start":
        raise _Refused(f"nothing is known of what was before {recording.path.name}")
    port = _Rest(recording)
    port.after = begins.after
    comparing = ComparingPort(port, recording.writes(begins.after), link)
    kept = _Last(port)
    run(comparing, link, controller, unfit=lambda why: None, keyframes=kept, begun=begins.begun)
    found = comparing.finish("cut")
    if found.differing_writes:
        raise _Refused(f"the end of {recording.path.name} does not replay to the same bits: {found.first}")
    if kept.state is None:
        raise _Refused("the link cannot say what it remembers")
    return kept.state, port.end_ns
