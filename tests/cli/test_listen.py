"""`edge-lstm listen`, and what `describe` and `run` say of a board that is none of ours: never a byte to it."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from edge_lstm.cli import listen, main
from tests.cli.test_live import has_open, simulated, until
from tests.support.commands import called, heard, long_enough
from tests.support.robots import small_robot
from tests.support.robots.talkers import TALKERS, on_a_terminal

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]


@pytest.mark.parametrize("name", ["pairs", "json", "struct"])
def test_what_arrives_is_shown_with_the_block_to_paste(name: str):
    """Fields with their values, the rate, [port] and [link] as TOML, the next command; and nothing is written."""
    talker = TALKERS[name]
    with on_a_terminal(talker.say) as (port, got):
        out = heard(0.5, "listen", port).stdout
    assert f"{port} at 115200 baud" in out
    assert f"next: edge-lstm init {port}" in out
    block = tomllib.loads(out[out.index("[port]") : out.index("next:")])
    assert block["port"] == {"device": port, "baud": 115200}
    (reading, *_) = block["link"]["reading"].values()
    assert block["link"]["dialect"] == talker.dialect
    assert reading["fields"] == list(talker.fields)
    assert reading["rate_hz"] > 0  # how many come in half a second is the machine's business; test_recognizer judges it
    for field in talker.fields:
        assert f"    {field} " in out
    assert got == b""


def test_json_is_all_of_it():
    """--json: one object with kind, readings, block, port, baud and the rates that were tried."""
    with on_a_terminal(TALKERS["missing values"].say) as (port, _):
        found = json.loads(heard(0.4, "listen", port, "--json").stdout)
    assert (found["port"], found["baud"], found["tried"], found["kind"]) == (port, 115200, [115200], "text")
    assert tomllib.loads(found["link_block"])["link"]["dialect"] == "lines"


def test_a_board_of_ours_is_named(tmp_path: Path):
    """Its HELLO is enough; the next command is given."""
    with simulated(tmp_path / "port"):
        assert "our own protocol arrives" in heard(1.5, "listen", tmp_path / "port").stdout


def test_silence_and_noise_are_exit_code_3(capsys: pytest.CaptureFixture[str]):
    """Nothing, and bytes that make no sense at the only baud rate that may be tried: a sentence, and JSON if asked."""
    with on_a_terminal(lambda k: b"") as (port, got):
        assert main(["listen", port, "--seconds", "0.3"]) == 3
    err = capsys.readouterr().err
    assert "nothing has arrived in 0.3" in err
    assert "by hand: firmware_bridge/links/README.md" in err
    with on_a_terminal(random.Random(1).randbytes) as (port, more):
        words = "listen", port, "--baud", "9600", "--json"
        done = long_enough(
            0.4, lambda seconds: called(*words, "--seconds", seconds), lambda done: "make no sense" in done.stderr
        )
    assert done.returncode == 3
    assert "make no sense" in done.stderr
    assert "(at 9600 baud)" in done.stderr
    assert json.loads(done.stdout)["kind"] == "noise"
    assert got + more == b""


def test_other_baud_rates_are_tried(monkeypatch: pytest.MonkeyPatch):
    """A board that makes sense at 57600 baud only is found there; at a rate that is given, it is not."""
    monkeypatch.setattr(listen, "OTHERS", (9600, 57600, 38400))
    monkeypatch.setattr(listen, "_LOOK_NS", 200_000_000)
    rng, place = random.Random(1), [-1]

    def say(k: int) -> bytes:
        right = place[0] >= 0 and termios.tcgetattr(place[0])[4] == termios.B57600
        return TALKERS["pairs"].say(k) if right else rng.randbytes(30)

    with on_a_terminal(say) as (port, got):
        place[0] = os.open(port, os.O_RDWR | os.O_NOCTTY)
        found = json.loads(heard(0.6, "listen", port, "--json").stdout)
        assert (found["baud"], found["tried"]) == (57600, [115200, 9600, 57600])
        assert main(["listen", port, "--seconds", "0.3", "--baud", "9600"]) == 3
        os.close(place[0])
    assert got == b""


def unread(port: str) -> int:
    """Bytes that wait there for whoever reads."""
    fd = os.open(port, os.O_RDWR | os.O_NOCTTY)
    try:
        return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)
    finally:
        os.close(fd)


def test_control_c_shows_what_was_found_so_far():
    """SIGINT in the middle of a long listening: exit code 0 and the findings."""
    said: list[int] = []

    def say(k: int) -> bytes:
        said.append(k)
        return TALKERS["pairs"].say(k)

    with on_a_terminal(say) as (port, _):
        command = [sys.executable, "-m", "edge_lstm", "listen", port, "--seconds", "60"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            until(lambda: has_open(process, port))
            opened = len(said)
            until(lambda: len(said) > opened + 40 and unread(port) < 4 * len(say(0)))  # the rest has been heard
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Setpoint" in out


def test_a_network_port_is_listened_to(capsys: pytest.CaptureFixture[str]):
    """udp://: no baud rate is spoken of, and --baud is refused."""
    assert main(["listen", "udp://127.0.0.1:9", "--baud", "9600"]) == 2
    assert "--baud means nothing" in capsys.readouterr().err
    assert main(["listen", "udp://127.0.0.1:9", "--seconds", "0.1"]) == 3
    err = capsys.readouterr().err
    assert "nothing has arrived" in err
    assert "baud" not in err


@pytest.mark.parametrize(("name", "words"), [("pairs", "Setpoint:"), ("struct", "AA 55"), ("mavlink", "ATTITUDE")])
def test_describe_says_what_arrives_and_writes_nothing(
    name: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A board that is none of ours: exit code 3, its line or head or message, listen as the way on, 0 bytes."""
    monkeypatch.setattr("edge_lstm.cli.describe._PATIENCE_NS", 500_000_000)
    with on_a_terminal(TALKERS[name].say) as (port, got):
        assert main(["describe", port]) == 3
    err = capsys.readouterr().err
    assert words in err
    assert f"edge-lstm listen {port} says more" in err
    assert got == b""


def test_run_says_what_arrives_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A robot.toml of our own protocol at a board that prints text: said after a while and at the end, 0 bytes."""
    monkeypatch.setattr("edge_lstm.cli.arrived.PATIENCE_S", 0.3)
    config = small_robot.folder(tmp_path)
    with on_a_terminal(TALKERS["json"].say) as (port, got):
        assert main(["run", str(config), "--port", port, "--seconds", "2", "--no-record"]) == 3
    err = capsys.readouterr().err
    assert "note: " in err
    assert "has not answered yet; text arrives: JSON" in err
    assert "the robot never answered; text arrives: JSON" in err
    assert got == b""
