"""What people see while a robot runs: a table, redrawn eight times a second, on a terminal; else a line every
`[daemon] status_every`. What happens is a line at once on both.

Its rule: a side thread looks at the controller's and the bridge's latest values; the path of a reading does not know of
it.

Never: lock, wait for, or write anything that the path uses.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from edge_lstm.cli.common import plain
from edge_lstm.daemon.journal import INFO, NOTICE, marked
from edge_lstm.robot.decider import Decider
from edge_lstm.robot.watched import Watched
from edge_lstm.signals.declared import Choices, chosen
from firmware_bridge.words import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edge_lstm.daemon.lull import Lull
    from firmware_bridge.links.link import Link
    from firmware_bridge.ports.port import Port

_REDRAW_S, _FIRST_S = 0.125, 1.0
_JOIN_S = 0.3  # drawing never waits for a reader, so this is plenty
_LINE_WIDTH = 120
_NAME_WIDTH = 8  # of a shortened name, at least
_GAP = 2  # spaces between the columns of the table

Shown = list[tuple[str, float | str, str]]  # name, value (a text where the number is that of a choice), unit


class LiveView:
    """A context manager around a run. `out` is a terminal or not."""

    def __init__(
        self,
        controller: Decider,
        bridge: Link,
        port: Port,
        device: str,
        out: TextIO,
        trouble: Callable[[], str] = lambda: "",
        *,
        every_s: float = _FIRST_S,
        happened: Callable[[], Iterator[tuple[int, str]]] = lambda: iter(()),
        recorded: Callable[[], str] = lambda: "",
        lull: Lull | None = None,
    ) -> None:
        """trouble: asked at each redrawing for what people should know (the recording failed). every_s: between two
        status lines where nobody sits at a terminal; there a second. happened: asked as often, for lines that are
        printed at once, each with its level (`daemon.journal`). recorded: the recording and its size. lull: in which it
        looks; None: whenever it is due."""
        self._controller, self._bridge, self._port, self._device, self._out = controller, bridge, port, device, out
        self._trouble, self._happened, self._recorded, self._lull = trouble, happened, recorded, lull
        self._counted_at = deque([(time.monotonic(), 0)], 16)  # of the latest drawings: time, readings by then
        self._every_s = _FIRST_S if out.isatty() else every_s
        self._texts, self._choices = controller.config.texts(), controller.config.choices()
        self._counted = controller.config.reading not in bridge.promises.uncounted
        self._start_s = time.monotonic()
        self._ended = threading.Event()
        drawn = out.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        self._thread = threading.Thread(target=self._draw if drawn else self._lines, name="live view", daemon=True)

    def __enter__(self) -> LiveView:
        with contextlib.suppress(RuntimeError):  # no thread to be had: the robot runs unseen
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)

    def _lines(self) -> None:
        legend = ""
        try:
            due_s = self._start_s + min(_FIRST_S, self._every_s)
            while self._goes_on():
                self._print_happened()
                if time.monotonic() < due_s:
                    continue
                due_s += self._every_s
                if not legend and (legend := self.legend()):
                    self._print(legend, INFO)
                self._print(self.line(), INFO)
            self._print_happened()
        except (OSError, ValueError):  # nobody reads any more (| head); the robot runs on
            return

    def _draw(self) -> None:
        from rich.console import Console
        from rich.live import Live

        try:
            with Live(console=Console(file=self._out), auto_refresh=False, transient=True) as live:
                while self._goes_on():
                    for _, text in self.happened():
                        live.console.print(text, markup=False, highlight=False)
                    live.update(self.table(live.console.width), refresh=True)
                for _, text in self.happened():
                    live.console.print(text, markup=False, highlight=False)
        except (OSError, ValueError):
            return

    def _goes_on(self) -> bool:
        """Wait until it is time to look again; False: the run has ended."""
        if self._ended.wait(_REDRAW_S):
            return False
        if self._lull is not None:
            self._lull.wait()
        return True

    def _print_happened(self) -> None:
        for level, text in self.happened():
            self._print(text, level)

    def _print(self, text: str, level: int) -> None:
        print(marked(text, level, self._out), file=self._out, flush=True)

    def happened(self) -> Iterator[tuple[int, str]]:
        """(level, line) for each event that began or ended since the last call, with the wall clock's time of its
        reading, and for whatever else is worth a line."""
        lines = self._controller.watch.lines if isinstance(self._controller, Watched) else None
        while lines:
            one = lines.popleft()
            yield NOTICE, plain(f"{clock_of(one.t_ns)}  {one.sentence(self._texts)}", "")
        for level, text in self._happened():
            yield level, plain(text, "")

    def legend(self) -> str:
        """What the numbers of `line` are, in their order, those that come later too; empty before the first reading."""
        latest = self._controller.latest
        if latest is None or latest.reading is None:
            return ""
        binding = latest.binding
        fields = [(field.name, field.unit) for field in binding.reading.fields]
        kinds = {
            "readings": fields + [(name, unit) for _, name, unit in binding.feed.joined],
            "outputs": list(zip(binding.output_names, binding.output_units, strict=True)),
            "actions": [(field.name, field.unit) for field in (binding.action.fields if binding.action else ())],
        }
        lines = (
            f"{kind:8}  {', '.join(f'{name} {unit}'.rstrip() for name, unit in names)}"
            for kind, names in kinds.items()
            if names
        )
        return plain("\n".join(lines), "\n")

    def line(self) -> str:
        """One plain line of about 120 characters: time, counters, then numbers as in the legend: the readings that find
        room, all outputs, all actions."""
        parts = [f"{time.monotonic() - self._start_s:7.1f} s", *self._counters()]
        if self._bridge.state != "running":
            parts.append(f"link {self._bridge.state}")
        if trouble := self._trouble():
            parts.append(f"! {trouble}")
        readings, *others = ([_brief(value) for _, value, _ in values] for values in self._values())
        line, rest = "  ".join(parts), "".join(f"  |  {' '.join(values)}" for values in others if values)
        room = _LINE_WIDTH - len(line) - len("  |  ") - len(rest)
        shown = readings
        while shown and len(" ".join(shown)) + (2 if shown != readings else 0) > room:
            shown = shown[:-1]
        if shown:
            line += f"  |  {' '.join(shown)}" + (" …" if shown != readings else "")
        return plain(line + rest, "")

    def table(self, width: int = 100) -> RenderableType:
        """The same with all values, for `width` columns: names are shortened where they must be, values never."""
        from rich.console import Group
        from rich.text import Text

        lines = (plain(line, "") for line in _laid_out(self._values(), width))
        table = Text("\n".join(lines), no_wrap=True, overflow="crop")
        state = self._bridge.state
        head = Text(f"{plain(self._device, '')}  ", "bold").append(state, "green" if state == "running" else "yellow")
        seconds = f"  {time.monotonic() - self._start_s:.1f} s"
        trouble = Text(plain(self._trouble()), "bold red")
        ages = [Text(plain(text, ""), "dim")] if (text := self._ages()) else []
        head.append(f"{seconds}  {self._rate()}", "dim").append(f"  {plain(self._recorded(), '')}".rstrip(), "dim")
        return Group(head, Text("  ".join(self._counters())), *ages, trouble, table)

    def _rate(self) -> str:
        """Readings per second, of the last two seconds."""
        now_s, readings = time.monotonic(), self._controller.counts.readings
        then_s, before = self._counted_at[0]
        self._counted_at.append((now_s, readings))
        return f"{(readings - before) / max(now_s - then_s, 1e-3):.0f} readings/s"

    def _ages(self) -> str:
        """Of several models: how old what each has made is, against the latest reading."""
        latest = self._controller.latest
        if latest is None or latest.reading is None:
            return ""
        t_ns, ages = latest.reading.t_ns, []
        for one in latest.made:
            age = f"{(t_ns - one.t_ns) / 1e6:.0f} ms ago" if one.outputs is not None else "none"
            ages.append(f"{one.name} {'now' if one.new else age}")
        return f"outputs: {', '.join(ages)}" if ages else ""

    def _counters(self) -> list[str]:
        counts, link = self._controller.counts, self._bridge.counters
        parts = [counted(counts.readings, "reading"), f"{counts.lost if self._counted else 'unknown'} lost"]
        model = self._controller.model
        if counts.steps != counts.readings:
            parts.insert(1, counted(counts.steps, "step"))
        if counts.waiting:
            parts.append(f"{counts.waiting} without output" + " yet" * (model is None or model.timing.stride == 1))
        parts.append(f"{sum(link.faults.copy().values())} damaged")
        if self._controller.not_real:
            parts.append(f"{self._controller.not_real} of the last 100 not real")
        if counts.resets or link.reconnects:
            parts.append(f"{counted(counts.resets, 'reset')} {counted(link.reconnects, 'reconnect')}")
        latency = self._port.stats.latency
        known = latency.count and counts.actions  # else what was written was the handshake
        return [*parts, f"p99 {latency.percentile_ns(99) / 1e6:.2f} ms"] if known else parts

    def _values(self) -> tuple[Shown, Shown, Shown]:
        """(name, value, unit) of the latest reading, outputs and action; of one decision, as they change meanwhile."""
        latest = self._controller.latest
        if latest is None:
            return [], [], []
        binding, reading, action = latest.binding, latest.reading, latest.action
        readings: Shown = []
        actions: Shown = []
        if reading is not None:
            fields = binding.reading.fields
            readings = [(f.name, v, f.unit) for f, v in zip(fields, reading.values, strict=False)]
            if latest.row is not None:
                readings += [(name, latest.row[k], unit) for k, name, unit in binding.feed.joined]
        if action is not None and binding.action is not None and self._bridge.state == "running":
            fields = binding.action.fields
            given = zip(fields, action.values, strict=True)
            actions = [(f.name, _said(v, self._choices.get(f.name)), f.unit) for f, v in given]
        made = zip(binding.output_names, latest.outputs or (), binding.output_units, strict=False)
        return readings, [(name, _said(v, self._texts.get(name)), unit) for name, v, unit in made], actions


def clock_of(t_ns: int) -> str:
    """The wall clock's time of day, to the ms."""
    return f"{time.strftime('%H:%M:%S', time.localtime(t_ns // 1_000_000_000))}.{t_ns // 1_000_000 % 1000:03}"


def _said(value: float, choices: Choices | None) -> float | str:
    """What people are shown of a number: the text that it says, where it says one."""
    return chosen(choices, value) or value


def _laid_out(kinds: tuple[Shown, Shown, Shown], width: int) -> list[str]:
    """Readings, outputs and actions side by side, or below each other where `width` is too little for that."""
    titled = zip(("reading", "output", "action"), kinds, strict=True)
    groups = [(title, [(n, _value(v, u)) for n, v, u in shown]) for title, shown in titled if shown]
    wide = [max(len(value) for _, value in rows) for _, rows in groups]
    names = [max(len(name) for name, _ in [(title, ""), *rows]) for title, rows in groups]
    room = width - sum(wide) - _GAP * (2 * len(groups) - 1)
    while sum(names) > room and max(names) > _NAME_WIDTH:
        names[names.index(max(names))] -= 1
    if sum(names) > room and len(groups) > 1:
        return [line for k in range(3) if kinds[k] for line in _laid_out(_only(kinds, k), width)]
    lines = []
    for k in range(-1, max((len(rows) for _, rows in groups), default=-1)):
        cells = []
        for (title, rows), name_width, value_width in zip(groups, names, wide, strict=True):
            name, value = (title, "") if k < 0 else rows[k] if k < len(rows) else ("", "")
            cells.append(f"{_short(name, name_width):{name_width}}{' ' * _GAP}{value:{value_width}}")
        lines.append((" " * _GAP).join(cells).rstrip())
    return lines


def _only(kinds: tuple[Shown, Shown, Shown], k: int) -> tuple[Shown, Shown, Shown]:
    return kinds[0] if k == 0 else [], kinds[1] if k == 1 else [], kinds[2] if k == 2 else []


def _short(name: str, width: int) -> str:
    """Beginning and end of a name: "torque_limit_left" and "…_right" must stay apart."""
    if len(name) <= width:
        return name
    end = (width - 1) // 2
    return f"{name[: width - 1 - end]}…{name[len(name) - end :]}"


def _value(value: float | str, unit: str) -> str:
    return f"{_number(value):>8} {unit}".rstrip()


def _brief(value: float | str) -> str:
    """About three figures, for a line that holds many."""
    if isinstance(value, str):
        return value
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:.3g}"


def _number(value: float | str | None) -> str:
    """Fixed places, so that a number that changes does not jump about."""
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}" if abs(value) < 1e5 else f"{value:.4g}"
