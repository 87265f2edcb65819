"""A robot that runs an imported model never imports onnx or onnxruntime: here both cannot be imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edge_lstm
from tests.cli.test_live import simulated

EXAMPLES = Path(edge_lstm.__file__).parent / "examples"
REFUSE = '''
"""Imported when Python starts."""
import sys


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("onnx", "onnxruntime"):
            raise ModuleNotFoundError(f"{name} is not to be had here", name=name)


sys.meta_path.insert(0, Refuse())
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models that were imported from ONNX, a robot.toml, and what makes onnx unimportable."""
    folder = tmp_path_factory.mktemp("robot")
    edge_lstm.save(edge_lstm.import_onnx(EXAMPLES / "slip_stall.onnx"), folder / "imported.npz")
    for name in ("slip_stall.npz", "robot.toml"):  # it too was imported, and has names for its inputs and outputs
        shutil.copy(EXAMPLES / name, folder)
    (folder / "refuse").mkdir()
    (folder / "refuse" / "sitecustomize.py").write_text(REFUSE)
    return folder


def python(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python without onnx and onnxruntime, in that folder, to its end."""
    path = os.pathsep.join([str(place / "refuse"), str(Path(edge_lstm.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_they_cannot_be_imported(place: Path, package: str) -> None:
    """The test's own tool works."""
    assert "is not to be had here" in python(place, "-c", f"import {package}").stderr


def test_run_and_replay(place: Path, tmp_path: Path) -> None:
    """`run` drives the simulated robot on its pseudo-terminal and records; `replay` finds the same bits."""
    with simulated(tmp_path / "port"):
        port = ["--port", str(tmp_path / "port")]
        ran = python(place, "-m", "edge_lstm", "run", "robot.toml", *port, "--seconds", "2", "--record", "drive.mcap")
    assert ran.returncode == 0, ran.stderr
    replayed = python(place, "-m", "edge_lstm", "replay", "drive.mcap", "--verify")
    assert replayed.returncode == 0, replayed.stderr


def test_load_and_step(place: Path) -> None:
    """From Python: a model is loaded, and takes a reading."""
    program = """
import sys, numpy, edge_lstm
model = edge_lstm.load("imported.npz")
print(len(model.stream().step(numpy.zeros(len(model.inputs), numpy.float32))))
assert not {"onnx", "onnxruntime"} & sys.modules.keys()
"""
    done = python(place, "-c", program)
    assert done.stdout.strip() == "4", done.stderr
