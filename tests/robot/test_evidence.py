"""A recording is evidence: what it says of its bytes must follow from them, or it does not verify."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_lstm.cli import main
from edge_lstm.core.storage import save
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run
from edge_lstm.robot.replay import Comparison, replay
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.recordings import mcap_writer
from firmware_bridge.recordings import recorder as recorder_module
from firmware_bridge.recordings.mcap_reader import McapReader
from firmware_bridge.recordings.mcap_writer import McapWriter
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.faults import Faults, Rates
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from tests.support.robots import small_robot

CONFIG = small_robot.CONFIG + '[policy]\nmissing = "hold"\nlongest_gap = 60\n'
RATES = Rates(flip=2e-4, lose=1e-4, double=1e-4, cut=1e-4, silence=0.5, reset=0.3, unplug=0.2)
SECONDS = 5.0
TOPICS = ("/readings/imu_wheels", "/outputs", "/actions/motor_limits", "/link", "/overdue", "/device")

CDR = b"\0\1\0\0"  # how a message of numbers begins

Messages = list[tuple[str, int, bytes]]


def controller() -> Controller:
    return Controller(small_robot.model(), parse_config(CONFIG, "robot.toml", Path()))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 s of a robot with faults of every kind, its model and robot.toml in it."""
    folder = tmp_path_factory.mktemp("evidence")
    save(small_robot.model(), folder / "model.npz")
    attachments = {"model.npz": (folder / "model.npz").read_bytes(), "robot.toml": CONFIG.encode()}
    recorder = Recorder(folder / "run.mcap", {}, attachments, wait=True)
    run(SimulatedPort(Robot(4), SECONDS, Faults(9, RATES)), Bridge(), controller(), recorder)
    recorder.close()
    return folder / "run.mcap"


def rewritten(path: Path, place: Path, change: Callable[[Messages], Messages], dropped: int = 0) -> Path:
    """The recording with other messages, whole and with good checksums, as somebody who knows the format leaves it."""
    reader = McapReader(path)
    schemas = {kind.topic: kind.schema for kind, *_ in reader.read(None) if not kind.topic.startswith("/wire/")}
    messages = change(list(reader.messages(None)))
    writer = McapWriter(place, reader.metadata, reader.attachments)
    for topic, t_ns, data in messages:
        writer.add(topic, schemas.get(topic, b""), t_ns, data)
    writer.finish({"dropped": str(dropped)})
    return place


def verdict(path: Path) -> Comparison:
    return replay(RecordingPort(path), controller(), derived=True)[1]


def places(messages: Messages, topic: str) -> list[int]:
    found = [at for at, message in enumerate(messages) if message[0] == topic]
    assert len(found) > 1
    return found


def another_topic(messages: Messages, topic: str) -> Messages:
    at = places(messages, topic)[1]
    messages[at] = ("/elsewhere", *messages[at][1:])
    return messages


def another_value(messages: Messages, topic: str) -> Messages:
    """The last digit of one number or text is another."""
    at = places(messages, topic)[1]
    _, t_ns, data = messages[at]
    if data.startswith(CDR):
        messages[at] = (topic, t_ns, data[:-8] + bytes([data[-8] ^ 1]) + data[-7:])
        return messages
    tree = json.loads(data)
    key = next(key for key in reversed(tree) if key in tree)
    value = tree[key]
    tree[key] = value + "x" if isinstance(value, str) else (value or 0.0) * (1 + 2**-52) + (1e-300 if not value else 0)
    messages[at] = (topic, t_ns, json.dumps(tree, separators=(",", ":")).encode())
    assert messages[at][2] != data
    return messages


def another_time(messages: Messages, topic: str) -> Messages:
    at = places(messages, topic)[1]
    messages[at] = (topic, messages[at][1] + 1, messages[at][2])
    return messages


def another_order(messages: Messages, topic: str) -> Messages:
    first, second = places(messages, topic)[:2]
    messages[first], messages[second] = messages[second], messages[first]
    return messages


def missing(messages: Messages, topic: str) -> Messages:
    del messages[places(messages, topic)[1]]
    return messages


def extra(messages: Messages, topic: str) -> Messages:
    at = places(messages, topic)[1]
    return [*messages[:at], messages[at], *messages[at:]]


def test_an_untouched_recording_verifies_and_says_what_was_compared(recording: Path, tmp_path: Path) -> None:
    """Every message of every derived topic is compared, and the verdict counts them; so it is when it was copied."""
    for path in (recording, rewritten(recording, tmp_path / "copy.mcap", lambda messages: messages)):
        found = verdict(path)
        assert found.same, found.sentence()
        topics = RecordingPort(path).recording.topics()
        assert found.derived.compared == {topic: topics[topic] for topic in TOPICS}
        for topic in TOPICS:
            assert f"{topics[topic]} of {topic}" in found.sentence()


@pytest.mark.parametrize("change", [another_topic, another_value, another_time, another_order, missing, extra])
@pytest.mark.parametrize("topic", TOPICS)
def test_a_changed_recording_does_not_verify(
    recording: Path, tmp_path: Path, topic: str, change: Callable[[Messages, str], Messages]
) -> None:
    """Each topic, each kind of change, one message of thousands: no longer the same, and the difference is named."""
    found = verdict(rewritten(recording, tmp_path / "x.mcap", lambda messages: change(messages, topic)))
    assert found.writes_agree
    assert not found.same
    assert topic in found.derived.first
    assert "at t_ns" in found.derived.first
    assert found.derived.differing + found.derived.missing <= 4
    assert found.derived.first in found.sentence()


def test_the_command_fails_for_a_changed_recording_only(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0 for what was recorded, 1 for a changed output, and --json says where."""
    changed = rewritten(recording, tmp_path / "x.mcap", lambda messages: another_value(messages, "/outputs"))
    assert main(["replay", str(recording), "--verify"]) == 0
    capsys.readouterr()
    assert main(["replay", str(changed), "--verify", "--json"]) == 1
    tree = json.loads(capsys.readouterr().out)["comparison"]
    assert (tree["same"], tree["differing_bits"], tree["derived"]["differing"]) == (False, 0, 1)
    assert "/outputs" in tree["derived"]["first"]


def test_an_old_recording_may_say_it_in_other_words(recording: Path, tmp_path: Path) -> None:
    """Where a newer version wrote it, the sentences of events are not compared; their values are."""

    def older(change: dict[str, object]) -> Comparison:
        def changed(messages: Messages) -> Messages:
            at = places(messages, "/link")[1]
            tree = json.loads(messages[at][2]) | change
            messages[at] = ("/link", messages[at][1], json.dumps(tree).encode())
            return messages

        reader = McapReader(recording)
        (tmp_path / "x.mcap").unlink(missing_ok=True)
        path = rewritten(recording, tmp_path / "x.mcap", changed)
        data = path.read_bytes()
        mark = b"form\x01\x00\x00\x004"
        assert reader.metadata["form"] == "4"
        assert data.count(mark) == 1
        path.write_bytes(data.replace(mark, mark[:-1] + b"5"))
        return verdict(path)

    assert older({"text": "As it was said once."}).same
    assert not older({"event": "another"}).same


def test_what_the_recorder_left_out_may_be_missing_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that is too small leaves out derived messages: every write is compared, the verdict says how many
    messages were not; one more that is missing is a difference, and so are notes that no end confirms."""
    monkeypatch.setattr(recorder_module, "DRAIN_S", 3600.0)
    recorder = Recorder(tmp_path / "run.mcap", {}, {}, queue_items=1000)
    run(SimulatedPort(Robot(4), 2.0), Bridge(), controller(), recorder)
    recorder.close()
    path = tmp_path / "run.mcap"
    found = verdict(path)
    assert found.same, found.sentence()
    assert found.derived.left_out == recorder.dropped > 100
    assert f"{recorder.dropped} of them the recorder had left out" in found.sentence()
    fewer = rewritten(
        path, tmp_path / "x.mcap", lambda messages: missing(messages, "/outputs"), dropped=recorder.dropped
    )
    assert not verdict(fewer).same
    assert not verdict(rewritten(path, tmp_path / "y.mcap", lambda messages: messages, dropped=0)).same


def test_what_the_recorder_left_out_is_said_before_what_came_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a recording of a busy machine that was cut off is not taken for one that lacks more than it says."""
    monkeypatch.setattr(recorder_module, "DRAIN_S", 3600.0)
    monkeypatch.setattr(mcap_writer, "BLOCK_BYTES", 4096)
    recorder = Recorder(tmp_path / "run.mcap", {}, {}, queue_items=1000)
    run(SimulatedPort(Robot(4), 2.0), Bridge(), controller(), recorder)
    recorder.close()
    data, left_out = (tmp_path / "run.mcap").read_bytes(), set()
    for share in (70, 80, 90, 97):
        (tmp_path / "cut.mcap").write_bytes(data[: len(data) * share // 100])
        found = verdict(tmp_path / "cut.mcap")
        assert found.cut
        assert found.same, found.sentence()
        left_out.add(found.derived.left_out)
    assert len(left_out) > 1


def test_a_cut_recording_is_compared_up_to_its_cut(recording: Path, tmp_path: Path) -> None:
    """The last chunk's messages may be missing, no other's."""
    data = recording.read_bytes()
    for share in (0.7, 0.8, 0.95):
        (tmp_path / "cut.mcap").write_bytes(data[: int(len(data) * share)])
        found = verdict(tmp_path / "cut.mcap")
        assert found.same, found.sentence()
        assert found.derived.compared["/outputs"] > 30
