"""`--origin`: web sites whose pages may connect to `--foxglove`, of `serve` and `replay`."""

from __future__ import annotations

import re
from typing import Any

import click

from edge_lstm.cli.common import note

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:.]+\](:\d{1,5})?")


def _origins(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> frozenset[str]:
    told = frozenset(one.lower().rstrip("/") for one in value)
    for one in told:
        if not _ORIGIN.fullmatch(one):
            raise click.BadParameter(f"{one!r} is no web site: https://viewer.example, with :PORT where it has one")
    return told


def origin_option(function: Any) -> Any:
    """The option, as a frozenset of origins `origins`."""
    what = "A web site whose pages may connect to --foxglove, beside app.foxglove.dev and this machine's own."
    return click.option("--origin", "origins", multiple=True, callback=_origins, help=what)(function)


def refused(origin: str) -> None:
    """Say that a page of a site was refused, and what lets it in."""
    note(f"a page of {origin} wanted to connect to --foxglove and may not; `--origin {origin}` allows it")
