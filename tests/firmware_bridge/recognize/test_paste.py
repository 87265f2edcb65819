"""What is found, pasted: the tables that are proposed are a link, and it reads what was heard."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from firmware_bridge.errors import TableError
from firmware_bridge.events import Reading
from firmware_bridge.links.dialects import LinkConfig
from firmware_bridge.recognize.recognizer import Recognizer
from tests.support.robots.talkers import TALKERS, Talker, chunks, wave

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

SCALED = {"trailing separator", "hexadecimal", "struct between marks", "reading of three frames", "gps", "slcan"}


@pytest.mark.parametrize("name", TALKERS)
def test_the_proposed_link_reads_what_was_heard(name: str) -> None:
    """All 200 readings, but for the first line, which may be cut; no fault but of boot text; none lost; the numbers."""
    talker = TALKERS[name]
    seen = chunks(talker)
    link = LinkConfig(proposed(talker), "robot.toml", Path()).open()
    events = [event for chunk in seen for event in link.receive(chunk)]
    readings = [event for event in events if isinstance(event, Reading)]
    (most, _), *_ = Counter(event.format for event in readings).most_common()
    readings = [event for event in readings if event.format == most]
    assert 199 <= len(readings) <= 200
    assert sum(link.counters.faults.values()) <= talker.boot.count(b"\n")
    assert link.counters.lost_readings == 0
    if name not in SCALED:
        for k, reading in enumerate(reversed(readings)):
            assert any(abs(value - wave(199 - k)) < 0.006 for value in reading.values), reading


def proposed(talker: Talker) -> dict[str, object]:
    """[link] of what is proposed, with what cannot be heard filled in."""
    recognizer = Recognizer()
    for chunk in chunks(talker):
        recognizer.feed(chunk)
    text = recognizer.findings().link_block()
    if talker.dialect == "slcan":
        with pytest.raises(TableError, match="bitrate"):  # another one would disturb the bus
            LinkConfig(tomllib.loads(text)["link"], "robot.toml", Path()).open()
        text = text.replace("# bitrate", "bitrate")
    link: dict[str, object] = tomllib.loads(text)["link"]
    return link
