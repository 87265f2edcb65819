"""`edge-lstm command drive vx=0.5`: a value for what robot.toml's [commands] declares, or an action for the robot."""

from __future__ import annotations

import click

from edge_lstm.cli.common import json_option
from edge_lstm.cli.operating import ask, numbers, run_option, told


@click.command(name="command", short_help="Give a run a command, or its robot an action.")
@click.argument("what")
@click.argument("values", nargs=-1, metavar="[NAME=NUMBER]...")
@run_option
@json_option
def command(what: str, values: tuple[str, ...], name: str | None, as_json: bool) -> None:
    """Give WHAT the values NAME=NUMBER: a command of [commands], which feeds the model for its max_age_ms, or else an
    action that the robot declares, which is sent once, within the limits of robot.toml and of the robot."""
    answer = ask(name, {"do": "command", "name": what, "values": numbers(values)})
    given = " ".join(f"{key}={value:g}" for key, value in answer["values"].items())
    told(answer, as_json, f"{what} {given}")
