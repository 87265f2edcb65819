"""`edge-lstm init PORT MODEL > robot.toml`: a robot.toml for what is at a port and a model, to read and to finish.

Its rule: it listens, and asks only a robot that has shown that it is ours. The file goes to stdout, whole or not at
all; what a person must still look at goes to stderr.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import Failure, note
from edge_lstm.cli.describe import ask
from edge_lstm.cli.listen import SECONDS, Heard, listen, port_block


@click.command(name="init", short_help="A robot.toml for what is at a port and a model; writes nothing to the port.")
@click.argument("port")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--baud", type=click.IntRange(min=1), help="Bits per second of a serial line (default: as listen).")
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=SECONDS, show_default=True, help="How long."
)
def command(port: str, model: Path, baud: int | None, seconds: float) -> None:
    """Listen at PORT and write a robot.toml for MODEL on stdout: [port], the [link] that was found, the model's inputs
    fed by the fields of their names or the nearest ones, and comments where something is left to be filled in.

    \b
    edge-lstm init /dev/ttyUSB0 gait.npz > robot.toml
    edge-lstm check robot.toml
    """
    from edge_lstm.core.storage import load
    from edge_lstm.robot.proposal import Source, propose

    loaded = load(model)
    heard = listen(port, baud, seconds)
    if heard.findings.kind == "own":
        dictionary, _ = ask(port, heard.baud)
        head, actions = port_block(port, heard.baud), dictionary.actions
        sources = [
            Source(form.name, tuple((field.name, field.unit) for field in form.fields), form.rate_hz)
            for form in dictionary.readings
        ]
    else:
        head, actions = _link(port, heard), ()
        sources = [
            Source(
                reading.name,
                tuple((field.name, field.unit) for field in reading.all_fields if field.role == "value"),
                reading.rate_hz,
            )
            for reading in heard.findings.readings
        ]
    if not sources:
        raise Failure(codes.PORT, f"{port}: the robot declares no reading")
    made = propose(loaded, str(model), head, sources, actions, heard.findings.dialect)
    for text in (*heard.findings.notes, *made.notes):
        note(text)
    sys.stdout.write(made.text)


def _link(port: str, heard: Heard) -> str:
    """[port] and [link] as they were heard. Failure(3) where there is nothing to make a link of."""
    findings = heard.findings
    if not (block := findings.link_block()):
        raise Failure(codes.PORT, f"{port}: {findings.sentence()}; no robot.toml can be made of that")
    note(f"{port}: {findings.sentence()}")
    return f"{port_block(port, heard.baud)}\n# Heard, not declared: give the fields their names and units.\n{block}"
