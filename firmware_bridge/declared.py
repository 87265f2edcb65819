"""What a device may declare: the borders of its texts and numbers, wherever they stand in a dictionary.

Its rule: a device may send anything, so what it declares is checked here before anything is worked out from it. Each
check looks at each value once, and shows no more of it than a sentence has room for.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from typing import TypeVar

from firmware_bridge.errors import DictionaryError

LONGEST_TEXT = 255  # characters of a name, a unit, a version

# What a terminal obeys, or what hides and turns the text around it: control, direction, half of a surrogate pair, line
# and paragraph ends.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")

T = TypeVar("T")


def check_text(what: str, value: object, *, empty: bool = False) -> None:
    """Raises DictionaryError unless it is a text for people: not longer than `LONGEST_TEXT`, nothing unseen in it.
    empty: whether it may be."""
    if not isinstance(value, str) or not (value or empty):
        raise DictionaryError(f"{what} is {shortened(value)}; it must be a {'' if empty else 'non-empty '}text.")
    if len(value) > LONGEST_TEXT:
        raise DictionaryError(f"{what} has {len(value)} characters; {LONGEST_TEXT} is the most.")
    if not value.isprintable() and any(unicodedata.category(letter) in _UNSEEN for letter in value):
        raise DictionaryError(f"{what} is {shortened(value)}; no control character may be in it.")


def check_number(what: str, value: object) -> float:
    """A finite number as a float. Raises DictionaryError for anything else, an integer beyond float64 too."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:  # an integer beyond float64
        pass
    raise DictionaryError(f"{what} {shortened(value)}; it must be a finite number.")


def first_twin(values: Iterable[T]) -> T | None:
    """The first value that stands twice; looks at each one once."""
    seen = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def plain(text: str) -> str:
    """The text with a mark in place of each letter that a terminal would obey."""
    return "".join("\ufffd" if unicodedata.category(letter) in _UNSEEN else letter for letter in text)


def shortened(value: object) -> str:
    """How a device's value is shown in a sentence: all of it would be as long as the device likes."""
    text = repr(value)
    return text if len(text) < 120 else text[:117] + "…"
