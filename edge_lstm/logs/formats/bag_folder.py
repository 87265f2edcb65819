"""A log in several files: the folder of a ROS 2 bag, `metadata.yaml` beside its `.db3` or `.mcap` files; or the folder
of our own recordings.

Its rule: the files are read one after the other: a bag's in the order of their names' numbers, ours in that in which
they were made. What is listed in metadata.yaml is not needed, but that it is there: it makes the folder a bag. Each
file says itself how its messages are read; a topic has the numbers of all files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_lstm.errors import LogError
from edge_lstm.logs.asked import NOTHING, Asked
from edge_lstm.logs.formats.mcap import is_foreign
from edge_lstm.logs.log import Log
from edge_lstm.logs.topic_log import Part, Parts, Topic, TopicLog
from firmware_bridge.errors import RecordingError
from firmware_bridge.recordings.reader import open_recordings

_TOLD = 6  # names in a sentence


class BagFolder(TopicLog):
    """A bag of several files, opened."""

    def __init__(self, path: Path, open_part: Callable[[Path, Asked], Log], asked: Asked = NOTHING) -> None:
        """open_part: of one file. LogError: it holds none, or one cannot be read."""
        super().__init__(path, asked)
        files = parts_of(path, self.note)
        self._opened: list[Log] = []  # whoever has unpacked a file takes it away when it goes
        self._parts: list[TopicLog] = []
        for file in files:
            try:
                log = open_part(file, asked)
                part = log.unwrapped()
                if isinstance(part, TopicLog):
                    self._opened.append(log)
                    self._parts.append(part)
            except LogError as error:
                if len(files) == 1:
                    raise
                self.note(f"a file of it cannot be read: {error}")
        self.size = sum(part.size for part in self._parts)
        if not self._parts:
            raise LogError(f"{path}: no file of it can be read{self._why()}")
        topics: list[Topic] = []
        known: dict[tuple[str, str, int], int] = {}  # name, kind, which of these in its file → topic
        self._ours: list[list[int]] = []  # of each file: its topics as ours
        for part in self._parts:
            self.notes += [note for note in part.notes if note not in self.notes]
            seen: Counter[tuple[str, str]] = Counter()
            ours = []
            for topic in part.topics:
                seen[topic.name, topic.kind] += 1
                number = known.setdefault((topic.name, topic.kind, seen[topic.name, topic.kind]), len(topics))
                if number == len(topics):
                    topics.append(topic)
                else:
                    topics[number] = _with_numbers_of(topics[number], topic)
                ours.append(number)
            self._ours.append(ours)
        self.hold(topics)

    def parts(self, names: Mapping[int, Sequence[str]]) -> Iterator[Parts]:
        """As `TopicLog.parts`."""
        for log, ours in zip(self._parts, self._ours, strict=True):
            known = {
                k: [name for name in names[our] if name in topic.fields]
                for k, (our, topic) in enumerate(zip(ours, log.topics, strict=True))
                if our in names
            }
            for count, parts, size in log.parts(known) if known else ():
                yield count, [_as_ours(part, ours[part.topic], known[part.topic], names) for part in parts], size
            for sentence in log.notes:
                self.note(sentence)


def _with_numbers_of(one: Topic, other: Topic) -> Topic:
    """The same, with the numbers of another file's topic beside its own."""
    fields = tuple(dict.fromkeys((*one.fields, *other.fields)))
    return replace(one, fields=fields, units={**other.units, **one.units})


def _as_ours(part: Part, topic: int, known: Sequence[str], names: Mapping[int, Sequence[str]]) -> Part:
    """As of this topic, with all numbers that are wanted of it, NaN where its file has none. known: those it has."""
    wanted, values = list(names[topic]), part.values
    if len(known) < len(wanted):
        values = np.full((len(part.values), len(wanted)), np.nan)
        values[:, [wanted.index(name) for name in known]] = part.values
    return Part(topic, part.at, part.t_ns, values)


def is_bag(folder: Path) -> bool:
    """Whether this folder is a bag of ROS 2."""
    return (folder / "metadata.yaml").is_file()


def parts_of(folder: Path, passed: Callable[[str], None] = lambda why: None) -> list[Path]:
    """The files of the one log that a folder holds, in order. passed: as of `open_recordings`. LogError: it holds none,
    or several things."""
    if is_bag(folder):
        found = [one for one in folder.iterdir() if re.search(r"\.(db3|mcap)(\.zstd)?$", one.name) and one.is_file()]
        if not found:
            raise LogError(f"{folder}: is a bag of ROS 2 by its metadata.yaml, and its .db3 or .mcap files are missing")
        return sorted(found, key=_numbered)
    files = sorted(folder.glob("*.mcap"))
    if files and not any(_is_foreign(file) for file in files):
        try:
            return [recording.path for recording in open_recordings(folder, passed)]
        except RecordingError as error:
            raise LogError(f"{folder}: is a folder of recordings that cannot be read: {error}") from None
    names = sorted(f"{one.name}/" if one.is_dir() else one.name for one in folder.iterdir())
    if not names:
        raise LogError(f"{folder}: is an empty folder, and no log")
    what = ", ".join(names[:_TOLD]) + (f", … ({len(names)})" if len(names) > _TOLD else "")
    raise LogError(
        f"{folder}: is a folder, and no log: neither a bag of ROS 2 (metadata.yaml beside its files) nor recordings of "
        f"edge-lstm (.mcap) alone; it holds {what}; name one of its logs"
    )


def _is_foreign(path: Path) -> bool:
    """As `is_foreign`; what cannot be opened, or was deleted meanwhile, is for `open_recordings` to judge."""
    try:
        return is_foreign(path)
    except RecordingError:
        return False


def _numbered(path: Path) -> tuple[list[int], str]:
    """The last number of its name; of suffixes (".db3.zstd") none counts."""
    bare = path.name.removesuffix(".zstd").removesuffix(".db3").removesuffix(".mcap")
    return [int(number) for number in re.findall(r"\d+", bare)][-1:], path.name
