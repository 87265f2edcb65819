"""`edge-lstm mark "what happened"`: this moment of the recording is named, and kept."""

from __future__ import annotations

import click

from edge_lstm.cli.common import json_option
from edge_lstm.cli.operating import ask, run_option, told


@click.command(name="mark", short_help="Name this moment in a run's recording, and keep it.")
@click.argument("text")
@click.option("--last", "last_s", type=click.FloatRange(0, 1e7), default=0.0, help="Seconds before it that count, too.")
@run_option
@json_option
def command(text: str, last_s: float, name: str | None, as_json: bool) -> None:
    """Write TEXT into the recording at this moment. A file with a mark is never deleted to make room."""
    request = {"do": "mark", "text": text} | ({"last_s": last_s} if last_s else {})
    answer = ask(name, request)
    told(answer, as_json, f"marked: {text}")
