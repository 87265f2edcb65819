"""Every way of adding integers that this CPU has, against the exact twin in NumPy."""

from __future__ import annotations

import pytest

from edge_lstm.engines.native.kernels.integers import FAMILIES
from tests.support.oracles import integer_bits

pytestmark = pytest.mark.long


@pytest.mark.parametrize("lanes", integer_bits.LANES)
@pytest.mark.parametrize("family", FAMILIES)
def test_quantized_layers_have_the_exact_bits_by_these_instructions(family: str, lanes: int) -> None:
    """Every cell in every scheme, of awkward sizes too, whichever instructions a CPU would have chosen."""
    if family not in integer_bits.families_here():
        pytest.skip(f"this CPU has no {family}")
    assert integer_bits.differences(family, lanes) == []
