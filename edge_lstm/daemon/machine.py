"""What this machine says of itself in /proc and /sys: time taken from it, throttling, power.

Its rule: everything is read below one root, so that a test can put another one there; what a machine does not say is
None, never a guess. Nothing here is read by the thread that answers the robot.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
# The bits of Raspberry Pi's `vcgencmd get_throttled`: what is so now, and what has been since the start.
UNDERVOLTAGE, CAPPED, THROTTLED, HOT = 1 << 0, 1 << 1, 1 << 2, 1 << 3
SINCE_START = 16  # the same bits, shifted by so many


@dataclass(frozen=True)
class Taken:
    """What kept programs from running, counted since the machine's start."""

    steal_ns: tuple[int, ...]  # of each core, by the host of this virtual machine; steps of TICK_NS
    quota_ns: int  # this program, held back because the CPU quota of its control group was used up
    slowed: int  # how often a core was slowed down for its heat or for want of power


class Machine:
    """One machine. root: where its /proc and /sys are."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self._quota_file: Path | None = None
        self._quota_sought = False
        self._sought: dict[str, list[Path]] = {}  # what is looked into again and again, by its pattern

    def text(self, path: str) -> str | None:
        """What a file holds, without spaces around it; None where it cannot be read."""
        with contextlib.suppress(OSError, ValueError):
            return (self.root / path.lstrip("/")).read_text().strip()
        return None

    def number(self, path: str) -> int | None:
        """A whole number in a file."""
        text = self.text(path)
        return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None

    def real(self, device: str) -> str:
        """What the name of a device in /dev leads to: "ttyAMA0" of "serial0"."""
        with contextlib.suppress(OSError):
            return (self.root / "dev" / device).readlink().name
        return device

    def found(self, pattern: str) -> list[Path]:
        """Files and folders that are there, in the order of their names."""
        with contextlib.suppress(OSError):
            return sorted(self.root.glob(pattern.lstrip("/")))
        return []

    def _once(self, pattern: str) -> list[Path]:
        """As `found`; what came later is passed over. Seeking takes longer than reading."""
        if pattern not in self._sought:
            self._sought[pattern] = self.found(pattern)
        return self._sought[pattern]

    def taken(self) -> Taken:
        """As of now; some 50 µs of work, more for the first time."""
        cores = (self.text("/proc/stat") or "").partition("\nintr")[0].splitlines()
        steal = [line.split() for line in cores if re.match(r"cpu\d", line)]
        counters = self._once("/sys/devices/system/cpu/cpu*/thermal_throttle/*_count")
        slowed = sum(map(self._number_in, counters)) + (self.throttled() or 0)
        return Taken(tuple(int(part[8]) * TICK_NS for part in steal if len(part) > 8), self._quota_ns(), slowed)

    def throttled(self) -> int | None:
        """The bits above, as a Raspberry Pi's firmware shows them; None on another machine."""
        for path in self._once("/sys/devices/platform/soc/*firmware/get_throttled"):
            with contextlib.suppress(OSError, ValueError):
                return int(path.read_text().strip(), 16)
        return None

    def undervolted(self) -> bool | None:
        """Whether the supply's monitor (hwmon rpi_volt) has raised its alarm; None where there is none."""
        for name in self.found("/sys/class/hwmon/hwmon*/name"):
            with contextlib.suppress(OSError):
                if name.read_text().strip() == "rpi_volt":
                    return (name.parent / "in0_lcrit_alarm").read_text().strip() == "1"
        return None

    def _quota_ns(self) -> int:
        if not self._quota_sought:
            self._quota_sought = True
            for line in (self.text("/proc/self/cgroup") or "").splitlines():
                number, _, folder = line.split(":", 2)
                if number == "0":
                    place = self.root / "sys/fs/cgroup" / folder.lstrip("/") / "cpu.stat"
                    self._quota_file = place if place.exists() else None
        if self._quota_file is not None:
            with contextlib.suppress(OSError):
                match = re.search(r"^throttled_usec (\d+)", self._quota_file.read_text(), re.MULTILINE)
                return int(match[1]) * 1000 if match else 0
        return 0

    @staticmethod
    def _number_in(path: Path) -> int:
        with contextlib.suppress(OSError, ValueError):
            return int(path.read_text())
        return 0
