"""A port that is looked at: what is said of a link that is lost and comes back, of silence, of a board that resets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge_lstm.daemon.late import LateAnswers
from edge_lstm.daemon.machine import Machine
from edge_lstm.daemon.observed import ObservedPort
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from firmware_bridge.values import Chunk
from tests.support.robots import small_robot


class Eventful(SimulatedPort):
    """A robot whose cable is pulled for half a second after its second second, and which is silent later on."""

    def chunks(self) -> Iterator[Chunk]:
        begun, pulled = None, False
        for chunk in super().chunks():
            begun = chunk.t_ns if begun is None else begun
            at_s = (chunk.t_ns - begun) / 1e9
            if 2.0 < at_s < 2.5:
                if not pulled:
                    pulled = True
                    yield Chunk(chunk.t_ns, b"unplugged", "lost")
                continue
            if at_s >= 2.5 and pulled:
                pulled = False
                yield Chunk(chunk.t_ns, b"/dev/ttyUSB0", "opened")
            silent = 4.0 < at_s < 5.6
            yield Chunk(chunk.t_ns) if silent and chunk.link == "data" else chunk


def observed(tmp_path: Path, port: SimulatedPort) -> tuple[ObservedPort, Controller]:
    config = parse_config(small_robot.CONFIG, "robot.toml", tmp_path)
    controller, bridge = Controller(small_robot.model(), config), Bridge()
    made = ObservedPort(port, controller, bridge, LateAnswers(machine=Machine(tmp_path)))
    run(made, bridge, controller)
    return made, controller


def test_what_happens_is_said_with_its_length_and_its_losses(tmp_path: Path):
    """Open, the first reading, lost, open, back, silent, back: one line each, in this order, with how long and how many
    were lost; together they are all that were lost."""
    port, controller = observed(tmp_path, Eventful(Robot(1, 200.0), 8.0))
    said = [one.text for one in port.happened]
    assert [text.split(":")[0].split(" after ")[0] for text in said] == [
        "the port is open",
        "the robot answers",
        "the link was lost",
        "the port is open",
        "back",
        "no reading has come for 1 s; the port is open",
        "back",
    ]
    assert said[2] == "the link was lost: unplugged"
    lost = [int(text.split()[-2]) for text in said if text.startswith("back")]
    assert sum(lost) == controller.counts.lost > 200
    assert said[4].startswith("back after 0.")
    assert said[6].startswith("back after 1.")
    assert not port.gone


def test_a_run_is_the_same_with_and_without_it(tmp_path: Path):
    """The same readings, actions and bytes."""
    found = []
    for wrapped in (True, False):
        port = SimulatedPort(Robot(3, 200.0), 2.0)
        controller, bridge = Controller(small_robot.model(), parse_config(small_robot.CONFIG, "r", tmp_path)), Bridge()
        late = LateAnswers(machine=Machine(tmp_path))
        summary = run(ObservedPort(port, controller, bridge, late) if wrapped else port, bridge, controller)
        found.append((summary.counts, summary.link, port.robot.drive.torque_limits))
    assert found[0] == found[1]
