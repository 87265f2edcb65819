"""Foxglove's protocol, heard by a client that was written from its description: live runs and recordings."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("foxglove", reason="the extra `foxglove` has it")
pytest.importorskip("websockets", reason="the extra `test` has it")

from edge_lstm.core.storage import load
from edge_lstm.errors import DaemonError
from edge_lstm.robot.config import load_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run as run_loop
from edge_lstm.serve.feed import Feed
from edge_lstm.serve.playback import Playback, topics_of
from edge_lstm.serve.verdict import Judge
from edge_lstm.serve.viewer import Door, Foxglove
from firmware_bridge.recordings.reader import Recording, open_recording
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.faults import Faults, Rates
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from tests.support.foxglove_client import Viewer
from tests.support.written_run import WrittenRun

EXAMPLES = Path(__file__).parents[2] / "edge_lstm" / "examples"
TOPICS = {"/outputs", "/actions/motor_limits", "/readings/imu_wheels", "/link", "/events", "/status"}


def test_a_run_is_seen(tmp_path: Path) -> None:
    """Topics, names and units as in a recording; every row at its own time with its numbers to the last bit, every
    event; an action that was not sent is no message, and what is no number is null. Other names are declared anew."""
    run, feed, shown = WrittenRun(tmp_path), Feed(tmp_path / "cart", "cart"), Foxglove(Door("127.0.0.1", 0), "cart")
    viewer = Viewer(shown.port)
    judge = Judge()

    def look() -> None:
        run.tell()
        batch = feed.poll()
        shown.take(batch, judge.of(batch.status), run.started_ns)

    run.opened()
    run.row((0, 0, 0), (0, 0), (0, 0))
    look()
    viewer.until(lambda: {one["topic"] for one in viewer.channels.values()} == TOPICS)
    schema = next(json.loads(c["schema"]) for c in viewer.channels.values() if c["topic"] == "/actions/motor_limits")
    assert schema["properties"]["torque_left"] == {"type": "number", "description": "N m"}
    viewer.settle()
    times = []
    for k in range(500):
        times.append(run.row((k, float("nan"), 24.5), (k / 3, 0.5), (k / 7, 0.25), sent=k % 2 == 0))
        if k % 100 == 0:
            look()
            viewer.listen(0.02)
    stall = {"event": "stall", "kind": "watched", "what": "begins", "text": "it stalls", "value": 0.9, "of": "s"}
    at_ns = run.event(stall)
    look()
    viewer.until(lambda: len(viewer.on("/readings/imu_wheels")) >= 500 and viewer.on("/events"))
    readings = [(t_ns, {"speed_left": k, "speed_right": None, "battery": 24.5}) for k, t_ns in enumerate(times)]
    assert viewer.on("/readings/imu_wheels")[-500:] == readings
    assert viewer.on("/outputs")[-500:] == [(t, {"slip_left": k / 3, "slip_right": 0.5}) for k, t in enumerate(times)]
    assert [t for t, _ in viewer.on("/actions/motor_limits")][-250:] == times[::2]
    assert viewer.on("/events")[-1][0] == at_ns
    assert viewer.on("/events")[-1][1]["text"] == "stall begins: it stalls (s = 0.9)"
    other = WrittenRun(tmp_path / "other", readings=("a", "b"), outputs=("c",), actions=())
    run.binding = other.binding
    run.row((1, 2), (3,), None)
    look()
    viewer.until(lambda: "/actions/motor_limits" not in {one["topic"] for one in viewer.channels.values()})
    viewer.close()
    shown.close()
    feed.close()
    run.close()
    other.close()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Three seconds of a drive with faults."""
    path = tmp_path_factory.mktemp("drive") / "drive.mcap"
    config, model = load_config(EXAMPLES / "robot.toml"), load(EXAMPLES / "slip_stall.npz")
    port = SimulatedPort(Robot(3, 200.0), 3.0, Faults(1, Rates.parse("silence=0.5")))
    recorder = Recorder(path)
    run_loop(port, config.open_link(), Controller(model, config), recorder)
    recorder.close()
    return open_recording(path)


@contextmanager
def playing(recording: Recording, speed: float) -> Iterator[Viewer]:
    """A playback and somebody who looks at all of it, from its beginning on."""
    playback = Playback(recording, Door("127.0.0.1", 0), speed)
    ended = threading.Event()
    viewer = Viewer(playback.viewers.port)
    viewer.until(lambda: {one["topic"] for one in viewer.channels.values()} >= set(topics_of(recording)))
    viewer.settle()
    thread = threading.Thread(target=playback.play, args=(ended.is_set,))
    thread.start()
    try:
        yield viewer
    finally:
        ended.set()
        thread.join(60)
        viewer.close()
        playback.close()


def test_a_recording_has_its_own_timeline(recording: Recording) -> None:
    """It says its first and last time; played, everything derived that it holds arrives once, in order, and the end is
    told; then a seek goes back, and only what lies behind it comes again."""
    first_ns, last_ns = recording.span()
    held = list(recording.trees(topics_of(recording)))
    with playing(recording, 20.0) as viewer:
        assert "playbackControl" in viewer.info["capabilities"]
        times = [viewer.info[key]["sec"] * 10**9 + viewer.info[key]["nsec"] for key in ("dataStartTime", "dataEndTime")]
        assert times == [first_ns, last_ns]
        viewer.until(lambda: viewer.states and viewer.states[-1].status == 3)
        viewer.until(lambda: len(viewer.messages) >= len(held))
        assert viewer.messages == held
        viewer.messages.clear()
        middle_ns = (first_ns + last_ns) // 2
        viewer.control(play=True, speed=20.0, seek_ns=middle_ns, request="back")
        viewer.until(lambda: any(state.request == "back" for state in viewer.states))
        state = next(state for state in viewer.states if state.request == "back")
        assert (state.sought, state.t_ns) == (True, middle_ns)
        after = [one for one in held if one[1] >= middle_ns]
        viewer.until(lambda: len(viewer.messages) >= len(after))
        assert viewer.messages == after


def test_pause_and_speed(recording: Recording) -> None:
    """While paused nothing comes, and time stands; at another speed it goes on from there, and nothing is missing."""
    held = list(recording.trees(topics_of(recording)))
    with playing(recording, 0.1) as viewer:  # half a minute: it is paused before it has ended
        viewer.until(lambda: len(viewer.messages) > 20)
        viewer.control(play=False, request="stop")
        viewer.until(lambda: any(state.request == "stop" and state.status == 1 for state in viewer.states))
        paused = next(state for state in viewer.states if state.request == "stop")
        viewer.listen(0.7)
        assert sum(t_ns > paused.t_ns for _, t_ns, _ in viewer.messages) <= 1  # that was on its way
        assert len(viewer.messages) < len(held)
        viewer.control(play=True, speed=50.0, request="on")
        viewer.until(lambda: len(viewer.messages) >= len(held))
        assert viewer.messages == held


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, recording: Recording) -> None:
    """A sentence that says what to install."""
    monkeypatch.setitem(sys.modules, "foxglove", None)
    for make in (
        lambda: Foxglove(Door("127.0.0.1", 0), "cart"),
        lambda: Playback(recording, Door("127.0.0.1", 0), 1.0),
    ):
        with pytest.raises(DaemonError, match=r"install.*foxglove-sdk"):
            make()


def test_a_port_that_is_taken() -> None:
    """Is named with its option."""
    shown = Foxglove(Door("127.0.0.1", 0), "cart")
    with pytest.raises(DaemonError, match="--foxglove"):
        Foxglove(Door("127.0.0.1", shown.port), "cart")
    shown.close()


def test_strangers_do_not_write_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever knocks with what is no websocket is let go without a line of foxglove-sdk's."""
    shown = Foxglove(Door("127.0.0.1", 0), "cart")
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", shown.port), 10) as one:
            one.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            while one.recv(4096):
                pass
    shown.close()
    assert not caplog.records
