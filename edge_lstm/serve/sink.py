"""What shows a run to the world: is given every batch.

Its rule: it never waits and never raises for what the world does; a receiver that is gone is no trouble of the others.
"""

from __future__ import annotations

from typing import Protocol

from edge_lstm.errors import DaemonError
from edge_lstm.serve.feed import Batch
from edge_lstm.serve.verdict import Verdict
from firmware_bridge.installing import not_importable


class Sink(Protocol):
    """The page, a broker, a viewer, a plot."""

    def take(self, batch: Batch, verdict: Verdict, now_ns: int) -> None:
        """What is new, and what it came to. now_ns: on the run's clock, where there is a run."""

    def close(self) -> None:
        """Say goodbye."""


def missing(package: str, error: ImportError) -> DaemonError:
    """The error to raise where importing a package failed."""
    return DaemonError(f"this needs {not_importable(package, error)}")
