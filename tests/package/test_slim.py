"""A robot that runs an imported model needs neither onnx and onnxruntime nor numba and llvmlite: here none of them can
be imported."""

from __future__ import annotations

import os
import platform
import re
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
        if name.partition(".")[0] in ("onnx", "onnxruntime", "numba", "llvmlite"):
            raise ModuleNotFoundError(f"{name} is not to be had here", name=name)


sys.meta_path.insert(0, Refuse())
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models that were imported from ONNX, a robot.toml, and what makes those packages unimportable."""
    folder = tmp_path_factory.mktemp("robot")
    edge_lstm.save(edge_lstm.import_onnx(EXAMPLES / "slip_stall.onnx"), folder / "imported.npz")
    for name in ("slip_stall.npz", "robot.toml"):  # it too was imported, and has names for its inputs and outputs
        shutil.copy(EXAMPLES / name, folder)
    (folder / "refuse").mkdir()
    (folder / "refuse" / "sitecustomize.py").write_text(REFUSE)
    return folder


def python(place: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A Python without those packages, in that folder, to its end. more: of the environment."""
    path = os.pathsep.join([str(place / "refuse"), str(Path(edge_lstm.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": path, **more}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_they_cannot_be_imported(place: Path) -> None:
    """The test's own tool works."""
    program = """
import importlib
for package in ("onnx", "onnxruntime", "numba", "llvmlite"):
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        print(error)
"""
    said = python(place, "-c", program).stdout.splitlines()
    assert said == [f"{package} is not to be had here" for package in ("onnx", "onnxruntime", "numba", "llvmlite")]


def test_run_and_replay(place: Path, tmp_path: Path) -> None:
    """`run` drives the simulated robot on its pseudo-terminal and records; `replay` finds the same bits."""
    with simulated(tmp_path / "port"):
        port = ["--port", str(tmp_path / "port")]
        ran = python(place, "-m", "edge_lstm", "run", "robot.toml", *port, "--seconds", "2", "--record", "drive.mcap")
    assert ran.returncode == 0, ran.stderr
    replayed = python(place, "-m", "edge_lstm", "replay", "drive.mcap", "--verify")
    assert replayed.returncode == 0, replayed.stderr


def test_what_operates_a_run_needs_none_of_them(place: Path) -> None:
    """Every module of serve, daemon, moments and of the commands is imported."""
    program = """
import importlib, pkgutil, edge_lstm.cli, edge_lstm.daemon, edge_lstm.moments, edge_lstm.robot, edge_lstm.serve
for room in (edge_lstm.cli, edge_lstm.daemon, edge_lstm.moments, edge_lstm.robot, edge_lstm.serve):
    for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
        importlib.import_module(module.name)
"""
    done = python(place, "-c", program)
    assert done.returncode == 0, done.stderr


def test_what_needs_them_says_so(place: Path) -> None:
    """`import` and `bench --against` of an ONNX file: one sentence with the command that brings the package."""
    file = str(EXAMPLES / "slip_stall.onnx")
    for package, words in {
        "onnx": ("import", file, "-o", "no.npz"),
        "onnxruntime": ("bench", "slip_stall.npz", "--against", file),
    }.items():
        done = python(place, "-m", "edge_lstm", *words)
        assert done.returncode == 2
        assert re.search(rf"needs {package}, which is not installed: .*install.*{package}", done.stderr), done.stderr
    assert not (place / "no.npz").exists()


def test_other_kernels_need_a_compiler(place: Path, tmp_path: Path) -> None:
    """Of a number of lanes that no step is shipped for: one sentence with the command that brings numba."""
    environment = {"EDGE_LSTM_LANES": "4", "EDGE_LSTM_CPU": "x86-64-v3", "EDGE_LSTM_CACHE_DIR": str(tmp_path)}
    if platform.machine() != "x86_64":
        environment |= {"EDGE_LSTM_LANES": "8", "EDGE_LSTM_CPU": "aarch64"}
    done = python(place, "-m", "edge_lstm", "bench", "slip_stall.npz", **environment)
    assert done.returncode == 2, done.stderr
    assert re.search(r"needs numba, which is not installed: .*install.*numba", done.stderr), done.stderr


def test_load_and_step(place: Path) -> None:
    """From Python: a model is loaded, and takes a reading."""
    program = """
import sys, numpy, edge_lstm
model = edge_lstm.load("imported.npz")
print(len(model.stream().step(numpy.zeros(len(model.inputs), numpy.float32))))
assert not {"onnx", "onnxruntime", "numba", "llvmlite"} & sys.modules.keys()
"""
    done = python(place, "-c", program)
    assert done.stdout.strip() == "4", done.stderr
