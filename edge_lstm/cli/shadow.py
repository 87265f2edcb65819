"""`edge-lstm shadow new.npz`: a model that runs beside, moves nothing, and says how far it is from the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import Failure, json_option, say
from edge_lstm.cli.operating import ask, content, run_option, told


@click.command(name="shadow", short_help="A model beside a run's, that moves nothing.")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--model", help="Of several models: the name of the one that it stands for.")
@click.option("--off", is_flag=True, help="End it, and print how far it was; no FILE.")
@run_option
@json_option
def command(file: Path | None, model: str | None, off: bool, name: str | None, as_json: bool) -> None:
    """Let FILE run beside a run's model on the same readings. `edge-lstm status` says how far the two are apart,
    `edge-lstm swap --shadow` lets it take over with the memory that it has by then."""
    from edge_lstm.cli.status import beside_lines

    if (file is not None) + off != 1:
        raise Failure(codes.MEND, "name a FILE, or say --off; one of them")
    request: dict[str, Any] = {"do": "shadow"} | ({"off": True} if off else {})
    if file is not None:
        request["file"] = file.name
    if model is not None:
        request["model"] = model
    answer = ask(name, request, b"" if file is None else content(file))
    if off and not as_json:
        for line in beside_lines("shadow", answer["report"]):
            say(line.strip())
    else:
        told(answer, as_json, f"{file.name if file else 'it'} runs beside")
