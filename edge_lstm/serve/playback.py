"""`replay --foxglove`: a recording for Foxglove, with a timeline of its own: play, pause, seek, speed.

Its rule: what is shown is what the recording holds, topic by topic, at its own times; nothing is computed anew. The
viewer asks (its protocol's playback control), this answers with the state that came of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from edge_lstm.serve.sink import missing
from edge_lstm.serve.viewer import Door, Viewers, known
from firmware_bridge.recordings.contents import WIRE
from firmware_bridge.recordings.reader import Recording

AHEAD_S = 0.02  # messages of so long are sent together


class Timeline:
    """Where the playback is to go; changed by the viewer's requests, in their thread. Times are ns of the recording."""

    def __init__(self, first_ns: int, last_ns: int, speed: float) -> None:
        self.first_ns, self.last_ns = first_ns, last_ns
        self.speed = speed
        self.playing = True
        self._sought_ns: int | None = None  # where to go on from, not gone to yet
        self._changed = threading.Condition()

    @property
    def sought_ns(self) -> int | None:
        """Where the viewer wants to go, until that is taken."""
        return self._sought_ns

    def ask(self, play: bool, speed: float, seek_ns: int | None) -> None:
        """What the viewer wants."""
        with self._changed:
            self.playing = play
            if 0 < speed < 1e6:
                self.speed = speed
            if seek_ns is not None:
                self._sought_ns = min(max(seek_ns, self.first_ns), self.last_ns)
            self._changed.notify_all()

    def take(self, otherwise_ns: int) -> int:
        """Where to go on from."""
        with self._changed:
            sought_ns, self._sought_ns = self._sought_ns, None
        return otherwise_ns if sought_ns is None else sought_ns

    def wait(self, seconds: float) -> None:
        """So long, or until the viewer wants something."""
        with self._changed:
            if self._sought_ns is None:
                self._changed.wait(seconds)


def topics_of(recording: Recording) -> set[str]:
    """What is derived: readings, outputs, actions, events …"""
    return {topic for topic in recording.topics() if not topic.startswith(WIRE)}


def span_of(recording: Recording) -> tuple[int, int]:
    """First and last time, also of a recording that was cut off, which is read once for it."""
    span = recording.span()
    if span is None:
        times = [t_ns for _, t_ns, _ in recording.messages()]
        span = (min(times), max(times)) if times else (0, 0)
    return span


class Playback:
    """One recording, played to all viewers alike. DaemonError: no extra, or the address is taken."""

    def __init__(self, recording: Recording, door: Door, speed: float) -> None:
        try:
            from foxglove import websocket
        except ImportError as error:
            raise missing("foxglove-sdk", error) from error
        self._recording, self._websocket = recording, websocket
        self._topics = topics_of(recording)
        self.timeline = timeline = Timeline(*span_of(recording), speed)
        self._at_ns = timeline.first_ns
        state = self._state

        class Listener(websocket.ServerListener):  # type: ignore[misc]
            def on_playback_control_request(self, request: Any) -> Any:
                play = request.playback_command == websocket.PlaybackCommand.Play
                timeline.ask(play, request.playback_speed, request.seek_time)
                return state(request.request_id, sought=request.seek_time is not None)

        self.viewers = Viewers(
            door,
            recording.path.name,
            capabilities=[websocket.Capability.Time],
            playback_time_range=(timeline.first_ns, timeline.last_ns),
            server_listener=Listener(),
        )
        for topic in sorted(self._topics):
            self.viewers.topic(topic)

    def play(self, stop: Callable[[], bool]) -> None:
        """Until `stop` says so: at the end it waits, for the viewer may go back."""
        timeline = self.timeline
        at_ns = timeline.first_ns
        while not stop():
            at_ns = timeline.take(at_ns)
            if self._play_from(at_ns, stop) and timeline.sought_ns is None:
                timeline.playing = False
                self._tell(ended=True)
                while not (stop() or timeline.playing or timeline.sought_ns is not None):
                    timeline.wait(0.2)
                at_ns = timeline.first_ns

    def close(self) -> None:
        self.viewers.close()

    def _messages(self, begin_ns: int) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """(topic, t_ns, values) of everything derived, from a moment on, in the order of the file."""
        return (one for one in self._recording.trees(self._topics) if one[1] >= begin_ns)

    def _play_from(self, at_ns: int, stop: Callable[[], bool]) -> bool:
        """Plays from a moment on: whether it came to the end, for the viewer may want to go elsewhere."""
        timeline = self.timeline
        self._at_ns = at_ns
        self._tell()
        zero_s, speed, begin_ns = time.monotonic(), timeline.speed, at_ns
        for topic, t_ns, tree in self._messages(at_ns):
            while True:
                if stop() or timeline.sought_ns is not None:
                    return False
                if timeline.speed != speed or not timeline.playing:
                    zero_s, speed, begin_ns = time.monotonic(), timeline.speed, self._at_ns
                    if not timeline.playing:
                        timeline.wait(0.1)
                        continue
                passed_ns = int((time.monotonic() - zero_s) * speed * 1e9)
                early_s = (t_ns - begin_ns - passed_ns) / 1e9 / speed
                if early_s <= AHEAD_S:
                    break
                self._at_ns = begin_ns + passed_ns
                self.viewers.server.broadcast_time(self._at_ns)
                timeline.wait(min(early_s, 0.05))
            self._at_ns = max(self._at_ns, t_ns)
            self.viewers.topic(topic)({key: known(value) for key, value in tree.items()}, t_ns)
        return True

    def _state(self, request: str | None, *, sought: bool = False, ended: bool = False) -> Any:
        timeline, status = self.timeline, self._websocket.PlaybackStatus
        at_ns = self._at_ns if timeline.sought_ns is None else timeline.sought_ns
        now = status.Ended if ended else status.Playing if timeline.playing else status.Paused
        return self._websocket.PlaybackState(now, at_ns, timeline.speed, sought, request)

    def _tell(self, *, ended: bool = False) -> None:
        self.viewers.server.broadcast_playback_state(self._state(None, ended=ended))
        self.viewers.server.broadcast_time(self._at_ns)
