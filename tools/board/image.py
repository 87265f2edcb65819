"""The emulated board: builds its images and starts them. Arm's MPS2 with image AN386, a Cortex-M4F, in QEMU.

Its rule: what is missing is named with the Debian package that has it. A board that was started is stopped by `close`,
with its own process and no other.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "firmware_bridge" / "c"
PACKAGES = {
    "arm-none-eabi-gcc": ("gcc-arm-none-eabi", "libnewlib-arm-none-eabi"),
    "qemu-system-arm": ("qemu-system-arm",),
}
M4F = ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
FLAGS = (*M4F, "-std=c99", "-Wall", "-Wextra", "-Wconversion", "-ffunction-sections", "-fdata-sections", "-g")
LINK = ("-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections", "-lm")
SEED_ADDRESS = 0x203FFFF0  # robot.c reads a random number there


class BoardError(Exception):
    """The board cannot be built or started; the message says what to do."""


def missing() -> list[str]:
    """The Debian packages that are needed and not here."""
    return [name for program, names in PACKAGES.items() if shutil.which(program) is None for name in names]


def install() -> None:
    """Install what is missing (Debian, as root or with sudo)."""
    packages = missing()
    if not packages:
        return
    prefix = [] if os.geteuid() == 0 else ["sudo"]
    subprocess.run([*prefix, "apt-get", "update"], check=True)
    subprocess.run([*prefix, "apt-get", "install", "--yes", "--no-install-recommends", *packages], check=True)


def _network_header(model: Any, folder: Path) -> str:
    from edge_lstm.firmware.export import firmware

    (folder / "network_model.h").write_text(firmware(model, "network_model").text)
    return '-DNETWORK_HEADER="network_model.h"'


def build(folder: Path, main: str, *, model: Any = None, optimize: str = "-O2", flags: Sequence[str] = ()) -> Path:
    """Build board/MAIN.c, with a network or without, into folder/MAIN.elf. BoardError has the compiler's words."""
    if packages := missing():
        raise BoardError(f"the board needs Debian packages that are not here: apt install {' '.join(packages)}")
    defines = [*flags, *([_network_header(model, folder)] if model is not None else [])]
    sources = [SOURCES / "board" / "startup.c", SOURCES / "board" / f"{main}.c", SOURCES / "bridge.c"]
    if model is not None:
        sources.append(SOURCES / "edge_lstm.c")
    image = folder / f"{main}.elf"
    script = f"-Wl,-T,{SOURCES / 'board' / 'mps2_an386.ld'}"
    includes = (f"-I{SOURCES}", f"-I{folder}")
    command = ["arm-none-eabi-gcc", *FLAGS, optimize, *defines, *includes, *map(str, sources), script, *LINK]
    done = subprocess.run([*command, "-o", str(image)], capture_output=True, text=True)
    if done.returncode or done.stderr:
        raise BoardError(f"the image cannot be built:\n{done.stderr}")
    return image


def sizes() -> dict[str, dict[str, int]]:
    """What bridge.c and edge_lstm.c take on a Cortex-M4F at -Os: bytes of flash and RAM of their own, and for each
    public function the stack along its deepest chain of calls, without the C library's and the caller's `output`."""
    found: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("bridge", "edge_lstm"):
            target = Path(folder) / f"{name}.o"
            command = ["arm-none-eabi-gcc", *FLAGS, "-Os", "-fcallgraph-info=su", "-c", str(SOURCES / f"{name}.c")]
            subprocess.run([*command, "-o", str(target)], check=True)
            size = subprocess.run(["arm-none-eabi-size", str(target)], check=True, capture_output=True, text=True)
            code, data, bss = map(int, size.stdout.splitlines()[1].split()[:3])
            found[f"{name}.c"] = {"flash": code + data, "ram": data + bss} | _stacks(
                target.with_suffix(".ci").read_text()
            )
    return found


def _stacks(graph: str) -> dict[str, int]:
    """Deepest stack of each public function, from GCC's call graph."""
    nodes = re.findall(r'node: \{ title: "([^"]+)" label: "[^"]*?(\d+) bytes \(static\)', graph)
    frames = {title: int(count) for title, count in nodes}
    calls: dict[str, set[str]] = {}
    for caller, called in re.findall(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', graph):
        calls.setdefault(caller, set()).add(called)

    def depth(name: str) -> int:
        return frames.get(name, 0) + max((depth(called) for called in calls.get(name, ())), default=0)

    public = [name for name in frames if re.match(r"(bridge|edge_lstm)_\w+$", name)]
    return {f"stack of {name}": depth(name) for name in public}


def machine(image: Path) -> list[str]:
    """The emulator's command for an image."""
    return ["qemu-system-arm", "-M", "mps2-an386", "-display", "none", "-kernel", str(image)]


def run_bits(image: Path, timeout: float = 300) -> tuple[int, int]:
    """Run board/bits.c to its end: (0 if its self-test passed, fingerprint)."""
    command = [*machine(image), "-serial", "none", "-monitor", "none", "-semihosting"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    words = re.findall(r"\b[0-9a-f]{8}\b", done.stdout + done.stderr)
    if len(words) != 2:
        raise BoardError(f"the board said {done.stdout!r} {done.stderr!r}")
    return int(words[0], 16), int(words[1], 16)


class Board:
    """The robot's image, running; its serial port is a pseudo-terminal, `device`, and a link to it."""

    def __init__(self, image: Path, link: Path | None = None) -> None:
        self.link = link
        if link is not None and link.exists() and not link.is_symlink():
            raise BoardError(f"{link} is there already and no link")
        seed = random.SystemRandom().randrange(2**32)
        loader = f"loader,addr={SEED_ADDRESS:#x},data={seed:#x},data-len=4"
        command = [*machine(image), "-serial", "pty", "-monitor", "stdio", "-device", loader]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        )
        self.device = self._pty()
        if link is not None:
            link.unlink(missing_ok=True)
            link.symlink_to(self.device)

    def _pty(self) -> str:
        said = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said.append(line)
            if found := re.search(r"char device redirected to (\S+)", line):
                return found[1]
        raise BoardError(f"the emulator did not start: {''.join(said)}")

    def command(self, text: str) -> None:
        """A command of QEMU's monitor."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def reset(self) -> None:
        """Press the reset button."""
        self.command("system_reset")

    def close(self) -> None:
        """Switch the board off and take the link away."""
        if self.link is not None and self.link.is_symlink() and str(self.link.readlink()) == self.device:
            self.link.unlink()
        self.process.terminate()
        self.process.communicate(timeout=10)

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
