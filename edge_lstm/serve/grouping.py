"""Which channels share a chart: those of one kind and unit whose names differ in a side, an axis or a number.

Its rule: at most six lines in a chart, so that each has a colour of its own; names stay true (what a chart leaves out
of a line's name stands in its title).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from edge_lstm.serve.feed import KINDS, Channel

LINES = 6  # of one chart
TITLES = {"outputs": "Outputs", "actions": "Actions", "readings": "Readings"}
_PLACES = frozenset(
    (
        *("left", "right", "front", "rear", "back", "hind", "mid", "middle", "top", "bottom", "upper", "lower"),
        *("inner", "outer", "l", "r", "fl", "fr", "rl", "rr", "bl", "br", "lf", "rf", "lr", "lh", "rh", "hl", "hr"),
        *("x", "y", "z", "w", "roll", "pitch", "yaw", "min", "max"),
    )
)


def stem(name: str) -> tuple[str, str]:
    """A name without what tells it from its sisters, and that: ("joint_pos", "3") of "joint_pos_3"."""
    tokens = re.findall(r"[^\W\d_]+|\d+", name)
    own = [token for token in tokens if token.isdigit() or token.lower() in _PLACES]
    common = [token for token in tokens if token not in own]
    return ("_".join(common), " ".join(own)) if own and common else (name, "")


def grouped(channels: Sequence[Channel]) -> list[dict[str, Any]]:
    """For the page: kinds, their charts, the charts' series; a series' channel is its place in `channels`."""
    kinds = []
    for kind in KINDS:
        families: dict[tuple[str, str], list[tuple[int, str, str]]] = {}
        for place, channel in enumerate(channels):
            if channel.kind == kind:
                common, own = stem(channel.name)
                families.setdefault((common, channel.unit), []).append((place, channel.name, own))
        charts = [chart for (common, unit), some in families.items() for chart in _charts(common, unit, some)]
        if charts:
            count = sum(len(chart["series"]) for chart in charts)
            kinds.append({"title": TITLES[kind], "count": str(count), "charts": charts})
    return kinds


def _charts(common: str, unit: str, members: list[tuple[int, str, str]]) -> list[dict[str, Any]]:
    """One family's. members: place, name, and what tells it from the others."""
    parts = [members[k : k + LINES] for k in range(0, len(members), LINES)]
    alone = len(members) == 1
    return [
        {
            "title": part[0][1] if alone else common + (f" {part[0][2]} – {part[-1][2]}" if len(parts) > 1 else ""),
            "unit": unit,
            "series": [
                {"channel": place, "name": name, "label": "" if alone else own or name} for place, name, own in part
            ],
        }
        for part in parts
    ]
