"""What every shape of line is: a small protocol, and what reading a line may come to.

Its rule: a shape never raises for what a robot sends, and refuses what it cannot read as a whole: a number that is read
as far as it goes is a wrong number. What it returns has one number per declared field, in the declared order; NaN is a
missing value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

Row = list[float]  # one number per declared field


class Refused(NamedTuple):
    """The line would be this reading, but is of no use. status: the word that is counted. why: a sentence."""

    status: str
    why: str


# Rows: the readings that the line completes; none of them where it is well-formed and says nothing of this reading.
# None: it does not look like this reading at all.
Outcome: TypeAlias = "list[Row] | Refused | None"


class Shape(Protocol):
    """Lines of one kind, both ways."""

    mark: bytes  # what its lines begin with; b"": nothing of its own

    def opened(self) -> None:
        """Forget what earlier lines said."""

    def read(self, body: bytes) -> Outcome:
        """What a line says; `body` is the line without prefix, suffix and checksum."""

    def header(self, body: bytes) -> bool:
        """Whether the line names the fields: what a board prints once, when it starts."""

    def write(self, row: Sequence[float]) -> list[bytes]:
        """The lines that say these numbers, as the robot would print them: what `read` reads back."""

    def meets(self, other: Shape) -> str:
        """Why a line could be a reading of both shapes: the end of a sentence. "": it cannot."""


def shape(why: str) -> Refused:
    """Refused because it does not look as declared."""
    return Refused("shape", why)


def shown(text: bytes) -> str:
    """A piece of a line, for a sentence."""
    letters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "\ufffd" for byte in text[:40])
    return f"'{letters}…'" if len(text) > 40 else f"'{letters}'"


def apart(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    """Whether two `where` cannot both hold."""
    return any(key in other and other[key] != wanted for key, wanted in one.items())
