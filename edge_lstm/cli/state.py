"""`edge-lstm state get|set|reset`: the memory of a run's model, between two readings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import Failure, json_option, print_json
from edge_lstm.cli.operating import ask, content, run_option, told


@click.command(name="state", short_help="The memory of a run's model: get, set or reset it.")
@click.argument("what", type=click.Choice(["get", "set", "reset"]))
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--model", help="Of several models: whose.")
@run_option
@json_option
def command(what: str, file: Path | None, model: str | None, name: str | None, as_json: bool) -> None:
    """Print the memory as JSON (get), take up what FILE holds as get prints it (set), or begin anew (reset)."""
    if (what == "set") != (file is not None):
        raise Failure(codes.MEND, "set takes a FILE of JSON; get and reset take none")
    request: dict[str, Any] = {"do": "state", "what": what}
    if model is not None:
        request["model"] = model
    if file is not None:
        try:
            tree = json.loads(content(file))
        except ValueError as error:
            raise Failure(codes.MEND, f"{file}: is not JSON: {error}") from None
        request["state"] = tree
    answer = ask(name, request)
    if what == "get":
        print_json(answer["state"])
    else:
        told(answer, as_json, "the memory is as the file says" if what == "set" else "the memory begins anew")
