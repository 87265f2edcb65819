"""What a replay of a recording leaves: files, a comparison with --expect, a verdict.

Its rule: said in the same words, and judged by the same exit codes, whoever's loop was recorded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edge_lstm.cli import codes
from edge_lstm.cli.common import Failure

if TYPE_CHECKING:
    from edge_lstm.logs.expected import Comparison


class Compared(Protocol):
    """The replay beside the recording."""

    @property
    def same(self) -> bool:
        """Whether nothing differs."""

    def why(self) -> str:
        """Why it is not the same."""


class Outcome:
    """The files that were written, and the outputs beside the reference."""

    def __init__(self, output: Path | None, plot: Path | None, expected: Comparison | None) -> None:
        """expected: of --expect, None where nothing was asked."""
        self._written = {"output": output, "plot": plot}
        self._expected = expected

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        expected = None if self._expected is None else self._expected.as_dict()
        return {"expected": expected} | {what: path and str(path) for what, path in self._written.items()}

    def lines(self) -> list[str]:
        """For people."""
        lines = [] if self._expected is None else self._expected.lines()
        words = {"output": "written", "plot": "picture"}
        return [*lines, *(f"{words[what]} {path}" for what, path in self._written.items() if path)]

    def check(self, log: Path, compared: Compared | None) -> None:
        """Failure where the replay differs from what it was compared with. compared: None where --verify is not."""
        if compared is not None and not compared.same:
            raise Failure(codes.DIFFERENT, f"{log}: {compared.why()}")
        if self._expected is not None and not self._expected.ok:
            raise Failure(codes.DIFFERENT, f"{log}: {self._expected.verdict()}")
