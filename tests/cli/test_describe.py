"""`edge-lstm describe PORT`: the names that robot.toml needs, from the robot itself."""

from __future__ import annotations

import json
import os
import threading
import time
import tty
from pathlib import Path

from edge_lstm.cli import main
from edge_lstm.robot.config import parse_config
from firmware_bridge.links.own.device import Device
from tests.cli.test_live import simulated
from tests.support.robots import small_robot
from tests.support.robots.lagging import DATED


def test_a_robot_describes_its_fields(tmp_path: Path, capsys):
    """Field, type, unit, limits and rate of every declared message, for people and as JSON."""
    with simulated(tmp_path / "port"):
        assert main(["describe", str(tmp_path / "port"), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert main(["describe", str(tmp_path / "port")]) == 0
        text = capsys.readouterr().out
    reading, action = sorted(found["formats"], key=lambda form: form["direction"], reverse=True)
    assert (reading["name"], reading["rate_hz"], action["name"]) == ("imu_wheels", 200.0, "motor_limits")
    assert {"name", "type", "unit"} <= set(reading["fields"][0])
    assert action["fields"][0]["maximum"] == 1.0
    assert text.splitlines()[0] == f"{found['device']} {found['version']}, dictionary {found['dictionary']}"
    pin = f'[robot]\ndevice = "{found["device"]}"\ndictionary = "{found["dictionary"]}"\n'
    assert parse_config(small_robot.CONFIG + pin, "robot.toml", tmp_path).robot.dictionary == found["dictionary"]
    for word in ('[readings] format = "imu_wheels"', "rad/s", '[action] format = "motor_limits"', "0 to 1"):
        assert word in text


def test_a_port_that_does_not_answer_is_an_error(capsys):
    """A pseudo-terminal with nobody behind it: code 3 and a sentence after three seconds."""
    ours, theirs = os.openpty()
    assert main(["describe", os.ttyname(theirs)]) == 3
    assert "nothing has arrived in 3" in capsys.readouterr().err
    os.close(ours)
    os.close(theirs)


def test_a_network_port_has_no_baud(capsys):
    """--baud for a robot on the network, or a port of a kind that there is not: a sentence, and nothing is opened."""
    assert main(["describe", "tcp://127.0.0.1:1", "--baud", "9600"]) == 2
    assert "--baud means nothing for tcp://127.0.0.1:1" in capsys.readouterr().err
    assert main(["describe", "can://127.0.0.1:1"]) == 3
    assert "there are no ports can://" in capsys.readouterr().err


def test_a_fault_is_shown_and_ended_by_a_person(capsys):
    """A robot in a fault: its reason, escape sequences taken out; --clear-fault ends it, and it is gone afterwards."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    device, ended = Device(DATED, 7), threading.Event()
    device.fault(0, "too hot \x1b[2J")

    def board() -> None:
        start = time.monotonic()
        while not ended.wait(0.002):
            us = int((time.monotonic() - start) * 1e6)
            try:
                data = os.read(ours, 4096)
            except BlockingIOError:
                data = b""
            device.receive(us, data)
            device.tick(us)
            os.write(ours, device.outgoing())

    thread = threading.Thread(target=board)
    thread.start()
    port = os.ttyname(theirs)
    try:
        assert main(["describe", port]) == 0
        assert "fault: too hot \ufffd[2J (describe --clear-fault ends it)" in capsys.readouterr().out
        assert device.state == "fault"
        assert main(["describe", port, "--clear-fault"]) == 0
        assert "(cleared)" in capsys.readouterr().out
        assert main(["describe", port, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["fault"], found["cleared"], device.state) == ("", False, "idle")
        assert next(form["max_age_ms"] for form in found["formats"] if form["direction"] == "action") == 250
    finally:
        ended.set()
        thread.join()
        os.close(ours)
        os.close(theirs)
