"""MQTT: status and numbers every second, every event of the run, a last will, discovery by Home Assistant.

    edge-lstm/NAME/online     "online" or "offline", kept; the last will
    edge-lstm/NAME/status     JSON, kept: level, title, detail, truths and totals
    edge-lstm/NAME/outputs    JSON, and /actions, /readings: the latest of each
    edge-lstm/NAME/event      JSON for each event, QoS 1: none is missing while the broker can be reached
    homeassistant/device/…    one message that declares all of it

Its rule: the broker may come and go; events wait for it, numbers do not. What had happened before this process began is
not said again.
"""

from __future__ import annotations

import json
import re
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from edge_lstm.core.version import __version__
from edge_lstm.errors import DaemonError
from edge_lstm.serve.feed import KINDS, Batch, Run
from edge_lstm.serve.sentences import is_threshold, sentence_of
from edge_lstm.serve.sink import missing
from edge_lstm.serve.verdict import Verdict

EVERY_S = 1.0
WAITING = 10_000  # events that wait for a broker that is gone
KEEPALIVE_S = 10  # after one and a half of it without a word the broker publishes the last will
PREFIX, DISCOVERY = "edge-lstm", "homeassistant"
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_TOTALS = {"readings": "Readings", "lost": "Readings lost", "resets": "Resets", "actions": "Actions"}


@dataclass(frozen=True)
class Broker:
    """Where it is: mqtt://[USER[:PASSWORD]@]HOST[:PORT], or mqtts:// for TLS."""

    host: str
    port: int
    user: str | None
    password: str | None
    tls: bool

    @classmethod
    def parse(cls, text: str) -> Broker:
        """DaemonError: it is none."""
        try:
            url = urlsplit(text if "://" in text else f"mqtt://{text}")
            port = url.port
        except ValueError:
            url, port = urlsplit(""), None
        if url.scheme not in _PORTS or not url.hostname or url.path.strip("/") or url.query:
            why = "is no broker; say HOST, HOST:PORT or mqtt[s]://USER:PASSWORD@HOST:PORT"
            raise DaemonError(f"--mqtt: {why}")  # without the text: it may hold a password
        user, password = (None if one is None else unquote(one) for one in (url.username, url.password))
        return cls(url.hostname, port or _PORTS[url.scheme], user, password, url.scheme == "mqtts")


class Mqtt:
    """The client of one broker. DaemonError: the extra is not installed."""

    def __init__(self, broker: Broker, name: str, say: Callable[[str], None] = lambda sentence: None) -> None:
        """say: is told, in whatever thread, when the broker is there, is not, or refuses; once each time it changes."""
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise missing("paho-mqtt", error) from error
        self.name = re.sub(r"[^A-Za-z0-9._-]", "_", name)
        self._topic = f"{PREFIX}/{self.name}"
        self._config = f"{DISCOVERY}/device/edge_lstm_{self.name}/config"
        self._where, self._say, self._said = f"MQTT broker {broker.host}:{broker.port}", say, ""
        self._due_ns = 0
        self._level, self._closed = "", False
        self._kept: dict[str, bytes] = {}  # topic → what the broker is to keep
        self._waiting: deque[bytes] = deque(maxlen=WAITING)  # events, while there is no broker
        client = self._client = Client(CallbackAPIVersion.VERSION2, client_id=f"edge-lstm-{self.name}")
        client.max_queued_messages_set(WAITING)
        client.reconnect_delay_set(1, 10)
        client.will_set(f"{self._topic}/online", "offline", 1, True)
        if broker.user is not None:
            client.username_pw_set(broker.user, broker.password)
        if broker.tls:
            client.tls_set_context(ssl.create_default_context())
        client.on_connect = self._connected
        client.on_connect_fail = lambda *_: self._tell("cannot be reached; it is tried again and again")
        client.on_disconnect = lambda *_: self._tell("is gone; it is tried again and again")
        client.connect_async(broker.host, broker.port, keepalive=KEEPALIVE_S)
        client.loop_start()

    @property
    def connected(self) -> bool:
        return bool(self._client.is_connected())

    def _connected(self, client: object, data: object, flags: object, reason: Any, *_: object) -> None:
        """Also after the broker was gone, has forgotten all, or has published our last will."""
        if reason.is_failure:  # on_disconnect follows; this is what people can do something about
            self._tell(f"refuses: {reason}")
            return
        self._tell("is connected")
        for topic, data in list(self._kept.items()):
            self._client.publish(topic, data, 1, True)

    def _tell(self, what: str) -> None:
        refused = self._said.startswith("refuses") and what.startswith("is gone")
        if what != self._said and not refused and not self._closed:
            self._said = what
            self._say(f"{self._where} {what}")

    def _keep(self, topic: str, data: bytes) -> None:
        if self._kept.get(topic) != data:
            self._kept[topic] = data
            if self.connected:
                self._client.publish(topic, data, 1, True)

    def take(self, batch: Batch, verdict: Verdict, now_ns: int) -> None:
        if batch.run is not None and (batch.began or self._config not in self._kept):
            self._keep(self._config, _json(self._discovery(batch.run)))
        online = batch.status is not None and batch.status.lives
        self._keep(f"{self._topic}/online", b"online" if online else b"offline")
        for event in () if batch.past else batch.events:
            text, level = sentence_of(event)
            tree = {**event, "text": text, "level": level, "threshold": is_threshold(event)}
            self._waiting.append(_json(tree))
        while self._waiting and self.connected:
            self._client.publish(f"{self._topic}/event", self._waiting.popleft(), 1)
        if (now_ns < self._due_ns and verdict.level == self._level) or not self.connected:
            return
        self._due_ns, self._level = now_ns + int(EVERY_S * 1e9), verdict.level
        self._client.publish(f"{self._topic}/status", _json(_status(batch, verdict, now_ns)), 0, True)
        values = batch.values()
        if batch.run is None or not len(values):
            return
        for kind in KINDS:
            pairs = zip(batch.run.channels, values[-1].tolist(), strict=True)
            latest = {channel.name: value for channel, value in pairs if channel.kind == kind}
            if latest:
                self._client.publish(f"{self._topic}/{kind}", _json(latest))

    def close(self) -> None:
        """Say that we go, as the last will would."""
        self._closed = True
        if self.connected:
            self._client.publish(f"{self._topic}/online", "offline", 1, True).wait_for_publish(1.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _discovery(self, run: Run) -> dict[str, Any]:
        """Home Assistant's device-based discovery: one message for all entities."""
        own = f"edge_lstm_{self.name}"

        def entity(key: str, platform: str, name: str, topic: str, template: str, **more: Any) -> dict[str, Any]:
            where = {"state_topic": f"{self._topic}/{topic}", "value_template": template}
            return {"platform": platform, "unique_id": f"{own}_{key}", "name": name, **where, **more}

        problem = "{{ 'OFF' if value_json.level == 'ok' else 'ON' }}"
        link = "{{ 'ON' if value_json.link else 'OFF' }}"
        attributes = {"json_attributes_topic": f"{self._topic}/status"}
        made = {
            "problem": entity("problem", "binary_sensor", "Problem", "status", problem, device_class="problem"),
            "link": entity("link", "binary_sensor", "Link", "status", link, device_class="connectivity"),
            "verdict": entity("verdict", "sensor", "State", "status", "{{ value_json.title }}", **attributes),
        }
        for key, name in _TOTALS.items():
            template = f"{{{{ value_json.totals.{key} }}}}"
            made[key] = entity(key, "sensor", name, "status", template, state_class="total_increasing")
        measured = {"state_class": "measurement", "suggested_display_precision": 3, "expire_after": 10}
        for channel in run.channels:
            if channel.kind != "readings":
                key = re.sub(r"[^a-z0-9]+", "_", f"{channel.kind}_{channel.name}".lower())
                template = f"{{{{ value_json[{json.dumps(channel.name)}] }}}}"
                unit = {"unit_of_measurement": channel.unit} if channel.unit else {}
                made[key] = entity(key, "sensor", channel.name, channel.kind, template, **measured, **unit)
        device = {"identifiers": [own], "name": run.name, "model": run.model, "manufacturer": "edge-lstm"}
        return {
            "device": device | {"sw_version": __version__},
            "origin": {"name": "edge-lstm", "sw_version": __version__},
            "availability_topic": f"{self._topic}/online",
            "components": made,
        }


def _status(batch: Batch, verdict: Verdict, now_ns: int) -> dict[str, Any]:
    counts = {} if batch.status is None else batch.status.counts
    return {
        "t": now_ns / 1e9,
        "level": verdict.level,
        "title": verdict.title,
        "detail": verdict.detail,
        "link": verdict.link,
        "truths": {} if batch.status is None else {key: truth.ok for key, truth in batch.status.truths.items()},
        "totals": {key: counts.get(key) for key in _TOTALS},
    }


def _json(tree: Mapping[str, Any]) -> bytes:
    """As JSON has it: what is not a number is null."""
    return json.dumps({key: _known(value) for key, value in tree.items()}, allow_nan=False).encode()


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not abs(value) < float("inf") else value
