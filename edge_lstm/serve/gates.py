"""The gates of the model that runs: computed here, beside the run, of the rows that it writes anyway.

Its rule: what is shown is what the run's model does, to the bit, or nothing. A copy of the run's memory (asked for
once, over the control socket) is taken up by the same controller with the same model, which is given each row, lost
readings and restarts in their order; what it makes of a row must be the outputs that the run has written. Where a bit
differs, a row was missed or somebody changed the memory, nothing is shown until another copy was had. Only while
somebody looks.

Never: show gates that are guessed, ask again and again (`AGAIN_S`), or obey a robot.toml that belongs to somebody else.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edge_lstm.daemon.client import Control
from edge_lstm.daemon.layout import EVENTS_OF_A_CHUNK, MADE
from edge_lstm.errors import DaemonError, EdgeLstmError, StateError
from edge_lstm.serve.feed import Batch
from edge_lstm.serve.gate_picture import Column, Layer, Picture
from firmware_bridge.errors import BridgeError
from firmware_bridge.events import Gap, Reading, Reset
from firmware_bridge.recordings import keyframe

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.robot.config import RobotConfig
    from edge_lstm.robot.controller import Controller
    from edge_lstm.robot.models import Models
    from edge_lstm.streams.gates import GateStream

EVERY_NS = 100_000_000  # a column of the picture
AGAIN_S = (2.0, 60.0)  # between two copies of the memory, at first and at most
ANSWER_S = 10.0
WAITING_ROWS = 1 << 15  # for a copy that is on its way
STARTING = "The model is loaded, and its memory asked for."


class Shown(NamedTuple):
    """What there is to show now. why: a sentence, where there is nothing; columns: (t_ns, values), the new ones."""

    layers: tuple[Layer, ...]
    why: str
    columns: Sequence[tuple[int, Column]] = ()


class _Copy(NamedTuple):
    """The run's memory, taken up. t_ns: all that came until then is in it."""

    controller: Controller | Models
    t_ns: int


class _No(Exception):
    """There are no gates, and will be none of this model; the message is a sentence."""


class Gates:
    """Given every batch; `looked_at` says whether anybody wants to see them."""

    def __init__(self, folder: Path, ask: Callable[[], Mapping[str, Any]] | None = None) -> None:
        """ask: the run's answer to the request for a copy of its memory; DaemonError: there is none."""
        self._folder, self._ask = folder, ask or self._asked
        self._brought: deque[bytes] = deque(maxlen=2)  # models that were swapped in through us
        self._about: Mapping[str, Any] = {}
        self._recording = ""
        self._models: dict[str, Model] = {}  # that are known, by digest
        self._thread: threading.Thread | None = None  # that has model and memory brought
        self._copy: _Copy | None = None
        self._picture: Picture | None = None
        self._streams: tuple[GateStream, ...] = ()  # that the picture shows
        self._rows: deque[npt.NDArray[np.void]] = deque()  # that are not followed yet, and how many there are
        self._events: deque[Mapping[str, Any]] = deque()
        self._waiting = 0
        self._column_ns = 0  # of the latest
        self._many, self._many_ns = 0, 0  # events of one moment
        self._no, self._why = "", ""  # there never are any, there are none now
        self._due_s, self._pause_s, self._since_s = 0.0, AGAIN_S[0], 0.0

    def brought(self, content: bytes) -> None:
        """A model file that is on its way to the run, through us: it may soon be the one that runs."""
        self._brought.append(content)

    def take(self, batch: Batch, looked_at: bool, now_s: float) -> Shown:
        """What there is to show. now_s: on any clock that goes on."""
        if batch.run is None or not looked_at:
            self._forget()
            return Shown((), "")
        if batch.status is not None:
            self._recording = str(batch.status.recording.get("path") or "")
        if batch.began:
            self._forget()
        self._about = batch.run.about
        if self._no:
            return Shown((), self._no)
        if self._thread is None and self._copy is None and now_s >= self._due_s:
            self._begin(now_s)
        if self._copy is None and self._thread is None:
            return Shown((), self._why)
        why = self._keep(batch)
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
            if self._copy is None:
                return self._lost(self._why, now_s)
        if self._copy is None:
            return self._lost(why, now_s) if why else Shown((), self._why)
        columns: list[tuple[int, Column]] = []
        try:
            why = why or self._follow(self._copy, columns)
        except Exception as error:  # whatever it is, the page and all else go on
            why = f"The run could not be followed: {error!r:.200}."
        if why:
            return self._lost(why, now_s)
        if now_s - self._since_s > 10 * self._pause_s:
            self._pause_s = AGAIN_S[0]
        return Shown(self._picture.layers if self._picture is not None else (), "", columns)

    # ------------------------------------------------------------------------------------------ inside

    def _forget(self) -> None:
        """Nothing is known of this run."""
        self._thread = self._copy = self._picture = None
        self._streams = ()
        self._rows.clear()
        self._events.clear()
        self._waiting = self._column_ns = self._many = self._many_ns = 0
        self._no = self._why = ""
        self._due_s, self._pause_s, self._since_s = 0.0, AGAIN_S[0], 0.0

    def _lost(self, why: str, now_s: float) -> Shown:
        """Show nothing until there is another copy."""
        self._copy, self._thread, self._why = None, None, why
        self._rows.clear()
        self._events.clear()
        self._waiting = 0
        self._due_s, self._pause_s = now_s + self._pause_s, min(2 * self._pause_s, AGAIN_S[1])
        return Shown((), self._no or why)

    def _begin(self, now_s: float) -> None:
        self._why, self._since_s = STARTING, now_s
        about, recording = self._about, self._recording
        self._thread = threading.Thread(target=self._prepare, args=(about, recording), name="gates", daemon=True)
        self._thread.start()

    def _keep(self, batch: Batch) -> str:
        """Rows and events until they are followed; why they are not whole, else ""."""
        if batch.lost or batch.lost_events:
            return "Rows came faster than they could be read here."
        if len(batch.rows):
            self._rows.append(batch.rows)
            self._waiting += len(batch.rows)
        self._events.extend(batch.events)
        if self._waiting > WAITING_ROWS:
            return "The run's memory did not come in time."
        return ""

    def _follow(self, copy: _Copy, columns: list[tuple[int, Column]]) -> str:
        """All rows that are there, and before each of them what came before it; why it ends, else ""."""
        rows, self._rows, self._waiting = self._rows, deque(), 0
        controller, events = copy.controller, self._events
        handle, form = controller.handle, controller.config.reading
        with np.errstate(all="ignore"):
            for row in itertools.chain.from_iterable(rows):
                number, t_ns = int(row["number"]), int(row["t_ns"])
                while events and events[0].get("row", 0) <= number:
                    if why := self._event(copy, events.popleft()):
                        return why
                if t_ns <= copy.t_ns:
                    continue
                decision = handle(Reading(t_ns, form, 0, 0, tuple(row["readings"].tolist())))
                if not _same(row, None if decision is None else decision.outputs):
                    return "What is computed here is not what the run has written."
                if t_ns - self._column_ns >= EVERY_NS and row["flags"] & MADE:
                    self._column_ns = t_ns
                    columns += self._column(t_ns)
        return ""

    def _column(self, t_ns: int) -> Iterator[tuple[int, Column]]:
        everything = [one.everything for one in self._streams]
        known = [one for one in everything if one is not None]
        if self._picture is not None and len(known) == len(everything):
            yield t_ns, self._picture.column(known)

    def _event(self, copy: _Copy, event: Mapping[str, Any]) -> str:
        """Let it do to the memory what it does in the run; why that is not known, else ""."""
        kind, t_ns = event.get("event"), event.get("t_ns", 0)
        if t_ns <= copy.t_ns:
            return ""
        self._many = self._many + 1 if t_ns == self._many_ns else 1
        self._many_ns = t_ns
        if self._many >= EVENTS_OF_A_CHUNK:
            return "More happened at once than the run writes down."
        if event.get("memory"):
            return "Somebody has changed the memory."
        controller = copy.controller
        if kind == "gap":
            controller.handle(Gap(t_ns, str(event.get("format")), 0, int(event.get("count", 0))))
        elif kind == "reset":
            if controller.config.on_reset != "reset":  # what stood in for late readings stays, and is not known here
                return "The board has started again."
            controller.handle(Reset(t_ns, 0))
        return ""

    def _prepare(self, about: Mapping[str, Any], recording: str) -> None:
        """In a thread of its own: model and memory."""
        me = threading.current_thread()
        try:
            made, picture, streams = self._made(about, recording)
        except _No as error:
            if self._thread is me:
                self._no = str(error)
        except (EdgeLstmError, BridgeError, OSError, ValueError, LookupError) as error:
            if self._thread is me:
                self._why = f"Not known yet: {error}"
        else:
            if self._thread is me:
                self._picture, self._streams, self._copy = picture, streams, made

    def _made(self, about: Mapping[str, Any], recording: str) -> tuple[_Copy, Picture, tuple[GateStream, ...]]:
        from edge_lstm.robot.controller import Controller
        from edge_lstm.robot.models import Models
        from edge_lstm.streams.gates import GateStream

        config = _config_of(about)
        models = self._found(about, recording, {one.name: one.file for one in config.models} or {"": config.model_file})
        controller = Models(models, config) if config.models else Controller(models[""], config)
        why_not = ""
        for one in controller.controllers().values():
            try:
                one.show_gates()
            except StateError as error:
                why_not = str(error)
        streams = {k: one.stream for k, one in controller.controllers().items() if isinstance(one.stream, GateStream)}
        if not streams:
            raise _No(f"{why_not[0].upper()}{why_not[1:]}.")
        answer = self._ask()
        if answer.get("digest") != about.get("digest"):
            raise DaemonError("another model has come meanwhile")
        controller.restore(keyframe.decode(str(answer["snapshot"]).encode()))
        if config.models and controller.others():
            raise _No("One of the models is fed by readings of other formats, which are not in the run's rows.")
        controller.take_ticks()
        picture = Picture({name: (models[name], stream) for name, stream in streams.items()})
        return _Copy(controller, int(answer["t_ns"])), picture, tuple(streams.values())

    def _found(self, about: Mapping[str, Any], recording: str, files: Mapping[str, str]) -> dict[str, Model]:
        """The models that run, by name. files: those that robot.toml names."""
        digests = about.get("digests")
        if not isinstance(digests, Mapping) or digests.keys() != files.keys():
            raise _No("The run does not say which models it has: it is of another version than this program.")
        folder = Path(str(about["folder"]))
        for name, digest in digests.items():
            if digest not in self._models:
                self._models[digest] = model_of(str(digest), folder / files[name], self._brought, recording)
        self._models = {digest: self._models[digest] for digest in digests.values()}
        return {name: self._models[digest] for name, digest in digests.items()}

    def _asked(self) -> Mapping[str, Any]:
        with Control(self._folder, ANSWER_S) as control:
            return control.ask({"do": "state", "what": "snapshot"})


def _same(row: np.void, outputs: Sequence[float] | None) -> bool:
    """Whether these outputs are those of the row, to the bit; None: it has none."""
    if outputs is None:
        return not row["flags"] & MADE
    return bool(row["flags"] & MADE) and np.array(outputs, np.float64).tobytes() == row["outputs"].tobytes()


def _config_of(about: Mapping[str, Any]) -> RobotConfig:
    """The run's robot.toml, as it was when the run began."""
    from edge_lstm.robot.config import parse_config

    path, folder = Path(str(about.get("config") or "")), Path(str(about.get("folder") or ""))
    if not (path.is_absolute() and folder.is_absolute()):
        raise _No("This run has no robot.toml that could be read here.")
    try:
        for one in (folder, path.parent, path):
            _check_whose(one)
        data = path.read_bytes()
    except OSError as error:
        raise _No(f"{error.filename or path} cannot be read by this user: {error.strerror}.") from None
    if hashlib.sha256(data).hexdigest() != about.get("robot_toml_sha256"):
        raise _No(f"{path} is another one than the run began with.")
    return parse_config(data.decode(), str(path), folder)


def _check_whose(path: Path) -> None:
    """_No where somebody else could have put it there: a dialect of theirs would be their program, run by us."""
    found = path.lstat()
    if found.st_uid not in (0, os.getuid()) or found.st_mode & stat.S_IWOTH or stat.S_ISLNK(found.st_mode):
        raise _No(f"{path} belongs to another user, or others may write there; its owner can start serve.")


def model_of(digest: str, path: Path, brought: Sequence[bytes], recording: str) -> Model:
    """The model of this digest: the one that robot.toml names, one that was swapped in through us, or one that the
    run's recording holds. DaemonError: it is nowhere."""
    import io

    from edge_lstm.core.storage import load_file
    from edge_lstm.robot.controlled import brought as found_in
    from firmware_bridge.recordings.reader import Recording

    def candidates() -> Iterator[Callable[[], bytes]]:
        yield path.read_bytes
        for content in reversed(brought):
            yield lambda content=content: content  # type: ignore[misc]
        if recording:
            yield lambda: found_in(Recording(Path(recording)))(digest)

    for candidate in candidates():
        try:
            model = load_file(io.BytesIO(candidate()), f"the model {digest[:16]}…")
        except (EdgeLstmError, BridgeError, OSError):
            continue
        if model.digest == digest:
            return model
    where = "it will be in its recording" if recording else "swap it through this page, or let the run record"
    raise DaemonError(f"the model that runs was swapped in and is in no file that is known here; {where}")
