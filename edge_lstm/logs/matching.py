"""Which column of a table feeds which input channel of a model.

Its rule: by name, or as the user says with `--channels`; what was matched in another way than letter by letter is a
note.

Never: match by guess. A channel without its column, two columns for one channel or a unit that differs is an error.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_lstm.core.channels import Channel, units_differ, unnamed
from edge_lstm.core.model import Model
from edge_lstm.errors import LogError, nearest
from edge_lstm.logs.log import Column, Log


def match(log: Log, model: Model, asked: Sequence[str] = ()) -> tuple[list[Column], list[str]]:
    """The column for each input channel, and sentences about how it was found.

    asked: nothing (by name), titles in the model's order, or "channel=title" pairs. LogError where it fails.
    """
    notes: list[str] = []
    channels = model.inputs
    pairs = dict(item.split("=", 1) for item in asked if "=" in item)
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
    taken = [log.time.title, *(c.title for c in log.columns if c.title in titles or c.name in titles)]
    columns = [_column(log, channel, title, taken) for channel, title in zip(channels, titles, strict=True)]
    for channel, found in zip(channels, columns, strict=True):
        if units_differ(channel.unit, found.unit):
            raise LogError(
                f"{log.path}: column {found.title!r} is in {found.unit!r}, "
                f"the model's {channel.name!r} in {channel.unit!r}"
            )
        if channel.name not in (found.title, found.name) and not asked and not notes:
            notes.append("names are compared without case, spaces, underscores and hyphens")
    return columns, notes


def _column(log: Log, channel: Channel, title: str, taken: Sequence[str]) -> Column:
    """taken: titles of columns that have their channel, or are the time; they are not what is meant."""
    found = log.find(title)
    if found is None:
        near = nearest(title, [c.title for c in log.columns if c.title not in taken])
        raise LogError(
            f"{log.path}: no column {title!r} for the model's input {channel.name!r}{near} "
            "(--channels says which column feeds which channel)"
        )
    return found
