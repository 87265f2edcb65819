"""The emulated Arduino: builds a sketch with the real Arduino core and runs it on the board's processor in simavr.

Its rule: what is missing is named with the Debian package that has it. A board that was started is stopped by `close`,
with its own process and no other.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
AVR = Path("/usr/share/arduino/hardware/arduino/avr")
CORE = AVR / "cores" / "arduino"
# What each package is needed for, by a program or a file of it.
PACKAGES = {
    "gcc": "gcc",
    "avr-g++": "gcc-avr",
    "/usr/lib/avr/include/avr/io.h": "avr-libc",
    str(CORE): "arduino-core-avr",
    "/usr/include/simavr/sim_avr.h": "libsimavr-dev",
    "/usr/include/libelf.h": "libelf-dev",
}
BOARDS = {  # processor, name for the compiler, variant: as boards.txt of the core has them
    "uno": ("atmega328p", "AVR_UNO", "standard"),  # 2 KB of RAM
    "mega": ("atmega2560", "AVR_MEGA2560", "mega"),  # 8 KB
}
# As platform.txt has them. DECIMAL_DIG: the core's WString wants it, and avr-libc of Debian 12 leaves it out.
FLAGS = (
    *("-DF_CPU=16000000L", "-DARDUINO=10819", "-DARDUINO_ARCH_AVR", "-DDECIMAL_DIG=17"),
    *("-Os", "-ffunction-sections", "-fdata-sections", f"-I{CORE}"),
)
CPP = ("-std=gnu++11", "-fpermissive", "-fno-exceptions", "-fno-threadsafe-statics")


class ArduinoError(Exception):
    """The board cannot be built or started; the message says what to do."""


def missing() -> list[str]:
    """The Debian packages that are needed and not here."""
    return [package for what, package in PACKAGES.items() if not (Path(what).exists() or shutil.which(what))]


def install() -> None:
    """Install what is missing (Debian, as root or with sudo)."""
    packages = missing()
    if not packages:
        return
    prefix = [] if os.geteuid() == 0 else ["sudo"]
    subprocess.run([*prefix, "apt-get", "update"], check=True)
    subprocess.run([*prefix, "apt-get", "install", "--yes", "--no-install-recommends", *packages], check=True)


def _run(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise ArduinoError(f"the sketch cannot be built:\n{done.stderr}")


def build(folder: Path, sketch: Path, board: str = "uno", library: Sequence[Path] = ()) -> Path:
    """Build a sketch and the core into folder/SKETCH.elf; ArduinoError has the compiler's words. About a second.

    board: of BOARDS. library: C files that belong to the sketch, their headers beside them.
    """
    if packages := missing():
        raise ArduinoError(
            f"an Arduino needs Debian packages that are not here: apt install {' '.join(packages)} "
            "(tools/arduino/run --install does that)"
        )
    processor, name, variant = BOARDS[board]
    machine = f"-mmcu={processor}"
    flags = [machine, f"-DARDUINO_{name}", f"-I{AVR / 'variants' / variant}", *FLAGS]
    flags += [f"-I{source.parent}" for source in library]
    theirs = [*sorted(CORE.glob("*.[cS]")), *sorted(CORE.glob("*.cpp"))]
    strict = ("-Wall", "-Wextra", "-Werror")
    objects = []
    for source in [*theirs, *library]:
        objects.append(folder / f"{source.name}.o")
        language = CPP if source.suffix == ".cpp" else ()
        warnings = ("-w",) if source in theirs else strict
        _run("avr-g++" if language else "avr-gcc", *flags, *warnings, *language, "-c", source, "-o", objects[-1])
    own = folder / f"{sketch.name}.o"
    sketched = ("-include", "Arduino.h", "-x", "c++", "-c", sketch, "-o", own)
    _run("avr-g++", *flags, *strict, *CPP, *sketched)
    image = folder / f"{sketch.stem}.elf"
    _run("avr-gcc", machine, "-Os", "-Wl,--gc-sections", own, *objects, "-lm", "-o", image)
    return image


def emulator(folder: Path) -> Path:
    """Build board.c, the board around the processor."""
    program = folder / "board"
    warnings = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
    libraries = ("-lsimavr", "-lelf", "-lutil")
    includes = "-I/usr/include/simavr"
    _run("gcc", "-std=c11", "-O2", *warnings, includes, HERE / "board.c", "-o", program, *libraries)
    return program


class Arduino:
    """A board with a sketch, running; its serial port is a pseudo-terminal, `device`, under the link given."""

    def __init__(self, image: Path, link: Path, board: str = "uno") -> None:
        if link.exists() and not link.is_symlink():
            raise ArduinoError(f"{link} is there already and no link")
        self.link = link
        command = [str(emulator(image.parent)), BOARDS[board][0], str(image), str(link)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1)
        self.device = self._heard("plugged")
        self.last_words = ""  # after close: seconds, bytes sent and dropped, how late at most

    def _heard(self, word: str) -> str:
        """The rest of the board's next line, which begins with that word."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith(word):
            _, error = self.process.communicate(timeout=10)
            raise ArduinoError(f"the board was to be {word}, but: {line}{error}")
        return line.removeprefix(word).strip()

    def reset(self) -> None:
        """Press the reset button."""
        self.process.send_signal(signal.SIGUSR1)
        self._heard("reset")

    def unplug(self) -> None:
        """Pull the cable: the port, its link and the board's power are gone."""
        self.process.send_signal(signal.SIGUSR2)
        self._heard("unplugged")

    def plug(self) -> None:
        """Put the cable back: a new port under the old link, and the sketch from its start."""
        self.process.send_signal(signal.SIGUSR2)
        self.device = self._heard("plugged")

    def close(self) -> None:
        """Switch the board off; it takes its link away."""
        if self.process.poll() is None:
            self.process.terminate()
            self.last_words = self.process.communicate(timeout=10)[0].splitlines()[-1]

    def __enter__(self) -> Arduino:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
