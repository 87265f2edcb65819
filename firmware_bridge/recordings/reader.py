"""Reading a recording, whole or cut off: what came, what was sent, and what it meant.

Its rule: chunks come back exactly as they were recorded (time, bytes, silence, link), in the order in which they were
received; so whatever is a function of the chunks comes back bit by bit. A file that ends early gives all that it holds
and says where it ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from firmware_bridge.errors import RecordingError
from firmware_bridge.recordings.contents import (
    CHUNKS,
    CONTROL,
    DROPPED,
    FORM,
    GOES_ON,
    HEAD,
    KEYFRAME,
    LINK,
    LISTENS,
    NUMBERS,
    PART,
    RECEIVED,
    RUN,
    SENT,
    UNSENT,
    WORDED,
    Message,
    decoder,
    link_chunk,
)
from firmware_bridge.recordings.keyframe import Keyframe
from firmware_bridge.recordings.mcap_reader import Block, McapFile, McapReader
from firmware_bridge.values import Chunk


class Recording:
    """A recording on disk. Each iterator reads the file afresh, in the order in which it was written.

    `metadata` and `attachments` are what the recorder was given. `run`: the name of the run's first file; `part`: how
    many files were before this one; `head`: how it begins: "start", with nothing remembered (or with a keyframe of a
    run before); "keyframe"; "continues", right after the last chunk of the file before, as no keyframe came; "gap": nor
    is anything known of what was before. Raises RecordingError for a file that is none.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = McapReader(self.path)
        self.metadata = dict(self._file.metadata)
        self._form = self.metadata.pop(FORM, "")
        self.run = self.metadata.pop(RUN, self.path.stem)
        self.part = int(part) if (part := self.metadata.pop(PART, "0")).isdecimal() and len(part) < 10 else 0
        self.head = self.metadata.pop(HEAD, "start")
        self.attachments = self._file.attachments

    @staticmethod
    def is_begun(path: Path) -> bool:
        """Whether a file got beyond its head: one that did not, as a crash or a power cut leaves it, holds nothing.
        RecordingError: it cannot be read."""
        return McapFile(path).is_begun()

    @property
    def cut(self) -> str:
        """Why the file ends early, "" if it is whole; known when the first iterator has come to the end."""
        return self._file.cut

    @property
    def reworded(self) -> bool:
        """Whether another version of this program wrote the derived messages: what it said in words may differ."""
        return self._form not in WORDED

    @property
    def asked_first(self) -> bool:
        """Whether our own link asked the robot before it had heard it, when this was recorded."""
        return self._before(LISTENS)

    @property
    def damaged(self) -> bool:
        """Whether more is wrong than a missing end, as after a power cut: what followed is unknown then."""
        return self._file.damaged

    def chunks(self, after: Keyframe | None = None) -> Iterator[Chunk]:
        """What the port gave, as it gave it; all of it, or what came after this keyframe."""
        return (item for item in self.wire(after) if isinstance(item, Chunk))

    def keyframes(self) -> Iterator[Keyframe]:
        """All of them, damaged ones too, without reading what is between."""
        return (one for block in self._keyframe_blocks() for one in self._keyframes_of(block))

    def keyframes_before(self, t_ns: int) -> Iterator[Keyframe]:
        """Those that are not later than `t_ns`, the latest first."""
        for block in reversed(self._keyframe_blocks()):
            if block.first_ns <= t_ns:
                yield from reversed([one for one in self._keyframes_of(block) if one.t_ns <= t_ns])

    def _keyframe_blocks(self) -> list[Block]:
        blocks, kinds = self._file.index()
        ours = {number for number, kind in kinds.items() if kind.topic == KEYFRAME}
        return [block for block in blocks if not ours.isdisjoint(block.channels)]

    def _keyframes_of(self, block: Block) -> list[Keyframe]:
        found: list[Keyframe] = []
        for kind, t_ns, data, at in self._file.read(None, block.at):
            if at != block.at:
                break
            if kind.topic == KEYFRAME:
                found.append(Keyframe(t_ns, data, at, len(found)))
        return found

    def wire(self, after: Keyframe | None = None, until: Keyframe | None = None) -> Iterator[Chunk | Keyframe]:
        """What the port gave, and the keyframes between; all of it, or what came after this keyframe, until that one,
        which is the last that is given."""
        for message, at, number in self._after({*CHUNKS, KEYFRAME}, after, until):
            topic, _schema, t_ns, data = message
            if topic == KEYFRAME:
                yield Keyframe(t_ns, data, at, number)
            elif topic == CONTROL:
                yield Chunk(t_ns, data, "control")
            else:
                yield Chunk(t_ns, data) if topic == RECEIVED else self._link(t_ns, data)

    def _after(
        self, topics: set[str] | None, after: Keyframe | None, until: Keyframe | None = None
    ) -> Iterator[tuple[Message, int, int]]:
        """Every message on these topics (None: on all), all of it or what came after this keyframe, up to that one;
        where its block is, and how many keyframes stand before it there."""
        begun, block, number = after is None, -1, 0
        wanted = None if topics is None else {*topics, KEYFRAME}
        for kind, t_ns, data, at in self._file.read(wanted, after.block if after else 0):
            if at != block:
                block, number = at, 0
            if begun and (topics is None or kind.topic in topics):
                yield Message(kind.topic, kind.schema, t_ns, data), at, number
            if kind.topic == KEYFRAME:
                begun = begun or (after is not None and (at, number) == (after.block, after.number))
                if until is not None and (at, number) == (until.block, until.number):
                    return
                number += 1

    def _link(self, t_ns: int, data: bytes) -> Chunk:
        try:
            return link_chunk(t_ns, data)
        except ValueError as error:
            why = f"its message on {LINK} at t_ns {t_ns} does not say what happened to the link"
            raise RecordingError(f"{self.path} is damaged: {why} ({error}).") from None

    def sent(self) -> Iterator[tuple[int, bytes]]:
        """(t_ns, bytes) of every write that the port took, in order."""
        for _topic, t_ns, data in self._file.messages({SENT}):
            yield t_ns, data

    def writes(self, after: Keyframe | None = None, until: Keyframe | None = None) -> Iterator[tuple[int, bytes, bool]]:
        """(t_ns, bytes, whether the port took them) of every write, in order; all, or those after this keyframe, before
        that one."""
        for message, _at, _number in self._after({SENT, UNSENT}, after, until):
            yield message.t_ns, message.data, message.topic == SENT

    def messages(self) -> Iterator[tuple[str, int, bytes]]:
        """(topic, t_ns, data) of every message, in the order in which they were written."""
        return self._file.messages(None)

    def records(self, after: Keyframe | None = None, until: Keyframe | None = None) -> Iterator[Message]:
        """The same, each with the schema of its channel; all, or what came after this keyframe, up to that one."""
        return (message for message, _at, _number in self._after(None, after, until))

    def values(self, topic: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """(t_ns, values by name) of a channel: "/readings/<format>", "/outputs", "/actions/<format>", "/link" …"""
        return ((t_ns, tree) for _topic, t_ns, tree in self.trees({topic}))

    def trees(self, topics: set[str]) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """The same of several channels, in the order in which they were written. What is no number is NaN; before form
        4 so was what is infinite."""
        for kind, t_ns, data, _at in self._file.read(topics):
            try:
                tree = decoder(kind.schema)(data)
            except ValueError as error:
                why = f"its message on {kind.topic} at t_ns {t_ns} says nothing"
                raise RecordingError(f"{self.path} is damaged: {why} ({error}).") from None
            if self.text and None in tree.values():
                tree = {name: math.nan if value is None else value for name, value in tree.items()}
            yield kind.topic, t_ns, tree

    @property
    def text(self) -> bool:
        """Whether numbers are JSON in it, as before form 4."""
        return self._before(NUMBERS)

    def _before(self, form: str) -> bool:
        return not (self._form.isdecimal() and len(self._form) < 10) or int(self._form) < int(form)

    def topics(self) -> dict[str, int]:
        """Every topic with the number of its messages."""
        counts: dict[str, int] = {}
        for topic, _t_ns, _data in self._file.messages(None):
            counts[topic] = counts.get(topic, 0) + 1
        return counts

    def span(self) -> tuple[int, int] | None:
        """The first and the last t_ns, from the file's index; None if it was cut off before the index was written."""
        return self._file.span()

    def times(self) -> tuple[int, int] | None:
        """The first and the last t_ns, also where it was cut off; None: it holds no message."""
        blocks, _ = self._file.index()
        return (min(b.first_ns for b in blocks), max(b.last_ns for b in blocks)) if blocks else None

    @property
    def goes_on(self) -> bool:
        """Whether the run went on after this file, so that it does not end with what stops a robot."""
        return (self._file.summary() or {}).get(GOES_ON) == "yes"

    @property
    def dropped(self) -> int | None:
        """How many items the recorder had to leave out; None if the file was cut off before it said so."""
        summary = self._file.summary()
        if summary is None:
            return None
        text = summary.get(DROPPED, "0")
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise RecordingError(f"{self.path} is damaged: it says that {text!r:.60} items are missing.")
        return int(text)


def open_recording(path: str | Path) -> Recording:
    """A recording, whole or cut off. Raises RecordingError for a file that is none."""
    return Recording(path)


def open_recordings(
    paths: str | Path | Iterable[str | Path], passed: Callable[[str], None] = lambda why: None
) -> list[Recording]:
    """The recordings of a folder, or these, in the order in which they were made. passed: told of each file of a folder
    that holds nothing, as it had just been begun when its run was killed, or that was deleted meanwhile to make room.
    Raises RecordingError where there is none, or a file is none."""
    folder = Path(paths) if isinstance(paths, (str, Path)) else None
    if folder is None or not folder.is_dir():
        named = [folder] if folder is not None else [*map(Path, paths)]  # type: ignore[arg-type]
        return _in_order([Recording(path) for path in named])
    found = []
    for path in sorted(folder.glob("*.mcap")):
        try:
            found.append(Recording(path))
        except RecordingError:
            if path.exists() and Recording.is_begun(path):
                raise
            passed(f"{path.name} holds nothing" if path.exists() else f"{path.name} was deleted meanwhile")
    if not found:
        raise RecordingError(f"{folder} holds no recordings (*.mcap).")
    return _in_order(found)


def _in_order(found: list[Recording]) -> list[Recording]:
    return sorted(found, key=lambda one: (_begun(one), one.run, one.part))


def _begun(recording: Recording) -> int:
    """The time of its first message; of one that is empty, or gone, the end of all times."""
    with suppress(RecordingError):
        for _topic, t_ns, _data in recording.messages():
            return t_ns
    return 1 << 64
