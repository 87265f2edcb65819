"""What arrives at a robot's port until the robot is known: why it is not, for people.

Its rule: bounded memory, and nothing is looked at before somebody asks; said by itself once for each opening, after
`PATIENCE_S`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_lstm.cli.common import note

if TYPE_CHECKING:
    from firmware_bridge.values import Chunk

PATIENCE_S = 3.0  # our own boards speak every second


class Arrived:
    """Chunks in, until a link knows its robot; a sentence out. name: the port's; aloud: a note after `PATIENCE_S`."""

    def __init__(self, name: str, aloud: bool = False) -> None:
        from firmware_bridge.recognize.recognizer import FIRST_BYTES, Recognizer

        self._name, self._aloud = name, aloud
        self._recognizer = Recognizer(FIRST_BYTES, name)
        self._open = self._said = False

    def __call__(self, chunk: Chunk) -> None:
        """Take in what the port saw."""
        self._recognizer.feed(chunk)
        if chunk.link != "data":
            self._open, self._said = chunk.link == "opened", False
        elif self._aloud and self._open and not self._said and self._recognizer.seconds > PATIENCE_S:
            self._said = True
            note(f"{self._name}: the robot has not answered yet; {self.sentence()}")

    def sentence(self) -> str:
        """What arrives instead of a robot that answers, and what says more."""
        found = self._recognizer.findings()
        if found.kind == "own":
            return f"{found.sentence()}, but the handshake does not end"
        more = "" if found.kind == "nothing" else f"; edge-lstm listen {self._name} says more"
        return found.sentence() + more
