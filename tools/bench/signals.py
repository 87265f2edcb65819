"""What declared inputs and outputs cost a step: µs of a legged policy (LSTM 64, 48 observations, 12 targets), beside
the network alone, the three as one program, and the same observation and action code in a user's NumPy.

    python -m tools.bench.signals [--json]

From a tuple of 34 raw numbers to a list of 24; the least of many rounds, so that other programs count little. Nothing
here judges it; the aim is 10 µs more than the network alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

from edge_lstm.errors import ConfigError
from edge_lstm.signals.declared import declared
from edge_lstm.signals.joined import join
from edge_lstm.signals.programs import inputs_of, outputs_of
from edge_lstm.signals.runtime import Signals
from firmware_bridge.table import Table
from tools.bench import legged

ROUNDS, READINGS = 300, 100  # a round is shorter than a time slice of the scheduler


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure()
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for name, cost in found.items():
        print(f"{name:44} {cost:7.2f} µs  {cost / found['the network alone']:6.2f} x")
    return 0


def measure() -> dict[str, float]:
    """What is measured → µs per step."""
    model, rate = legged.policy(), 200.0
    tables = declared(Table("legged", "", tomllib.loads(legged.TABLES), ConfigError, Path()))
    inputs, outputs = inputs_of(tables, model, {}, legged.UNITS, rate), outputs_of(tables, model, rate)
    signals, stream, joined = Signals(inputs, model, outputs), model.stream(), join(inputs, model, outputs).stream()
    rows = legged.readings(np.random.default_rng(0), READINGS)
    raws = [tuple(row) for row in rows.tolist()]
    values, ys = [], []
    for raw in raws:
        values.append(signals.channels(raw).copy())
        y = stream.step(values[-1])
        assert y is not None
        ys.append(y.copy())
        signals.outputs(y)
    hand = legged.ByHand(model)

    def by_hand(raw: Any) -> None:
        hand.action = np.asarray(stream.step(hand.observe(np.array(raw))), np.float64)
        legged.targets(hand.action).tolist()

    def whole(raw: Any) -> None:
        signals.outputs(stream.step(signals.channels(raw)))  # type: ignore[arg-type]

    return {
        "the network alone": least(stream.step, values),
        "its inputs": least(signals.channels, raws),
        "its outputs": least(signals.outputs, ys),
        "inputs, network, outputs": least(whole, raws),
        "the three as one program": least(joined.step, list(rows.astype(np.float32))),
        "the network with NumPy around it": least(by_hand, raws),
    }


def least(work: Callable[[Any], object], items: Iterable[Any]) -> float:
    """µs for one item, in the quickest of ROUNDS."""
    given, quickest = list(items), float("inf")
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for item in given:
            work(item)
        quickest = min(quickest, time.perf_counter() - begun)
    return 1e6 * quickest / len(given)


if __name__ == "__main__":
    sys.exit(main())
