"""A robot with firmware of its own: readings from a source, at their own times, in any dialect; actions are counted.

Its rule: a deterministic function of its source, of the bytes received and of the times they came at. A watchdog of its
own makes it safe where the configuration declares one. Must never: look at a clock, or touch a port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from firmware_bridge.formats import Field, Format
from firmware_bridge.simulator.dialects.robot_side import Obeyed, RobotSide
from firmware_bridge.simulator.drive import Drive
from firmware_bridge.simulator.robot import LARGEST_TORQUE

BOOT_US = 400_000  # from a reset until it is heard again
TICK_US = 10_000
NEVER_US = 1 << 62

Values = tuple[float, ...]


class Row(NamedTuple):
    """A reading to come: when, since the power switch; which; its values."""

    t_us: int
    reading: str
    values: Values


class Source(Protocol):
    """Where readings come from, and what actions move."""

    def rows(self) -> Iterator[Row]:
        """Readings in the order of time; each is asked for when the one before it has been taken."""

    def obey(self, action: str, values: Values) -> None:
        """The outputs are these now."""


class Table:
    """Rows that were written down: actions move nothing. loop: from the start again, one period after the last."""

    def __init__(self, rows: Callable[[], Iterable[Row]], loop: bool = False) -> None:
        self.rows_of, self._loop = rows, loop

    def rows(self) -> Iterator[Row]:
        begin_us = 0
        while True:
            last_us = before_us = 0
            for row in self.rows_of():
                before_us, last_us = last_us, row.t_us
                yield row._replace(t_us=begin_us + row.t_us)
            begin_us += last_us + max(1, last_us - before_us)
            if not self._loop:
                return

    def obey(self, action: str, values: Values) -> None:
        """There is nothing to move."""


class Driven:
    """The two-wheeled robot's physics: `reading` has the sensors' values; the first two fields of `action` set the
    torque limits, from none at their safe value to all at either end."""

    def __init__(
        self, drive: Drive, reading: str, action: Format | None = None, pick: Sequence[int] | None = None
    ) -> None:
        """pick: which of `robot.READING_FIELDS`, in which order; None: all."""
        self.drive, self.reading, self.action = drive, reading, action
        self._pick = pick
        drive.torque_limits = (0.0, 0.0)

    def rows(self) -> Iterator[Row]:
        """Without end."""
        drive = self.drive
        while True:
            t_us = round((drive.readings + 1) * 1e6 / drive.rate_hz)
            values = drive.advance()
            yield Row(t_us, self.reading, values if self._pick is None else tuple(values[k] for k in self._pick))

    def obey(self, action: str, values: Values) -> None:
        """The first declared action moves it."""
        if self.action is None or action != self.action.name:
            return
        shares = [_share(field, value) for field, value in zip(self.action.fields, values, strict=True)]
        left, right = (shares * 2)[:2]
        self.drive.torque_limits = (left * LARGEST_TORQUE, right * LARGEST_TORQUE)


def _share(field: Field, value: float) -> float:
    """How far a value is from the safe one, 0 to 1."""
    safe = field.safe or 0.0
    most = max((field.maximum or 0.0) - safe, safe - (field.minimum or 0.0))
    return min(1.0, abs(value - safe) / most) if most > 0 else 0.0


class Happened(NamedTuple):
    """What the truth has of one moment, in the device's time: a reading sent, an action obeyed, or a safe output."""

    t_us: int  # since the power switch
    t_device_us: int  # since the firmware's last start
    kind: str  # reading, action, safe
    name: str
    values: Values
    why: str = ""


class Played:
    """One robot on its power switch, as a simulated port wants it (`board.Board`).

    safe: the values that each action has while nobody commands; watchdog_us: without a command for so long it makes
    itself safe, None: it does not, as servo buses do.
    """

    def __init__(
        self,
        side: RobotSide,
        source: Source,
        *,
        safe: Mapping[str, Values] | None = None,
        watchdog_us: int | None = None,
    ) -> None:
        self.side, self.source = side, source
        self.now_us = self.taken = self.resets = self.obeyed = self.timeouts = self.lost = 0
        self.on_event: Callable[[Happened], None] = lambda event: None
        self._safe, self._watchdog_us = dict(safe or {}), watchdog_us
        self._rows = source.rows()
        self._row = next(self._rows, None)
        self._boot_us = 0  # now_us at which the firmware began to run
        self._commanded_us: int | None = None  # now_us of the last action, while its outputs are on

    @property
    def next_us(self) -> int:
        """`now_us` of the next reading; far away where there is none."""
        return NEVER_US if self._row is None else self._row.t_us

    @property
    def finished(self) -> bool:
        """The source has no more readings."""
        return self._row is None

    @property
    def booting(self) -> bool:
        """After a reset it neither receives nor sends for a while."""
        return self.now_us < self._boot_us

    def receive(self, data: bytes) -> None:
        """Bytes from the host, arrived now."""
        if self.booting:
            return
        self._watch(self.side.tick(self.now_us - self._boot_us))  # its clock shows now, not the last reading
        for name, values in self.side.receive(data):
            self.obeyed += 1
            self._commanded_us = self.now_us
            self.source.obey(name, values)
            self._tell("action", name, values)

    def outgoing(self) -> bytes:
        """Answers that wait to be sent."""
        return b"" if self.booting else self.side.answers()

    def advance(self, dt_us: int) -> bytes:
        """Let dt_us µs pass: read, watch, and return what it sends meanwhile, in whole messages."""
        end = self.now_us + dt_us
        sent = []
        while self.now_us < end:
            due, tick = self.next_us, self.now_us - self.now_us % TICK_US + TICK_US
            self.now_us = max(self.now_us, min(end, due, tick))
            # Only at times of its own does it act, so it does not matter how the caller cuts time.
            if not self.booting and self.now_us in (due, tick):
                self._watch(self.side.tick(self.now_us - self._boot_us))
                sent.append(self.side.answers())
            while self._row is not None and self._row.t_us <= self.now_us:
                self._read(self._row, sent)
                self._row = next(self._rows, None)
        return b"".join(sent)

    def reset(self) -> None:
        """The firmware starts again: its outputs are off, its clock begins at 0 after `BOOT_US`."""
        self.resets += 1
        self._boot_us = self.now_us + BOOT_US
        self.side.restart()
        if self._commanded_us is not None:
            self._make_safe("reset")

    def dropped(self, messages: int) -> None:
        """The port reports how many messages did not fit into its buffer; such firmware knows nothing of it."""
        self.lost += messages

    def _read(self, row: Row, sent: list[bytes]) -> None:
        self.taken += 1
        if not self.booting:
            sent.append(self.side.reading(row.reading, self.now_us - self._boot_us, row.values))
            self._tell("reading", row.reading, row.values)

    def _watch(self, safe: Sequence[Obeyed]) -> None:
        """safe: what the firmware's own watchdog has done."""
        for name, values in safe:
            self._safe[name] = values
        late = self._watchdog_us is not None and self._commanded_us is not None
        if safe or (late and self.now_us - (self._commanded_us or 0) > (self._watchdog_us or 0)):
            self.timeouts += 1
            self._make_safe("watchdog")

    def _make_safe(self, why: str) -> None:
        self._commanded_us = None
        for name, values in self._safe.items():
            self.source.obey(name, values)
            self._tell("safe", name, values, why)

    def _tell(self, kind: str, name: str, values: Values, why: str = "") -> None:
        self.on_event(Happened(self.now_us, self.now_us - self._boot_us, kind, name, values, why))
