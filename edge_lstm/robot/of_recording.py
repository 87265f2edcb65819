"""The robot.toml and the models that travel in a recording, or those that somebody gives instead.

Its rule: what ran is what is in the file; a model whose digest is another than that of the one that ran is refused.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_lstm.core.storage import load, load_file
from edge_lstm.errors import ConfigError, LogError, ModelFileError
from edge_lstm.logs import kind_of
from edge_lstm.robot.binding import bind
from edge_lstm.robot.calls import LOOP, loop_of, model_of
from edge_lstm.robot.config import RobotConfig, load_config, parse_config
from edge_lstm.robot.models import ONLY, Loaded, attachment, load_models
from edge_lstm.robot.rates import CHECKED, RATES
from firmware_bridge.dictionary import Dictionary
from firmware_bridge.recordings.contents import EVENTS
from firmware_bridge.recordings.reader import open_recordings

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from firmware_bridge.recordings.reader import Recording
    from firmware_bridge.recordings.series import Recorded


def misfit(recording: Recording, robot: RobotConfig, model: Model) -> str:
    """Why a model cannot run on the robot of a recording by this robot.toml, with the mismatch report; "" where it can,
    or no robot has answered."""
    try:
        Loaded({ONLY: model}, {}, True).controller(robot)
        for _topic, _t_ns, tree in recording.trees({EVENTS}):
            if tree["event"] == "hello":
                bind(robot, model, Dictionary.from_json(tree["dictionary"].encode()))
                break
    except ConfigError as error:
        return str(error)
    return ""


def readings_only(robot: RobotConfig) -> RobotConfig:
    """The same, but that nothing is made of a model's outputs: no actions, no events."""
    return replace(robot, action=None, events=(), signals=replace(robot.signals, outputs={}))


def robot_of(recording: Recorded, config: Path | None = None, model: Path | None = None) -> tuple[RobotConfig, Loaded]:
    """config, model: files to take instead of the recording's own. LogError: it lacks one of them, or it is not what
    ran; ModelFileError, ConfigError: one of them is damaged."""

    def attached(name: str, option: str) -> bytes:
        if name not in recording.attachments:
            raise LogError(f"{recording.path}: holds no {name}; say which with {option}")
        return recording.attachments[name]

    if config is not None:
        robot = load_config(config)
    else:
        text = attached("robot.toml", "--config").decode("utf-8", errors="replace")
        robot = parse_config(text, f"robot.toml in {recording.path}", recording.path.parent)
    looked = recording.metadata.get(RATES) == CHECKED
    names = [one.name for one in robot.models]
    if model is not None:
        if names:
            why = f"--model says one, and {robot.source} names several: {', '.join(names)}"
            raise LogError(f"{why}; give --config with the robot.toml beside the files that ran")
        given = load(model)
        the_same = given.digest == recording.metadata.get("digest")  # which spares reading it
        if not (looked and (the_same or given.rate_hz == _rate_hz(recording))):
            robot = robot.at_any_rate()
        return robot, Loaded({ONLY: given}, {}, True)
    if config is None and not looked:
        robot = robot.at_any_rate()  # a note says it; nothing is driven here
    if names and config is not None:
        return robot, load_models(robot)
    option = "--config" if names else "--model"
    models, contents = {}, {}
    for name in names or [ONLY]:
        file = attachment(name, not names)
        contents[name] = attached(file, option)
        try:
            own = load_file(io.BytesIO(contents[name]), f"{file} in {recording.path}")
        except ModelFileError as error:
            raise ModelFileError(f"{error} ({option} says another)") from None
        ran = recording.metadata.get(f"digest {name}" if names else "digest", own.digest)
        if own.digest != ran:
            why = f"has digest {own.digest[:16]}…, but the model that ran has {ran[:16]}…"
            raise LogError(f"{file} in {recording.path}: {why}; say which one ran with {option}")
        models[name] = own
    return robot, Loaded(models, contents, not names)


def _rate_hz(recording: Recorded) -> float | None:
    """The rate of the model that ran, by which a run waits with its first action: another that is made for the same
    waits as long. None where that is not known."""
    content = recording.attachments.get(attachment(ONLY, True))
    if content is None:
        return None
    try:
        return load_file(io.BytesIO(content), str(recording.path)).rate_hz
    except ModelFileError:
        return None


def own_model(path: Path) -> Model:
    """The only model that ran when a recording was made, of a folder of them the first. LogError where it is none, or
    holds several."""
    if kind_of(path) == "table":
        raise LogError(f"{path}: is a log of numbers and holds no model; say which with --model")
    (recording, *_) = open_recordings(path)
    if LOOP in recording.metadata:
        begun = loop_of(recording)
        models = {name: model_of(recording, name, of) for name, of in begun.items()}
    else:
        models = dict(robot_of(recording)[1].models)
    if len(models) != 1:
        raise LogError(f"{path}: holds several models ({', '.join(models)}); say which with --model")
    (model,) = models.values()
    return model
