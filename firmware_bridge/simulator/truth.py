"""What a played robot really sent and obeyed, as a file beside it.

Its rule: a row or a line for everything that happened, in order, in the robot's own time. `.csv`: a row for each
reading, with its values, the outputs that were in force, and how many actions had been obeyed. Any other suffix: JSON
lines, {"t_us": …, "t_device_us": …, "reading": NAME, "values": [...]}, and the same with "action" and "safe".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from firmware_bridge.simulator.played import Happened, Values


class PlayedTruth:
    """The file; `write` takes a `Played`'s events.

    readings, actions: the names of the fields of each. safe: the outputs before the first action.
    """

    def __init__(
        self,
        path: Path,
        readings: Mapping[str, Sequence[str]],
        actions: Mapping[str, Sequence[str]],
        safe: Mapping[str, Values],
    ) -> None:
        self._table = path.suffix.lower() == ".csv"
        self._places: dict[str, tuple[int, int]] = {}  # of each reading's values: empty cells before and after
        self._outputs = {name: tuple(safe.get(name, ())) for name in actions}
        self._obeyed = 0
        count = sum(len(fields) for fields in readings.values())
        before = 0
        for name, fields in readings.items():
            self._places[name] = before, count - before - len(fields)
            before += len(fields)
        self._file: TextIO = path.open("w", encoding="utf-8", buffering=1 << 16)
        if self._table:
            names = [
                field if len(readings) == 1 else f"{name}.{field}" for name in readings for field in readings[name]
            ]
            outputs = [f"{name}.{field}" for name, fields in actions.items() for field in fields]
            self._row(["t_device_us", "reading", *names, *outputs, "actions"])

    def write(self, event: Happened) -> None:
        """One event."""
        if not self._table:
            line = {"t_us": event.t_us, "t_device_us": event.t_device_us, event.kind: event.name}
            line |= {"values": list(event.values)} | ({"why": event.why} if event.why else {})
            self._file.write(json.dumps(line) + "\n")
        elif event.kind == "reading":
            before, after = self._places[event.name]
            outputs = [f"{value:.9g}" for values in self._outputs.values() for value in values]
            cells = [*[""] * before, *(repr(value) for value in event.values), *[""] * after]
            self._row([str(event.t_device_us), event.name, *cells, *outputs, str(self._obeyed)])
        else:
            self._outputs[event.name] = event.values
            self._obeyed += event.kind == "action"

    def close(self) -> None:
        """Everything is in the file."""
        self._file.close()

    def _row(self, cells: Sequence[str]) -> None:
        self._file.write(",".join(f'"{cell}"' if "," in cell else cell for cell in cells) + "\n")
