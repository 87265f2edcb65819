"""What of this machine will keep a robot from running well, each with the way out.

Its rule: it looks and changes nothing. Each check is a function of the machine's own files below one root (so that a
test can prepare them) and of robot.toml where there is one; a check that cannot know says nothing. A finding names what
is wrong, what it leads to, and what to type.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edge_lstm.daemon.machine import CAPPED, HOT, SINCE_START, THROTTLED, UNDERVOLTAGE, Machine

if TYPE_CHECKING:
    from edge_lstm.robot.config import RobotConfig

FLOOR_BYTES = 500_000_000  # free, where it records: about two hours of 1 kHz
MEMORY_BYTES = 450_000_000  # free: compiling takes 390 MiB
_SYS_NICE, _IPC_LOCK = 23, 14  # capabilities(7)
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronized


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. mark: "ok"; "warning": it will run, and may run badly; "error": it will not run."""

    what: str
    mark: Literal["ok", "warning", "error"]
    text: str
    way_out: str = ""


@dataclass(frozen=True)
class Patient:
    """What is looked at: the machine, robot.toml, and what no file below a root can say."""

    machine: Machine
    robot: RobotConfig | None = None
    bits: int = field(default=8 * struct.calcsize("P"))
    free_bytes: Callable[[Path], int] = field(default=lambda path: shutil.disk_usage(path).free)
    caches: Callable[[], list[Path]] = field(default=lambda: _caches())
    compiled: Callable[[], bool] = field(default=lambda: _compiled())
    clock_is_set: Callable[[], bool | None] = field(default=lambda: _clock_is_set())

    @property
    def device(self) -> str:
        """The port's name in robot.toml, "" where there is none."""
        return (self.robot.port.device or "") if self.robot else ""

    @property
    def serial(self) -> bool:
        """Whether a serial port is, or may be, what the robot is at."""
        return "://" not in self.device

    def running(self, program: str) -> bool:
        """Whether a program of this name runs."""
        name = program[:15]  # as the kernel cuts it
        return any(self.machine.text(f"{path}/comm") == name for path in self._processes())

    def _processes(self) -> Iterator[str]:
        root = self.machine.root
        for path in self.machine.found("/proc/[0-9]*"):
            yield str(path.relative_to(root))


def look(patient: Patient) -> list[Finding]:
    """Every check, in the order in which a person would mend it."""
    return [finding for check in CHECKS for finding in check(patient)]


def _bits(patient: Patient) -> Iterator[Finding]:
    if patient.bits != 64:
        yield Finding(
            "64 bit",
            "error",
            f"this Python is a program of {patient.bits} bits; numba and onnxruntime have no wheels for it",
            "install the 64-bit system (Raspberry Pi OS 64-bit); `dpkg --print-architecture` must say arm64 or amd64",
        )
    else:
        yield Finding("64 bit", "ok", "this Python is a program of 64 bits")


def _group(patient: Patient) -> Iterator[Finding]:
    if not patient.serial:
        return
    groups = patient.machine.text("/etc/group") or ""
    status = patient.machine.text("/proc/self/status") or ""
    match = re.search(r"^dialout:[^:]*:(\d+):", groups, re.MULTILINE)
    own = re.search(r"^Groups:\s*(.*)$", status, re.MULTILINE)
    uid = re.search(r"^Uid:\s*\d+\s+(\d+)", status, re.MULTILINE)
    gid = re.search(r"^Gid:\s*\d+\s+(\d+)", status, re.MULTILINE)
    if match is None or own is None:
        return
    held = {*own[1].split(), *([gid[1]] if gid else [])}
    if match[1] in held or (uid and uid[1] == "0"):
        yield Finding("group", "ok", "this user may open serial ports")
    else:
        yield Finding(
            "group",
            "error",
            "this user is not in group dialout, and may not open a serial port",
            "sudo usermod -aG dialout $USER, then log out and in again",
        )


def _by_id(patient: Patient) -> Iterator[Finding]:
    device = patient.device
    if not re.fullmatch(r"/dev/tty(ACM|USB)\d+", device):
        return
    names = [
        path
        for path in patient.machine.found("/dev/serial/by-id/*")
        if path.is_symlink() and path.readlink().name == Path(device).name
    ]
    name = f'"/dev/serial/by-id/{names[0].name}"' if names else "its name in /dev/serial/by-id; plug it in and ls there"
    yield Finding(
        "name of the port",
        "warning",
        f"{device} is another board tomorrow: the number is given in the order of plugging in",
        f"[port] device = {name}",
    )


def _modem_manager(patient: Patient) -> Iterator[Finding]:
    if not patient.serial or not patient.running("ModemManager"):
        return
    root = patient.machine.root
    files = patient.machine.found("/etc/udev/rules.d/*.rules")
    rules = (patient.machine.text(str(path.relative_to(root))) or "" for path in files)
    if any("ID_MM_" in rule and "IGNORE" in rule for rule in rules):
        yield Finding("ModemManager", "ok", "it runs, and a udev rule keeps it from the port")
        return
    yield Finding(
        "ModemManager",
        "warning",
        "it runs, and writes AT commands to every new serial port for some seconds after it is plugged in",
        "sudo apt remove modemmanager, or sudo edge-lstm service install, whose udev rule keeps it away",
    )


def _brltty(patient: Patient) -> Iterator[Finding]:
    if patient.serial and patient.running("brltty"):
        yield Finding(
            "brltty",
            "error",
            "it runs, and takes CH340, CP210x and FTDI adapters for Braille displays: their ports vanish",
            "sudo apt remove brltty",
        )


def _console(patient: Patient) -> Iterator[Finding]:
    name = Path(patient.device).name
    if not re.fullmatch(r"(serial|ttyS|ttyAMA)\d+", name):
        return
    boot = patient.machine.text("/proc/cmdline") or ""
    own = {patient.machine.real(name), name}
    named = re.findall(r"console=((?:serial|ttyS|ttyAMA)\d+)", boot)
    consoles = [one for one in named if own & {one, patient.machine.real(one)}]
    if consoles:
        yield Finding(
            "console",
            "error",
            f"the system's own console is on {consoles[0]}: boot messages and a login go to the robot",
            "sudo raspi-config, Interface Options, Serial Port: no login shell, yes hardware; or take console=… out of "
            "cmdline.txt and disable serial-getty@" + consoles[0],
        )


def _latency(patient: Patient) -> Iterator[Finding]:
    if not patient.serial or (patient.robot is not None and patient.robot.port.low_latency):
        return
    for path in patient.machine.found("/sys/bus/usb-serial/devices/*/latency_timer"):
        timer = patient.machine.number(str(path.relative_to(patient.machine.root)))
        if timer is not None and timer > 1:
            yield Finding(
                "latency timer",
                "warning",
                f"the FTDI adapter {path.parent.name} holds bytes back for up to {timer} ms",
                "[port] low_latency = true",
            )


def _power(patient: Patient) -> Iterator[Finding]:
    bits = patient.machine.throttled()
    low = bool(patient.machine.undervolted()) or bool(bits and bits & (UNDERVOLTAGE | UNDERVOLTAGE << SINCE_START))
    if low:
        now = "is" if bits is None or bits & UNDERVOLTAGE else "was, since the start,"
        yield Finding(
            "power",
            "error",
            f"the supply {now} below 4.63 V: cores are slowed down, and USB devices drop out",
            "a supply of 5.1 V under load (5 A for a Pi 5), a short thick cable, motors on a supply of their own",
        )
    slow = CAPPED | THROTTLED | HOT
    if bits and bits & (slow | slow << SINCE_START) and not low:
        yield Finding(
            "heat",
            "warning",
            "the cores have been slowed down for their heat",
            "a heat sink or a fan; vcgencmd measure_temp shows the temperature",
        )
    if bits == 0 or (bits is None and patient.machine.undervolted() is False):
        yield Finding("power", "ok", "neither low nor too hot since the start")


def _governor(patient: Patient) -> Iterator[Finding]:
    if patient.machine.text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") == "powersave":
        driver = patient.machine.text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver") or ""
        if not driver.startswith(("intel_pstate", "amd-pstate")):  # whose powersave goes up with the load
            yield Finding(
                "governor",
                "warning",
                "the cores stay at their lowest frequency (powersave)",
                "sudo cpupower frequency-set -g schedutil, or cpufreq.default_governor=schedutil on the command line",
            )


def _realtime(patient: Patient) -> Iterator[Finding]:
    wanted = patient.robot.realtime if patient.robot else None
    if wanted is None or (wanted.priority is None and not wanted.lock_memory):
        return
    limits = patient.machine.text("/proc/self/limits") or ""
    status = patient.machine.text("/proc/self/status") or ""
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    capable = int(effective[1], 16) if effective else 0

    def limit(name: str) -> float:
        match = re.search(rf"^{name}\s+(\S+)", limits, re.MULTILINE)
        return 0 if match is None else float("inf") if match[1] == "unlimited" else float(match[1])

    mark: Literal["error", "warning"] = "error" if wanted.required else "warning"
    refused = False
    allowed = 99 if capable >> _SYS_NICE & 1 else limit("Max realtime priority")
    if wanted.priority is not None and allowed < wanted.priority:
        refused = True
        yield Finding(
            "priority",
            mark,
            f"[realtime] priority = {wanted.priority} will be refused to this user",
            f"LimitRTPRIO={wanted.priority} in the unit (edge-lstm service install writes it), or "
            f"'USER - rtprio {wanted.priority}' in /etc/security/limits.conf",
        )
    if wanted.lock_memory and not capable >> _IPC_LOCK & 1 and limit("Max locked memory") != float("inf"):
        refused = True
        yield Finding(
            "locked memory",
            mark,
            "[realtime] lock_memory will be refused to this user",
            "LimitMEMLOCK=infinity in the unit (edge-lstm service install writes it), or "
            "'USER - memlock unlimited' in /etc/security/limits.conf",
        )
    if not refused:
        yield Finding("realtime", "ok", f"{wanted} will be granted")


def _cache(patient: Patient) -> Iterator[Finding]:
    if patient.compiled():
        yield Finding("cache", "ok", "the compiled step for this CPU is there")
        return
    folders = patient.caches()
    writable = next((folder for folder in folders if _writable(folder)), None)
    if writable is None:
        yield Finding(
            "cache",
            "warning",
            f"the compiled step can be kept nowhere ({', '.join(map(str, folders)) or 'no folder'}): each start "
            "compiles it again, 15 to 60 s",
            "EDGE_LSTM_CACHE_DIR=FOLDER that this user may write to; sudo edge-lstm compile fills one for all users",
        )
    else:
        yield Finding("cache", "ok", f"the compiled step is kept in {writable}")


def _disk(patient: Patient) -> Iterator[Finding]:
    robot = patient.robot
    if robot is None or not (robot.recording.directory or robot.recording.file):
        return
    folder = robot.folder / (robot.recording.directory or Path(robot.recording.file or "").parent)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        free = patient.free_bytes(folder)
    except OSError as error:
        yield Finding("disk", "error", f"{folder}: {error.strerror}", "another [recording] directory")
        return
    if free < FLOOR_BYTES:
        yield Finding(
            "disk",
            "error" if robot.recording.required else "warning",
            f"{free / 1e6:,.0f} MB are free where it records ({folder}); a day at 200 Hz takes some 2 GB",
            "remove old recordings, name another [recording] directory, or limit them there",
        )
    elif not os.access(folder, os.W_OK):
        yield Finding(
            "disk",
            "error" if robot.recording.required else "warning",
            f"this user may not write to {folder}, where it records",
            f"sudo chown USER {folder}, or another [recording] directory",
        )
    else:
        yield Finding("disk", "ok", f"{free / 1e9:,.1f} GB are free where it records")


def _memory(patient: Patient) -> Iterator[Finding]:
    match = re.search(r"^MemAvailable:\s*(\d+) kB", patient.machine.text("/proc/meminfo") or "", re.MULTILINE)
    if match and int(match[1]) * 1024 < MEMORY_BYTES and not patient.compiled():
        yield Finding(
            "memory",
            "warning",
            f"{int(match[1]) / 1000:,.0f} MB are free; compiling takes 390 MiB, running a tenth of it",
            "end other programs, or add swap while edge-lstm compile runs",
        )


def _clock(patient: Patient) -> Iterator[Finding]:
    machine = patient.machine
    if machine.found("/run/systemd/timesync/synchronized") or patient.clock_is_set():
        yield Finding("clock", "ok", "it is synchronized")
        return
    if patient.clock_is_set() is None and not machine.found("/run/systemd"):
        return
    yield Finding(
        "clock",
        "warning",
        "it is not synchronized: recordings get the date of the last shutdown, until the time jumps",
        "sudo timedatectl set-ntp true, or chrony; without a network a clock with a battery",
    )


CHECKS: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    _bits,
    _group,
    _by_id,
    _brltty,
    _modem_manager,
    _console,
    _latency,
    _power,
    _governor,
    _realtime,
    _cache,
    _disk,
    _memory,
    _clock,
)


def _caches() -> list[Path]:
    from edge_lstm.engines.native import loader

    return list(loader.folders())


def _compiled() -> bool:
    from edge_lstm.engines.native import loader

    return loader.is_warm()


def _writable(folder: Path) -> bool:
    while not folder.exists():
        if folder == folder.parent:
            return False
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _clock_is_set() -> bool | None:
    """What the kernel says; None where it cannot be asked."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR
