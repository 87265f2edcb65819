"""`edge-lstm compile`: compile the step now, so that the first run on this device does not have to."""

from __future__ import annotations

import time

import click

from edge_lstm.cli.common import announce_compiling, json_option, print_json


@click.command(name="compile", short_help="Compile now, so that the first run starts quickly.")
@json_option
def command(as_json: bool) -> None:
    """Fill the compile cache of this device (once per installation), and say where it is and how long it took.

    `edge-lstm warm` is the old name of this command.
    """
    from edge_lstm.engines.native import loader

    announce_compiling()
    start = time.perf_counter()
    warmed = loader.warm()
    seconds = time.perf_counter() - start
    if as_json:
        path = None if warmed.path is None else str(warmed.path)
        print_json({"seconds": seconds, "compiled": warmed.compiled, "lanes": warmed.lanes, "path": path})
        return
    did = "compiled" if warmed.compiled else "was there already, loaded"
    click.echo(f"the step for {warmed.lanes} lanes {did} in {seconds:.2f} s")
    click.echo(f"kept in {warmed.path}" if warmed.path else "kept nowhere: no folder could be written to, see above")
