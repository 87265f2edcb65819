"""A real MQTT broker, mosquitto (Debian: `apt install mosquitto`), and somebody who listens to it."""

from __future__ import annotations

import os
import queue
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
WHY_NOT = "" if MOSQUITTO else "there is no mosquitto here (tools/check --install brings it, on Debian)"


@contextmanager
def broker(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A broker on 127.0.0.1 for the time of the block."""
    assert MOSQUITTO is not None
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, "mosquitto does not start"
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        process.wait(60)


class Listener:
    """Everything that the broker passes on. heard: (topic, payload, whether it was kept)."""

    def __init__(self, port: int) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.heard: list[tuple[str, bytes, bool]] = []
        self._news: queue.SimpleQueue[tuple[str, bytes, bool]] = queue.SimpleQueue()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _c, _u, one: self._news.put((one.topic, one.payload, one.retain))
        subscribed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._client.on_subscribe = lambda *_: subscribed.put(1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe("#", 1)
        subscribed.get(timeout=60)

    def until(self, topic: str, count: int = 1, seconds: float = 60.0) -> list[bytes]:
        """The payloads on a topic, when there are so many."""
        deadline = time.monotonic() + seconds
        while len(found := self.on(topic)) < count:
            assert time.monotonic() < deadline, (topic, self.heard[-20:])
            time.sleep(0.02)
        return found

    def on(self, topic: str) -> list[bytes]:
        """What was heard so far."""
        while not self._news.empty():
            self.heard.append(self._news.get())
        return [payload for one, payload, _ in self.heard if one == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
