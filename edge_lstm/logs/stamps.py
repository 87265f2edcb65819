"""Times that are written as a date and a time of day (ISO 8601), as whole nanoseconds.

Its rule: "2024-05-06T12:00:00.123456789", a space for the T, and Z, +02:00 or no zone at the end. A zone is worked in;
a stamp without one is taken as it stands, so only differences between such stamps mean something.

Never: guess another order of day, month and year.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone

_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,9}))?\s*(?:(Z|z)|([+-])(\d\d):?(\d\d)?)?")


def stamp_ns(text: str) -> tuple[int, bool] | None:
    """(nanoseconds since 1970, whether it has a time zone) of an ISO 8601 date and time; None where it is none."""
    found = _STAMP.fullmatch(text.strip())
    if found is None:
        return None
    date, clock, fraction, zulu, sign, hours, minutes = found.groups()
    try:
        whole = datetime.fromisoformat(f"{date}T{clock}").replace(tzinfo=timezone.utc)
    except ValueError:  # the 13th month
        return None
    offset_s = 0 if sign is None else (int(hours) * 3600 + int(minutes or 0) * 60) * (-1 if sign == "-" else 1)
    seconds = round(whole.timestamp()) - offset_s
    return seconds * 1_000_000_000 + int((fraction or "0").ljust(9, "0")), bool(zulu or sign)
