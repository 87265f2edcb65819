"""What each command owes people on a machine that fails: a sentence, the right code, no half-written file, and a robot
that runs wherever its files could be read.

Its rule: a code says what is to be done. ENOSPC and EIO pass, so they are never the code that keeps a service from
being started again; only what the name or the permission of a file could mend may be.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge_lstm.cli import codes
from edge_lstm.core.storage import load
from firmware_bridge.recordings.reader import open_recording
from tests.support.robots import small_robot
from tests.support.system.faults import Fault, Machine, Result

# command → arguments and the one file it makes; "{port}" is the simulated robot's
COMMANDS: dict[str, tuple[list[str], str]] = {
    "run": (["run", "{here}/robot.toml", "--port", "{port}", "--seconds", "0.5"], "recordings"),
    "replay": (["replay", "{here}/run.mcap", "-o", "{here}/out.csv"], "out.csv"),
    "table": (["replay", "{here}/log.csv", "--model", "{here}/model.npz", "-o", "{here}/out.csv"], "out.csv"),
    "import": (["import", "{here}/net.onnx", "--no-verify", "-o", "{here}/made.npz"], "made.npz"),
    "quantize": (["quantize", "{here}/model.npz", "--calibrate", "{here}/log.csv", "-o", "{here}/q.npz"], "q.npz"),
    "firmware": (["firmware", "{here}/model.npz", "-o", "{here}/model.h"], "model.h"),
}
ERRORS = {  # errno → whether it lasts: a full disk stays full, one bad block or one refusal is one
    errno.ENOSPC: True,
    errno.EROFS: True,
    errno.EIO: False,
    errno.EACCES: False,
}


def template(folder: Path, onnx: Path) -> Path:
    """Everything the commands read: a model, a robot.toml, a log, an ONNX file, a recording."""
    from edge_lstm.robot.config import load_config
    from edge_lstm.robot.controller import Controller
    from edge_lstm.robot.loop import run
    from firmware_bridge.links.own.bridge import Bridge
    from firmware_bridge.recordings.recorder import Recorder
    from firmware_bridge.simulator.port import SimulatedPort
    from firmware_bridge.simulator.robot import Robot

    folder.mkdir()
    config = small_robot.folder(folder, small_robot.AT_ONCE)
    rows = np.random.default_rng(1).normal(0, 2, (200, 4))
    names = ",".join(channel.name for channel in small_robot.INPUTS)
    lines = [f"{k / 200},{','.join(map(repr, row))}" for k, row in enumerate(rows.tolist())]
    (folder / "log.csv").write_text("\n".join([f"time (s),{names}", *lines]) + "\n")
    (folder / "net.onnx").write_bytes(onnx.read_bytes())
    attached = {"model.npz": (folder / "model.npz").read_bytes(), "robot.toml": config.read_bytes()}
    recorder = Recorder(folder / "run.mcap", {}, attached, wait=True)
    controller = Controller(load(folder / "model.npz"), load_config(config))
    run(SimulatedPort(Robot(1), 1.0), Bridge(), controller, recorder)
    recorder.close()
    return folder


def faults(machine: Machine, arguments: list[str], error: int, most: int) -> Iterator[Fault]:
    """For each kind of call, the first `most` that this command makes."""
    whole = machine.run(arguments)
    assert whole.code == 0, whole.err
    for kind, count in whole.counts.items():
        for nth in range(1, min(count, most) + 1):
            yield Fault(kind, nth, error, ERRORS[error])


def check(command: str, result: Result, fault: Fault, before: frozenset[str]) -> None:
    """Raise AssertionError where a promise is broken. before: the files of the template."""
    what = f"{command} with {fault}: code {result.code}\n{result.err}"
    assert result.code in (0, codes.MEND, codes.NOT_WRITTEN, codes.FOR_NOW), what
    assert "Traceback" not in result.err, what
    if result.code:
        assert re.search(r"(?m)^edge-lstm: .{10}", result.err), what
    if fault.errno != errno.EACCES:
        assert result.code != codes.MEND, what
    made = result.files - before
    if command == "run":
        if fault.kind != "open" or fault.nth > 2:  # robot.toml and the model were read
            assert result.code in (0, codes.NOT_WRITTEN), what
            assert re.search(r"(?m)^\d+ readings in .*, [1-9]\d* steps, [1-9]", result.out), what + result.out
            assert result.code == 0 or "recording" in result.err, what
        for path in made:
            open_recording(result.folder / path)
        return
    output = COMMANDS[command][1]
    assert made <= {output}, what + str(made)
    assert (output in made) == (result.code == 0), what
    if output in made and output.endswith(".npz"):
        load(result.folder / output)
