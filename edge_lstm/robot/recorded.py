"""A log of either kind as a `Series`: a table by its columns, a recording by the robot.toml that it holds, one of a
program's own loop by what its models were given.

Its rule: a recording's readings feed the channels that they fed on the robot, several formats as ticks and through the
inputs that the file declares; what is missing stays NaN.

Never: run the model (but where an input is its previous output), or guess a mapping that the recording does not hold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_lstm.core.channels import Encoder, flat_names
from edge_lstm.errors import ConfigError, LogError, ReadingError, StateError
from edge_lstm.logs import kind_of
from edge_lstm.logs.series import Series, read_table
from edge_lstm.logs.ticks import Row, Ticks
from edge_lstm.robot.binding import Feed, feed_of
from edge_lstm.robot.calls import LOOP, STEP, Form, calls_of, loop_of
from edge_lstm.robot.config import RobotConfig, parse_config
from edge_lstm.signals.programs import raw_names
from edge_lstm.signals.runtime import Signals
from firmware_bridge.dictionary import Dictionary
from firmware_bridge.recordings.contents import EVENTS, READINGS

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from firmware_bridge.recordings.reader import Recording


def read(
    path: Path,
    model: Model,
    *,
    channels: Sequence[str] = (),
    time_column: str | None = None,
    time_unit: str | None = None,
    tick: Sequence[str] = (),
    max_age: Sequence[str] = (),
) -> Series:
    """The whole log. The rest: as for `edge-lstm replay` of a table. Raises LogError."""
    if kind_of(path) == "table":
        return read_table(
            path,
            model,
            channels=channels,
            time_column=time_column,
            time_unit=time_unit,
            tick=tick,
            max_age=max_age,
        )
    return read_recording(path, model)


def read_recording(path: Path, model: Model) -> Series:
    """All readings of a recording; of a loop's, those of this model or of the one with its channels.

    LogError where it holds none, no robot.toml, or not the fields of the model.
    """
    from firmware_bridge.recordings.reader import open_recording

    recording = open_recording(path)
    if LOOP in recording.metadata:
        return _of_loop(recording, model)
    if "robot.toml" not in recording.attachments:
        raise LogError(f"{path}: holds no robot.toml, so nobody knows which field feeds which channel")
    text = recording.attachments["robot.toml"].decode("utf-8", errors="replace")
    config = parse_config(text, f"robot.toml in {path}", path.parent)
    if config.models:
        names = ", ".join(one.name for one in config.models)
        raise LogError(f"{path}: is of several models ({names}); only a recording of one is a log of its readings")
    times, rows, unfit = _rows(recording, config, model)
    if not rows:
        raise LogError(f"{path}: {unfit or f'holds no readings of {config.reading!r}'}")
    t_s = np.array([t - times[0] for t in times], np.float64) * 1e-9
    return Series.encoded(path.name, model, t_s, np.array(rows, np.float64))


def _of_loop(recording: Recording, model: Model) -> Series:
    """What a program gave to the model, to the bit."""
    path, models, names = recording.path, loop_of(recording), flat_names(model.inputs)
    fits = [name for name, begun in models.items() if begun.digest == model.digest]
    fits = fits or [name for name, begun in models.items() if begun.inputs == names]
    if not fits:
        given = "; ".join(f"{name}: {', '.join(begun.inputs)}" for name, begun in models.items())
        raise LogError(f"{path}: none of its models has the inputs of {model.name!r}, {', '.join(names)} ({given})")
    begun = models[fits[0]]
    form = Form(fits[0], begun.inputs, begun.outputs)
    found = (calls_of(recording, form, t_ns, data) for topic, t_ns, data in recording.messages() if topic == form.topic)
    steps = [call for call in found if call.kind == STEP]
    if not steps:
        raise LogError(f"{path}: holds no readings of {form.name!r}")
    xs = np.frombuffer(b"".join(call.reading for call in steps), "<f4").reshape(len(steps), -1).copy()
    xs[~np.isfinite(xs)] = np.nan
    t_s = np.array([call.t_ns - steps[0].t_ns for call in steps], np.float64) * 1e-9
    return Series(path.name, t_s, xs)


class _Channels:
    """Rows of ticks → values of the model's channels, by the inputs of the file; NaN where a number is missing. Where
    inputs carry over an output (`previous`), the model goes along."""

    def __init__(self, feed: Feed, model: Model) -> None:
        self._none = [nan] * len(model.inputs)
        self._signals = Signals(feed.inputs, model, feed.outputs) if feed.inputs is not None else None
        self._stream = model.stream() if feed.inputs is not None and feed.inputs.previous else None
        self._encode = Encoder(model.inputs)

    def __call__(self, row: Row) -> Row:
        if self._signals is None:
            return row
        try:
            values: list[float] = self._signals.channels(row).tolist()
            if self._stream is not None:
                y = self._stream.step(self._encode.one(values))
                if y is not None:
                    self._signals.outputs(y)
        except (ReadingError, StateError):
            return self._none
        return values

    def reset(self) -> None:
        """The robot has started again."""
        for part in (self._signals, self._stream):
            if part is not None:
                part.reset()


def _rows(recording: Recording, config: RobotConfig, model: Model) -> tuple[list[int], list[Row], str]:
    """Times and rows of the ticks, as the controller has them, and why a robot of the recording did not fit."""
    names = [number.name for number in raw_names(config.signals, model, config.channels)]
    formats = {config.reading, *(name[: dot.start()] for name in names for dot in re.finditer(r"\.", name))}
    dictionary: Dictionary | None = None
    feed: Feed | None = None
    ticks, channels = Ticks(()), None
    times: list[int] = []
    rows: list[Row] = []
    unfit = ""
    for topic, t_ns, tree in recording.trees({EVENTS, *(READINGS + name for name in formats)}):
        if topic == EVENTS and tree["event"] == "reset":
            ticks.forget()
            if channels is not None and config.on_reset == "reset":
                channels.reset()
        elif topic == EVENTS and tree["event"] == "hello":
            declared = Dictionary.from_json(tree["dictionary"].encode())
            if dictionary == declared:
                continue
            dictionary, feed = declared, None
            try:
                feed = feed_of(config, model, declared)
            except ConfigError as error:
                unfit = unfit or str(error)
            else:
                ticks, channels = Ticks(feed.wanted), _Channels(feed, model)
        elif topic != EVENTS and feed is not None and dictionary is not None:
            form = dictionary[topic.removeprefix(READINGS)]
            values = [nan if (value := tree[field.name]) is None else value for field in form.fields]
            at_ns = feed.time_ns(t_ns, tree["_t_device_us"])
            if form.name == config.reading:
                times.append(t_ns)
                row = ticks.row(at_ns, values)
                rows.append(row if channels is None else channels(row))
            elif form.name in feed.formats:
                ticks.keep(feed.formats[form.name], at_ns, values)
    return times, rows, unfit
