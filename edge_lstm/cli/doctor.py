"""`edge-lstm doctor [robot.toml]`: what of this machine will keep a robot from running well, each with the way out.

Its rule: it changes nothing. Exit code 0: nothing was found; 1: it will run, and may run badly; 2: it will not run
until a person has mended something.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import json_option, print_json, say


@click.command(name="doctor", short_help="What of this machine will keep a robot from running well.")
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.option("--root", type=click.Path(path_type=Path), default=Path("/"), hidden=True)
@json_option
@click.pass_context
def command(ctx: click.Context, config: Path | None, root: Path, as_json: bool) -> None:
    """Look this machine through: bits, groups, programs that take the port, adapters, power, heat, limits, cache, disk,
    memory, clock. With ROBOT.toml also what that file asks for. Run it as the user who will run the robot.

    Exit code 0: nothing found; 1: warnings, it will run and may run badly; 2: errors, it will not run.
    """
    from edge_lstm.daemon.doctor import Patient, look
    from edge_lstm.daemon.machine import Machine
    from edge_lstm.robot.config import load_config

    found = look(Patient(Machine(root), load_config(config) if config else None))
    marks = [finding.mark for finding in found]
    code = codes.MEND if "error" in marks else codes.DIFFERENT if "warning" in marks else codes.DONE
    if as_json:
        print_json({"ok": code == codes.DONE, "findings": [asdict(finding) for finding in found]})
    else:
        width = max(len(finding.what) for finding in found)
        for finding in found:
            say(f"{finding.mark:7}  {finding.what:{width}}  {finding.text}")
            if finding.way_out:
                say(f"{'':{width + 9}}→ {finding.way_out}")
    ctx.exit(code)
