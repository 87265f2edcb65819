"""Instructions that an Arm program executes, counted exactly under emulation, or written down one by one.

A program puts marks (`sched_yield`) around its work; the plugin `count.c` knows how many instructions its thread has
executed at each. What is done N times between two marks and 2 N times between the next two costs the difference, and
whatever stands around it cancels. Its rule: nothing here is an estimate. An emulator executes the instructions that a
CPU would, but in no time that means anything, so nothing here is measured either.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

EMULATOR = "qemu-aarch64"  # the other one, which is linked statically, loads no plugins
Command = Sequence[str | Path]


class CountingError(Exception):
    """A program did not put the marks that it should have."""


def missing() -> str:
    """Which of the tools is not installed, as a sentence; empty where all are."""
    absent = [name for name in (EMULATOR, "gcc") if not shutil.which(name)]
    return f"{' and '.join(absent)} not installed: tools/arm/run --install" if absent else ""


class Counter:
    """The plugin, built once in this folder; the emulated CPU is one of QEMU's."""

    def __init__(self, folder: Path, cpu: str) -> None:
        self._cpu, self._folder, self._plugin = cpu, folder, folder / "count.so"
        if not self._plugin.exists():
            options = ("-std=c99", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC")
            subprocess.run(["gcc", *options, Path(__file__).with_name("count.c"), "-o", self._plugin], check=True)

    def _run(self, command: Command, marks: int, options: Command, environment: Mapping[str, str], trace: str) -> str:
        with tempfile.NamedTemporaryFile("r", dir=self._folder) as out:
            plugin = f"{self._plugin},out={out.name}{trace}"
            whole = [EMULATOR, "-cpu", self._cpu, "-plugin", plugin, *options, *command]
            subprocess.run(whole, check=True, timeout=1800, env={**os.environ, **environment})
            text = out.read()
        if (found := text.count("=")) != marks:
            raise CountingError(f"{command[0]} put {found} marks where {marks} were expected")
        return text

    def counts(
        self, command: Command, marks: int, options: Command = (), environment: Mapping[str, str] | None = None
    ) -> list[int]:
        """Instructions executed between each two of its marks, by the thread that puts them. options: of the emulator.
        Raises CountingError where their number is another."""
        text = self._run(command, marks, options, environment or {}, "")
        at = [int(line[1:]) for line in text.splitlines()]
        return [after - before for before, after in itertools.pairwise(at)]

    def traces(self, command: Command, marks: int) -> list[list[int]]:
        """The machine code of each instruction executed between each two of its marks, in order. Raises CountingError
        where their number is another."""
        blocks: dict[str, list[int]] = {}
        found: list[list[int]] = []
        for line in self._run(command, marks, (), {}, ",trace=on").splitlines():
            if line[0] == "+":
                number, *words = line[1:].split()
                blocks[number] = [int(word, 16) for word in words]
            elif line[0] == "=":
                found.append([])
            else:
                found[-1] += blocks[line]
        return found[:-1]
