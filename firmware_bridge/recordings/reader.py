"""Reading a recording, whole or cut off: what came, what was sent, and what it meant.

Its rule: chunks come back exactly as they were recorded (time, bytes, silence, link), in the order in which they were
received; so whatever is a function of the chunks comes back bit by bit. A file that ends early gives all that it holds
and says where it ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firmware_bridge.errors import RecordingError
from firmware_bridge.recordings.contents import (
    DROPPED,
    FORM,
    LINK,
    LISTENS,
    OUR_FORM,
    RECEIVED,
    SENT,
    UNSENT,
    link_chunk,
)
from firmware_bridge.recordings.mcap_reader import McapReader
from firmware_bridge.values import Chunk


class Recording:
    """A recording on disk. Each iterator reads the file afresh, in the order in which it was written.

    `metadata` and `attachments` are what the recorder was given. Raises RecordingError for a file that is none.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = McapReader(self.path)
        self.metadata = dict(self._file.metadata)
        self._form = self.metadata.pop(FORM, "")
        self.attachments = self._file.attachments

    @property
    def cut(self) -> str:
        """Why the file ends early, "" if it is whole; known when the first iterator has come to the end."""
        return self._file.cut

    @property
    def reworded(self) -> bool:
        """Whether another version of this program wrote the derived messages: what it said in words may differ."""
        return self._form != OUR_FORM

    @property
    def asked_first(self) -> bool:
        """Whether our own link asked the robot before it had heard it, when this was recorded."""
        return not (self._form.isdecimal() and len(self._form) < 10) or int(self._form) < int(LISTENS)

    @property
    def damaged(self) -> bool:
        """Whether more is wrong than a missing end, as after a power cut: what followed is unknown then."""
        return self._file.damaged

    def chunks(self) -> Iterator[Chunk]:
        """What the port gave, as it gave it."""
        for topic, t_ns, data in self._file.messages({RECEIVED, LINK}):
            yield Chunk(t_ns, data) if topic == RECEIVED else self._link(t_ns, data)

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

    def writes(self) -> Iterator[tuple[int, bytes, bool]]:
        """(t_ns, bytes, whether the port took them) of every write, in order."""
        for topic, t_ns, data in self._file.messages({SENT, UNSENT}):
            yield t_ns, data, topic == SENT

    def messages(self) -> Iterator[tuple[str, int, bytes]]:
        """(topic, t_ns, data) of every message, in the order in which they were written."""
        return self._file.messages(None)

    def values(self, topic: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """(t_ns, values by name) of a JSON channel: "/readings/<format>", "/outputs", "/actions/<format>", "/link" …"""
        return ((t_ns, tree) for _topic, t_ns, tree in self.trees({topic}))

    def trees(self, topics: set[str]) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """The same of several channels, in the order in which they were written."""
        for topic, t_ns, data in self._file.messages(topics):
            try:
                tree = json.loads(data)
            except (ValueError, RecursionError) as error:
                why = f"its message on {topic} at t_ns {t_ns} is not JSON"
                raise RecordingError(f"{self.path} is damaged: {why} ({error}).") from None
            yield topic, t_ns, tree

    def topics(self) -> dict[str, int]:
        """Every topic with the number of its messages."""
        counts: dict[str, int] = {}
        for topic, _t_ns, _data in self._file.messages(None):
            counts[topic] = counts.get(topic, 0) + 1
        return counts

    def span(self) -> tuple[int, int] | None:
        """The first and the last t_ns, from the file's index; None if it was cut off before the index was written."""
        return self._file.span()

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
