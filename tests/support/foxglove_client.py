"""A viewer of Foxglove's websocket protocol, from its published description alone; a websocket by `websockets`."""

from __future__ import annotations

import json
import struct
import time
from contextlib import ExitStack
from typing import Any, NamedTuple

PROTOCOL = "foxglove.sdk.v1"


class State(NamedTuple):
    """Of the playback. status: 0 playing, 1 paused, 2 buffering, 3 ended."""

    status: int
    t_ns: int
    speed: float
    sought: bool
    request: str


class Viewer:
    """Connected and subscribed to all topics. messages: (topic, t_ns, values)."""

    def __init__(self, port: int) -> None:
        from websockets.sync.client import connect
        from websockets.typing import Subprotocol

        self._stack = ExitStack()
        made = connect(f"ws://127.0.0.1:{port}", subprotocols=[Subprotocol(PROTOCOL)], max_size=None, proxy=None)
        self._connection = self._stack.enter_context(made)
        self.info: dict[str, Any] = {}
        self.channels: dict[int, dict[str, Any]] = {}
        self.messages: list[tuple[str, int, dict[str, Any]]] = []
        self.times: list[int] = []
        self.states: list[State] = []

    def close(self) -> None:
        self._stack.close()

    def listen(self, seconds: float) -> None:
        """Take what comes for so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self._take(self._connection.recv(left))
            except TimeoutError:
                return

    def until(self, condition: Any, seconds: float = 60.0) -> None:
        """Take what comes until a condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.info, self.channels, self.messages[-5:], self.states)
            self.listen(0.05)

    def settle(self) -> None:
        """Until the server has taken all that was sent to it, subscriptions too: it takes one after the other."""
        assert self._connection.ping().wait(60)

    def on(self, topic: str) -> list[tuple[int, dict[str, Any]]]:
        """What came on a topic."""
        return [(t_ns, tree) for one, t_ns, tree in self.messages if one == topic]

    def control(self, *, play: bool, speed: float = 1.0, seek_ns: int | None = None, request: str = "a") -> None:
        """Ask for another way of playing."""
        head = struct.pack("<BBfBQI", 3, not play, speed, seek_ns is not None, seek_ns or 0, len(request))
        self._connection.send(head + request.encode())

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, str):
            tree = json.loads(message)
            if tree["op"] == "serverInfo":
                self.info = tree
            elif tree["op"] == "advertise":
                new = {one["id"]: one for one in tree["channels"]}
                self.channels |= new
                wanted = [{"id": number, "channelId": number} for number in new]
                self._connection.send(json.dumps({"op": "subscribe", "subscriptions": wanted}))
            elif tree["op"] == "unadvertise":
                for number in tree["channelIds"]:
                    self.channels.pop(number, None)
            return
        if message[0] == 1:
            number, t_ns = struct.unpack_from("<IQ", message, 1)
            if number in self.channels:
                self.messages.append((self.channels[number]["topic"], t_ns, json.loads(message[13:])))
        elif message[0] == 2:
            self.times.append(struct.unpack_from("<Q", message, 1)[0])
        elif message[0] == 5:
            status, t_ns, speed, sought, size = struct.unpack_from("<BQfBI", message, 1)
            self.states.append(State(status, t_ns, speed, bool(sought), message[19 : 19 + size].decode()))
