"""Which logs, and which jobs they are: folders and globs as paths, a long recording in parts, several tables together.

Its rule: what the jobs are follows from the logs and the model alone: a recording is cut where it has a keyframe, every
`LONG` bytes, whether one worker takes it or ten. A keyframe says what its own models remember, so a recording is cut
only where those run; by another model each run is one piece, its files in their order.

Never: leave a file out in silence that somebody named. In a folder those count that a reader here knows by suffix.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edge_lstm.errors import EdgeLstmError, LogError
from edge_lstm.fleet.job import How, Job, Piece
from edge_lstm.fleet.results import is_result
from edge_lstm.fleet.together import GROUP
from edge_lstm.fleet.work import deciders
from edge_lstm.logs import READERS, kind_of
from edge_lstm.robot.keyframes import beginning
from firmware_bridge.errors import BridgeError, RecordingError
from firmware_bridge.links.altered import altered
from firmware_bridge.recordings.keyframe import Keyframe
from firmware_bridge.recordings.reader import Recording, open_recording

LONG = 16 << 20  # bytes of a recording: about 2 s of work, and 70,000 readings of ten numbers
_PACKED = (".gz", ".zst", ".zip", ".xz", ".bz2")


def logs_of(named: Sequence[Path]) -> list[Path]:
    """All logs: files as they are named, those of folders (and of folders in them), and what a pattern fits, each once,
    sorted. What an earlier replay wrote into a folder is no log of it, unless it is named. LogError where something
    names none."""
    found: dict[Path, Path] = {}
    for one in named:
        if one.is_dir():
            found_here = (path for path in one.rglob("*") if _is_log(path) and not _hidden(path.relative_to(one)))
            inside = sorted(path for path in found_here if not is_result(path))
            if not inside:
                raise LogError(f"{one}: holds no log ({', '.join(READERS)})")
        elif one.exists() or not glob.has_magic(str(one)):
            inside = [one]
        else:
            inside = sorted(path for path in _fitting(one) if path.is_file() and not is_result(path))
            if not inside:
                raise LogError(f"{one}: no file fits this pattern")
        for path in inside:
            found.setdefault(path.resolve(), path)
    return sorted(found.values())


def _fitting(pattern: Path) -> Iterator[Path]:
    """Everything that a pattern fits: "drives/**/*.mcap"."""
    plain = next(k for k, part in enumerate(pattern.parts) if glob.has_magic(part))
    return Path(*pattern.parts[:plain]).glob(str(Path(*pattern.parts[plain:])))


def _is_log(path: Path) -> bool:
    suffix = path.with_suffix("").suffix if path.suffix in _PACKED else path.suffix
    return suffix.lower() in READERS and suffix.lower() not in (".txt", ".log", ".bin") and path.is_file()


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def pieces_of(logs: Iterable[Path], how: How) -> Iterator[tuple[Piece, ...]]:
    """Of each log, in their order: its pieces; of a run of several files those of its first one. A file that cannot be
    looked at is a piece, too: whoever works on it says why."""
    runs: dict[str, list[Recording]] = {}
    order: list[Path | str] = []
    for path in logs:
        recording = _recording(path)
        if recording is None or how.model is None:
            order.append(path)
            continue
        run = f"{path.resolve().parent}\0{recording.run}"
        if any(one.part == recording.part for one in runs.get(run, ())):  # a copy, which is no further file of it
            order.append(path)
            continue
        if run not in runs:
            order.append(run)
        runs.setdefault(run, []).append(recording)
    for one in order:
        if isinstance(one, str):
            yield (Piece(tuple(r.path for r in sorted(runs[one], key=lambda r: r.part))),)
        else:
            yield _parts(one, how)


def _recording(path: Path) -> Recording | None:
    try:
        return open_recording(path) if kind_of(path) == "recording" else None
    except (EdgeLstmError, BridgeError, OSError):
        return None


def _parts(path: Path, how: How) -> tuple[Piece, ...]:
    recording = _recording(path) if how.model is None and how.config is None else None
    try:
        if recording is None or path.stat().st_size < 2 * LONG:
            return (Piece((path,)),)
        edges = list(_edges(recording, how))
    except (EdgeLstmError, BridgeError, OSError):
        return (Piece((path,)),)
    ends: list[Keyframe | None] = [*edges, None]
    begins: list[Keyframe | None] = [None, *edges]
    pairs = zip(begins, ends, strict=True)
    return tuple(Piece((path,), number, len(ends), *pair) for number, pair in enumerate(pairs))


def _edges(recording: Recording, how: How) -> Iterator[Keyframe]:
    """Keyframes that are whole and of this configuration, `LONG` bytes apart or a little more; not the one at the
    head."""
    last = 0
    for number, one in enumerate(recording.keyframes()):
        if one.block - last < LONG or (number == 0 and recording.head == "keyframe"):
            continue
        (controller,) = deciders([recording], how)[1]
        link = altered(controller.config.open_link(ask_first=recording.asked_first), recording.metadata)
        try:
            beginning(recording, link, controller, at=one)
        except RecordingError:
            continue
        last = one.block
        yield one


def jobs_of(pieces: Iterable[Piece], how: How, workers: int) -> Iterator[Job]:
    """Tables `GROUP` at a time where there are enough for all workers, everything else by itself."""
    tables: list[Piece] = []
    every = list(pieces)
    group = max(1, min(GROUP, len(every) // max(1, workers)))
    for piece in every:
        if piece.of > 1 or len(piece.files) > 1 or piece.log.suffix.lower() == ".mcap":
            yield Job(how, (piece,))
            continue
        tables.append(piece)
        if len(tables) == group:
            yield Job(how, tuple(tables))
            tables = []
    if tables:
        yield Job(how, tuple(tables))
