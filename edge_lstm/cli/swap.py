"""`edge-lstm swap new.npz`: another model between two readings, undone at the first broken rule if asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import Failure, json_option
from edge_lstm.cli.operating import ask, content, run_option, told


@click.command(name="swap", short_help="Another model between two readings of a run.")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--model", help="Of several models: the name of the one that it replaces.")
@click.option("--undo-if", "rules", multiple=True, metavar="RULE", help="Such as 'slip > 0.9'; see below.")
@click.option("--watched", is_flag=True, help="Undo it also without a RULE: not finite, or a step refused.")
@click.option("--within", "within_s", type=click.FloatRange(0, 86400, min_open=True), help="Seconds (default: 60).")
@click.option("--shadow", is_flag=True, help="The shadow takes over, its memory with it; no FILE.")
@click.option("--undo", is_flag=True, help="Back to the model before, while a swap may be undone; no FILE.")
@run_option
@json_option
def command(
    file: Path | None,
    model: str | None,
    rules: tuple[str, ...],
    watched: bool,
    within_s: float | None,
    shadow: bool,
    undo: bool,
    name: str | None,
    as_json: bool,
) -> None:
    """Replace a run's model by FILE, between two readings. It is loaded, compiled and checked beforehand, so no reading
    is lost; its memory begins empty (let it run as a shadow first, where that matters).

    With --undo-if or --watched the model before goes on beside it: the first reading at which a RULE is broken, an
    output is not finite, a step is refused or the robot does not fit is answered by the model before, and the new one
    is gone. A RULE is a condition over outputs, such as "slip > 0.9 or abs(torque) > 1"; before.slip is what the model
    before makes of the same reading: "abs(slip - before.slip) > 0.2".
    """
    if (file is not None) + shadow + undo != 1:
        raise Failure(codes.MEND, "name a FILE, or say --shadow or --undo; one of them")
    request: dict[str, Any] = {"do": "undo"} if undo else {"do": "swap"}
    if file is not None:
        request["file"] = file.name
    if shadow:
        request["shadow"] = True
    if model is not None:
        request["model"] = model
    if rules or watched or within_s is not None:
        request["undo_if"] = list(rules)
    if within_s is not None:
        request["within_s"] = within_s
    answer = ask(name, request, b"" if file is None else content(file))
    what = "the model before is back" if undo else f"{file.name if file else 'the shadow'} has taken over"
    told(answer, as_json, f"{what}: {answer['after'][:16]}…")
