"""The recording of a run, as optional as it is: begun where it can be, a loud note where it cannot.

Its rule: no trouble of a disk keeps a robot from running, unless robot.toml says `[recording] required = true`; and
none passes unsaid: it is a note at once, on the live view, in the summary, and exit code 4 at the end.

Never: write to a file that is there. Two programs that begin in the same second get two names.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_lstm.cli import codes
from edge_lstm.cli.common import Failure, note

if TYPE_CHECKING:
    from edge_lstm.robot.config import RobotConfig
    from edge_lstm.robot.models import Decider, Loaded
    from firmware_bridge.recordings.recorder import Recorder


class Recording:
    """`path` is where it is, or None; `recorder` is given what happens, or None where nothing is recorded."""

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
    def trouble(self) -> str:
        """Why it is not being written, "" where it is or is not wanted."""
        return self.recorder.failed if self.recorder else self._never

    def begin(self, robot: RobotConfig, models: Loaded, controller: Decider) -> Recorder | None:
        """Everything a replay needs travels in it: the model files and robot.toml, as they were read. Failure where it
        cannot be begun and is required."""
        if self._wanted is None:
            return None
        from edge_lstm.core.version import __version__
        from firmware_bridge.errors import RecordingError
        from firmware_bridge.recordings.recorder import begin

        metadata = {"program": f"edge-lstm {__version__}", **models.metadata(controller)}
        if sha256 := robot.link.source_digest():
            metadata |= {"dialect": robot.link.dialect, "dialect_sha256": sha256}
        attachments = models.attachments() | {"robot.toml": robot.text.encode()}
        try:
            _folder(self._wanted.parent, robot.recording_directory is not None)
            self.recorder = begin(self._wanted, metadata, attachments)
            self.path = self.recorder.path
        except (OSError, RuntimeError, MemoryError, RecordingError) as error:
            why = f"{self._wanted}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
            self._never = f"the recording could not be begun: {why}"
        if self.recorder is None:
            if self._required:
                raise Failure(codes.NOT_WRITTEN, self._never)
            note(f"{self._never} Nothing is recorded; the robot runs.")
        return self.recorder

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
        why = self.recorder.failed
        if self.recorder.dropped:
            why = f"it lacks {self.recorder.dropped} messages: {self.recorder.odd or why or 'the disk was too slow'}"
        if not why:
            return ""
        notes.append(f"the recording is not whole: {why}")
        return notes[-1]


def _folder(folder: Path, declared: bool) -> None:
    """Only the folder that robot.toml declares is made where it is missing. Raises OSError."""
    if declared and not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        note(f"made the folder {folder} for recordings")
