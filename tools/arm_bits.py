"""Runs models under emulated Arm CPUs and compares every bit of outputs and states with this machine's.

For each model and number of lanes the frame that this machine executes (`engines/native/session.py`) is dumped,
executed here, and executed by the same machine compiled for Arm, linked with a small C program (`arm_driver.c`), under
QEMU. Where their hash is kept in `tests/vectors/hashes.json`, the outputs are compared with it too, so with
every way of taking steps (`bit_hashes.py`). Before that, the loops over inputs are printed and their vector
instructions checked. Exit code 1: a difference, or a loop without vector instructions.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.engines.native.kernels import abi
from edge_lstm.engines.native.layout import aligned
from edge_lstm.engines.native.session import Memory
from tools import arm_machine, bit_hashes
from tools.arm_models import Case

COMPILER = "aarch64-linux-gnu-gcc"
# Addresses in the frame, in the order in which the driver reads what they point to.
ADDRESSES = ("TABLE", "WEIGHTS", "INITIAL", "ARENA", "X", "Y_OUT", "AHEAD")


def emulator() -> str | None:
    """The user-mode emulator, or None."""
    return shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")


def missing() -> str:
    """Which of the tools is not installed, as a sentence; empty where all are."""
    absent = [name for name, found in ((COMPILER, shutil.which(COMPILER)), ("qemu-aarch64", emulator())) if not found]
    return f"{' and '.join(absent)} not installed: tools/arm --install" if absent else ""


@dataclass(frozen=True)
class Result:
    """Status, outputs (copies, readings, n_outputs), and the states of all copies, by which two executions are
    compared."""

    status: int
    outputs: npt.NDArray[np.float32]
    states: npt.NDArray[np.float32]

    @property
    def digest(self) -> str:
        """Of every bit, but for the sign and payload of NaN, which IEEE 754 leaves open."""
        parts = [bit_hashes.canonical(a) for a in (self.outputs, self.states)]
        return hashlib.sha256(b"".join([bytes([self.status]), *parts])).hexdigest()[:16]

    def is_as_kept(self, name: str) -> bool:
        """Whether the outputs of the first copy, which took the case's log, have the hash that is kept for so many."""
        hashes = bit_hashes.hash_of(iter([self.outputs[0]]))
        kept = bit_hashes.kept()[name]
        return all(kept[str(count)] == value for count, value in hashes.items())


class Run:
    """A model's frame, ready to take its readings."""

    def __init__(self, case: Case, lanes: int, readings: int) -> None:
        program, copies = case.model.program, case.streams
        self._memory = Memory(case.model, case.model.window or copies, lanes)
        shape = (copies, readings)
        self._xs = aligned(shape[0] * shape[1] * program.input_size).reshape(*shape, -1)
        log = bit_hashes.log_of(case, readings)
        for copy, xs in enumerate(self._xs):  # other streams take other readings, the first the case's own
            xs[:] = np.roll(log, 11 * copy, axis=0)
        self._ys = aligned(shape[0] * shape[1] * program.output_size).reshape(*shape, -1)
        self._ys[:] = np.nan
        # The copies of a window model all take the one stream's reading.
        x_copy, y_copy = (self._xs[0].size, self._ys[0].size) if case.model.window is None else (0, 0)
        self._memory.point_at(self._xs, self._ys, shape[1], x_copy=x_copy, y_copy=y_copy)

    def dump(self) -> bytes:
        """The frame and all it points to, as the driver reads it."""
        memory = self._memory
        held = memory._assembled
        parts: list[npt.NDArray[Any]] = [
            memory._frame,
            held.table,
            held.weights,
            held.arena,
            memory._arenas,
            self._xs,
            self._ys,
            np.zeros(0) if memory._ahead is None else memory._ahead,
        ]
        return b"".join(part.nbytes.to_bytes(8, "little") + part.tobytes() for part in parts)

    def here(self) -> Result:
        """Executed by this machine."""
        return self._result(self._memory.advance_many(), self._ys, self._memory._arenas)

    def read(self, content: bytes) -> Result:
        """What the driver wrote."""
        values = np.frombuffer(content, np.float32, offset=8)
        arenas, ys = values[: self._memory._arenas.size], values[self._memory._arenas.size :]
        return self._result(int.from_bytes(content[:8], "little"), ys, arenas.reshape(self._memory._arenas.shape))

    def _result(self, status: int, ys: npt.NDArray[np.float32], arenas: npt.NDArray[np.float32]) -> Result:
        return Result(status, ys.reshape(self._ys.shape), arenas[:, self._memory._elements])


class Emulated:
    """The machine for one Arm CPU and number of lanes, linked in a folder."""

    def __init__(self, cpu: str, lanes: int, folder: Path) -> None:
        self._cpu, self._folder, self._program = cpu, folder, folder / "machine"
        (folder / "machine.o").write_bytes(arm_machine.object_for(cpu, lanes))
        fields = [f"-D{name}={getattr(abi, name)}" for name in ADDRESSES]
        source = Path(__file__).with_name("arm_driver.c")
        command = [COMPILER, "-O1", "-Wall", "-static", *fields, f"-DADDRESSES={','.join(ADDRESSES)}"]
        subprocess.run([*command, source, folder / "machine.o", "-o", self._program, "-lm"], check=True)

    def run(self, run: Run) -> Result:
        """Executed under emulation; `run` must not have been executed here before."""
        frame, result = self._folder / "frame", self._folder / "result"
        frame.write_bytes(run.dump())
        subprocess.run([emulator() or "", "-cpu", self._cpu, self._program, frame, result], check=True, timeout=600)
        return run.read(result.read_bytes())


def show(cpus: tuple[str, ...] = arm_machine.CPUS, lanes: int = 4) -> Iterator[str]:
    """The loops over inputs for each of these CPUs; yields a complaint for each that lacks its vector instruction."""
    for cpu in cpus:
        assembly = arm_machine.assembly_for(cpu, lanes)
        for look in arm_machine.LOOKS:
            if cpu not in look.cpus:
                continue
            for copies in (1,) if look.scheme else (1, 4):
                loops = arm_machine.inner_loops(assembly, look.layer, copies, look.scheme)
                most = max(loops, key=lambda loop: arm_machine.vectors(loop, look.instruction), default=[])
                count = arm_machine.vectors(most, look.instruction)
                print(f"{cpu}, {look.what}, {copies} at once: {count} {look.instruction} in {len(most)} instructions")
                if not count:
                    yield f"{look.what} for {cpu} has no loop with {look.instruction} on vectors"
                if look.what in ("lstm", "int8 lstm") and copies == 1:
                    print("\n".join(f"    {line}" for line in most))


def compare(
    cases: list[Case], lanes: int, readings: int, cpus: tuple[str, ...]
) -> Iterator[tuple[str, Result, dict[str, Result]]]:
    """Name, this machine's result, and each emulated CPU's, model by model."""
    with tempfile.TemporaryDirectory() as name:
        machines = {}
        for cpu in cpus:
            (folder := Path(name) / cpu).mkdir()
            machines[cpu] = Emulated(cpu, lanes, folder)
        for case in cases:
            there = {cpu: machine.run(Run(case, lanes, readings)) for cpu, machine in machines.items()}
            yield case.name, Run(case, lanes, readings).here(), there


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readings", type=int, default=bit_hashes.MANY, help="of each model (default %(default)s)")
    parser.add_argument("--lanes", type=int, choices=bit_hashes.LANES, action="append", help="only so many lanes")
    parser.add_argument("--models", metavar="WORD", default="", help="only those whose name has this word: int8")
    arguments = parser.parse_args()
    if complaint := missing():
        sys.exit(complaint)
    cases = [case for case in bit_hashes.all_cases() if arguments.models in case.name]
    complaints: list[str] = []
    digests: dict[str, str] = {}
    for lanes in arguments.lanes or bit_hashes.LANES:
        if lanes == 4:
            complaints += show()
            print()
        print(f"{lanes} lanes | readings | status | outputs and states | " + " | ".join(arm_machine.CPUS))
        for name, here, there in compare(cases, lanes, arguments.readings, arm_machine.CPUS):
            verdicts = ["same" if result.digest == here.digest else "DIFFERENT" for result in there.values()]
            if not here.is_as_kept(name):
                complaints.append(f"{name}: {lanes} lanes give other bits than tests/vectors/hashes.json")
            if digests.setdefault(name, here.digest) != here.digest:
                complaints.append(f"{name}: {lanes} lanes give other bits here than fewer lanes")
            if "DIFFERENT" in verdicts:
                complaints.append(f"{name}: {lanes} lanes give other bits on Arm")
            print(name, arguments.readings, here.status, here.digest, *verdicts, sep=" | ", flush=True)
        print()
    print("\n".join(complaints) or "the same bits everywhere")
    sys.exit(bool(complaints))


if __name__ == "__main__":
    main()
