"""What looking at a port costs a reading: the same simulated run with and without it.

    python -m tests.support.robots.observed_cost [ROUNDS]
Prints µs of the thread per chunk with one reading: bare, observed, and the difference; the least of some rounds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from edge_lstm.daemon.late import LateAnswers
from edge_lstm.daemon.observed import ObservedPort
from firmware_bridge.values import Chunk

COUNT = 100_000


class Given:
    """A port of chunks that are there."""

    def __init__(self) -> None:
        self.given = [Chunk(k * 1_000_000, b"x") for k in range(COUNT)]

    def chunks(self) -> Iterator[Chunk]:
        yield from self.given

    def write(self, data: bytes) -> bool:
        return True


def turn_us(port: Any, counts: Any) -> float:
    """Per chunk: a reading counted, an action written."""
    write = port.write
    begun = time.thread_time_ns()
    for _ in port.chunks():
        counts.readings += 1
        write(b"")
    return (time.thread_time_ns() - begun) / COUNT / 1000


def main(rounds: int) -> None:
    counts = SimpleNamespace(readings=0, lost=0, resets=0)
    binding = SimpleNamespace(period_ns=1_000_000_000)  # nothing is late
    controller: Any = SimpleNamespace(counts=counts, latest=SimpleNamespace(binding=binding))
    bare: list[float] = []
    seen: list[float] = []
    late = LateAnswers()
    for _ in range(rounds):
        given: Any = Given()
        bare.append(turn_us(given, counts))
        with late.watching():
            seen.append(turn_us(ObservedPort(given, controller, SimpleNamespace(), late), counts))  # type: ignore[arg-type]
    least, most = min(bare), min(seen)
    print(f"bare {least:.3f} µs, observed {most:.3f} µs, cost {most - least:.3f} µs")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
