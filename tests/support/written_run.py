"""A run's block without a run: what tests tell it to say, through the block's real writer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edge_lstm.daemon.writer import Block
from edge_lstm.robot.controller import Decision
from firmware_bridge.events import Reading
from firmware_bridge.values import Chunk

FRESH_NS = {"alive": 500_000_000, "readings": 500_000_000, "outputs": 500_000_000}


class WrittenRun:
    """A run `name` in `base`; channels are "name" or "name unit"."""

    def __init__(
        self,
        base: Path,
        name: str = "cart",
        *,
        readings: Sequence[str] = ("speed_left rad/s", "speed_right rad/s", "battery V"),
        outputs: Sequence[str] = ("slip_left", "slip_right"),
        actions: Sequence[str] = ("torque_left N m", "torque_right N m"),
        rate_hz: float = 200.0,
    ) -> None:
        self.folder = base / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.started_ns = time.time_ns()
        self.latency_ns = 150_000
        clock_ns = time.time_ns() - time.monotonic_ns()
        about = {"name": name, "model": "slip_stall", "digest": "00" * 32}
        self.block = Block(self.folder / "status", about, lambda: self.latency_ns, clock_ns=clock_ns)
        self.binding = _binding(readings, outputs, actions, rate_hz)
        self.number = 0
        self.tree: dict[str, Any] = {
            "name": name,
            "started_ns": self.started_ns,
            "fresh_ns": FRESH_NS,
            "link_state": "running",
            "counts": {"readings": 0, "steps": 0, "lost": 0, "gaps": 0, "resets": 0, "actions": 0},
            "link_report": {"faults": {}, "reconnects": 0, "bytes": 0},
            "port": {"writes_dropped": 0},
            "latency": {"p50_us": 150.0, "p99_us": 210.0, "count": 3, "buckets": [[100_000, 1], [190_000, 2]]},
            "rates": {"readings_hz": rate_hz},
            "late": {},
            "recording": {"path": "/data/cart.mcap", "trouble": ""},
        }

    def opened(self, t_ns: int | None = None) -> None:
        self.block(Chunk(t_ns or time.time_ns(), b"a port", "opened"), [], -1)

    def lost(self, t_ns: int | None = None) -> None:
        self.block(Chunk(t_ns or time.time_ns(), b"unplugged", "lost"), [], -1)

    def turn(self) -> None:
        """A chunk without bytes."""
        self.block(Chunk(time.time_ns(), b""), [], -1)

    def row(
        self,
        readings: Sequence[float],
        outputs: Sequence[float] | None,
        action: Sequence[float] | None,
        t_ns: int | None = None,
        *,
        sent: bool = True,
    ) -> int:
        """One reading and what came of it; returns its time."""
        t_ns = t_ns or time.time_ns()
        event = Reading(t_ns, self.binding.reading.name, self.number, 0, tuple(readings))
        made = None if action is None else SimpleNamespace(format=self.binding.action.name, values=tuple(action))
        decision: Any = SimpleNamespace(
            outputs=outputs, action=made, not_real=0, row=None, urgent=False, happened=(), binding=self.binding
        )
        done: list[tuple[Any, Decision | None]] = [(event, decision)]
        self.block(Chunk(t_ns, b"x"), done, 0 if sent and made else -1)
        self.number += 1
        self.tree["counts"]["readings"] += 1
        return t_ns

    def event(self, tree: dict[str, Any], t_ns: int | None = None) -> int:
        t_ns = t_ns or time.time_ns()
        self.block.say(t_ns, tree)
        return t_ns

    def tell(self, **changed: Any) -> None:
        """The status, with these in place of what it said."""
        self.tree |= changed
        self.block.tell(self.tree)

    def close(self) -> None:
        self.block.close()


def _binding(readings: Sequence[str], outputs: Sequence[str], actions: Sequence[str], rate_hz: float) -> Any:
    """As much of a `Binding` as the block looks at."""

    def fields(texts: Sequence[str]) -> list[SimpleNamespace]:
        parts = [text.partition(" ") for text in texts]
        return [SimpleNamespace(name=name, unit=unit, minimum=-1.0, maximum=1.0) for name, _, unit in parts]

    return SimpleNamespace(
        reading=SimpleNamespace(name="imu_wheels", fields=fields(readings), rate_hz=rate_hz),
        feed=SimpleNamespace(joined=()),
        action=SimpleNamespace(name="motor_limits", fields=fields(actions)) if actions else None,
        output_names=[one.name for one in fields(outputs)],
        output_units=[one.unit for one in fields(outputs)],
        dictionary=SimpleNamespace(device="simulated-robot", version="1.0"),
        period_ns=None,
    )
