"""The package as a user has it: installed with its dependencies in an empty environment, far from any checkout.

The sdist is made from this tree and the wheel from the sdist, so both are proven. Needs a package registry.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import edge_lstm
from tests.package.built import build

pytestmark = pytest.mark.long
# What a user writes, and what mypy --strict must say about it: each line with a remark, and no other
PROGRAM = """\
import numpy as np
import edge_lstm
from firmware_bridge.events import SafeOutput
model = edge_lstm.load("gait.npz")
y = model.stream().step(np.zeros(4, np.float32))
reveal_type(model)  # note: Revealed type is "edge_lstm.core.model.Model"
reveal_type(edge_lstm.__version__)  # note: Revealed type is "str"
reveal_type(edge_lstm.LogError)  # note: -> edge_lstm.errors.LogError"
reveal_type(SafeOutput)  # note: -> firmware_bridge.events.SafeOutput"
edge_lstm.load(3)  # error: Argument 1 to "load" has incompatible type "int"
y.shape  # error: has no attribute "shape"
"""


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the package and what it needs, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    sdist = build("sdist", folder / "sdist")
    pip = ["-m", "pip", "--disable-pip-version-check"]
    wheels = ["wheel", "--no-deps", "--wheel-dir", str(folder / "wheels"), str(sdist)]
    subprocess.run([sys.executable, *pip, *wheels], cwd=folder, check=True, timeout=600)
    (wheel,) = (folder / "wheels").iterdir()
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, timeout=120)
    subprocess.run([str(folder / "venv/bin/python"), *pip, "install", str(wheel)], cwd=folder, check=True, timeout=900)
    return folder / "venv"


def out(place: Path, *command: str) -> str:
    """What a command prints in a folder without a checkout; it must end with 0."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_commands(venv: Path, tmp_path: Path) -> None:
    """The command is there under both its names, and knows its version."""
    assert "Usage: edge-lstm" in out(tmp_path, str(venv / "bin/edge-lstm"), "--help")
    version = out(tmp_path, str(venv / "bin/python"), "-m", "edge_lstm", "--version")
    assert version == f"edge-lstm, version {edge_lstm.__version__}\n"


def test_example(venv: Path, tmp_path: Path) -> None:
    """The founding example comes with the package, and gives the picture's numbers without matplotlib."""
    assert "dinner" in out(tmp_path, str(venv / "bin/edge-lstm"), "example", "dinner")


def test_pages_and_files(venv: Path, tmp_path: Path) -> None:
    """`docs` finds every page of the installation, README.md too, and `example copy` brings what the tutorial needs."""
    command = str(venv / "bin/edge-lstm")
    pages = json.loads(out(tmp_path, command, "docs", "--json"))["pages"]
    assert len(pages) > 40
    assert all(Path(page["path"]).is_file() and Path(page["path"]).is_relative_to(venv) for page in pages)
    assert out(tmp_path, command, "docs", "readme").startswith("# edge-lstm\n")
    out(tmp_path, command, "example", "copy", "here")
    log, model, names = "here/tutorial/imu.csv", "here/tutorial/wheels.onnx", "gyro_z,accel_x,accel_y,accel_z"
    out(tmp_path, command, "import", model, "-o", "wheels.npz", "--channels", names)
    out(tmp_path, command, "replay", log, "--model", "wheels.npz")


def test_a_model_runs(venv: Path, tmp_path: Path) -> None:
    """The shipped network takes a log: one reading at a time and as a whole, the same bits."""
    program = """
import pathlib, numpy, edge_lstm
model = edge_lstm.load(pathlib.Path(edge_lstm.__file__).parent / "examples" / "slip_stall.npz")
xs = numpy.random.default_rng(1).normal(size=(50, len(model.inputs))).astype(numpy.float32)
stream = model.stream()
steps = numpy.array([stream.step(x).copy() for x in xs])
print(steps.shape, numpy.array_equal(steps, model.stream().run(xs)), edge_lstm.__file__)
"""
    said = out(tmp_path, str(venv / "bin/python"), "-c", program)
    assert said.startswith(f"(50, 4) True {venv}"), said


def test_types(venv: Path, tmp_path: Path) -> None:
    """mypy --strict holds a user's program to our types: it says what stands beside the lines, and no more."""
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--python-executable", str(venv / "bin/python"), "--cache-dir", "cache"]
    command += ["--strict", "--no-color-output", "--no-error-summary", "program.py"]
    environment = {name: value for name, value in os.environ.items() if name != "MYPYPATH"}
    judged = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    wanted = {
        f"program.py:{number}: {kind}: ": text
        for number, line in enumerate(PROGRAM.splitlines(), 1)
        for kind, _, text in [line.partition("  # ")[2].partition(": ")]
        if kind
    }
    found = judged.stdout.splitlines()
    assert len(found) == len(wanted), judged.stdout + judged.stderr
    for line, (start, text) in zip(found, wanted.items(), strict=True):
        assert line.startswith(start), judged.stdout
        assert text in line, judged.stdout
