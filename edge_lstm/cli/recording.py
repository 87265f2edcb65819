"""The recording of a run, as optional as it is: begun where it can be, a loud note where it cannot.

Its rule: no trouble of a disk keeps a robot from running, unless robot.toml says `[recording] required = true`; and
none passes unsaid: it is a note at once, on the live view, in the summary, and exit code 4 at the end.

Never: write to a file that is there. Two programs that begin in the same second get two names.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_lstm.cli import codes
from edge_lstm.cli.common import Failure, note
from edge_lstm.robot.rates import CHECKED, RATES
from firmware_bridge.words import counted

if TYPE_CHECKING:
    from edge_lstm.robot.config import RobotConfig
    from edge_lstm.robot.decider import Decider
    from edge_lstm.robot.models import Loaded
    from edge_lstm.robot.resume import Resumed
    from firmware_bridge.recordings.limits import Limits
    from firmware_bridge.recordings.recorder import Recorder


class Recording:
    """`path` is where it began, or None; `recorder` is given what happens, or None where nothing is recorded."""

    def __init__(self, wanted: Path | None, required: bool) -> None:
        """wanted: the file; where there is one already, `~2` and so on is added to the name."""
        self.path: Path | None = None
        self.recorder: Recorder | None = None
        self._wanted, self._required = wanted, required
        self._never = ""  # why it could not be begun

    @property
    def sentence(self) -> str:
        """Where it goes, for the line that announces the run."""
        return f"recording to {self.path}" if self.path else "recording nothing"

    @property
    def size(self) -> str:
        """The file that is being written and how large it is by now, for people who watch; "" where there is none."""
        path = self.recorder.path if self.recorder else None
        try:
            return f"{path.name} {path.stat().st_size / 1e6:.1f} MB" if path else ""
        except OSError:
            return ""

    @property
    def trouble(self) -> str:
        """Why it is not being written, "" where it is or is not wanted."""
        return self.recorder.failed if self.recorder else self._never

    @property
    def keyframeless(self) -> str:
        """Why nothing could be begun in the middle of it, "" where it could: no more than worth a note."""
        why = self.recorder.keyframeless if self.recorder else ""
        return why and f"the recording cannot be begun in the middle, nor a crash survived: {why}."

    def resume(self, robot: RobotConfig, models: Loaded, controller: Decider) -> Resumed:
        """The link and controller of the run: where [recording] resume says so, and the run before crashed, they go on
        from its recording. Not where another model was swapped in: the one that robot.toml names begins."""
        from edge_lstm.robot.controlled import brought, controlled
        from edge_lstm.robot.resume import Resumed, latest, resumed
        from firmware_bridge.recordings.reader import Recording as Recorded

        if robot.recording.resume_s is None or self._wanted is None:
            return Resumed(robot.open_link(), controller, "")
        path = latest(self._wanted)
        return resumed(
            path,
            robot,
            controller,
            controlled(models, robot, lambda digest: brought(Recorded(path or Path()))(digest)),
            metadata=_metadata(robot, models, controller),
            resume_s=robot.recording.resume_s,
            now_ns=time.time_ns(),
        )

    def begin(self, robot: RobotConfig, models: Loaded, controller: Decider) -> Recorder | None:
        """Everything a replay needs travels in it: the model files and robot.toml, as they were read. Failure where it
        cannot be begun and is required."""
        if self._wanted is None:
            return None
        from edge_lstm.robot.thresholds import marks
        from firmware_bridge.errors import RecordingError
        from firmware_bridge.recordings.recorder import begin

        metadata = _metadata(robot, models, controller)
        attachments = models.attachments() | {"robot.toml": robot.text.encode()}
        try:
            _folder(self._wanted.parent, robot.recording.directory is not None)
            said = robot.recording
            self.recorder = begin(
                self._wanted,
                metadata,
                attachments,
                compression=said.compression,
                keyframe_s=said.keyframe_s,
                limits=_limits(robot, self._wanted),
                units=models.output_units(robot),
                marks=marks(robot.events),
            )
            self.path = self.recorder.path
        except (OSError, RuntimeError, MemoryError, RecordingError) as error:
            why = f"{self._wanted}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
            self._never = f"the recording could not be begun: {why}"
        if self.recorder is None:
            if self._required:
                raise Failure(codes.NOT_WRITTEN, self._never)
            note(f"{self._never} Nothing is recorded; the robot runs.")
        return self.recorder

    def status(self) -> dict[str, Any]:
        """For whoever looks at the run. Its path is the file that is written now."""
        path = None if self.recorder is None else str(self.recorder.path.resolve())
        return {"path": path, "trouble": self.trouble, "dropped": self.recorder.dropped if self.recorder else 0}

    def attach(self, name: str, content: bytes) -> None:
        """A model that was swapped in: further files of the run need it."""
        if self.recorder is not None:
            self.recorder.attach(name, content)

    def detach(self, name: str) -> None:
        """One that was swapped out: they do not."""
        if self.recorder is not None:
            self.recorder.detach(name)

    def mark(self, t_ns: int, text: str, last_s: float) -> None:
        """What is recorded now is not to be deleted, nor what was recorded in the last seconds before it."""
        if self.recorder is not None:
            self.recorder.mark(t_ns, text, last_s)

    def close(self) -> None:
        """Finish the file."""
        if self.recorder is not None:
            self.recorder.close()

    def verdict(self, notes: list[str]) -> str:
        """After `close`: a sentence where the recording is not there or not whole, "" otherwise; adds to the notes of
        the summary."""
        if self._never:
            notes.append(self._never)
            return self._never
        if self.recorder is None:
            return ""
        if self.keyframeless:
            notes.append(self.keyframeless)
        why = self.recorder.failed
        if self.recorder.dropped:
            lacking = counted(self.recorder.dropped, "message")
            why = f"it lacks {lacking}: {self.recorder.odd or why or 'the disk was too slow'}"
        if not why:
            return ""
        notes.append(f"the recording is not whole: {why}")
        return notes[-1]


def _metadata(robot: RobotConfig, models: Loaded, controller: Decider) -> dict[str, str]:
    from edge_lstm.core.version import __version__

    found = {"program": f"edge-lstm {__version__}", RATES: CHECKED, **models.metadata(controller)}
    if sha256 := robot.link.source_digest():
        found |= {"dialect": robot.link.dialect, "dialect_sha256": sha256}
    return found


def _limits(robot: RobotConfig, wanted: Path) -> Limits:
    """Those of the folder that robot.toml declares; of a file that somebody has named, only what must stay free."""
    from firmware_bridge.recordings.limits import Limits

    said = robot.recording
    if said.directory is not None and wanted.parent == robot.folder / said.directory:
        return said.limits
    return Limits(floor_bytes=said.limits.floor_bytes)


def _folder(folder: Path, declared: bool) -> None:
    """Only the folder that robot.toml declares is made where it is missing. Raises OSError."""
    if declared and not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        note(f"made the folder {folder}, for the recordings")
