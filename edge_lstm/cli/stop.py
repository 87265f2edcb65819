"""`edge-lstm stop [NAME]`: a run ends as with Ctrl-C: robot safe, recording finished, summary printed."""

from __future__ import annotations

import time

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import Failure, json_option
from edge_lstm.cli.operating import ask, looked_at, run_argument, told

_POLL_S = 0.05


@click.command(name="stop", short_help="End a run as with Ctrl-C.")
@run_argument
@click.option("--why", default="", help="A sentence for the recording.")
@click.option("--wait", "wait_s", type=click.FloatRange(0, 3600), default=10.0, help="Seconds for its end.")
@json_option
def command(name: str | None, why: str, wait_s: float, as_json: bool) -> None:
    """End the run NAME (the only one, where there is one only), and wait until it has ended."""
    with looked_at(name) as block:
        answer = ask(name, {"do": "stop"} | ({"why": why} if why else {}))
        deadline_s = time.monotonic() + wait_s
        while not block.gone:  # the recording is finished after the robot is safe
            if time.monotonic() > deadline_s:
                raise Failure(codes.PORT, f"the run was asked to stop, and has not ended within {wait_s:g} s")
            time.sleep(_POLL_S)
    told(answer, as_json, "stopped")
