"""A run that can be found, looked at and asked: its folder, block, mailbox and control socket, made and ended together.

Its rule: none of this is needed to control a robot. Where it cannot be had (no folder, no memory, another run of the
same name) that is a sentence in `notes`, and the robot runs as it does without.

Never: let a thread of this be the loop's, or make the loop wait for one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edge_lstm.daemon import place
from edge_lstm.daemon.block import FRESH_NS
from edge_lstm.daemon.journal import WARNING
from edge_lstm.daemon.lull import Lull
from edge_lstm.daemon.mailbox import ControlledPort
from edge_lstm.daemon.observed import Happening
from edge_lstm.daemon.server import Server, group_of
from edge_lstm.daemon.writer import Block
from edge_lstm.errors import EdgeLstmError
from edge_lstm.robot.controlled import Swap, control_of, controllers_of
from edge_lstm.robot.models import Models
from edge_lstm.robot.watched import Watched
from firmware_bridge.ports.clock import steady_clock

if TYPE_CHECKING:
    from edge_lstm.robot.config import RobotConfig
    from edge_lstm.robot.decider import Decider
    from edge_lstm.robot.loop import Tap
    from firmware_bridge.links.link import Link
    from firmware_bridge.ports.port import Port

STATUS_S = 1.0  # between two writings of the status
_JOIN_S = 1.0
_HAPPENINGS = 100
_FRESH_NS = 1_000_000_000  # of readings and outputs, at least; more where they come rarely
_PERIODS = 20
_NOT_WHOLE = "the status was not whole: {}"


class Operated:
    """A context manager around a run. The loop is given `port` and `tap`; `notes` are sentences for people.

    sources: more of the status, by its key ("late", "recording" …), asked once a second from a thread of its own.
    mark: see `Server`; came, gone: see `Controlled`. lull: in which status and answers are made; None: whenever
    they are due.
    """

    def __init__(
        self,
        robot: RobotConfig,
        controller: Decider,
        bridge: Link,
        port: Port,
        *,
        about: Mapping[str, Any] | None = None,
        sources: Mapping[str, Callable[[], Any]] | None = None,
        mark: Callable[[int, str, float], None] = lambda t_ns, text, last_s: None,
        came: Callable[[str, bytes], None] = lambda name, content: None,
        gone: Callable[[str], None] = lambda name: None,
        stop: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGTERM),
        lull: Lull | None = None,
    ) -> None:
        self.notes: list[str] = []
        self.happened: deque[Happening] = deque(maxlen=_HAPPENINGS)  # to be said at once
        self._mailbox = ControlledPort(port)
        self.port: Port = self._mailbox if robot.daemon.control else port
        self.tap: Tap | None = None
        self.name = robot.daemon.name
        self.folder: Path | None = None
        self.sources: dict[str, Callable[[], Any]] = dict(sources or {})
        self._robot, self._controller, self._bridge, self._port = robot, controller, bridge, port
        self._about, self._mark, self._stop = dict(about or {}), mark, stop
        self._came, self._gone, self._lull = came, gone, lull
        self._lock = -1
        self._block: Block | None = None
        self._server: Server | None = None
        self._ended = threading.Event()
        self._started_ns = steady_clock()()
        self._before: tuple[float, dict[str, int]] | None = None
        self._rates: dict[str, float] = {}
        self._thread = threading.Thread(target=self._telling, name="status", daemon=True)

    def __enter__(self) -> Operated:
        if self._robot.daemon.control:
            try:
                self._begin()
            except (EdgeLstmError, OSError, RuntimeError, MemoryError) as error:
                why = f"{error.filename or ''}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
                self.notes.append(f"this run cannot be operated from outside: {why.lstrip(': ')}")
                self._end()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def _begin(self) -> None:
        robot = self._robot
        group, why_not = group_of(robot.daemon.group)
        self.folder = folder = place.own(self.name, group)
        if group is not None and (closed := place.closed_to(group, folder)) is not None:
            why_not = (
                f"[daemon] group: the members of {robot.daemon.group!r} cannot reach this run, {closed} is closed to "
                "them; a service has a folder of its own, and RUNTIME_DIRECTORY=FOLDER names another"
            )
        if why_not:
            self.notes.append(why_not)
        self._lock = _locked(folder / "lock", self.name)
        stats = self._port.stats
        clock_ns = steady_clock()() - time.monotonic_ns()
        latency = stats.latency
        self._block = Block(
            folder / place.STATUS,
            self._schema(),
            lambda: latency.latest_ns,
            clock_ns=clock_ns,
            group=group,
            running=self._models,
        )
        control, mailbox = control_of(self._controller), self._mailbox
        if control is not None:
            control.answered, control.undone = mailbox.answered, self._undone
            control.came, control.gone = self._came, self._gone
        self._block.tell(self._tree())
        self._server = Server(
            folder / place.SOCKET,
            mailbox.ask,
            (lambda data: None) if control is None else control.prepare,
            folder / place.STATUS,
            mark=self._mark,
            stop=self._stop,
            group=group,
            lull=self._lull,
        )
        self._thread.start()
        self.tap = self._block
        if robot.daemon.shadow and control is not None:
            threading.Thread(target=self._shadow, args=(control.prepare,), name="shadow", daemon=True).start()

    def _undone(self, t_ns: int, swap: Swap) -> None:
        """In the loop's thread: for whoever looks, and for the run's own lines."""
        text = f"the swap to {swap.file} was undone: {swap.undone}"
        self.happened.append(Happening(t_ns, WARNING, text))
        if self._block is not None:
            self._block.say(t_ns, {"event": "undone", "text": f"{text[0].upper()}{text[1:]}."})

    def _end(self) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)
        if self._server is not None:
            self._server.close()
        if self._block is not None:
            self._block.close()
            if self._block.failed:
                self.notes.append(_NOT_WHOLE.format(self._block.failed))
        self._server = self._block = None
        if self._lock >= 0:
            if self.folder is not None:  # as long as the name is ours: what the next one of it puts there is not
                for rest in (f"{place.SOCKET}.new", f"{place.STATUS}.new", "lock"):
                    with contextlib.suppress(OSError):
                        (self.folder / rest).unlink()
                with contextlib.suppress(OSError):
                    self.folder.rmdir()
            os.close(self._lock)
            self._lock = -1

    def _shadow(self, prepare: Callable[[bytes], None]) -> None:
        """What [daemon] shadow names runs beside from the beginning, as if it had been asked for."""
        file = self._robot.folder / self._robot.daemon.shadow
        try:
            line = json.dumps({"do": "shadow", "file": file.name, "by": "robot.toml"}).encode()
            data = line + b"\n" + file.read_bytes()
            prepare(data)
            answer = self._mailbox.ask(data, 60.0)
            why = "" if answer.get("ok") else str(answer.get("error"))
        except (EdgeLstmError, OSError) as error:
            why = str(error)
        if why:
            self.notes.append(f"[daemon] shadow: {why}")

    # ------------------------------------------------------------------------------------------ status

    def _schema(self) -> dict[str, Any]:
        """What the block's schema says of the run beside names and units."""
        robot = self._robot
        return {
            "name": self.name,
            "pid": os.getpid(),
            "started_ns": self._started_ns,
            "config": str(Path(robot.source).resolve()) if robot.source else "",
            "folder": str(robot.folder.resolve()),
            "robot_toml_sha256": hashlib.sha256(robot.text.encode()).hexdigest(),
            "texts": {name: list(choices) for name, choices in robot.texts().items()},
            "commands": {
                name: {
                    field.name: {"unit": field.unit, "limits": [_finite(end) for end in one.limits[field.name]]}
                    for field in one.form.fields
                }
                for name, one in robot.commands.items()
            },
            **self._about,
        }

    def _models(self) -> dict[str, Any]:
        """What is at work now. digest: of all of it; digests: of each model by its name, "" of the only one."""
        controllers = controllers_of(self._controller)
        digests = {name: one.digest for name, one in controllers.items()}
        return {"model": self._controller.name, "digest": self._controller.digest, "digests": digests}

    def _telling(self) -> None:
        while not self._ended.wait(STATUS_S):
            block = self._block
            if block is None:
                return
            with contextlib.suppress(Exception):  # the loop's own dictionaries may change while they are read
                self._wait()
                tree = self._tree()
                self._wait()  # 0.2 ms are over, and 0.1 ms are to come
                block.tell(tree)
            if (control := control_of(self._controller)) is not None:
                control.let_go()

    def _wait(self) -> None:
        if self._lull is not None:
            self._lull.wait()

    def _tree(self) -> dict[str, Any]:
        controller, bridge, stats = self._controller, self._bridge, self._port.stats
        counts, latest = asdict(controller.counts), controller.latest
        control = control_of(controller)
        inner = control.inner if control is not None else controller
        uncounted = controller.config.reading in bridge.promises.uncounted
        block_failed = self._block.failed if self._block is not None else ""
        period_ns = latest.binding.period_ns if latest is not None else 0
        fresh_ns = max(_PERIODS * period_ns, _FRESH_NS) if period_ns else FRESH_NS["readings"]
        stride = 1 if controller.model is None else controller.model.timing.stride
        latency = stats.latency
        buckets = latency.buckets()  # once: the interpreter that this takes is the loop's, too
        made = {
            "name": self.name,
            "started_ns": self._started_ns,
            "fresh_ns": {
                "alive": FRESH_NS["alive"],
                "readings": fresh_ns,
                "outputs": max(fresh_ns, _PERIODS * period_ns * stride),
            },
            "link_state": bridge.state,
            "counts": counts | {"lost": None} if uncounted else counts,
            "not_real": controller.not_real,
            "rates": self._measure(counts),
            "latency": {
                "count": latency.count,
                "p50_us": _percentile_ns(buckets, 50) / 1000,
                "p99_us": _percentile_ns(buckets, 99) / 1000,
                "max_us": latency.max_ns / 1000,
                "buckets": buckets,
            },
            "port": {key: value for key, value in vars(stats).items() if key != "latency"},
            "link_report": bridge.report(),
            "models": inner.report() if isinstance(inner, Models) else {},
            "watched": controller.watch.report(self._started_ns) if isinstance(controller, Watched) else {},
            "control": {} if control is None else control.report(),
            "notes": [*self.notes, *([_NOT_WHOLE.format(block_failed)] if block_failed else [])],
        }
        return made | {key: source() for key, source in self.sources.items()}

    def _measure(self, counts: Mapping[str, int]) -> dict[str, float]:
        """Per second, over the latest second or so."""
        now_s, kept = time.monotonic(), {key: counts[key] for key in ("readings", "steps", "actions", "lost")}
        if self._before is None:
            self._before = now_s, kept
        then_s, before = self._before
        if now_s - then_s >= 0.9 * STATUS_S:
            self._rates = {f"{key}_hz": (value - before[key]) / (now_s - then_s) for key, value in kept.items()}
            self._before = now_s, kept
        return self._rates


def _locked(path: Path, name: str) -> int:
    """A descriptor that holds the lock of this name for as long as it is open. OSError: another run has it, whose it
    stays."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), path.stat()):
                    return fd
        except BlockingIOError:
            os.close(fd)
            raise OSError(0, f"another run is called {name!r}; give this one another [daemon] name") from None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # of a run that was just ending, and has taken it away


def _percentile_ns(buckets: Sequence[tuple[int, int]], percent: float) -> int:
    """As `Histogram.percentile_ns`, of its buckets."""
    needed, seen = sum(count for _, count in buckets) * percent / 100, 0
    for longest_ns, count in buckets:
        seen += count
        if seen >= needed:
            return longest_ns
    return 0


def _finite(value: float) -> float | None:
    return value if value - value == 0 else None
