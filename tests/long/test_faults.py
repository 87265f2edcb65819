"""Commands on a machine that fails: every n-th open, write, fsync, mkdir and rename, each error, too little memory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from edge_lstm.cli import codes
from tests.cli.test_faults import ONNX, machine, port  # noqa: F401  fixtures
from tests.cli.test_live import EDGE_LSTM
from tests.support.system import promises
from tests.support.system.faults import Machine

pytestmark = pytest.mark.long

MOST = 60  # of each kind; a recorder's writes go on and on, and are alike


@pytest.mark.parametrize("error", promises.ERRORS)
@pytest.mark.parametrize("command", promises.COMMANDS)
def test_every_call_that_fails(command: str, error: int, machine: Machine, port: str):  # noqa: F811
    """A full disk, a bad block, a refusal at every call: a sentence, the right code, nothing half-written, and the
    robot runs where its files could be read."""
    arguments = [argument.replace("{port}", port) for argument in promises.COMMANDS[command][0]]
    before = machine.run(["--version"]).files
    broken = []
    for fault in promises.faults(machine, arguments, error, MOST):
        try:
            promises.check(command, machine.run(arguments, fault), fault, before)
        except AssertionError as wrong:
            broken.append(str(wrong))
    assert not broken, "\n\n".join(broken)


@pytest.mark.parametrize("command", ["replay", "table", "import", "firmware"])
def test_too_little_memory_is_never_final(command: str, tmp_path: Path):
    """From 40 MB of addresses on, as many more as it takes: not enough is neither a defect nor a person's mistake, and
    no file is half there."""
    folder = promises.template(tmp_path / "here", ONNX)
    before = {path.name for path in folder.iterdir()}
    words = [word.replace("{here}", str(folder)) for word in promises.COMMANDS[command][0]]
    for megabytes in [*range(40, 160, 4), *range(160, 2000, 40)]:
        limited = ["bash", "-c", f'ulimit -v {megabytes << 10}; exec "$@"', "bash", *EDGE_LSTM, *words]
        one_thread = dict(os.environ, OPENBLAS_NUM_THREADS="1")
        code, said = None, ""
        try:
            done = subprocess.run(limited, capture_output=True, text=True, timeout=60, check=False, env=one_thread)
            code, said = done.returncode, done.stderr
        except subprocess.TimeoutExpired:
            # CPython 3.11 itself, once in seventy tries at 96 MB: where the place of the instruction that has raised
            # finds no memory, ceval.c unwinds the same exception for ever. No code of a program can end that.
            pass
        if code == 0:
            return
        assert code not in (codes.MEND, codes.DEFECT), f"{megabytes} MB: {said}"
        assert {path.name for path in folder.iterdir()} == before, megabytes
    pytest.fail("it never had enough")
