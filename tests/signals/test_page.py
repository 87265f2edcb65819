"""README.md of the signals against the records: every source, key, unit and step, and its example."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_lstm.core.channels import Channel, channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.units import KINDS
from edge_lstm.signals.declared import SOURCES
from edge_lstm.signals.programs import inputs_of, outputs_of
from edge_lstm.signals.steps import STEPS
from tests.support.models.nets import network
from tests.support.models.signals import tables

PAGE = Path(__file__).parents[2] / "edge_lstm" / "signals" / "README.md"


def table(mark: str) -> str:
    """The lines of a table of the page."""
    (found,) = re.findall(rf"(?s)<!-- {mark} -->\n(.*?)\n<!-- end -->", PAGE.read_text())
    return str(found)


def rows(*cells: tuple[str, ...]) -> str:
    """Lines as the page has them."""
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def ulps_of(name: str) -> str:
    """What the page says of a step's distance from its twin."""
    if name in ("low_pass_hz", "high_pass_hz"):
        return f"{4 if name == 'low_pass_hz' else 6} + 1/a"
    if name == "slew_per_s":
        return "1 for each reading"
    return f"{STEPS[name].ulps((), 1.0, 1):g}"


def drawn() -> dict[str, str]:
    """What the tables must be."""
    head = "|---|---|\n"
    return {
        "sources": "| source | what it gives |\n" + head + rows(*((f"`{k}`", v) for k, v in SOURCES.items())),
        "units": "| kind | units |\n"
        + head
        + rows(*((kind, ", ".join(f"`{u}`" for u in us)) for kind, us in KINDS.items())),
        "steps": "| step | value | what comes out | first after a reset | ulps |\n|---|---|---|---|---|\n"
        + rows(*((f"`{s.name}`", s.value, s.does, s.first or "–", ulps_of(s.name)) for s in STEPS.values())),
    }


@pytest.mark.parametrize("mark", drawn())
def test_the_tables_are_those_of_the_records(mark: str) -> None:
    """Sources, units and steps, each with what it does."""
    assert table(mark) == drawn()[mark]


def test_every_key_is_on_the_page() -> None:
    """Keys that are no source and no step: those a table knows, and no other."""
    keys = re.findall(r"(?m)^\| `(\w+)` \|", table("keys"))
    known: set[str] = set()
    for text in ("[inputs.x]\nzz = 1", "[inputs.x]\nzz = 1\n[[inputs.x.part]]\nconstant = 1", "[outputs.y]\nzz = 1"):
        with pytest.raises(Exception, match="unknown key; valid: ") as error:
            tables(text)
        known |= set(re.findall(r"'(\w+)'", str(error.value).partition("valid: ")[2]))
    assert set(keys) == known - (set(SOURCES) - {"from"}) | {"part"}


def test_the_filters_ulps_are_those_of_the_records() -> None:
    """The numbers that the page spells out."""
    a = 1 - 2.718281828459045 ** (-2 * 3.141592653589793 * 0.1)
    assert STEPS["low_pass_hz"].ulps(((10.0,),), 100.0, 7) == pytest.approx(4 + 1 / a)
    assert STEPS["high_pass_hz"].ulps(((10.0,),), 100.0, 7) == pytest.approx(6 + 1 / a)
    assert STEPS["slew_per_s"].ulps(((10.0,),), 100.0, 7) == 7


def test_the_example_is_one() -> None:
    """The page's tables for a model of their names: 15 observations from 13 raw numbers, 3 targets."""
    (text,) = re.findall(r"(?s)```toml\n(.*?)```", PAGE.read_text())
    net = network("lstm", 15, 8, 3)
    model = Model(net.program, channels_for(("obs",), (15,)), channels_for(("action",), (3,)), rate_hz=200.0)
    units = {f"gyro_{axis}": "deg/s" for axis in "xyz"}
    inputs, outputs = inputs_of(tables(text), model, {}, units, 200.0), outputs_of(tables(text), model, 200.0)
    assert len(inputs.raw) == 13
    assert outputs is not None
    assert outputs.model.outputs == tuple(Channel(f"targets[{k}]", "rad") for k in range(3))
