"""When a model's outputs come, and from which readings they are computed.

Its rule: engines, verify, inspect, bench and firmware read a model's timing here and nowhere else. It is a part of the
model file.

    continuous     the state goes on for ever; an output at each reading, or from `first_output` on at each `stride`-th
    window         an output belongs to the last T readings from the reset state, as the network was trained; T windows
                   are under way, each begun one reading after the other
    whole window   the same, all T readings computed anew at each reading: what reads the window from its end as well
    log            whole logs at once, no single readings: what reads a log from its end
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edge_lstm.core.axes import GraphAxes
from edge_lstm.core.readable import Readable
from edge_lstm.errors import ModelFileError

Mode = Literal["continuous", "window", "whole window", "log"]
BeforeWindow = Literal["wait", "zeros"]
MODES: tuple[Mode, ...] = ("continuous", "window", "whole window", "log")
BEFORE_WINDOW: tuple[BeforeWindow, ...] = ("wait", "zeros")
LONGEST = 1 << 20  # readings: of a window, of a stride, before the first output


@dataclass(frozen=True)
class Timing(metaclass=Readable):
    """window: T, how many readings an output belongs to; None where it belongs to all since the reset.

    first_output: the number of the reading, counted from 1 after a reset, with which the first output comes (mode log:
    the shortest log). stride: from one output to the next, readings. delay: how many readings an output comes late,
    because the network looks ahead. before_window: "wait" (no output before there are T readings) or "zeros" (the
    network's inputs are zero in place of the readings before the first; a channel's zero in physical units is its
    offset). axes: of the ONNX graph it was imported from, None where there is none.
    """

    mode: Mode = "continuous"
    window: int | None = None
    first_output: int = 1
    stride: int = 1
    delay: int = 0
    before_window: BeforeWindow = "wait"
    axes: GraphAxes | None = None

    def __post_init__(self) -> None:
        for key, least in (("window", 1), ("first_output", 1), ("stride", 1), ("delay", 0)):
            value = getattr(self, key)
            if value is None and key == "window":
                continue
            if type(value) is not int:
                raise ModelFileError(f"timing: {key} {value!r} is not a whole number")
            if not least <= value <= LONGEST:
                raise ModelFileError(f"timing: {key} {value} is out of range, {least} to {LONGEST}")
        if self.mode not in MODES:
            raise ModelFileError(f"timing: mode must be one of {MODES}, not {self.mode!r}")
        if self.before_window not in BEFORE_WINDOW:
            raise ModelFileError(f"timing: before_window must be one of {BEFORE_WINDOW}, not {self.before_window!r}")
        if self.windowed != (self.window is not None):
            raise ModelFileError(f"timing: mode {self.mode!r} with a window of {self.window} readings")
        if self.before_window == "zeros" and (not self.windowed or self.first_output != 1):
            raise ModelFileError("timing: zeros before the first window, but its first output is to wait")
        if self.window is not None and self.before_window == "wait" and self.first_output != self.window:
            raise ModelFileError(
                f"timing: a window of {self.window} readings, but the first output comes with reading"
                f" {self.first_output}"
            )
        if self.windowed and self.stride != 1:
            raise ModelFileError(f"timing: a window has an output at each reading, not at each {self.stride}th")

    @staticmethod
    def over_window(window: int, before: BeforeWindow = "wait", *, whole: bool = False) -> Timing:
        """Of a window of so many readings; whole: computed anew at each reading."""
        first = 1 if before == "zeros" else window
        return Timing("whole window" if whole else "window", window, first, before_window=before)

    @property
    def windowed(self) -> bool:
        """Whether an output belongs to a window of readings."""
        return self.mode in ("window", "whole window")

    @property
    def ready(self) -> int:
        """With which reading one state, begun at the reset, has its first output: each of a window's many has its own
        with its last, so there it is 1."""
        return 1 if self.mode == "window" else self.first_output

    @property
    def under_way(self) -> int:
        """How many windows a stream keeps under way; 1 where it keeps one state."""
        return (self.window or 1) if self.mode == "window" else 1

    @property
    def each(self) -> bool:
        """Whether an output comes with each reading, from the first on."""
        return self.mode != "log" and self.first_output == self.stride == 1

    def comes_with(self, number: int) -> bool:
        """Whether an output comes with this reading, counted from 1 after a reset."""
        return number >= self.first_output and (number - self.first_output) % self.stride == 0

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "mode": self.mode,
            "window": self.window,
            "first_output": self.first_output,
            "stride": self.stride,
            "delay": self.delay,
            "before_window": self.before_window,
            "axes": None if self.axes is None else self.axes.as_dict(),
        }

    @staticmethod
    def from_dict(found: Any) -> Timing:
        """From what `as_dict` gave. Raises ModelFileError."""
        keys = ("mode", "window", "first_output", "stride", "delay", "before_window", "axes")
        if not isinstance(found, dict) or set(found) != set(keys):
            raise ModelFileError(f"timing must have {', '.join(keys)}")
        axes = None if found["axes"] is None else GraphAxes.from_dict(found["axes"])
        return Timing(**{key: found[key] for key in keys[:-1]}, axes=axes)

    @staticmethod
    def of_format_1(header: Mapping[str, Any], *, takes_logs: bool) -> Timing:
        """From a model file of format 1, in which a part of it stood in the provenance. There it was text for people as
        well, in no digest: what 0.1's importers cannot have written is left out, as 0.1 ran such a model."""
        provenance = header["provenance"]
        try:
            axes = None if "graph" not in provenance else GraphAxes.from_dict(provenance["graph"])
        except ModelFileError:
            axes = None
        late = provenance.get("late", 0)
        delay = late if type(late) is int and 0 <= late <= LONGEST else 0
        window, first = header["window"], header.get("ready", 1)
        before: BeforeWindow = header.get("before_window", "wait")
        if window is not None:
            if (first, header.get("every", 1)) != (1, 1):
                raise ModelFileError("has a window, which decides when outputs come; leave out ready and every")
            mode: Mode = "window"
            first = 1 if before == "zeros" else window
        elif takes_logs:
            mode = "log"
        elif provenance.get("mode") == "window":
            mode, window = "whole window", (provenance.get("window") if before == "zeros" else None) or first
        else:
            mode, before = "continuous", "wait"
        return Timing(mode, window, first, header.get("every", 1), delay, before, axes)

    def in_format_1(self) -> dict[str, Any]:
        """What format 1 has of it beside the provenance: what a model's digest is taken over."""
        found: dict[str, Any] = {"window": self.window if self.mode == "window" else None}
        if self.mode != "window" and (self.first_output, self.stride) != (1, 1):
            found["ready"], found["every"] = self.first_output, self.stride
        if self.before_window != "wait":
            found["before_window"] = self.before_window
        return found


CONTINUOUS = Timing()
