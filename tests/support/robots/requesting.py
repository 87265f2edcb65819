"""A run in simulated time to which requests come at given chunks, recorded, and the replay of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_lstm.core.model import Model
from edge_lstm.core.storage import content, save
from edge_lstm.daemon.mailbox import ControlledPort
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controlled import Controlled, control_of, controlled
from edge_lstm.robot.controller import Decision
from edge_lstm.robot.loop import Summary, run
from edge_lstm.robot.models import Loaded, attachment
from edge_lstm.robot.replay import Comparison, replay
from edge_lstm.robot.requests import Asked
from firmware_bridge.events import Event, Reading
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.faults import Faults
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from firmware_bridge.values import Chunk

Requests = Mapping[int, bytes]  # number of the chunk behind which it comes → its bytes


def model_bytes(model: Model, path: Path) -> bytes:
    """The file of a model."""
    save(model, path)
    return path.read_bytes()


def asked(do: str, more: bytes = b"", **given: Any) -> bytes:
    """A request's bytes."""
    return Asked(do, given, more).bytes()


class Requesting(ControlledPort):
    """Leaves each request in its own mailbox when its chunk comes, and does not wait for the answer."""

    def __init__(self, port: SimulatedPort, requests: Requests, prepare: Callable[[bytes], None]) -> None:
        super().__init__(port)
        self.answers: list[dict[str, Any]] = []
        self._requests, self._prepare = requests, prepare

    def chunks(self) -> Iterator[Chunk]:
        for number, chunk in enumerate(self._port.chunks()):
            yield chunk
            if number in self._requests:
                self._prepare(self._requests[number])
                yield Chunk(chunk.t_ns, self._requests[number], "control")

    def answered(self, answer: dict[str, Any]) -> None:
        self.answers.append(answer)


@dataclass
class Ran:
    """What a run came to. made: (number of the reading, outputs, action) of each."""

    summary: Summary
    control: Controlled
    answers: list[dict[str, Any]]
    made: list[tuple[Reading, Decision]] = field(default_factory=list)

    def outputs(self) -> list[list[float] | None]:
        return [decision.outputs for _, decision in self.made]


def ran(
    text: str,
    models: Mapping[str, Model],
    requests: Requests,
    path: Path | None = None,
    *,
    seconds: float = 2.0,
    rate_hz: float = 200.0,
    seed: int = 3,
    faults: Faults | None = None,
    prepared: bool = True,
    keyframe_s: float | None = None,
) -> Ran:
    """path: where to record. prepared: models are loaded beforehand, as by the socket's thread; otherwise by the loop,
    as in a replay. keyframe_s: from one keyframe of the recording to the next, which then holds all it needs."""
    config = parse_config(text, "robot.toml", Path())
    loaded = Loaded(models, {}, not config.models)
    decider = controlled(loaded, config)
    control = control_of(decider)
    assert control is not None
    prepare = control.prepare if prepared else lambda data: None
    port = Requesting(SimulatedPort(Robot(seed, rate_hz), seconds, faults), requests, prepare)
    control.answered = port.answered
    attachments = {attachment(name, loaded.single): content(model) for name, model in models.items()}
    attachments["robot.toml"] = text.encode()
    recorder = None if path is None else Recorder(path, {}, attachments, wait=True, keyframe_s=keyframe_s)
    made: list[tuple[Reading, Decision]] = []

    def tap(chunk: Chunk, done: Any, sent: int) -> None:
        made.extend((event, one) for event, one in done if _is_tick(event, one, config.reading))

    keyframes = recorder if keyframe_s is not None else None
    summary = run(port, config.open_link(), decider, recorder, tap=tap, keyframes=keyframes)
    if recorder is not None:
        recorder.close()
        assert not recorder.failed
        assert not recorder.dropped
    return Ran(summary, control, port.answers, made)


def _is_tick(event: Event, decision: Decision | None, reading: str) -> bool:
    return type(event) is Reading and decision is not None and event.format == reading


def again(path: Path, text: str, models: Mapping[str, Model]) -> tuple[Summary, Comparison]:
    """The replay of a recording, with everything derived compared."""
    config = parse_config(text, "robot.toml", Path())
    decider = controlled(Loaded(models, {}, not config.models), config)
    summary, comparison, _marks = replay(RecordingPort(path), decider, derived=True)
    return summary, comparison


def loaded_bytes(content: bytes) -> Model:
    """The model of a file's bytes."""
    from edge_lstm.core.storage import load_file

    return load_file(io.BytesIO(content), "a test's")
