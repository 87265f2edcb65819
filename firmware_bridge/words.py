"""Numbers in sentences: "1 gap", "2 gaps".

Its rule: whoever says how many says it through here, so that no line reads "1 gaps".
"""

from __future__ import annotations


def plural(count: int, one: str, more: str = "") -> str:
    """The noun that goes with this number. more: of several, where that is not `one` with an s."""
    return one if count == 1 else more or f"{one}s"


def counted(count: int, one: str, more: str = "") -> str:
    """The number and its noun."""
    return f"{count} {plural(count, one, more)}"
