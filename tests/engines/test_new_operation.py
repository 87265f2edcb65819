"""What ARCHITECTURE.md says of a new operation: with its record alone it runs in the plain engine, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_lstm.core import operations, storage
from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Operation
from edge_lstm.core.operations.record import Kind, Need, sizes
from edge_lstm.engines.plain import Plain
from edge_lstm.errors import ProgramError
from edge_lstm.firmware.export import firmware
from edge_lstm.streams.stream import Stream


def _check(op: Operation, need: Need) -> None:
    x, y = sizes(op, need, 1, 1)
    need(x == y, f"input of {x} and output of {y} differ in size")


CUBE = Kind("cube", _check, None, lambda inputs, weights, attributes: (inputs[0] ** 3,))


def test_a_record_alone_runs_in_the_plain_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Builder, model file and plain engine need no more; the others refuse it by name, and say who runs it."""
    monkeypatch.setitem(operations.KINDS, "cube", CUBE)
    b = Builder()
    x = b.input("x", 2)
    (y,) = b.add("cube", [x], [2], name="third")
    b.output("y", y)
    storage.save(Model(b.build(), channels_for(("x",), (2,)), channels_for(("y",), (2,))), tmp_path / "m.npz")
    model = storage.load(tmp_path / "m.npz")
    assert Stream(model, Plain()).step([2.0, -3.0]).tolist() == [8.0, -27.0]
    with pytest.raises(ProgramError, match=r"'third' \(cube\) has no instructions .* the plain engine runs it"):
        model.stream()
    with pytest.raises(ProgramError, match=r"\(cube third\) is not in the C runtime"):
        firmware(model)
