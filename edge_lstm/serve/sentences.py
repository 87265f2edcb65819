"""An event of a run as a sentence and a level, for people: page, MQTT.

Its rule: the sentence is the run's own where it has one; what a newer version brings is shown, not hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_lstm.serve.verdict import Level
from firmware_bridge.words import plural

_LEVELS: dict[str, Level] = {
    "hello": "ok",
    "opened": "ok",
    "lost": "bad",
    "silent": "bad",
    "reset": "warn",
    "gap": "warn",
    "fault": "warn",
    "undone": "warn",
}


def is_threshold(event: Mapping[str, Any]) -> bool:
    """Whether it is one of [events] of robot.toml, and no other's."""
    return event.get("kind") == "watched"


def sentence_of(event: Mapping[str, Any]) -> tuple[str, Level]:
    """The sentence, and how grave it is."""
    name, text = str(event.get("event", "")), str(event.get("text", ""))
    if is_threshold(event):
        begins = event.get("what") == "begins"
        value = event.get("value")
        about = f": {text}" if text and text != name else ""
        number = f" ({event.get('of')} = {value:.4g})" if isinstance(value, int | float) else ""
        seconds = event.get("seconds")
        after = f" after {seconds:.2f} s" if not begins and isinstance(seconds, int | float) else ""
        return f"{name} {'begins' if begins else 'ends'}{after}{about}{number}", "warn" if begins else "ok"
    if name == "gap" and isinstance(count := event.get("count"), int):
        text = f"{count:,} {plural(count, 'reading')} of {event.get('format')} lost"
    return text or name, _LEVELS.get(name, "ok")
