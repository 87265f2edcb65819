"""The files of a folder, or of a week, replayed one after the other.

Its rule: each file is a replay of its own, from the keyframe at its head. What is remembered at the end of one is what
the next of the same run begins with; where it is not, chunks between them are in no file, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from edge_lstm.robot.controller import taken
from edge_lstm.robot.evidence import Findings
from edge_lstm.robot.keyframes import Kept
from edge_lstm.robot.replay import Chain, Comparison, Rows, replay
from firmware_bridge.errors import RecordingError
from firmware_bridge.links.counters import Counters
from firmware_bridge.recordings import keyframe
from firmware_bridge.recordings.keyframe import Keyframe
from firmware_bridge.recordings.port import RecordingPort

if TYPE_CHECKING:
    from edge_lstm.robot.decider import Decider
    from edge_lstm.robot.loop import Summary
    from firmware_bridge.recordings.reader import Recording
    from firmware_bridge.remembered import Tree


@dataclass
class Replayed:
    """One file."""

    recording: Recording
    controller: Decider
    summary: Summary
    comparison: Comparison


def of_time(recordings: Sequence[Recording], start_ns: int | None, until_ns: int | None) -> list[Recording]:
    """Those that hold something of this span."""
    found = []
    for recording in recordings:
        span = recording.times()
        if span is None or (until_ns is not None and span[0] > until_ns):
            continue
        if start_ns is None or span[1] >= start_ns:
            found.append(recording)
    return found


def replay_files(
    recordings: Sequence[Recording],
    controller: Callable[[Recording], Decider],
    *,
    speed: float | None = None,
    rows: Callable[[Rows], None] | None = None,
    progress: Callable[[int], None] = lambda t_ns: None,
    derived: bool = False,
    start_ns: int | None = None,
    until_ns: int | None = None,
    passed: Callable[[str], None] = lambda why: None,
) -> tuple[list[Replayed], list[tuple[int, str]]]:
    """As `replay`, of files in the order in which they were made; and all marks. controller: a new one for a file;
    passed: told of each that a run has deleted meanwhile to make room. RecordingError: of none is anything left."""
    done: list[Replayed] = []
    all_marks: list[tuple[int, str]] = []
    chain, before = Chain(wanted=len(recordings) > 1), None
    for recording in recordings:
        if len(recordings) > 1 and not recording.path.exists():
            passed(f"{recording.path.name} was deleted meanwhile")
            continue
        if before is None or (before.run, before.part + 1) != (recording.run, recording.part):
            chain.end = None
        end = chain.end
        decider = controller(recording)
        summary, comparison, marks = replay(
            RecordingPort(recording, speed),
            decider,
            rows=rows,
            progress=progress,
            derived=derived,
            start_ns=start_ns,
            until_ns=until_ns,
            chain=chain,
        )
        if end is not None and before is not None and _apart(recording, end, chain.own):
            why = "chunks between them are in no file (a full disk, or a writer that was too slow)"
            summary.notes.append(f"{recording.path.name} does not go on where {before.path.name} ends: {why}")
        done.append(Replayed(recording, decider, summary, comparison))
        all_marks += marks
        before = recording
    if not done:
        raise RecordingError(f"{recordings[0].path} and all after it were deleted meanwhile")
    return done, all_marks


def _apart(recording: Recording, end: Tree, own: bool) -> bool:
    """Whether a file begins with something else than what was remembered at the end of the one before. own: by the
    models that the keyframe is of; others remember something else, and have been sent the same bytes."""
    head = next(recording.wire(), None)
    if not isinstance(head, Keyframe):
        return False
    try:
        then = head.state()
    except ValueError:
        return False
    return head.data != keyframe.encode(end) if own else _came(then) != _came(end)


def _came(state: Tree) -> int | None:
    """How many bytes a link has been given since it was made; None where its state does not say."""
    try:
        counters: Counters = taken(state["link"]["counters"], Counters)
    except (LookupError, TypeError, ValueError):
        return None
    return counters.bytes


def merged(done: Sequence[Replayed]) -> Comparison:
    """What all files come to; the first difference with the name of its file."""
    if len(done) == 1:
        return done[0].comparison
    whole = Comparison(derived=None if done[0].comparison.derived is None else Findings())
    for one in done:
        found = one.comparison
        for name in ("writes", "bits", "differing_bits", "differing_writes", "beyond"):
            setattr(whole, name, getattr(whole, name) + getattr(found, name))
        whole.until_s, whole.damaged = found.until_s, whole.damaged or found.damaged
        whole.cut = whole.cut or (f"{one.recording.path.name}: {found.cut}" if found.cut else "")
        whole.first = whole.first or _named(one, found.first)
        _add_kept(whole.keyframes, found.keyframes, one)
        if whole.derived is not None and found.derived is not None:
            _add_findings(whole.derived, found.derived, one)
    return whole


def _named(one: Replayed, text: str) -> str:
    return f"{one.recording.path.name} {text}" if text else ""


def _add_kept(whole: Kept, found: Kept, one: Replayed) -> None:
    for item in fields(Kept):
        if item.name != "first":
            setattr(whole, item.name, getattr(whole, item.name) + getattr(found, item.name))
    whole.first = whole.first or _named(one, found.first)


def _add_findings(whole: Findings, found: Findings, one: Replayed) -> None:
    for topic, count in found.compared.items():
        whole.compared[topic] = whole.compared.get(topic, 0) + count
    for name in ("differing", "missing", "left_out"):
        setattr(whole, name, getattr(whole, name) + getattr(found, name))
    whole.first = whole.first or _named(one, found.first)
    whole.first_missing = whole.first_missing or _named(one, found.first_missing)
