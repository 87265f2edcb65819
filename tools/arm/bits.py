"""A model under emulated Arm CPUs: every bit of its outputs and states beside this machine's, and the loops that do it.

The frame that this machine executes (`engines/native/session.py`) is dumped, executed here, and executed by the same
machine compiled for Arm, which a small C program (`driver.c`) loads under QEMU: the very image that the package has.
`python -m tools.arm` shows it for models of yours, `tests/long/test_arm.py` for twenty-five that have every operation.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.model import Model
from edge_lstm.engines.memory import aligned
from edge_lstm.engines.native.kernels import abi
from edge_lstm.engines.native.session import NativeSession
from tools.arm import machine

Floats = npt.NDArray[np.float32]
COMPILER = "aarch64-linux-gnu-gcc"
# Addresses in the frame, in the order in which the driver reads what they point to.
ADDRESSES = ("TABLE", "WEIGHTS", "INITIAL", "ARENA", "X", "Y_OUT", "AHEAD")


def emulator() -> str | None:
    """The user-mode emulator, or None."""
    return shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")


def missing() -> str:
    """Which of the tools is not installed, as a sentence; empty where all are."""
    absent = [name for name, found in ((COMPILER, shutil.which(COMPILER)), ("qemu-aarch64", emulator())) if not found]
    return f"{' and '.join(absent)} not installed: tools/arm/run --install" if absent else ""


def canonical(values: Floats) -> bytes:
    """As bytes, every NaN being the same NaN: IEEE 754 leaves its sign and payload open."""
    return np.where(np.isnan(values), np.float32(np.nan), values).tobytes()


@dataclass(frozen=True)
class Result:
    """Status, outputs (copies, readings, n_outputs), and the states of all copies, by which two executions are
    compared."""

    status: int
    outputs: Floats
    states: Floats

    @property
    def digest(self) -> str:
        """Of every bit, but for the sign and payload of NaN, which IEEE 754 leaves open."""
        parts = [canonical(a) for a in (self.outputs, self.states)]
        return hashlib.sha256(b"".join([bytes([self.status]), *parts])).hexdigest()[:16]


class Run:
    """A model's frame, ready to take its readings."""

    def __init__(self, model: Model, log: Floats, copies: int, lanes: int) -> None:
        program = model.program
        self._session = NativeSession(model, copies, lanes)
        shape = (copies, len(log))
        self._xs = aligned(shape[0] * shape[1] * program.input_size).reshape(*shape, -1)
        for copy, xs in enumerate(self._xs):  # other streams take other readings, the first the log itself
            xs[:] = np.roll(log, 11 * copy, axis=0)
        self._ys = aligned(shape[0] * shape[1] * program.output_size).reshape(*shape, -1)
        self._ys[:] = np.nan

    def dump(self) -> bytes:
        """The frame and all it points to, as the driver reads it."""
        session = self._session
        held = session._layout
        parts: list[npt.NDArray[Any]] = [
            session.frame_for(self._xs, self._ys),
            held.table,
            held.weights,
            held.arena,
            session._arenas,
            self._xs,
            self._ys,
            np.zeros(0) if session._ahead is None else session._ahead,
        ]
        return b"".join(part.nbytes.to_bytes(8, "little") + part.tobytes() for part in parts)

    def here(self) -> Result:
        """Executed by this machine."""
        return self._result(self._session.advance_many(self._xs, self._ys)[0], self._ys, self._session._arenas)

    def read(self, content: bytes) -> Result:
        """What the driver wrote."""
        values = np.frombuffer(content, np.float32, offset=8)
        arenas, ys = values[: self._session._arenas.size], values[self._session._arenas.size :]
        return self._result(int.from_bytes(content[:8], "little"), ys, arenas.reshape(self._session._arenas.shape))

    def _result(self, status: int, ys: Floats, arenas: Floats) -> Result:
        return Result(status, ys.reshape(self._ys.shape), arenas[:, self._session._elements])


class Emulated:
    """The machine for one Arm CPU and number of lanes, and what loads it, in a folder of their own within this one."""

    def __init__(self, cpu: str, lanes: int, folder: Path) -> None:
        folder = folder / f"{cpu}-{lanes}"
        folder.mkdir()
        self._cpu, self._folder, self._program = cpu, folder, folder / "driver"
        image = machine.image_for(cpu, lanes)
        (folder / "image").write_bytes(image.code)
        imports = ",".join(f"{{{place},(void*){name}}}" for name, place in image.imports.items())
        fields = [f"-D{name}={getattr(abi, name)}" for name in ADDRESSES]
        fields += [f"-DADDRESSES={','.join(ADDRESSES)}", f"-DRUN={image.functions['edge_lstm_run']}"]
        source = Path(__file__).with_name("driver.c")
        command: list[str | Path] = [
            COMPILER,
            "-O1",
            "-Wall",
            "-static",
            *fields,
            f"-DIMPORTS={imports}",
            source,
            "-o",
            self._program,
        ]
        subprocess.run([*command, "-lm"], check=True)

    def command(self, run: Run, *calls: int) -> list[str | Path]:
        """What executes it on that CPU: once, or so many times and so many, with marks between (`driver.c`)."""
        frame = self._folder / "frame"
        frame.write_bytes(run.dump())
        return [self._program, self._folder / "image", frame, self._folder / "result", *map(str, calls)]

    def run(self, run: Run) -> Result:
        """Executed under emulation; `run` must not have been executed here before."""
        subprocess.run([emulator() or "", "-cpu", self._cpu, *self.command(run)], check=True, timeout=600)
        return run.read((self._folder / "result").read_bytes())


def show(cpus: tuple[str, ...] = machine.CPUS, lanes: int = 4) -> Iterator[str]:
    """The loops over inputs for each of these CPUs; yields a complaint for each that lacks its vector instruction."""
    for cpu in cpus:
        assembly = machine.assembly_for(cpu, lanes)
        for look in machine.LOOKS:
            if cpu not in look.cpus:
                continue
            for copies in (1,) if look.scheme else (1, 4):
                loops = machine.inner_loops(assembly, look.layer, copies, look.scheme)
                most = max(loops, key=lambda loop: machine.vectors(loop, look.instruction), default=[])
                count = machine.vectors(most, look.instruction)
                print(f"{cpu}, {look.what}, {copies} at once: {count} {look.instruction} in {len(most)} instructions")
                if not count:
                    yield f"{look.what} for {cpu} has no loop with {look.instruction} on vectors"
                if look.what in ("lstm", "int8 lstm") and copies == 1:
                    print("\n".join(f"    {line}" for line in most))


def compare(
    model: Model, log: Floats, copies: int, lanes: int, machines: Mapping[str, Emulated]
) -> tuple[Result, dict[str, Result]]:
    """This machine's result of a log (T, n_inputs), and each emulated CPU's; those are built for so many lanes. Further
    copies take other readings, the first the log."""
    there = {cpu: emulated.run(Run(model, log, copies, lanes)) for cpu, emulated in machines.items()}
    return Run(model, log, copies, lanes).here(), there
