"""Files of one run that follow each other, read as the one recording that they are.

Its rule: what a file gives alone it gives here, one after the other; a keyframe stands in the file that it came from.

Never: pass over a file that is missing between two, or join two runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise

from firmware_bridge.errors import RecordingError
from firmware_bridge.recordings.keyframe import Keyframe
from firmware_bridge.recordings.reader import Recording
from firmware_bridge.values import Chunk


class Series:
    """See `Recording`. metadata: of the first file; attachments: of all."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        """recordings: at least one, in order. RecordingError: they do not follow each other."""
        for before, after in pairwise(recordings):
            if not follows(before, after):
                raise RecordingError(f"{after.path} does not go on where {before.path.name} ends: name one of them")
        self.recordings = tuple(recordings)
        self.path = recordings[0].path
        self.metadata = recordings[0].metadata
        self.asked_first = recordings[0].asked_first
        self.attachments = {name: data for one in recordings for name, data in one.attachments.items()}
        self._files: dict[Keyframe, int] = {}  # where those stand that were given

    def chunks(self, after: Keyframe | None = None) -> Iterator[Chunk]:
        """What the port gave; all of it, or what came after this keyframe, one that was given here."""
        return (item for item in self.wire(after) if isinstance(item, Chunk))

    def wire(self, after: Keyframe | None = None) -> Iterator[Chunk | Keyframe]:
        """The same, with the keyframes between."""
        number = 0 if after is None else self._files[after]
        first, *others = self.recordings[number:]
        yield from chain(first.wire(after), *(one.wire() for one in others))

    def writes(self) -> Iterator[tuple[int, bytes, bool]]:
        """See `Recording.writes`."""
        for one in self.recordings:
            yield from one.writes()

    def keyframes_before(self, t_ns: int) -> Iterator[Keyframe]:
        """Those that are not later than `t_ns`, the latest first."""
        for number in reversed(range(len(self.recordings))):
            for keyframe in self.recordings[number].keyframes_before(t_ns):
                self._files[keyframe] = number
                yield keyframe

    def span(self) -> tuple[int, int] | None:
        """The first and the last t_ns; None where the index of a file is missing."""
        first, last = self.recordings[0].span(), self.recordings[-1].span()
        return None if first is None or last is None else (first[0], last[1])


Recorded = Recording | Series


def follows(before: Recording, after: Recording) -> bool:
    """Whether one file of a run is the next one."""
    return after.head != "gap" and (before.run, before.part + 1) == (after.run, after.part)


def series(recordings: Sequence[Recording]) -> list[Series]:
    """What of these is one recording each, in their order; files that hold nothing are left out."""
    found: list[list[Recording]] = []
    for one in recordings:
        if one.times() is None:
            continue
        before = next((files for files in found if follows(files[-1], one)), None)  # two programs may record at once
        if before is None:
            found.append([one])
        else:
            before.append(one)
    return [Series(files) for files in found]
