"""Commands on a machine that fails: for every n, the n-th open, write, fsync, mkdir and rename, with three errors."""

from __future__ import annotations

import pytest

from tests.cli.test_faults import machine, port  # noqa: F401  fixtures
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
