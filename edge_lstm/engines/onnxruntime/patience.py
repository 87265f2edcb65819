"""A session of ONNX Runtime that gives up: what a stranger's graph holds, a loop of 10^9 passes for one, nobody knows
before it runs.

Its rule: this is the one budget of an import in seconds, since ONNX Runtime counts nothing else; so it is generous, and
only for the runs that find out what a graph means. A model that was imported is not interrupted.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from edge_lstm.errors import ImportModelError

LONGEST_S = 8.0  # of one run: some thousand readings at most, each of which a robot would have to wait for


class Patience:
    """A session, whose runs end after LONGEST_S. Raises ImportModelError then, and at once for every further run."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs
        self.lost = False

    def check(self) -> None:
        """Raises where a run took too long, also where that was taken for a graph that does not run."""
        if self.lost:
            raise ImportModelError(f"a run of the graph takes longer than {LONGEST_S:g} s; a loop in it may never end")

    def run(self, names: Sequence[str], feeds: Mapping[str, Any]) -> Any:
        """As a session's."""
        import onnxruntime

        self.check()
        options = onnxruntime.RunOptions()
        timer = threading.Timer(LONGEST_S, self._lose, [options])
        timer.daemon = True
        timer.start()
        try:
            return self._session.run(names, feeds, options)
        finally:
            timer.cancel()

    def _lose(self, options: Any) -> None:
        self.lost = options.terminate = True
