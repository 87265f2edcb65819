"""The bits of a Cortex-M4F, emulated, over 10,000 readings: the shipped network and models with every operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge_lstm.core.model import Model
from edge_lstm.core.storage import load
from edge_lstm.firmware.export import fingerprint, vector_outputs, vector_readings
from edge_lstm.quantization import quantize
from tests.support.models.every_operation import models
from tests.support.robots.toolchain import ROOT, need
from tools.board.image import build, run_bits

pytestmark = pytest.mark.long
READINGS, CALIBRATE = 10_000, 1000


def shipped() -> list[Model]:
    """The network of the example, in float32 and in int8, calibrated on the readings of the self-test."""
    model = load(ROOT / "edge_lstm" / "examples" / "slip_stall.npz")
    small = quantize(model, vector_readings(model, CALIBRATE), "int8")
    return [replace(model, name="shipped"), replace(small, name="shipped, int8")]


@pytest.mark.parametrize("model", [*shipped(), *models()], ids=lambda model: model.name)
def test_the_board_gives_pythons_bits(tmp_path: Path, model: Model, volume: Callable[[float], int]) -> None:
    """Its self-test passes, and all outputs have Python's fingerprint."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    steps = max(100, volume(READINGS))
    image = build(tmp_path, "bits", model=model, flags=(f"-DSTEPS={steps}",))
    assert run_bits(image) == (0, fingerprint(vector_outputs(model, steps)))
