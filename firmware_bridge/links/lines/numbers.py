"""Text into a number and back: the one place that knows how boards write numbers, and what they write for none.

Its rule: what a board writes instead of a number ("nan", "ovf", nothing) is NaN, a missing value; anything else that
is not exactly one number is refused, never read as far as it goes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

# What stands for "no value": Arduino's print and C's printf write the first five, others what their languages call it.
MISSING = frozenset({b"", b"nan", b"inf", b"ovf", b"infinity", b"null", b"none", b"na", b"n/a"})
_WORDS = rb"[-+]?(?i:nan|inf|ovf|null|none)"
# What a line of numbers is made of: printable ASCII and the tab. Without "_": Python would read 1_0 as 10.
PLAIN = bytes(byte for byte in range(0x20, 0x7F) if byte != ord("_")) + b"\t"


@dataclass(frozen=True)
class Notation:
    """How numbers are written. read: exactly one number, NaN for a missing one; raises ValueError. write: what it reads
    back. token: the number, or nothing, that a text begins with."""

    read: Callable[[bytes], float]
    write: Callable[[float], bytes]
    token: re.Pattern[bytes]


def _token(number: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"[ \t]*(" + _WORDS + rb"|" + number + rb"|)")


def _decimal(text: bytes) -> float:
    text = text.strip(b" \t")
    try:
        value = float(text)
    except ValueError:
        if _missing(text):
            return math.nan
        raise
    if text.translate(None, PLAIN):  # float() accepts 1_0, and a form feed
        raise ValueError
    return value if math.isfinite(value) else math.nan


def _decimal_comma(text: bytes) -> float:
    if b"." in text:
        raise ValueError
    return _decimal(text.replace(b",", b"."))


def _hexadecimal(text: bytes) -> float:
    text = text.strip(b" \t")
    try:
        if text.translate(None, PLAIN):
            raise ValueError
        return float(int(text, 16))
    except OverflowError:
        raise ValueError from None
    except ValueError:
        if _missing(text):
            return math.nan
        raise


def _missing(text: bytes) -> bool:
    return text.lower().removeprefix(b"-").removeprefix(b"+") in MISSING and text not in (b"-", b"+", b"-+")


def _write_decimal(value: float) -> bytes:
    return repr(plain(value)).encode()


def _write_hexadecimal(value: float) -> bytes:
    return b"%X" % round(value) if math.isfinite(value) else b"nan"


def plain(value: float) -> float | int:
    """The number as boards print it: a whole one without a point."""
    return int(value) if float(value).is_integer() and abs(value) < 1e15 else float(value)


DECIMAL = Notation(_decimal, _write_decimal, _token(rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"))
DECIMAL_COMMA = Notation(
    _decimal_comma,
    lambda value: _write_decimal(value).replace(b".", b","),
    _token(rb"[-+]?(?:\d+,?\d*|,\d+)(?:[eE][-+]?\d+)?"),
)
HEXADECIMAL = Notation(_hexadecimal, _write_hexadecimal, _token(rb"[-+]?(?:0[xX])?[0-9A-Fa-f]+"))
