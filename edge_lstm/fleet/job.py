"""What a worker is asked: which logs, by which model, and what to write. Plain values, which any process can be sent.

Its rule: a job holds paths and never contents: workers on other machines need the same paths (a shared folder). What
one job is follows from the logs alone, so results do not depend on the number of workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edge_lstm.logs.asked import NOTHING, Asked

if TYPE_CHECKING:
    from edge_lstm.core.feedback import Missing, Policy
    from firmware_bridge.recordings.keyframe import Keyframe

Form = Literal["parquet", "csv", "none"]


@dataclass(frozen=True)
class How:
    """What all jobs of one fleet share. model: None, each recording's own; digest: of it, for those who look twice;
    policy, each, constants: what --missing says; results: the folder, None where nothing is written; verify: a
    recording is also compared with what it holds."""

    model: Path | None = None
    digest: str = ""
    config: Path | None = None
    channels: tuple[str, ...] = ()
    asked: Asked = NOTHING
    tick: tuple[str, ...] = ()
    max_age: tuple[str, ...] = ()
    policy: Policy | None = None
    each: tuple[Missing | None, ...] = ()
    constants: tuple[float | None, ...] = ()
    results: Path | None = None
    form: Form = "none"
    verify: bool = False

    def key(self) -> dict[str, Any]:
        """What results depend on beside the log: results of another key are not these."""
        said = asdict(replace(self, model=None, results=None, asked=replace(self.asked, model_hz=None)))
        del said["model"], said["results"]
        said["config"] = None if self.config is None else self.config.read_text(encoding="utf-8", errors="replace")
        return said


@dataclass(frozen=True)
class Piece:
    """A log, or a part of one: files of a run in their order (mostly one); of one recording what lies between two
    keyframes, the number-th of `of` parts. key: of the record that whoever replays it writes; None: writes none."""

    files: tuple[Path, ...]
    number: int = 0
    of: int = 1
    after: Keyframe | None = None
    until: Keyframe | None = None
    key: Mapping[str, Any] | None = field(default=None, compare=False)

    @property
    def log(self) -> Path:
        """What it is called by."""
        return self.files[0]


@dataclass(frozen=True)
class Job:
    """What is given to a worker at once."""

    how: How
    pieces: tuple[Piece, ...]


@dataclass
class Outcome:
    """What came of a piece. answered, acted: readings with an output, with an action; numbers: of each output and each
    field of an action its distribution, as `Distribution.as_json` gives it, in a hundredth of the room; same: whether
    it is what was recorded, None where nobody asked; error: a sentence, "" where it went well; file: what was written;
    peak: the worker's memory at most, MB; pid: the worker's."""

    log: str
    number: int = 0
    of: int = 1
    digest: str = ""
    readings: int = 0
    answered: int = 0
    acted: int = 0
    seconds: float = 0.0
    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    same: bool | None = None
    verdict: str = ""
    error: str = ""
    file: str | None = None
    peak: int = 0
    pid: int = 0
