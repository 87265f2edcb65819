"""What a recording says of its bytes, against what a replay derives from them: readings, outputs, actions and events.

Its rule: the bytes of the wire are the source, and all other topics must follow from them, message by message: topic,
time, text and order. The messages between two chunks are compared with what the replay makes of the first of the two,
so a difference stays where it is. What the recorder says that it had to leave out may be missing, and no more.

Never: call two numbers equal that are written differently.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from firmware_bridge.dictionary import Dictionary
from firmware_bridge.errors import DictionaryError
from firmware_bridge.recordings.contents import (
    CHUNKS,
    DEVICE,
    DROPPED,
    EVENTS,
    KEYFRAME,
    READINGS,
    WIRE,
    Encoder,
    Message,
)
from firmware_bridge.words import counted, plural

if TYPE_CHECKING:
    from edge_lstm.robot.loop import Sink
    from firmware_bridge.events import Event
    from firmware_bridge.values import Chunk

SENTENCES = ("text", "detail")  # of an event, for people: another version may word them otherwise
LOOKED_FOR = (
    8  # differing messages of one chunk that are looked for further on; the work on a stranger's file is bounded
)


@dataclass
class Findings:
    """What came of it, for people and for --json."""

    compared: dict[str, int] = field(default_factory=dict)  # topic → messages of it that the replay derives
    differing: int = 0  # messages that the recording holds otherwise, or too much
    missing: int = 0  # messages that it does not hold
    left_out: int = 0  # of the missing: as many as the recorder says that it left out
    first: str = ""  # where the first difference is, and what it is
    first_missing: str = ""

    @property
    def same(self) -> bool:
        """Whether the recording holds what the replay derives, but for what was left out."""
        return not self.differing and self.missing <= self.left_out

    @property
    def readings(self) -> int:
        """How many of the compared messages are readings."""
        return sum(count for topic, count in self.compared.items() if topic.startswith(READINGS))

    def sentence(self) -> str:
        """The verdict, for people; it says what was compared."""
        compared = ", ".join(f"{count} of {topic}" for topic, count in sorted(self.compared.items()))
        compared = f"derived from the bytes and compared: {compared or 'nothing'}"
        left_out = f"; {self.left_out} of them the recorder had left out" if self.left_out else ""
        if self.same:
            return f"0 differing messages, {compared}{left_out}"
        missing = self.missing - self.left_out
        return (
            f"{counted(self.differing, 'message')} of the recording {plural(self.differing, 'differs', 'differ')} and "
            f"{missing} {plural(missing, 'is', 'are')} missing, {compared}{left_out}; "
            f"first: {self.first}"
        )


class Evidence:
    """Stands where the recorder stands, in a replay, and passes on to `behind` what it sees.

    recorded: all messages of the recording in their order. reworded: another version of this program made it, so
    sentences are not compared, and an event may have fewer values than today. text: its numbers are JSON. headed: it
    goes on from another one, so before its first chunk it says which robot is there, as it does behind a keyframe.
    """

    def __init__(
        self,
        recorded: Iterable[Message],
        reworded: bool,
        behind: Sink | None = None,
        *,
        text: bool = False,
        headed: bool = False,
    ) -> None:
        self.findings = Findings()
        self._recorded, self._reworded, self._behind = iter(recorded), reworded, behind
        self._encoder, self._headed = Encoder(text), headed
        self._now: list[Message] = []  # derived from the latest chunk
        self._noted = 0  # left out, as the recorder's notes say
        self._first_ns: int | None = None

    def begin(self, dictionary: Dictionary) -> None:
        """It goes on in the middle: the robot that is there."""
        self._encoder.declare(dictionary)

    # ----------------------------------------------------------------------------------------- the recorder's side

    def received(self, chunk: Chunk) -> None:
        """A chunk: what came before it is settled."""
        self._settle(last=False)
        if self._first_ns is None:
            self._first_ns = chunk.t_ns
        if self._behind is not None:
            self._behind.received(chunk)

    def sent(self, t_ns: int, data: bytes) -> None:
        """Bytes are the port's business."""

    def unsent(self, t_ns: int, data: bytes) -> None:
        """Bytes are the port's business."""

    def event(self, event: Event) -> None:
        """What the link makes of the chunk now."""
        with suppress(ValueError, struct.error):  # the recorder could not write it either
            message = self._encoder.event(event)
            if message is not None:
                self._now.append(message)
        if self._behind is not None:
            self._behind.event(event)

    def values(self, topic: str, t_ns: int, values: Mapping[str, float]) -> None:
        """What the controller makes of it now."""
        self._now.append(self._encoder.values(topic, t_ns, values))
        if self._behind is not None:
            self._behind.values(topic, t_ns, values)

    def tell(self, topic: str, t_ns: int, tree: Mapping[str, Any]) -> None:
        """An event of its outputs now."""
        self._now.append(self._encoder.tree(topic, t_ns, tree))
        if self._behind is not None:
            self._behind.tell(topic, t_ns, tree)

    def finish(self, dropped: int | None, cut: bool) -> Findings:
        """After the run. dropped: how many items the recorder says it left out; None where the file ends before it
        could. cut: the recording ends early, so of the last chunk it need not hold all."""
        self._settle(last=cut)
        self.findings.left_out = min(self.findings.missing, self._noted if dropped is None else dropped)
        if dropped is not None and self._noted > dropped:
            self._differs(0, f"the recorder noted {self._noted} items left out, and {dropped} at the end")
        if not self.findings.first and not self.findings.same:
            self.findings.first = self.findings.first_missing
        return self.findings

    # ----------------------------------------------------------------------------------------------- the comparison

    def _settle(self, last: bool) -> None:
        """Compare what the recording holds up to its next chunk with what was derived. last: it may end before."""
        now, at, differing = self._now, 0, 0
        for message in now:
            self.findings.compared[message.topic] = self.findings.compared.get(message.topic, 0) + 1
        for then in self._until_chunk():
            if at < len(now) and self._alike(then, now[at]):
                at += 1
                continue
            further = range(at + 1, len(now)) if differing < LOOKED_FOR else range(0)
            found = next((k for k in further if self._alike(then, now[k])), None)
            if found is not None:
                self._missing(now[at:found])
                at = found + 1
                continue
            differing += 1
            beside = now[at] if at < len(now) and (now[at].topic == then.topic or now[at].data == then.data) else None
            at += beside is not None
            self._differs(then.t_ns, f"then {said(then)}, now {said(beside) if beside else 'nothing'}")
        if not last:
            self._missing(now[at:])
        self._now = []

    def _until_chunk(self) -> Iterator[Message]:
        """The recording's derived messages before its next chunk, without the recorder's own notes."""
        for then in self._recorded:
            if then.topic in CHUNKS:
                return
            if then.topic.startswith(WIRE):
                self._headed = self._headed or then.topic == KEYFRAME
                continue
            if then.topic == EVENTS and (count := noted(then.data)) is not None:
                self._noted = max(self._noted, count)
                continue
            if self._first_ns is None and self._headed and self._is_head(then):
                continue
            yield then

    def _is_head(self, then: Message) -> bool:
        """Whether it says which robot is there; then its readings can be derived."""
        tree = _object(then.data) if then.topic == EVENTS else {}
        if tree.get("event") != "hello":
            return False
        try:
            self._encoder.declare(Dictionary.from_json(str(tree.get("dictionary")).encode()))
        except (DictionaryError, UnicodeError):
            return False
        return True

    def _alike(self, then: Message, now: Message) -> bool:
        if then.topic != now.topic or then.t_ns != now.t_ns:
            return False
        if then.data == now.data:
            return then.schema == now.schema or then.names() == now.names()
        return self._reworded and then.topic in (EVENTS, DEVICE) and _reworded(then.data, now.data)

    def _missing(self, messages: list[Message]) -> None:
        self.findings.missing += len(messages)
        if messages and not self.findings.first_missing:
            first = messages[0]
            self.findings.first_missing = f"{self._when(first.t_ns)}: then nothing, now {said(first)}"

    def _differs(self, t_ns: int, what: str) -> None:
        self.findings.differing += 1
        if not self.findings.first:
            self.findings.first = f"{self._when(t_ns)}: {what}"

    def _when(self, t_ns: int) -> str:
        return f"at {(t_ns - (self._first_ns or 0)) / 1e9:.6f} s (t_ns {t_ns})"


def said(message: Message) -> str:
    """A message for people."""
    try:
        text = json.dumps(message.tree(), separators=(",", ":"), ensure_ascii=False)
    except ValueError:
        text = message.data.decode(errors="replace")
    return f"{message.topic} {text:.300} at t_ns {message.t_ns}"


def _object(data: bytes) -> dict[str, Any]:
    """A JSON object; empty for anything else."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}


def noted(data: bytes) -> int | None:
    """How many items the recorder's own note says are left out; None for another event."""
    if f'"event":"{DROPPED}"'.encode() not in data:
        return None
    tree = _object(data)
    count = tree.get("count")
    return count if tree.get("event") == DROPPED and type(count) is int and count > 0 else None


def _reworded(then: bytes, now: bytes) -> bool:
    """Whether an event of another version says the same: each of its values, but for its sentences."""
    old, new = _object(then), _object(now)
    return bool(old) and all(
        name in SENTENCES or (name in new and json.dumps(new[name]) == json.dumps(value)) for name, value in old.items()
    )
