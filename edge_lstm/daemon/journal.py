"""Priorities of lines, as journald reads them from a stream: `<3>` before an error, `<4>` before a warning, …

Its rule: only a stream that is the journal's own (JOURNAL_STREAM names it) gets them; people never see them.
"""

from __future__ import annotations

import os
from typing import TextIO

ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6  # as in syslog(3)


def is_journal(stream: TextIO) -> bool:
    """Whether this stream goes to the journal."""
    named = os.environ.get("JOURNAL_STREAM", "")
    if not named:
        return False
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return named == f"{found.st_dev}:{found.st_ino}"


def marked(text: str, level: int, stream: TextIO) -> str:
    """The text with the priority before each of its lines, where the stream is the journal's."""
    if not is_journal(stream):
        return text
    return "\n".join(f"<{level}>{line}" for line in text.split("\n"))
