"""MQTT, through mosquitto: what a listener hears of a run, and of its end."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("paho.mqtt", reason="the extra `mqtt` has it")

from edge_lstm.errors import DaemonError
from edge_lstm.serve.feed import Feed
from edge_lstm.serve.mqtt import Broker, Mqtt
from edge_lstm.serve.verdict import Judge
from tests.support.broker import MOSQUITTO, WHY_NOT, Listener, broker
from tests.support.free_port import free_port
from tests.support.written_run import WrittenRun

needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason=WHY_NOT)


class Shown:
    """A run and its MQTT client, looked at by hand."""

    def __init__(self, folder: Path, port: int) -> None:
        self.run = WrittenRun(folder)
        self.feed, self.judge = Feed(self.run.folder, "cart"), Judge()
        self.mqtt = Mqtt(Broker("127.0.0.1", port, None, None, False), "cart")
        self.connect()

    def connect(self) -> None:
        """Wait until it is."""
        deadline = time.monotonic() + 60
        while not self.mqtt.connected:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def look(self) -> None:
        self.run.tell()
        batch = self.feed.poll()
        self.mqtt.take(batch, self.judge.of(batch.status), time.time_ns())

    def close(self) -> None:
        self.mqtt.close()
        self.feed.close()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    number = free_port()
    with broker(tmp_path, number):
        yield number


@needs_broker
def test_a_run_is_heard(tmp_path: Path, port: int) -> None:
    """Online, status, the latest numbers to the last bit, every event in its order with a sentence; what was before is
    not said again; and the goodbye."""
    listener, shown = Listener(port), Shown(tmp_path, port)
    shown.run.opened()
    shown.run.event({"event": "before", "text": "it was"})
    shown.run.row((1.5, float("nan"), 24.1), (0.1, 1 / 3), (0.5, 0.625))
    shown.look()
    for k in range(300):
        event = {"event": "stall", "kind": "watched", "what": "begins", "of": "slip", "value": k, "text": "it stalls"}
        shown.run.event(event)
        if k % 50 == 0:
            shown.look()
    shown.look()
    events = [json.loads(one) for one in listener.until("edge-lstm/cart/event", 300)]
    assert [one["value"] for one in events] == list(range(300))
    assert events[0]["text"] == "stall begins: it stalls (slip = 0)"
    assert (events[0]["threshold"], events[0]["level"]) == (True, "warn")
    assert listener.until("edge-lstm/cart/online") == [b"online"]
    assert json.loads(listener.until("edge-lstm/cart/outputs")[0]) == {"slip_left": 0.1, "slip_right": 1 / 3}
    readings = json.loads(listener.until("edge-lstm/cart/readings")[0])
    assert readings == {"speed_left": 1.5, "speed_right": None, "battery": 24.1}
    status = json.loads(listener.until("edge-lstm/cart/status")[-1])
    assert set(status) == {"t", "level", "title", "detail", "link", "truths", "totals"}
    shown.close()
    assert listener.until("edge-lstm/cart/online", 2)[-1] == b"offline"
    shown.run.close()
    listener.close()


@needs_broker
def test_home_assistant_finds_it(tmp_path: Path, port: int) -> None:
    """One kept message declares the device: every entity has an id of its own, a topic that is really sent, and a
    template that takes a key which is really there; who comes later finds it, too."""
    early, shown = Listener(port), Shown(tmp_path, port)
    shown.run.opened()
    shown.run.row((1.5, 2, 24.1), (0.1, 0.2), (0.5, 0.625))
    shown.look()
    topic = "homeassistant/device/edge_lstm_cart/config"
    early.until(topic)
    late = Listener(port)
    declared: dict[str, Any] = json.loads(late.until(topic)[0])
    assert [kept for one, _, kept in late.heard if one == topic] == [True]
    assert declared["device"]["identifiers"] == ["edge_lstm_cart"]
    assert declared["availability_topic"] == "edge-lstm/cart/online"
    parts = declared["components"].values()
    assert len({one["unique_id"] for one in parts}) == len(parts) == 3 + 4 + 4
    for one in parts:
        assert one["platform"] in ("sensor", "binary_sensor")
        tree = json.loads(early.until(one["state_topic"])[-1])
        for key in _keys(one["value_template"]):
            assert key in tree, one
            tree = tree[key]
    assert declared["components"]["actions_torque_left"]["unit_of_measurement"] == "N m"
    shown.close()
    shown.run.close()
    early.close()
    late.close()


def _keys(template: str) -> list[str]:
    """What a template takes of value_json."""
    rest = template.partition("value_json")[2].split(" ")[0]
    return [json.loads(rest[1:-1])] if rest.startswith("[") else rest.strip(".").split(".")


@needs_broker
def test_the_last_will(tmp_path: Path, port: int) -> None:
    """A process that is killed is offline: the broker says so in its name."""
    run = WrittenRun(tmp_path)
    run.tell()
    program = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from edge_lstm.serve.feed import Feed
        from edge_lstm.serve.mqtt import Broker, Mqtt
        from edge_lstm.serve.verdict import Judge
        feed = Feed(Path({str(run.folder)!r}), "cart")
        mqtt = Mqtt(Broker("127.0.0.1", {port}, None, None, False), "cart")
        while True:
            mqtt.take(feed.poll(), Judge().nobody(""), time.time_ns())
            time.sleep(0.05)
        """)
    listener = Listener(port)
    process = subprocess.Popen([sys.executable, "-c", program])
    assert listener.until("edge-lstm/cart/online")[-1] == b"online"
    process.kill()
    process.wait()
    assert listener.until("edge-lstm/cart/online", 2)[-1] == b"offline"
    listener.close()
    run.close()


@needs_broker
def test_events_wait_for_a_broker_that_is_gone(tmp_path: Path) -> None:
    """The broker ends and comes back having forgotten all: what happened meanwhile arrives, in its order, and what it
    keeps is there again."""
    number = free_port()
    with broker(tmp_path, number):
        shown = Shown(tmp_path, number)
        shown.look()
    for k in range(20):
        shown.run.event({"event": "reset", "text": f"number {k}"})
        shown.look()
    with broker(tmp_path, number):
        listener = Listener(number)
        shown.connect()
        shown.look()
        events = [json.loads(one) for one in listener.until("edge-lstm/cart/event", 20)]
        assert [one["text"] for one in events] == [f"number {k}" for k in range(20)]
        assert listener.until("edge-lstm/cart/online")[-1] == b"online"
        assert listener.until("homeassistant/device/edge_lstm_cart/config")
        listener.close()
        shown.close()
    shown.run.close()


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("10.0.0.7", Broker("10.0.0.7", 1883, None, None, False)),
        ("broker:1884", Broker("broker", 1884, None, None, False)),
        ("mqtts://me:p%40ss@broker", Broker("broker", 8883, "me", "p@ss", True)),
        ("mqtt://[::1]:1883", Broker("::1", 1883, None, None, False)),
        ("http://broker", None),
        ("mqtt://", None),
        ("mqtt://me:secret@broker:port", None),
        ("mqtt://broker/topic", None),
    ],
)
def test_brokers(text: str, made: Broker | None) -> None:
    """HOST[:PORT], or an address with user and TLS; what is none is refused by its option's name, and a password is
    not repeated."""
    if made is not None:
        assert Broker.parse(text) == made
        return
    with pytest.raises(DaemonError, match="--mqtt") as caught:
        Broker.parse(text)
    assert "secret" not in str(caught.value)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence that says what to install."""
    for name in ("paho.mqtt.client", "paho.mqtt.enums"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DaemonError, match=r"install.*paho-mqtt"):
        Mqtt(Broker("127.0.0.1", 1, None, None, False), "cart")


@needs_broker
def test_people_are_told_whether_the_broker_is_there(tmp_path: Path):
    """Not there, there, gone: each is a sentence with its address, once, and none of them at the end."""
    port, said = free_port(), list[str]()
    mqtt = Mqtt(Broker("127.0.0.1", port, None, None, False), "cart", said.append)

    def wait_for(count: int) -> None:
        deadline = time.monotonic() + 60
        while len(said) < count:
            assert time.monotonic() < deadline, said
            time.sleep(0.02)

    wait_for(1)
    with broker(tmp_path, port):
        wait_for(2)
    wait_for(3)
    mqtt.close()
    where = f"MQTT broker 127.0.0.1:{port}"
    assert said[0].startswith(f"{where} cannot be reached")
    assert said[1] == f"{where} is connected"
    assert said[2].startswith(f"{where} is gone")
