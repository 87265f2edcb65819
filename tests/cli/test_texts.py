"""The text of an arg max: shown to people, sent to a robot of lines; what is recorded stays a number."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from edge_lstm.cli.live import LiveView
from edge_lstm.core.storage import save
from edge_lstm.errors import ConfigError
from edge_lstm.robot.config import load_config, parse_config
from edge_lstm.robot.decider import Decider
from edge_lstm.robot.loop import run
from edge_lstm.robot.models import ONLY, Loaded
from edge_lstm.robot.on_board import on_board
from edge_lstm.robot.replay import replay
from firmware_bridge.events import Hello, Reading
from firmware_bridge.links.lines.link import LinesLink
from firmware_bridge.ports.port import PortStats
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.reader import open_recording
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.dialects.lines import LinesRobot
from firmware_bridge.simulator.played import Happened, Played, Row, Values
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from tests.support.models.signals import passing
from tests.support.robots.text_robots import give

CONFIG = """
[model]
file = "model.npz"
[link]
dialect = "lines"
[link.reading.eyes]
shape = "csv"
fields = ["a", "b", "c"]
rate_hz = 100
[link.action.drive]
line = "go {way} {speed:.1f}\\n"
[link.action.drive.fields]
way = { choices = ["S", "F", "B"], safe = "S" }
speed = { min = 0, max = 1, safe = 0 }
[readings]
format = "eyes"
[outputs.mode]
do = [ { argmax = ["stop", "forward", "back"] } ]
[action]
format = "drive"
[action.way]
unit = ""
gain = { mode = 1 }
[action.speed]
unit = ""
offset = 0.5
[events.moves]
of = "mode"
above = 0.5
"""
FROM = CONFIG.split("[action]")[0].replace(" {speed:.1f}", "").replace("speed = { min = 0, max = 1, safe = 0 }\n", "")
FROM += '[action]\nformat = "drive"\nfrom = "mode"\n[events.moves]\nof = "mode"\nabove = 0.5\n'


def deciding(text: str = CONFIG) -> Decider:
    config = parse_config(text, "robot.toml", Path()).at_any_rate()  # an action of the first reading, too
    return Loaded({ONLY: passing("a", "b", "c")}, {}, single=True).controller(config)


def link_to(controller: Decider) -> LinesLink:
    """To a robot that has spoken."""
    link = controller.config.open_link()
    assert isinstance(link, LinesLink)
    give(link, [b"\n1,2,0\n"])
    return link


@pytest.mark.parametrize("text", [CONFIG, FROM], ids=["a table of each field", "from"])
def test_the_text_is_shown_and_sent(text: str) -> None:
    """In the table, in the line and where an event begins; the legend says names only."""
    controller = deciding(text)
    link = link_to(controller)
    view = LiveView(controller, link, SimpleNamespace(stats=PortStats()), "port", io.StringIO())  # type: ignore[arg-type]
    controller.handle(Hello(0, "lines", "", 1, link.declared))
    made = [controller.handle(Reading(k, "eyes", k, k, values)) for k, values in enumerate(((2, 1, 0), (0, 1, 2)))]
    sent = [link.send(0, one.action) for one in made if one is not None and one.action is not None]
    more = b" 0.5" if text == CONFIG else b""
    assert sent == [b"go S" + more + b"\n", b"go B" + more + b"\n"]
    assert view.line().endswith("  |  0.00 1.00 2.00 back  |  B" + (" 0.50" if text == CONFIG else ""))
    assert "mode, " not in view.legend()
    assert "back" not in view.legend()
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=120).print(view.table(120))
    assert re.search("mode +back\n", out.getvalue())
    assert re.search("way +B\n", out.getvalue())
    assert [line.partition("  ")[2] for _, line in view.happened()] == ["moves begins (mode = back)"]


def test_an_output_that_is_no_choice_is_shown_as_it_is() -> None:
    """Before there is an output, and where one is not finite."""
    controller = deciding()
    link = link_to(controller)
    view = LiveView(controller, link, SimpleNamespace(stats=PortStats()), "port", io.StringIO())  # type: ignore[arg-type]
    controller.handle(Hello(0, "lines", "", 1, link.declared))
    assert "mode" not in view.legend()
    decision = controller.handle(Reading(0, "eyes", 0, 0, (2, 1, 0)))
    assert decision is not None
    controller.latest = decision._replace(outputs=[0.0, 0.0, 0.0, float("nan")])  # type: ignore[misc]
    assert " nan  |  S" in view.line()


def test_of_several_models_the_text_has_the_model_s_name() -> None:
    """As [action] and [events] name the output."""
    text = '[[model]]\nname = "way"\nfile = "way.npz"\n[model.outputs.mode]\ndo = [ { argmax = ["stop", "go"] } ]\n'
    config = parse_config(text + '[readings]\nformat = "imu"\n', "robot.toml", Path())
    assert config.texts() == {"way.mode": ("stop", "go")}


def test_a_board_s_program_says_what_the_numbers_mean(tmp_path: Path) -> None:
    """It gives numbers, so a remark lists the texts."""
    save(passing("a", "b", "c"), tmp_path / "model.npz")
    (tmp_path / "robot.toml").write_text(CONFIG)
    _, remarks = on_board(load_config(tmp_path / "robot.toml"))
    assert "mode is the number of a choice: 0 stop, 1 forward, 2 back" in remarks


@pytest.mark.mistakes
@pytest.mark.parametrize(("text", "where"), [(CONFIG, "[action.way] gain"), (FROM, "[action] from")])
def test_as_many_texts_are_sent_as_are_made(text: str, where: str) -> None:
    """Two for three would send the second for the third."""
    with pytest.raises(ConfigError) as error:
        deciding(text.replace('"S", "F", "B"', '"S", "F"'))
    why = "'mode' has 3 choices (0 stop, 1 forward, 2 back), and 'way' takes 2 (0 S, 1 F)"
    assert f"robot.toml: {where}: {why}" in str(error.value)


class Eyes:
    """Of three the next one sees most, every 10 ms."""

    def rows(self) -> Iterator[Row]:
        for k in range(1, 100_000):
            yield Row(k * 10_000, "eyes", tuple(float(k // 5 % 3 == n) for n in range(3)))

    def obey(self, action: str, values: Values) -> None: ...


class Board(Played):
    """As `SimulatedPort` names its robot."""

    seed = 0


def test_a_run_obeys_texts_and_records_numbers(tmp_path: Path) -> None:
    """The robot's side has read each choice; the recording is verified, and holds 0, 1, 2."""
    controller = deciding()
    link = controller.config.open_link()
    assert isinstance(link, LinesLink)
    robot = Board(LinesRobot(link), Eyes())
    obeyed: list[Happened] = []
    robot.on_event = obeyed.append
    recorder = Recorder(tmp_path / "run.mcap", {}, {}, wait=True)
    run(SimulatedPort(cast(Robot, robot), 2.0), controller.config.open_link(), controller, recorder)
    recorder.close()
    assert {one.values for one in obeyed if one.kind == "action"} >= {(0.0, 0.5), (1.0, 0.5), (2.0, 0.5)}
    recording = open_recording(tmp_path / "run.mcap")
    assert {row["mode"] for _, row in recording.values("/outputs")} == {0, 1, 2}
    assert {row["way"] for _, row in recording.values("/actions/drive")} >= {0, 1, 2}
    _, comparison, _ = replay(RecordingPort(tmp_path / "run.mcap"), deciding())
    assert comparison.same, comparison.sentence()
