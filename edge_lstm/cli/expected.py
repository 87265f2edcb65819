"""`--expect REFERENCE.csv`: a replay's outputs beside those of somebody else's program, in `replay` of any log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli.common import Failure

if TYPE_CHECKING:
    import numpy.typing as npt

    from edge_lstm.logs.expected import Comparison


def expect_options(command: Callable[..., None]) -> Callable[..., None]:
    """--expect and its --tolerance."""
    tolerance = click.option(
        "--tolerance", type=float, help="For --expect: of an output's range, above 0 to 1 (default 1e-4)."
    )
    expect = click.option(
        "--expect",
        type=click.Path(path_type=Path),
        help="A table of a row for each reading: its outputs beside the model's; exit code 1 if they differ.",
    )
    return expect(tolerance(command))


def check_expect(options: Mapping[str, Any]) -> None:
    """Failure(2) where what is said of it is wrong."""
    if options["tolerance"] is None:
        return
    if options["expect"] is None:
        raise Failure(2, "--tolerance is for --expect")
    if not 0 < options["tolerance"] <= 1:
        raise Failure(2, f"--tolerance {options['tolerance']:g} must be above 0 and at most 1")


def expected(outputs: Mapping[str, npt.NDArray[Any]], options: Mapping[str, Any]) -> Comparison:
    """The outputs by name, each (T,), beside those of --expect."""
    from edge_lstm.logs.expected import TOLERANCE, compare

    return compare(options["expect"], outputs, options["tolerance"] or TOLERANCE)
