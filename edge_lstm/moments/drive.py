"""A recorded drive that is run again and again: as it was, disturbed, shortened, or with another model.

    drive = Drive(Recording("drive.mcap"))
    drive.run(drive.chunks(), drive.controller())

Its rule: every run is `robot.loop.run` over chunks, by a new link and a new controller, as `edge-lstm run` makes them;
of a file that begins in the middle of its run they go on from the keyframe at its head. What is changed is changed in
the chunks before the link or in the events behind it (`firmware_bridge.links.altered`), and nowhere else; so what comes
of it is what the robot's computer would have done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edge_lstm.core.storage import content
from edge_lstm.errors import ConfigError, EdgeLstmError, LogError
from edge_lstm.robot.calls import LOOP
from edge_lstm.robot.controlled import brought, controlled, controllers_of
from edge_lstm.robot.controller import Controller, said
from edge_lstm.robot.decider import Decider
from edge_lstm.robot.keyframes import hello_of
from edge_lstm.robot.loop import Begun, Sink, Summary, run, take_up
from edge_lstm.robot.models import ONLY, Loaded, attachment
from edge_lstm.robot.of_recording import robot_of
from edge_lstm.robot.requests import read
from firmware_bridge.errors import SnapshotError
from firmware_bridge.events import Request
from firmware_bridge.links.altered import Altered, alterations_of, altered
from firmware_bridge.ports.port import PortStats
from firmware_bridge.recordings.contents import FORM, LISTENS
from firmware_bridge.recordings.keyframe import Keyframe
from firmware_bridge.recordings.reader import open_recordings
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.recordings.series import Recorded, series

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.robot.controller import Decision
    from firmware_bridge.events import Event
    from firmware_bridge.links.link import Link
    from firmware_bridge.remembered import Tree
    from firmware_bridge.values import Chunk

PROGRESS_EVERY = 512  # chunks
ASKED_FIRST = str(int(LISTENS) - 1)  # form of a recording whose link asked the robot before it had heard it


OF_MODELS = ("swap", "undo", "shadow")  # requests


def drive_of(log: Path, config: Path | None = None, model: Path | None = None) -> Drive:
    """The drive in a file, or in a folder of files that follow each other. LogError: there are several in it."""
    found = series(open_recordings(log)) if log.is_dir() else []
    if len(found) > 1:
        names = ", ".join(one.path.name for one in found[:5]) + (" …" if len(found) > 5 else "")
        why = f"holds {len(found)} drives that do not follow each other, beginning with {names}"
        raise LogError(f"{log}: {why}; name one of the files")
    return Drive(found[0] if found else open_recordings(log)[0], config, model)


class Drive:
    """A recording with the robot.toml and the models that it holds, or those given instead. Raises LogError for one of
    a program's own loop: its bytes are not there, so nothing else can be made of them."""

    def __init__(
        self,
        recording: Recorded,
        config: Path | None = None,
        model: Path | None = None,
        first_ns: int | None = None,
    ) -> None:
        """first_ns: from when on seconds count; None: from its first chunk."""
        if LOOP in recording.metadata:
            why = "is of a program's own loop: it holds no bytes of a robot that could arrive in another way"
            raise LogError(f"{recording.path}: {why}; edge-lstm replay and explain take it")
        self.recording = recording
        self.config, self.loaded = robot_of(recording, config, model)
        self._others = model is not None  # than those of then
        self._given = model is not None or config is not None
        head = next(recording.wire(), None)
        self.head = head if isinstance(head, Keyframe) else None
        first = next((chunk.t_ns for chunk in recording.chunks()), 0)
        self.first_ns = first if first_ns is None else first_ns

    @property
    def model(self) -> Model:
        """The only one. LogError where there are several."""
        model = self.loaded.models.get(ONLY)
        if model is None:
            raise LogError(f"{self.recording.path}: holds several models; this is of a recording with one")
        return model

    def seconds(self, t_ns: int) -> float:
        """Since `first_ns`."""
        return (t_ns - self.first_ns) / 1e9

    def chunks(self) -> Iterator[Chunk]:
        """As they were recorded; with another model without what was asked of those of then."""
        chunks = self.recording.chunks()
        return (chunk for chunk in chunks if not _is_of_models(chunk)) if self._others else chunks

    def link(self) -> Link:
        """A new one, as the robot was recorded with."""
        return altered(self.bare_link(), self.recording.metadata)

    def bare_link(self) -> Link:
        """Without what the recording says was altered behind it."""
        return self.config.open_link(ask_first=self.recording.asked_first)

    def controller(self, model: Model | None = None) -> Decider:
        """A new one. model: in place of the recording's; then what was asked of the models of then is left out."""
        if model is None and not self._others:
            return controlled(self.loaded, self.config, brought(self.recording))
        loaded = self.loaded if model is None else Loaded({ONLY: model}, {}, True)
        return _Instead(controlled(loaded, self.config)).decider

    def begin(self, link: Link, *controllers: Decider) -> Begun | None:
        """Let a new link and new controllers go on from the keyframe at the head, where there is one. Where that is of
        other models than one of these, none of them remembers anything. LogError: it is damaged."""
        if self.head is None:
            return None
        try:
            state = self.head.state()
        except ValueError as error:
            why = f"begins with a keyframe that is damaged ({error})"
            raise LogError(f"{self.recording.path}: {why}, and what was before is not known") from None
        fresh = [controller.snapshot() for controller in controllers]
        try:
            for controller in controllers:
                begun = self.take_up(link, controller, state)
        except SnapshotError:
            begun = self.take_up(link, cast(Decider, _NoMemory()), state)
            for controller, before in zip(controllers, fresh, strict=True):
                controller.restore(before)
                if (hello := hello_of(link, begun.t_ns)) is not None:
                    controller.handle(hello)
        return begun

    def take_up(self, link: Link, controller: Decider, state: Tree) -> Begun:
        """As `loop.take_up`, whatever is altered behind this link now: a keyframe is of the link of then."""
        bare = isinstance(link, Altered) and not alterations_of(self.recording.metadata)
        return take_up(link.inner if isinstance(link, Altered) and bare else link, controller, state)

    def run(
        self,
        chunks: Iterable[Chunk],
        controller: Decider,
        *,
        link: Link | None = None,
        sink: Sink | None = None,
        taken: Iterable[bool] = (),
        progress: Callable[[int], None] | None = None,
        begun: Begun | None = None,
        alone: bool = False,
    ) -> Summary:
        """The loop, once. taken: whether the port took each write; all, where it ends. progress: called with the time
        now and then. begun: of a keyframe that link and controller have taken up; without one they go on from the head
        of the recording; alone: from nothing. Raises ConfigError where no robot of the chunks fits."""
        unfit: list[str] = []
        link = self.link() if link is None else link
        if begun is None and not alone:
            begun = self.begin(link, controller)
        if begun is not None and isinstance(sink, Recorder):
            self._headed(sink, begun, link, controller)
        port = ChunkPort(chunks, taken, progress)
        summary = run(port, link, controller, sink, unfit=unfit.append, begun=begun)
        if controller.latest is None and unfit:
            raise ConfigError(unfit[0])
        return summary

    def _headed(self, recorder: Recorder, begun: Begun, link: Link, controller: Decider) -> None:
        """What a recording of this run begins with, so that it replays alone."""
        own = link.inner if isinstance(link, Altered) and not link.alters else link
        loop = said(begun, Begun)
        recorder.keyframe(begun.t_ns, {"link": own.snapshot(), "controller": controller.snapshot(), "loop": loop})
        if (hello := hello_of(link, begun.t_ns)) is not None:
            recorder.event(hello)

    def recorder(self, path: Path, metadata: Mapping[str, str]) -> Recorder:
        """A recording in the making of another run of this drive, which replays alone: with the robot.toml and the
        models that run, the recording's own or those given. RecordingError where there is a file already."""
        form = {FORM: ASKED_FIRST} if self.recording.asked_first else {}
        attachments, made = dict(self.recording.attachments), {}
        if self._given:
            own, single = self.loaded.models, ONLY in self.loaded.models
            attachments |= {attachment(name, single): content(model) for name, model in own.items()}
            attachments["robot.toml"] = self.config.text.encode()
            made = self.loaded.metadata(self.controller())
        return Recorder(path, {**self.recording.metadata, **made, **form, **metadata}, attachments, wait=True)

    def taken(self) -> Iterator[bool]:
        """Whether the port took each write, then."""
        return (taken for _, _, taken in self.recording.writes())


class ChunkPort:
    """Chunks as a port; what is written goes nowhere."""

    def __init__(
        self, chunks: Iterable[Chunk], taken: Iterable[bool] = (), progress: Callable[[int], None] | None = None
    ) -> None:
        self.stats = PortStats()
        self._chunks, self._taken, self._progress = chunks, iter(taken), progress

    def chunks(self) -> Iterator[Chunk]:
        """See `Port.chunks`."""
        if self._progress is None:
            yield from self._chunks
            return
        for number, chunk in enumerate(self._chunks):
            if not number % PROGRESS_EVERY:
                self._progress(chunk.t_ns)
            yield chunk

    def write(self, data: bytes) -> bool:
        """See `Port.write`."""
        return next(self._taken, True)

    def write_last(self, data: bytes, cut: bytes) -> bool:
        """See `Port.write_last`."""
        return self.write(data)

    def wake_at(self, t_ns: int) -> None:
        """Nothing to do: the wake-ups of then are among the chunks."""

    def stop(self) -> None:
        """Nothing to do: it ends with the chunks."""

    def close(self) -> None:
        """Nothing to do."""


class Through:
    """A controller in front of another one, as the loop is given it: whatever is not said here is the inner one's."""

    def __init__(self, inner: Decider) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def decider(self) -> Decider:
        """For the loop."""
        return cast(Decider, self)


def models_of(decider: Decider) -> dict[str, Controller]:
    """As `controllers_of`, whatever stands in front of them."""
    while isinstance(decider, Through):
        decider = decider.inner
    return controllers_of(decider)


class _Instead(Through):
    """In the place of the models of then: that another one was swapped in is none of its business."""

    def handle(self, event: Event) -> Decision | None:
        """See `Decider`."""
        if type(event) is Request and _asks_for_models(event.data):
            return None
        return self.inner.handle(event)


def _is_of_models(chunk: Chunk) -> bool:
    return chunk.link == "control" and _asks_for_models(chunk.data)


def _asks_for_models(data: bytes) -> bool:
    try:
        return read(data).do in OF_MODELS
    except EdgeLstmError:
        return False


class _NoMemory:
    """Takes up nothing."""

    def restore(self, tree: Tree) -> None:
        """See `Deciding`."""


class Seen(Through):
    """A controller whose every decision on an event is shown to somebody: `look(event, decision)`."""

    def __init__(self, inner: Decider, look: Callable[[Event, Decision | None], None]) -> None:
        super().__init__(inner)
        self._look = look

    def handle(self, event: Event) -> Decision | None:
        """See `Decider`."""
        decision = self.inner.handle(event)
        self._look(event, decision)
        return decision
