"""A log of either kind as a `Series`: a table by its columns, a recording by the robot.toml that it holds, one of a
program's own loop by what its models were given; a folder of recordings as all of them, one run after the other.

Its rule: a recording's readings feed the channels that they fed on the robot, several formats as ticks and through the
inputs that the file declares; what is missing stays NaN.

Never: run the model (but where an input is its previous output), or guess a mapping that the recording does not hold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import Encoder, flat_names
from edge_lstm.errors import ConfigError, LogError, ReadingError, StateError
from edge_lstm.logs import kind_of
from edge_lstm.logs.asked import NOTHING, Asked
from edge_lstm.logs.series import Series, read_table
from edge_lstm.logs.ticks import Row, Ticks
from edge_lstm.robot.binding import Feed, feed_of
from edge_lstm.robot.calls import LOOP, STEP, Form, calls_of, loop_of
from edge_lstm.robot.clock import taken_s
from edge_lstm.robot.config import RobotConfig, parse_config
from edge_lstm.signals.programs import raw_names
from edge_lstm.signals.runtime import Signals
from firmware_bridge.dictionary import Dictionary
from firmware_bridge.recordings.contents import EVENTS, READINGS
from firmware_bridge.recordings.reader import open_recordings
from firmware_bridge.recordings.series import Series as Run
from firmware_bridge.recordings.series import series as runs_of

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.core.operation import Floats


def read(
    path: Path,
    model: Model,
    *,
    channels: Sequence[str] = (),
    asked: Asked = NOTHING,
    tick: Sequence[str] = (),
    max_age: Sequence[str] = (),
) -> Series:
    """The whole log. The rest: as for `edge-lstm replay` of a table. Raises LogError."""
    if kind_of(path) == "table":
        return read_table(
            path,
            model,
            channels=channels,
            asked=asked,
            tick=tick,
            max_age=max_age,
        )
    return read_recording(path, model)


def read_recording(path: Path, model: Model) -> Series:
    """All readings of a recording, or of those in a folder; of a loop's, those of this model or of the one with its
    channels.

    LogError where it holds none, no robot.toml, or not the fields of the model.
    """
    notes: list[str] = []
    recordings = open_recordings(path, notes.append)
    runs = [Run(recordings)] if len(recordings) == 1 else runs_of(recordings)
    found, times = [], []
    for run in runs:
        t_ns, values = _of_loop(run, model) if LOOP in run.metadata else _of_run(run, model)
        found.append(values)
        times.append(t_ns)
    if not found:
        raise LogError(f"{path}: none of its recordings holds anything")
    if len(found) > 1:
        notes.append(f"holds {len(found)} recordings one after the other, each with a new memory")
    begins = np.cumsum([len(values) for values in found[:-1]]).tolist()
    t_s = _one_after_the_other(times)
    return Series(path.name, t_s, np.concatenate(found), tuple(notes), tuple(begins))


def _one_after_the_other(times: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.float64]:
    """Seconds since the first reading of several runs. Where a clock was set back between two, or two programs recorded
    at once, the later one goes on a step after the earlier."""
    found: list[npt.NDArray[np.int64]] = []
    for own in times:
        shift = 0
        if found and own[0] <= (last := int(found[-1][-1])):
            shift = last - int(own[0]) + (int(np.median(np.diff(own))) if len(own) > 1 else 1)
        found.append(own + shift)
    seconds: npt.NDArray[np.float64] = (np.concatenate(found) - found[0][0]).astype(np.float64) * 1e-9
    return seconds


def _of_run(recording: Run, model: Model) -> tuple[npt.NDArray[np.int64], Floats]:
    """Times in ns (by the board's clock, where it has one) and readings of one run, by the robot.toml that it holds."""
    path = recording.path
    if "robot.toml" not in recording.attachments:
        raise LogError(f"{path}: holds no robot.toml, so nobody knows which field feeds which channel")
    text = recording.attachments["robot.toml"].decode("utf-8", errors="replace")
    config = parse_config(text, f"robot.toml in {path}", path.parent).at_any_rate()
    if config.models:
        names = ", ".join(one.name for one in config.models)
        raise LogError(f"{path}: is of several models ({names}); only a recording of one is a log of its readings")
    times, device_us, boots, rows, unfit = _rows(recording, config, model)
    if not rows:
        raise LogError(f"{path}: {unfit or f'holds no readings of {config.reading!r}'}")
    taken_ns = times[0] + np.rint(taken_s(times, device_us, boots)[0] * 1e9).astype(np.int64)
    return taken_ns, Series.encoded(path.name, model, np.zeros(0), np.array(rows, np.float64)).xs


def _of_loop(recording: Run, model: Model) -> tuple[npt.NDArray[np.int64], Floats]:
    """Times in ns, and what a program gave to the model, to the bit."""
    path, models, names = recording.path, loop_of(recording), flat_names(model.inputs)
    fits = [name for name, begun in models.items() if begun.digest == model.digest]
    fits = fits or [name for name, begun in models.items() if begun.inputs == names]
    if not fits:
        given = "; ".join(f"{name}: {', '.join(begun.inputs)}" for name, begun in models.items())
        raise LogError(f"{path}: none of its models has the inputs of {model.name!r}, {', '.join(names)} ({given})")
    begun = models[fits[0]]
    form = Form(fits[0], begun.inputs, begun.outputs)
    messages = ((one, message) for one in recording.recordings for message in one.messages())
    found = (calls_of(one, form, t_ns, data) for one, (topic, t_ns, data) in messages if topic == form.topic)
    steps = [call for call in found if call.kind == STEP]
    if not steps:
        raise LogError(f"{path}: holds no readings of {form.name!r}")
    xs = np.frombuffer(b"".join(call.reading for call in steps), "<f4").reshape(len(steps), -1).copy()
    xs[~np.isfinite(xs)] = np.nan
    return np.array([call.t_ns for call in steps], np.int64), xs


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


def _rows(recording: Run, config: RobotConfig, model: Model) -> tuple[list[int], list[int], list[int], list[Row], str]:
    """Times, the board's times (µs), boots and rows of the ticks, as the controller has them, and why a robot of the
    recording did not fit."""
    names = [number.name for number in raw_names(config.signals, model, config.channels)]
    formats = {config.reading, *(name[: dot.start()] for name in names for dot in re.finditer(r"\.", name))}
    dictionary: Dictionary | None = None
    feed: Feed | None = None
    ticks, channels = Ticks(()), None
    times: list[int] = []
    device_us: list[int] = []
    boots: list[int] = []
    boot = 0
    rows: list[Row] = []
    unfit = ""
    topics = {EVENTS, *(READINGS + name for name in formats)}
    for topic, t_ns, tree in chain.from_iterable(one.trees(topics) for one in recording.recordings):
        if topic == EVENTS and tree["event"] == "reset":
            boot += 1
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
                device_us.append(tree["_t_device_us"])
                boots.append(boot)
                row = ticks.row(at_ns, values)
                rows.append(row if channels is None else channels(row))
            elif form.name in feed.formats:
                ticks.keep(feed.formats[form.name], at_ns, values)
    return times, device_us, boots, rows, unfit
