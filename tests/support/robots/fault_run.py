"""A damaged link, on purpose: bytes with flipped bits, lost and doubled bytes, cut frames, silences, resets and
unplugging, from a seed; then the recording of it, replayed.

Its rule: what is checked is checked against what was really sent, not against the bridge's own word.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.core.storage import load
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run as run_loop
from edge_lstm.robot.replay import replay
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.faults import Faults, Rates
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot

ROOT = Path(__file__).parents[3]
FRAMING = ("cobs", "short", "long", "crc", "version")  # statuses of bytes that are no frame
FAULTS = "flip=3e-4,lose=1e-4,double=1e-4,cut=5e-5,silence=0.03,reset=0.08,unplug=0.08"


@dataclass(frozen=True)
class FaultRun:
    """What a run came to: figures to read, and the sentences that must be true."""

    figures: dict[str, Any]
    checks: dict[str, bool]


def fault_run(path: Path, seed: int, count: int, rate: float = 200.0) -> FaultRun:
    """One run until `count` bytes have arrived, at `rate` readings per second, recorded at `path`; and its replay."""
    example = ROOT / "edge_lstm" / "examples"
    text = (example / "robot.toml").read_text()
    config, model = parse_config(text, "robot.toml", example), load(example / "slip_stall.npz")
    robot = Robot(seed, rate)
    faults = Faults(seed, Rates.parse(FAULTS))
    port = SimulatedPort(robot, None, faults)
    witness = Witness(robot, faults, port, count)
    bridge, controller = Bridge(), Controller(model, config)
    recorder = Recorder(path, {"digest": model.digest}, {"robot.toml": text.encode()}, wait=True)
    witness.recorder = recorder
    start = time.perf_counter()
    summary = run_loop(port, bridge, controller, witness)
    recorder.close()
    live_s = time.perf_counter() - start
    start = time.perf_counter()
    _, comparison, _ = replay(RecordingPort(path), Controller(model, config))
    replay_s = time.perf_counter() - start

    counted = sum(count for status, count in bridge.counters.faults.items() if status in FRAMING)
    damaged, first_pieces = witness.damaged_pieces()
    made = {kind: vars(faults.to_host.counts)[kind] for kind in ("flip", "lose", "double", "cut")} | dict(faults.counts)
    figures = {
        "seed": seed,
        "bytes arrived": bridge.counters.bytes,
        "seconds of the robot": round(summary.seconds, 3),
        "faults made": made,
        "readings used": summary.steps,
        "readings lost, by gaps": f"{summary.lost} in {summary.gaps}",
        "damaged frames counted": f"{counted} of {damaged} (and {first_pieces} half frames after opening)",
        "faults by status": bridge.counters.faults,
        "resets, reconnects": f"{summary.resets}, {summary.reconnects}",
        "actions": summary.actions,
        "seconds, run and replay": f"{live_s:.1f}, {replay_s:.1f}",
        "replay": comparison.sentence(),
    }
    checks = {
        "all bytes arrived without an exception": bridge.counters.bytes >= count,
        "no reading held a wrong number": witness.wrong == 0 and witness.right == bridge.counters.readings,
        "every damaged frame was counted": damaged - first_pieces <= counted <= damaged and counted > 0,
        "every missing reading is known": witness.unexplained() == 0 and summary.lost > 0,
        "resets and unplugging were seen": _seen(summary.resets, faults.counts["reset"])
        and _seen(summary.reconnects, faults.counts["unplug"]),
        "the replay has 0 differing bits": comparison.same and not comparison.beyond,
    }
    return FaultRun(figures, checks)


def _seen(seen: int, made: int) -> bool:
    """Two resets before one handshake are one to the host; none made is none seen."""
    return 0 < seen <= made if made else seen == 0


class Witness:
    """Sees what the robot really said and what really arrived, and hands everything on to the recorder."""

    def __init__(self, robot: Any, faults: Any, port: Any, enough: int) -> None:
        self.recorder: Any = None
        self.right = self.wrong = 0
        self._port, self._enough, self._bytes = port, enough, 0
        self._said: dict[tuple[int, int], tuple[float, ...]] = {}  # (boot, device µs) → values
        self._boot = 0
        self._frames: set[bytes] = set()  # as sent, without delimiters
        self._sessions: list[list[bytes]] = []
        self._spans: list[list[int]] = []  # per boot: first and last device µs received, received, lost
        self._period_us = 1e6 / robot.rate_hz
        robot.on_reading = self._on_reading
        pass_on = faults.to_host.pass_on
        self._sent_rest = b""

        def tap(data: bytes) -> bytes:
            *whole, self._sent_rest = (self._sent_rest + data).split(b"\0")
            self._frames.update(whole)
            return pass_on(data)

        faults.to_host.pass_on = tap

    def _on_reading(self, t_device_us: int, boot_id: int, values: tuple[float, ...], truth: Any) -> None:
        self._said[boot_id, t_device_us] = values

    def received(self, chunk: Any) -> None:
        if chunk.link == "opened":
            self._sessions.append([])
        elif chunk.link == "data":
            self._sessions[-1].append(chunk.data)
            self._bytes += len(chunk.data)
            if self._bytes >= self._enough:
                self._port.stop()
        self.recorder.received(chunk)

    def sent(self, t_ns: int, data: bytes) -> None:
        self.recorder.sent(t_ns, data)

    def unsent(self, t_ns: int, data: bytes) -> None:
        self.recorder.unsent(t_ns, data)

    def values(self, topic: str, t_ns: int, values: Any) -> None:
        self.recorder.values(topic, t_ns, values)

    def event(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "Hello" and event.boot_id != self._boot:
            self._boot = event.boot_id
            self._spans.append([-1, -1, 0, 0])
        elif kind == "Reading":
            said = self._said.get((self._boot, event.t_device_us))
            if said is not None and np.float32(said).tobytes() == np.float32(event.values).tobytes():
                self.right += 1
            else:
                self.wrong += 1
            span = self._spans[-1]
            span[0] = event.t_device_us if span[0] < 0 else span[0]
            span[1] = event.t_device_us
            span[2] += 1
        elif kind == "Gap" and self._spans[-1][0] >= 0:  # between the first and the last reading of a boot
            self._spans[-1][3] += event.count
        self.recorder.event(event)

    def damaged_pieces(self) -> tuple[int, int]:
        """(pieces between delimiters that are no frame the robot sent, those that stand first after opening)."""
        damaged = first = 0
        for session in self._sessions:
            *pieces, _ = b"".join(session).split(b"\0")
            bad = [number for number, piece in enumerate(pieces) if piece and piece not in self._frames]
            damaged += len(bad)
            first += 0 in bad
        return damaged, first

    def unexplained(self) -> int:
        """Readings between the first and the last of each boot that neither arrived nor are in a gap."""
        off = 0
        for first, last, received, lost in self._spans:
            if received:
                off += abs(round((last - first) / self._period_us) + 1 - received - lost)
        return off
