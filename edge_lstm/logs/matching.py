"""Which column of a table feeds which input channel of a model.

Its rule: by name, or as the user says with `--channels`; what was matched in another way than letter by letter is a
note.

Never: match by guess. A channel without its column, two columns for one channel or a unit that does not become the
channel's is an error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edge_lstm.core.channels import Channel, units_differ, unnamed
from edge_lstm.core.model import Model
from edge_lstm.core.units import convert, why_not
from edge_lstm.errors import LogError, nearest
from edge_lstm.logs.log import Column, Doubles, Floats, Log

_DECIMAL = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_LOOSELY = "names are compared without case, spaces, underscores and hyphens"
_WITHOUT_TOPIC = "channels are found by the names of fields without their topic: no other topic has such a field"
_SCALED = re.compile(rf"(?P<title>.+?)\s*(?:\*\s*(?P<factor>[+-]?{_DECIMAL}))?\s*(?P<plus>[+-]\s*{_DECIMAL})?")


def match(log: Log, model: Model, asked: Sequence[str] = ()) -> tuple[list[Column], list[str]]:
    """The column for each input channel, and sentences about how it was found.

    asked: nothing (by name), titles in the model's order, or "channel=title" pairs; a title may have " *FACTOR +PLUS"
    after it. A known unit becomes the channel's. LogError where it fails.
    """
    notes: list[str] = []
    scales: dict[int, tuple[float, float]] = {}
    channels = model.inputs
    pairs = {name.strip(): title.strip() for name, _, title in (i.partition("=") for i in asked if "=" in i)}
    free = [c for c in log.columns if c is not log.time]
    if asked and not pairs:
        if len(asked) != len(channels):
            raise LogError(f"--channels names {len(asked)} columns, the model {model.name!r} needs {len(channels)}")
        titles = list(asked)
    elif len(pairs) != len(asked):
        raise LogError("--channels takes either only column names or only CHANNEL=COLUMN pairs")
    else:
        for name in pairs:
            if name not in [c.name for c in channels]:
                raise LogError(
                    f"--channels: the model has no channel {name!r}{nearest(name, [c.name for c in channels])}"
                )
        titles = [pairs.get(c.name, c.name) for c in channels]
        if not pairs and unnamed(channels) and not any(log.find(t) for t in titles):
            if len(free) != len(channels):
                raise LogError(
                    f"{log.path}: the model's {len(channels)} inputs have no names and the log has {len(free)} columns "
                    f"beside the time; say which with --channels (columns: {', '.join(c.title for c in free)})"
                )
            notes.append("the model's inputs have no names: the log's columns are taken in their order")
            titles = [c.title for c in free]
    for k, title in enumerate(titles):
        said = _SCALED.fullmatch(title)
        if said and (said["factor"] or said["plus"]) and log.find(title) is None:
            titles[k], scales[k] = said["title"], (_number(said["factor"], 1.0), _number(said["plus"], 0.0))
    taken = [log.time.title, *(c.title for c in log.columns if c.title in titles or c.name in titles)]
    columns = [_column(log, channel, title, taken) for channel, title in zip(channels, titles, strict=True)]
    converted: dict[tuple[str, str], list[str]] = {}
    told: dict[tuple[float, float], list[str]] = {}
    for k, (channel, found) in enumerate(zip(channels, columns, strict=True)):
        if k in scales:
            columns[k] = replace(found, factor=scales[k][0], plus=scales[k][1])
            told.setdefault(scales[k], []).append(found.title)
        elif units_differ(channel.unit, found.unit):
            way = convert(found.unit, channel.unit)
            if way is None:
                raise LogError(
                    f"{log.path}: column {found.title!r} is in {found.unit!r}, the model's {channel.name!r} in "
                    f"{channel.unit!r}, and {why_not(found.unit, channel.unit)}; say how one becomes the other: "
                    f"--channels '{channel.name}={found.title} *FACTOR +OFFSET'"
                )
            columns[k] = replace(found, factor=way[0], plus=way[1])
            converted.setdefault((found.unit, channel.unit), []).append(found.title)
        if asked or channel.name in (found.title, found.name):
            continue
        bare = found.title.endswith(f".{channel.name}")
        if (note := _WITHOUT_TOPIC if bare else _LOOSELY) not in notes and (bare or not notes):
            notes.append(note)
    for (unit, other), names in converted.items():
        factor, plus = convert(unit, other) or (1.0, 0.0)
        notes.append(f"{', '.join(names)}: from {unit} to {other}, {_times(factor, plus)}")
    for (factor, plus), names in told.items():
        notes.append(f"{', '.join(names)}: {_times(factor, plus)}, as --channels says")
    return columns, notes


def _times(factor: float, plus: float) -> str:
    return f"×{factor:.10g}" + (f" {plus:+.10g}" if plus else "")


def scaled(columns: Sequence[Column], values: Doubles | Floats) -> Doubles | Floats:
    """values (T, columns) as the log has them → as the channels want them."""
    if all(c.factor == 1 and c.plus == 0 for c in columns):
        return values
    found: Doubles = values * np.array([c.factor for c in columns]) + np.array([c.plus for c in columns])
    return found


def _number(text: str | None, usual: float) -> float:
    return usual if text is None else float(text.replace(" ", ""))


def _column(log: Log, channel: Channel, title: str, taken: Sequence[str]) -> Column:
    """taken: titles of columns that have their channel, or are the time; they are not what is meant."""
    found = log.find(title)
    if found is None:
        near = log.near(title, taken)
        raise LogError(
            f"{log.path}: no column {title!r} for the model's input {channel.name!r}{near} "
            f'(--channels says which column feeds which channel: --channels "{channel.name}=COLUMN")'
        )
    return found
