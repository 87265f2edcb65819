"""`edge-lstm init PORT MODEL > robot.toml`: a robot.toml for what is at a port and a model, to read and to finish;
`edge-lstm init --from deploy.yaml MODEL > robot.toml`: one by the deployment file of a policy.

Its rule: it listens, and asks only a robot that has shown that it is ours. The file goes to stdout, whole or not at
all; what a person must still look at goes to stderr.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import Failure, note
from edge_lstm.cli.describe import ask
from edge_lstm.cli.listen import SECONDS, Heard, by_hand, listen, port_block

if TYPE_CHECKING:
    from edge_lstm.core.model import Model


@click.command(name="init", short_help="A robot.toml for what is at a port and a model; writes nothing to the port.")
@click.argument("what", nargs=-1, required=True, metavar="[PORT] MODEL...")
@click.option(
    "--from", "deployment", type=click.Path(path_type=Path), help="A policy's deployment file (YAML), instead of PORT."
)
@click.option("--joints", help="With --from: the joints' names in the policy's order, NAME,NAME,…")
@click.option("--baud", type=click.IntRange(min=1), help="Bits per second of a serial line (default: as listen).")
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=SECONDS, show_default=True, help="How long."
)
def command(
    what: tuple[str, ...], deployment: Path | None, joints: str | None, baud: int | None, seconds: float
) -> None:
    """Listen at PORT and write a robot.toml for MODEL on stdout: [port], the [link] that was found, the model's inputs
    fed by the fields of their names or the nearest ones, and comments where something is left to be filled in. Several
    models become several [[model]] tables, each fed by readings or by those before it.

    \b
    edge-lstm init /dev/ttyUSB0 gait.npz > robot.toml
    edge-lstm check robot.toml

    With --from, observations and action are those of a deployment file in the style of unitree_rl_gym (legged_gym),
    unitree_rl_lab or Isaac Lab's env.yaml: every key is used or named.

    \b
    edge-lstm init --from deploy.yaml policy.npz > robot.toml
    """
    if deployment is not None:
        return _by_deployment(deployment, what, joints)
    if joints is not None:
        raise click.UsageError("--joints goes with --from")
    if len(what) < 2:
        raise click.UsageError(f"takes PORT and MODEL, or --from FILE and MODEL; given: {what[0]}")
    if Path(what[0]).is_file():
        raise click.UsageError(f"{what[0]} is a file and no port; PORT comes first, then MODEL")
    return _by_port(what[0], [Path(name) for name in what[1:]], baud, seconds)


def _by_deployment(deployment: Path, what: tuple[str, ...], joints: str | None) -> None:
    from edge_lstm.core.storage import load
    from edge_lstm.robot.deployment.written import deployed

    if len(what) != 1:
        raise click.UsageError(f"with --from takes MODEL alone, not {' '.join(what)}")
    names = [name.strip() for name in joints.split(",")] if joints is not None else []
    made = deployed(deployment, load(Path(what[0])), what[0], names)
    for text in made.notes:
        note(text)
    sys.stdout.write(made.text)


def _by_port(port: str, models: Sequence[Path], baud: int | None, seconds: float) -> None:
    from edge_lstm.core.storage import load
    from edge_lstm.robot.proposal import Source, propose, propose_several

    loaded = {path: load(path) for path in models}
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
    if len(models) > 1:
        made = propose_several(_named(loaded), head, sources)
    else:
        (model,) = models
        made = propose(loaded[model], str(model), head, sources, actions, heard.findings.dialect)
    for text in (*heard.findings.notes, *made.notes):
        note(text)
    sys.stdout.write(made.text)


def _named(models: Mapping[Path, Model]) -> dict[str, tuple[str, Model]]:
    """Each file's model under a name of its own, as robot.toml takes them."""
    named: dict[str, tuple[str, Model]] = {}
    for path, model in models.items():
        name = re.sub("[^A-Za-z0-9_-]", "_", path.stem) or "model"
        if name in named:
            raise Failure(codes.MEND, f"{path}: two models would be called {name!r}; rename one of the files")
        named[name] = str(path), model
    return named


def _link(port: str, heard: Heard) -> str:
    """[port] and [link] as they were heard. Failure(3) where there is nothing to make a link of."""
    findings = heard.findings
    if not (block := findings.link_block()):
        raise Failure(
            codes.PORT, f"{port}: {findings.sentence()}; no robot.toml can be made of that{by_hand(findings)}"
        )
    note(f"{port}: {findings.sentence()}")
    return f"{port_block(port, heard.baud)}\n# Heard, not declared: give the fields their names and units.\n{block}"
