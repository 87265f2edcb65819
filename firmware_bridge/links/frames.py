"""Finds messages with a head, a length and a check in a stream of bytes, whatever their protocol.

Its rule: any split of the same bytes gives the same messages, and whatever arrives is a message, a `Damaged`, or
counted in `skipped`. Never raises on wire data, never holds more than one message of it. A damaged length may name
bytes that are the next messages, so the search goes on right behind the damaged one's first byte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Generic, NamedTuple, TypeVar

from firmware_bridge.remembered import Remembers

MessageT = TypeVar("MessageT")


class Damaged(NamedTuple):
    """Bytes that began as a message and are none: "check", "length", or "short", its rest did not come."""

    status: str
    data: bytes


class Finder(Remembers, Generic[MessageT]):
    """Messages that begin with `head`.

    size: the length of the message that these bytes (at least the head) begin, None if they are too few to say, 0 if
    they begin none. read: the message that all of its bytes are, or the name of what is wrong with them."""

    REMEMBERED: ClassVar = {"skipped": int, "_rest": bytes}

    def __init__(
        self, head: bytes, longest: int, size: Callable[[bytes], int | None], read: Callable[[bytes], MessageT | str]
    ) -> None:
        self.skipped = 0
        self._head, self._longest, self._size, self._read = head, longest, size, read
        self._rest = b""

    def reset(self) -> None:
        """Forget the message in progress: the link was opened or lost."""
        self.skipped += len(self._rest)
        self._rest = b""

    def feed(self, data: bytes) -> list[MessageT | Damaged]:
        """The messages, intact and damaged, that end within `data`."""
        return self._find(data, all_came=False)

    def flush(self) -> list[MessageT | Damaged]:
        """No more will come of the message in progress: it is "short", and what its length covered is looked
        through."""
        return self._find(b"", all_came=True)

    def _find(self, data: bytes, all_came: bool) -> list[MessageT | Damaged]:
        found: list[MessageT | Damaged] = []
        rest, at = self._rest + data, 0
        while (start := rest.find(self._head, at)) >= 0:
            self.skipped += start - at
            at = start
            size = self._size(rest[at : at + self._longest])
            if size == 0:
                self.skipped += 1
                at += 1
                continue
            if size is None or (size <= self._longest and len(rest) < at + size):
                if not all_came:
                    self._rest = rest[at:]
                    return found
                at += self._damaged(found, "short", rest[at:])
                continue
            if size > self._longest:
                at += self._damaged(found, "length", self._head)  # no more: what else is here depends on the pieces
                continue
            item = self._read(rest[at : at + size])
            if isinstance(item, str):
                at += self._damaged(found, item, rest[at : at + size])
            else:
                found.append(item)
                at += size
        kept = 0 if all_came else _begun(rest[at:], self._head)
        self.skipped += len(rest) - at - kept
        self._rest = rest[len(rest) - kept :]
        return found

    def _damaged(self, found: list[MessageT | Damaged], status: str, data: bytes) -> int:
        """How many bytes are done with."""
        found.append(Damaged(status, data))
        return len(self._head)


def _begun(data: bytes, head: bytes) -> int:
    """How many bytes at the end of `data` begin a head."""
    return next((size for size in range(min(len(head) - 1, len(data)), 0, -1) if data.endswith(head[:size])), 0)
