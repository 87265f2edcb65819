"""Commands on a machine that fails, the first calls of each kind; `tests/long/test_faults.py` has all of them, and all
commands."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_live import simulated
from tests.support.system import promises
from tests.support.system.faults import Machine

ONNX = Path(__file__).parents[2] / "edge_lstm" / "examples" / "slip_stall.onnx"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("faults")
    with Machine(folder, promises.template(folder / "template", ONNX)) as made:
        yield made


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    link = tmp_path_factory.mktemp("robot") / "port"
    with simulated(link):
        yield str(link)


@pytest.mark.parametrize("command", ["run", "replay", "quantize"])  # a robot, a recording, tables and models
def test_the_first_calls_that_fail(command: str, machine: Machine, port: str):
    """A full disk at the first open, write, fsync, mkdir and rename of a command: a sentence, the right code, nothing
    half-written, and the robot runs where its files could be read."""
    arguments = [argument.replace("{port}", port) for argument in promises.COMMANDS[command][0]]
    before = machine.run(["--version"]).files
    tried = 0
    for fault in promises.faults(machine, arguments, errno.ENOSPC, most=1):
        promises.check(command, machine.run(arguments, fault), fault, before)
        tried += 1
    assert tried >= 2


def test_a_library_that_fails_without_a_word_where_no_memory_is_left():
    """An extension's SystemError, a package that does not load, a parser that gives up: too little memory if the system
    gives no more, else what they are; a sentence of ours stays what it is."""
    program = """
import resource
from pathlib import Path
from edge_lstm.cli import codes
pages = int(Path("/proc/self/statm").read_text().split()[0])
from edge_lstm.errors import EdgeLstmError
errors = [
    SystemError("error return without exception set"),
    ImportError("cannot import name 'onnx_cpp2py_export'"),
    SyntaxError("expected ':'"),
]
assert not any(map(codes.passing, errors))
resource.setrlimit(resource.RLIMIT_AS, ((pages * resource.getpagesize()) + (16 << 20),) * 2)
assert all(map(codes.passing, errors)) and "SystemError: error return" in codes.out_of_memory(errors[0])
assert not codes.passing(EdgeLstmError("of a person"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
