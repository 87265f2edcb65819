"""One of the kinds, as a robot behind a pseudo-terminal.

    python -m tests.support.robots.stock.robot KIND --link LINK --truth TRUTH.jsonl [--rate 100] [--damaged 0.01]

Its rule: what is damaged on the way to the host (a message cut short, its head lost so that it is glued to the one
before, a bit flipped, text in between) is drawn from the seed, and in the truth, beside every reading and every action.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from firmware_bridge.simulator.dialects.robot_side import Obeyed, RobotSide, robot_side
from firmware_bridge.simulator.played import Happened, Played, Row, Table
from firmware_bridge.simulator.pty import PATIENCE_S, Terminal, serve_board
from firmware_bridge.simulator.truth import PlayedTruth
from tests.support.robots import stock

DAMAGES = ("cut", "head lost", "flipped", "text between")
TEXT = b"E (1234) i2c: timeout\r\n"


class Damaged(RobotSide):
    """A robot whose messages are damaged on their way to the host."""

    def __init__(self, inner: RobotSide, share: float, random: Random) -> None:
        self._inner, self._share, self._random = inner, share, random
        self.done: list[str] = []  # what was done, and not yet written down

    def reading(self, name: str, t_us: int, values: Sequence[float]) -> bytes:
        """The inner one's, damaged."""
        return self._damaged(self._inner.reading(name, t_us, values))

    def receive(self, data: bytes) -> list[Obeyed]:
        """The inner one's."""
        return self._inner.receive(data)

    def answers(self) -> bytes:
        """The inner one's, damaged."""
        return self._damaged(self._inner.answers())

    def tick(self, t_us: int) -> list[Obeyed]:
        """The inner one's."""
        return self._inner.tick(t_us)

    def restart(self) -> None:
        """The inner one's."""
        self._inner.restart()

    def _damaged(self, data: bytes) -> bytes:
        if len(data) < 2 or self._random.random() >= self._share:
            return data
        kind, at = self._random.choice(DAMAGES), self._random.randrange(1, len(data))
        self.done.append(kind)
        if kind == "cut":
            return data[:at]
        if kind == "head lost":
            return data[at:]
        if kind == "flipped":
            return data[:at] + bytes([data[at] ^ 1 << self._random.randrange(8)]) + data[at + 1 :]
        return TEXT + data


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=stock.KINDS)
    parser.add_argument("--link", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--damaged", type=float, default=0.0, help="share of the messages")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    kind, rate_hz = options.kind, options.rate
    link = stock.dialect(kind, rate_hz)
    (form,) = (item.form for item in link.readings.values())

    def rows() -> Iterator[Row]:
        number = 0
        while True:
            numbers = stock.values(kind, number, rate_hz, len(form.fields))
            yield Row(round((number + 1) * 1e6 / rate_hz), form.name, numbers)
            number += 1

    inner = robot_side(link)
    side = Damaged(inner, options.damaged, Random(options.seed))
    safe = {name: item.form.safe_action().values for name, item in link.actions.items()}
    watchdogs = [item.watchdog_ms for item in link.actions.values() if item.watchdog_ms]
    board = Played(side, Table(rows), safe=safe, watchdog_us=min(watchdogs) * 1000 if watchdogs else None)
    truth = PlayedTruth(options.truth, {form.name: [field.name for field in form.fields]}, {}, safe)

    def tell(event: Happened) -> None:
        while side.done:
            truth.write(event._replace(kind="damage", name=side.done.pop(0), values=()))
        truth.write(event)

    board.on_event = tell
    told = False

    def stop(number: int, frame: object) -> None:
        nonlocal told
        told = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    serve_board(board, Terminal(options.link, inner.end, PATIENCE_S), stop=lambda: told)
    truth.close()


if __name__ == "__main__":
    main()
