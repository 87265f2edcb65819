"""The simulated robot as a port in process, in its own time: no sleeping, a minute takes as long as computing it.

Its rule: what the host sees is a deterministic function of the robot's seed, the faults' seed and the bytes the host
writes.
Must never: look at a clock; `t_ns` is the robot's time from `START_NS` on.
"""

from __future__ import annotations

from collections.abc import Iterator

from firmware_bridge.ports.port import SILENCE_MS, PortStats
from firmware_bridge.simulator.faults import Faults
from firmware_bridge.simulator.robot import Robot
from firmware_bridge.values import Chunk

START_NS = 1_700_000_000_000_000_000  # an arbitrary date, always the same
SILENCE_US = 1000 * SILENCE_MS


class SimulatedPort:
    """`seconds` of a robot's life (None: until `stop`), with faults if asked. One chunk per reading or per ms."""

    def __init__(self, robot: Robot, seconds: float | None = None, faults: Faults | None = None) -> None:
        self.robot = robot
        self.faults = faults or Faults()
        self.stats = PortStats()  # without latencies: no time passes between a chunk and its answer
        self._end_us = None if seconds is None else robot.now_us + round(seconds * 1e6)
        self._open = True
        self._silent_us = self._gone_us = -1  # robot time at which a silence or an unplugging ends
        self._wake_us: int | None = None  # robot time; see `wake_at`
        self._answers: list[bytes] = []

    def chunks(self) -> Iterator[Chunk]:
        """Chunks until the time is up, as a serial port would give them."""
        robot = self.robot
        yield Chunk(self._t_ns(), f"simulated robot, seed {robot.seed}".encode(), "opened")
        gone, sent_us = False, robot.now_us
        while self._open and (self._end_us is None or robot.now_us < self._end_us):
            step = min(max(robot.next_us - robot.now_us, 1_000), 10_000)
            if self._wake_us is not None and self._wake_us > robot.now_us:
                step = min(step, self._wake_us - robot.now_us)
            data = b"".join(self._answers) + robot.advance(step)
            self._answers.clear()
            passed = self._pass_on(data)
            if gone and robot.now_us >= self._gone_us:
                gone, sent_us = False, robot.now_us
                self.faults.to_host.reopen()
                self.faults.to_device.reopen()
                yield Chunk(self._t_ns(), f"simulated robot, seed {robot.seed}".encode(), "opened")
            elif passed or robot.now_us - sent_us >= SILENCE_US or self._awake():
                sent_us = robot.now_us
                if passed:
                    self.stats.received(len(passed))
                yield Chunk(self._t_ns(), passed)
            for event in self.faults.due(robot.now_us):
                if event.kind == "reset":
                    robot.reset()
                elif event.kind == "silence":
                    self._silent_us = robot.now_us + event.duration_us
                elif not gone:
                    gone, self._gone_us = True, robot.now_us + event.duration_us
                    yield Chunk(self._t_ns(), b"the simulated robot was unplugged", "lost")

    def write(self, data: bytes) -> bool:
        """Arrives at the robot at once; answers come with the next chunk."""
        if self.robot.now_us < self._gone_us:
            self.stats.dropped(len(data))
            return False
        self.stats.wrote(len(data), None)
        if self.robot.now_us < self._silent_us:
            self.faults.to_device.swallow(data)
        else:
            self.robot.receive(self.faults.to_device.pass_on(data))
            self._answers.append(self.robot.outgoing())
        return True

    def write_last(self, data: bytes, cut: bytes) -> bool:
        """There is always room here."""
        return self.write(data)

    def wake_at(self, t_ns: int) -> None:
        """See `Port.wake_at`; to the µs, for the robot's time is."""
        self._wake_us = -((START_NS - t_ns) // 1000)

    def stop(self) -> None:
        """End `chunks` after the present one."""
        self._open = False

    def close(self) -> None:
        self._open = False

    def _awake(self) -> bool:
        """Whether the wake-up that was asked for is due."""
        return self._wake_us is not None and self.robot.now_us >= self._wake_us

    def _pass_on(self, data: bytes) -> bytes:
        if self.robot.now_us < max(self._silent_us, self._gone_us):
            self.faults.to_host.swallow(data)
            return b""
        return self.faults.to_host.pass_on(data)

    def _t_ns(self) -> int:
        """The time of the chunk that is given now; the wake-up that it comes in time for is done with."""
        if self._awake():
            self._wake_us = None
        return START_NS + self.robot.now_us * 1000
