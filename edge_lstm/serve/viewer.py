"""Foxglove and Lichtblick: topics over their websocket protocol, by foxglove-sdk.

Its rule: topics, names and units are those of a recording, so that a layout made for one fits the other. Messages are
JSON; what is not a number is null.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_lstm.errors import DaemonError
from edge_lstm.robot.thresholds import TOPIC
from edge_lstm.serve.feed import KINDS, Batch, Channel, Run
from edge_lstm.serve.guard import Guard, hidden_address
from edge_lstm.serve.sentences import is_threshold, sentence_of
from edge_lstm.serve.sink import missing
from edge_lstm.serve.verdict import Verdict
from firmware_bridge.recordings.contents import ACTIONS, EVENTS, OUTPUTS, READINGS

if TYPE_CHECKING:
    from foxglove import Channel as Topic
    from foxglove import Context

PORT = 8765  # where viewers look
BACKLOG = 16384  # messages that a viewer may be behind: at 1 kHz five seconds of three topics
STATUS = "/status"
Send = Callable[[Mapping[str, Any], int], None]  # a message, its time in ns


@dataclass(frozen=True)
class Door:
    """Where viewers connect, and pages of which sites may, beside Foxglove's and this machine's. refused: see
    `Guard`."""

    host: str
    port: int
    origins: frozenset[str] = frozenset()
    refused: Callable[[str], None] | None = None


class Viewers:
    """The websocket server that viewers connect to. DaemonError: no extra, or the address is taken."""

    def __init__(self, door: Door, name: str, **playback: Any) -> None:
        try:
            import foxglove
        except ImportError as error:
            raise missing("foxglove-sdk", error) from error
        self.context: Context = foxglove.Context()
        self._topics: dict[str, Topic] = {}
        logging.getLogger("foxglove.websocket").setLevel(logging.CRITICAL)  # strangers do not write into our log
        inner = hidden_address()
        try:
            self._guard = Guard(door.host, door.port, door.origins, door.refused)
        except OSError as error:
            raise DaemonError(f"--foxglove {door.host}:{door.port}: cannot be had: {error}") from None
        try:
            self.server = foxglove.start_server(
                name=name, host=inner, port=0, context=self.context, message_backlog_size=BACKLOG, **playback
            )
        except RuntimeError as error:
            self._guard.close()
            raise DaemonError(f"--foxglove: {error}") from None
        self._guard.open((inner, self.server.port))

    @property
    def port(self) -> int:
        return self._guard.port

    def topic(self, name: str, channels: Sequence[Channel] = ()) -> Send:
        """What sends a message on a topic, which is declared now. channels: what its messages hold, with units."""
        import foxglove

        topic = self._topics.get(name)
        if topic is None:
            topic = foxglove.Channel(name, schema=_schema(name, channels), context=self.context)
            self._topics[name] = topic

        def send(tree: Mapping[str, Any], t_ns: int) -> None:
            topic.log(json.dumps(tree, separators=(",", ":"), allow_nan=False).encode(), log_time=t_ns)

        return send

    def forget(self, name: str) -> None:
        """Withdraw a topic: its names are others from now on."""
        self._topics.pop(name).close()

    def close(self) -> None:
        self.server.stop()
        self._guard.close()


def _schema(topic: str, channels: Sequence[Channel]) -> dict[str, Any]:
    numbers = {c.name: {"type": "number"} | ({"description": c.unit} if c.unit else {}) for c in channels}
    return {"title": topic.strip("/"), "type": "object", "properties": numbers}


class Foxglove:
    """A run, live."""

    def __init__(self, door: Door, name: str) -> None:
        self._viewers = Viewers(door, name)
        self._run: Run | None = None
        self._said = ""
        self._kinds: list[tuple[int, Sequence[Channel], Send]] = []  # first place, channels
        self._declared: list[str] = []  # topics of this run alone; a viewer of the others misses nothing
        self._events, self._thresholds = self._viewers.topic(EVENTS), self._viewers.topic(TOPIC)
        self._status = self._viewers.topic(STATUS)

    @property
    def port(self) -> int:
        return self._viewers.port

    def _begin(self, run: Run) -> None:
        """The topics of this run."""
        self._run = run
        for name in self._declared:
            self._viewers.forget(name)
        self._declared.clear()
        self._kinds.clear()
        topics = {"outputs": OUTPUTS, "actions": f"{ACTIONS}/{run.action_format}", "readings": READINGS + run.format}
        place = 0
        for kind in KINDS:
            some = run.channels[place : place + run.count(kind)]
            if some:
                self._declared.append(topics[kind])
                self._kinds.append((place, some, self._viewers.topic(topics[kind], some)))
            place += len(some)

    def take(self, batch: Batch, verdict: Verdict, now_ns: int) -> None:
        if batch.run is not None and batch.run != self._run:
            self._begin(batch.run)
        values = batch.values()
        for place, some, send in self._kinds if len(values) else ():
            _rows(some, batch.rows["t_ns"].tolist(), values[:, place : place + len(some)].tolist(), send)
        for event in batch.events:
            send = self._thresholds if is_threshold(event) else self._events
            tree = {key: value for key, value in event.items() if key not in ("t_ns", "kind")}
            send(tree | {"text": sentence_of(event)[0]}, event.get("t_ns", now_ns))
        said = f"{verdict.level} {verdict.title}"
        if said != self._said:
            self._said = said
            self._status({"level": verdict.level, "title": verdict.title, "detail": verdict.detail}, now_ns)

    def close(self) -> None:
        self._viewers.close()


def _rows(channels: Sequence[Channel], times: list[int], rows: list[list[float]], send: Send) -> None:
    """A message for each row that holds a number."""
    names = [channel.name for channel in channels]
    for t_ns, row in zip(times, rows, strict=True):
        values = [known(value) for value in row]
        if any(value is not None for value in values):
            send(dict(zip(names, values, strict=True)), t_ns)


def known(value: Any) -> Any:
    """As JSON has it: what is no number is null."""
    return value if not isinstance(value, float) or abs(value) < _INF else None


_INF = float("inf")
