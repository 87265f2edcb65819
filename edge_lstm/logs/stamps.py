"""Times that are written as dates and times of day, as whole nanoseconds.

Its rule: the year comes first ("2024-05-06T12:00:00.123456789", "2024/05/06 12:00:00.5Z"), with Z, +02:00 or no zone
at the end; or there is only a time of day ("12:00:00.123", "12:00:00:123"). A zone is worked in; a stamp without one is
taken as it stands, so only differences between such stamps mean something. Another order is said by whoever knows it,
as strptime takes it.

Never: guess another order of day, month and year, or what "12:00:00:5" is: 5 ms, half a second, or a frame.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

DAY_NS = 86_400_000_000_000
_ZONE = r"\s*(?:(Z|z|UTC)|([+-])(\d\d):?(\d\d)?)?"
_STAMP = re.compile(r"(\d{4})([-/.]?)(\d\d)\2(\d\d)[T _](\d\d:?\d\d(?::?\d\d)?)(?:[.,](\d{1,9}))?" + _ZONE, re.ASCII)
_OF_DAY = re.compile(r"(\d{1,2}):(\d\d):(\d\d)(?:[.,](\d{1,9})|:(\d{3}|\d{6}|\d{9}))?", re.ASCII)
_OTHER = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d\d)[ T,]+\d{1,2}:\d\d.*", re.ASCII)

Read = Callable[[str], tuple[int, bool] | None]


def stamp_ns(text: str) -> tuple[int, bool] | None:
    """(nanoseconds since 1970, whether it has a time zone) of a date and time; None where it is none."""
    found = _STAMP.fullmatch(text.strip())
    if found is None:
        return None
    year, _, month, day, clock, fraction, zulu, sign, hours, minutes = found.groups()
    digits = clock.replace(":", "").ljust(6, "0")
    try:
        numbers = int(year), int(month), int(day), int(digits[:2]), int(digits[2:4]), int(digits[4:])
        whole = datetime(*numbers, tzinfo=timezone.utc)
    except ValueError:  # the 13th month
        return None
    offset_s = 0 if sign is None else (int(hours) * 3600 + int(minutes or 0) * 60) * (-1 if sign == "-" else 1)
    seconds = round(whole.timestamp()) - offset_s
    return seconds * 1_000_000_000 + _fraction(fraction), bool(zulu or sign)


def of_day_ns(text: str) -> tuple[int, bool] | None:
    """(nanoseconds since midnight, False) of a time of day with seconds; None where it is none."""
    found = _OF_DAY.fullmatch(text.strip())
    if found is None or int(found[1]) > 23 or int(found[2]) > 59 or int(found[3]) > 60:
        return None
    seconds = int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3])
    return seconds * 1_000_000_000 + _fraction(found[4] or found[5]), False


def by_format(form: str) -> Read:
    """What reads times that are written as `form` says, as strptime takes it; %f may be of nine digits."""

    def read(text: str) -> tuple[int, bool] | None:
        text, rest = text.strip(), ""
        if "%f" in form and (found := re.search(r"[.,]\d{6}(\d{1,3})(?!\d)", text)):  # strptime takes six digits
            rest, text = found[1], text[: found.start(1)] + text[found.end(1) :]
        try:
            then = datetime.strptime(text, form)
        except (ValueError, re.error):
            return None
        zoned = then.tzinfo is not None
        whole = then if zoned else then.replace(tzinfo=timezone.utc)
        since = whole - datetime(1970, 1, 1, tzinfo=timezone.utc)
        seconds = since.days * 86400 + since.seconds
        return seconds * 1_000_000_000 + since.microseconds * 1000 + int((rest or "0").ljust(3, "0")), zoned

    return read


def other_order(texts: Sequence[str]) -> str | None:
    """How dates may be written that are not known here, as a format to be said: day or month first. None: no dates."""
    found = [match for text in texts if (match := _OTHER.fullmatch(text.strip()))]
    if not found:
        return None
    mark, year = found[0][2], "%Y" if len(found[0][4]) == 4 else "%y"
    first = "%m{0}%d" if any(int(match[3]) > 12 for match in found) else "%d{0}%m"
    clock = "%I:%M:%S %p" if found[0][0].rstrip().upper().endswith("M") else "%H:%M:%S"
    between = ", " if ", " in found[0][0] else " "
    part = clock.replace("%S", "%S.%f") if "." in found[0][0].split(":")[-1] else clock
    return f"{first.format(mark)}{mark}{year}{between}{part}"


def _fraction(text: str | None) -> int:
    return int((text or "0").ljust(9, "0"))
