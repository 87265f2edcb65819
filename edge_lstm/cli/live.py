"""What people see while a robot runs: a table, redrawn eight times a second, on a terminal; else a line per second.

Rule: a side thread looks at the controller's and the bridge's latest values; the path of a reading does not know of it.

Never: lock, wait for, or write anything that the path uses.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from edge_lstm.controller import Controller
from firmware_bridge.bridge import Bridge

if TYPE_CHECKING:
    from rich.console import RenderableType

    from firmware_bridge.ports import Port

_REDRAW_S, _LINE_S = 0.125, 1.0
_SHOWN = 4  # values of each kind in a line


class LiveView:
    """A context manager around a run. `out` is a terminal or not."""

    def __init__(
        self,
        controller: Controller,
        bridge: Bridge,
        port: Port,
        device: str,
        out: TextIO,
        trouble: Callable[[], str] = lambda: "",
    ) -> None:
        """trouble: asked at each redrawing for what people should know (the recording failed)."""
        self._controller, self._bridge, self._port, self._device, self._out = controller, bridge, port, device, out
        self._trouble = trouble
        self._start_s = time.monotonic()
        self._ended = threading.Event()
        draw = self._draw if out.isatty() else self._lines
        self._thread = threading.Thread(target=draw, name="live view", daemon=True)

    def __enter__(self) -> LiveView:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join(2)

    def _lines(self) -> None:
        try:
            while not self._ended.wait(_LINE_S):
                print(self.line(), file=self._out, flush=True)
        except (OSError, ValueError):  # nobody reads any more (| head); the robot runs on
            return

    def _draw(self) -> None:
        from rich.console import Console
        from rich.live import Live

        try:
            with Live(console=Console(file=self._out), auto_refresh=False, transient=True) as live:
                while not self._ended.wait(_REDRAW_S):
                    live.update(self.table(), refresh=True)
        except (OSError, ValueError):
            return

    def line(self) -> str:
        """One plain line: time, counters, then the first few readings, outputs and actions."""
        parts = [f"{time.monotonic() - self._start_s:7.1f} s", *self._counters()]
        if self._bridge.state != "running":
            parts.append(f"link {self._bridge.state}")
        if trouble := self._trouble():
            parts.append(f"! {trouble}")
        for values in self._values():
            shown = "  ".join(f"{name} {_number(value)} {unit}".rstrip() for name, value, unit in values[:_SHOWN])
            parts.append(f"| {shown}")
        return "  ".join(parts)

    def table(self) -> RenderableType:
        """The same as a table, with all values."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2), header_style="dim")
        for title in ("reading", "value", "", "output", "value", "action", "value", ""):
            table.add_column(
                title, justify="right" if title == "value" else "left", no_wrap=True, min_width=8 * bool(title)
            )
        readings, outputs, actions = self._values()
        for k in range(max(len(readings), len(outputs), len(actions), 1)):
            name, value, unit = readings[k] if k < len(readings) else ("", None, "")
            row = [name, _number(value), unit]
            name, value, unit = outputs[k] if k < len(outputs) else ("", None, "")
            row += [name, _number(value)]
            name, value, unit = actions[k] if k < len(actions) else ("", None, "")
            table.add_row(*row, name, _number(value), unit)
        state = self._bridge.state
        head = Text(f"{self._device}  ", "bold").append(state, "green" if state == "running" else "yellow")
        seconds = f"  {time.monotonic() - self._start_s:.1f} s"
        trouble = Text(self._trouble(), "bold red")
        return Group(head.append(seconds, "dim"), Text("  ".join(self._counters())), trouble, table)

    def _counters(self) -> list[str]:
        counts, link = self._controller.counts, self._bridge.counters
        parts = [f"{counts.readings} readings", f"{counts.steps} steps", f"{counts.lost} lost"]
        parts.append(f"{sum(link.faults.copy().values())} damaged")
        if counts.resets or link.reconnects:
            parts.append(f"{counts.resets} resets {link.reconnects} reconnects")
        latency = self._port.stats.latency
        return [*parts, f"p99 {latency.percentile_ns(99) / 1e6:.2f} ms"] if latency.count else parts

    def _values(
        self,
    ) -> tuple[list[tuple[str, float, str]], list[tuple[str, float, str]], list[tuple[str, float, str]]]:
        """(name, value, unit) of the latest reading, outputs and action; taken once each, as they change meanwhile."""
        controller = self._controller
        dictionary, reading, outputs, action = (
            controller.dictionary,
            controller.reading,
            controller.outputs,
            controller.action,
        )
        if dictionary is None:
            return [], [], []
        readings, actions = [], []
        if reading is not None:
            fields = dictionary[reading.format].fields
            readings = [(f.name, v, f.unit) for f, v in zip(fields, reading.values, strict=False)]
        if action is not None:
            fields = dictionary[action.format].fields
            actions = [(f.name, v, f.unit) for f, v in zip(fields, action.values, strict=False)]
        names, units = controller.output_names, controller.output_units
        return readings, list(zip(names, outputs or [], units, strict=False)), actions


def _number(value: float | None) -> str:
    """Fixed places, so that a number that changes does not jump about."""
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}" if abs(value) < 1e5 else f"{value:.4g}"
