"""`edge-lstm check robot.toml`: everything about a robot.toml that can be checked without the robot.

Its rule: nothing is opened, made or sent. Each check is a line; what a person must mend is exit code 2, what may be
mended by plugging something in is a note.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import Failure, json_option, print_json, say
from edge_lstm.errors import EdgeLstmError
from firmware_bridge.errors import BridgeError

if TYPE_CHECKING:
    from edge_lstm.robot.config import RobotConfig
    from edge_lstm.robot.decider import Decider
    from edge_lstm.robot.model_tables import ModelConfig
    from edge_lstm.robot.models import Loaded


@dataclass(frozen=True)
class Line:
    """One thing that was checked. mark: "ok", "note" (it may yet come right), "error"."""

    what: str
    mark: str
    text: str


@click.command(name="check", short_help="Everything about a robot.toml that can be checked without the robot.")
@click.argument("config", type=click.Path(path_type=Path))
@json_option
def command(config: Path, as_json: bool) -> None:
    """Check ROBOT.toml: the file, the model, how the robot is spoken to, which field feeds which input, what
    will be sent, where is recorded, what the operating system grants. Exit code 2 where a person must mend something.
    """
    lines = _lines(config)
    wrong = [line for line in lines if line.mark == "error"]
    if as_json:
        print_json({"config": str(config), "ok": not wrong, "checks": [asdict(line) for line in lines]})
    else:
        width = max(len(line.what) for line in lines)
        for line in lines:
            first, *more = line.text.split("\n")
            say(f"{line.mark:5}  {line.what:{width}}  {first}")
            for text in more:
                say(f"{'':{width + 9}}{text}")
    if wrong:
        count = "one thing" if len(wrong) == 1 else f"{len(wrong)} things"
        raise Failure(codes.MEND, f"{config}: {count} to mend: {', '.join(line.what for line in wrong)}")


def _lines(config: Path) -> list[Line]:
    """All checks; only the first where the file cannot be understood."""
    from edge_lstm.errors import ConfigError
    from edge_lstm.robot.config import load_config

    try:
        robot = load_config(config)
    except ConfigError as error:
        return [Line("file", "error", str(error))]
    lines = [Line("file", "ok", f"{config} is complete"), *_port(robot)]
    loaded, found = _models(robot)
    lines += [*found, *_link(robot, loaded)]
    if robot.action is None:
        lines.append(Line("action", "note", "there is no [action]: outputs are shown and recorded, nothing is driven"))
    return lines + _recording(robot) + _realtime(robot)


def _port(robot: RobotConfig) -> list[Line]:
    from firmware_bridge.ports import network_names, serial_names

    name = robot.port.device
    if name is None:
        return [Line("port", "note", "[port] device is not given: edge-lstm run needs --port")]
    try:
        network_names.parse(name) if network_names.scheme(name) else serial_names.check(name)
    except BridgeError as error:
        return [Line("port", "error", str(error))]
    if not network_names.scheme(name) and "/" in name and not Path(name).exists():
        return [Line("port", "note", f"{name} is not there now")]
    return [Line("port", "ok", name)]


def _models(robot: RobotConfig) -> tuple[Loaded | None, list[Line]]:
    """The models, where they fit the file, whatever the robot."""
    from edge_lstm.core.channels import shortened
    from edge_lstm.robot.config import OWN_LINK
    from edge_lstm.robot.models import load_models
    from edge_lstm.signals.declared import numbered

    try:
        loaded = load_models(robot)
        loaded.controller(replace(robot, link=OWN_LINK))
    except (EdgeLstmError, OSError) as error:
        return None, [Line("model", "error", str(error))]
    lines = []
    often = {one.name: _often(one) for one in robot.models}
    for name, model in loaded.models.items():
        sides = (shortened([channel.name for channel in channels]) for channels in (model.inputs, model.outputs))
        of = f"{name}: " if name in often else ""
        lines.append(Line("model", "ok", f"{of}{model.name}: {' → '.join(sides)}{often.get(name, '')}"))
    for output, choices in robot.texts().items():
        lines.append(Line("output", "ok", f"{output} is the number of a choice: {numbered(choices)}"))
    for event in robot.events:
        side, back = ("above", "at or below") if event.sign > 0 else ("below", "at or above")
        held = f" for {event.for_ns / 1e6:g} ms" if event.for_ns else ""
        sent = f"; sends {event.action[0]}" if event.action else ""
        text = f"{event.name}: {event.of} {side} {event.threshold:g}{held}, until {back} {event.until:g}{sent}"
        lines.append(Line("event", "ok", text))
    return loaded, lines


def _often(model: ModelConfig) -> str:
    """When one of several models is due."""
    if model.rate_hz is not None:
        return f", at {model.rate_hz:g} Hz"
    return "" if model.every in (None, 1) else f", with every {model.every} readings"


def _link(robot: RobotConfig, loaded: Loaded | None) -> list[Line]:
    """How the robot is spoken to, which field feeds what, and every byte that is known before it speaks."""
    from edge_lstm.signals.declared import numbered
    from firmware_bridge.events import Hello
    from firmware_bridge.links.dialect import Dialect
    from firmware_bridge.values import Chunk

    link = robot.open_link()
    if not isinstance(link, Dialect):
        text = "our own protocol: what the robot declares is known when it speaks; edge-lstm describe PORT shows it"
        return [Line("link", "ok", text)]
    declared = link.declared
    names = ", ".join(form.name for form in declared.formats)
    lines = [Line("link", "ok", f"{robot.link.dialect}, device {declared.device!r}: {names}")]
    for sent in link.actions.values():
        for field, choices in sent.choices.items():
            lines.append(Line("action", "ok", f"{sent.name}: {field} is sent as a text: {numbered(choices)}"))
    if loaded is not None:
        try:
            controller = loaded.controller(robot)
            bound = controller.handle(Hello(0, declared.device, declared.version, 0, declared))
        except EdgeLstmError as error:
            lines.append(Line("fields", "error", str(error)))
        else:
            lines.append(Line("fields", "ok", "; ".join(_fed(robot, controller))))
            if others := controller.others():
                ages = [f"{name} for {' or '.join(f'{ms:g}' for ms in found)} ms" for name, found in others.items()]
                text = f"each reading of {robot.reading!r}; the latest values count: {', '.join(ages)}"
                lines.append(Line("tick", "ok", text))
            lines += [Line("fields", "note", text) for text in bound.notes] if bound else []
    link.receive(Chunk(0, b"", "opened"))
    start, safe = link.outgoing(), link.safe() if link.actions else b""
    lines.append(Line("start", "ok", f"sent after opening: {link.explain(start)}" if start else "nothing is sent"))
    if safe:
        lines.append(Line("safe", "ok", f"sent to make the robot safe: {link.explain(safe)}"))
    return lines + [Line("promise", "note", text) for text in link.promises.sentences()]


def _fed(robot: RobotConfig, controller: Decider) -> list[str]:
    """Which field feeds which input, of each model."""
    from edge_lstm.core.channels import shortened, spans

    lines = []
    for name, model, direct in controller.fed():
        fed: list[str] = []
        for span in spans([channel.name for channel in model.inputs]):
            if direct.keys().isdisjoint(span):
                fed.append(f"{shortened(span)} ← [inputs]")
            else:
                fed += [f"{channel} ← {direct.get(channel, '[inputs]')}" for channel in span]
        lines.append(f"{name}: {', '.join(fed)}" if robot.models else ", ".join(fed))
    return lines


def _recording(robot: RobotConfig) -> list[Line]:
    """Whether a recording could be begun, without beginning one."""
    wanted = robot.recording.directory or robot.recording.file
    if wanted is None:
        return [Line("record", "note", "nothing is recorded, unless run is given --record")]
    place = robot.folder / wanted
    folder = place if robot.recording.directory is not None else place.parent
    there = next((parent for parent in (folder, *folder.resolve().parents) if parent.exists()), Path("/"))
    why = ""
    if not there.is_dir():
        why = f"{there} is no folder"
    elif not os.access(there, os.W_OK | os.X_OK):
        why = f"{there} may not be written to"
    elif robot.recording.directory is None and not folder.is_dir():
        why = f"there is no folder {folder}"
    if why:
        return [Line("record", "error" if robot.recording.required else "note", f"{place}: {why}")]
    made = "" if folder.is_dir() else ", which will be made"
    return [Line("record", "ok", f"in {place}{made}")]


def _realtime(robot: RobotConfig) -> list[Line]:
    from edge_lstm.errors import RealtimeError
    from edge_lstm.robot.realtime import AS_ANY, applied

    if robot.realtime == AS_ANY:
        return []
    try:
        with applied(robot.realtime) as refused:
            pass
    except RealtimeError as error:
        return [Line("realtime", "error", str(error))]
    lines = [Line("realtime", "note", text) for text in refused]
    return lines or [Line("realtime", "ok", f"granted: {refused.granted}")]
