"""`edge-lstm compile`: make a step that did not come with the package now, not at the first start of a run."""

from __future__ import annotations

import time

import click

from edge_lstm.cli.common import announce_compiling, json_option, print_json, said_after, say


@click.command(name="compile", short_help="Compile now where no step of the package fits.")
@json_option
def command(as_json: bool) -> None:
    """Say where the compiled step is. It comes with the package; where kernels were changed or EDGE_LSTM_LANES is set,
    this makes another one and keeps it in a cache, so that no start has to.

    `edge-lstm warm` is the old name of this command.
    """
    from edge_lstm.engines.native import loader

    announce_compiling()
    start = time.perf_counter()
    with said_after("compiling"):
        warmed = loader.warm()
    seconds = time.perf_counter() - start
    if as_json:
        path = None if warmed.path is None else str(warmed.path)
        print_json({"seconds": seconds, "compiled": warmed.compiled, "lanes": warmed.lanes, "path": path})
        return
    shipped = warmed.path is not None and warmed.path.parent == loader.SHIPPED
    did = "compiled" if warmed.compiled else "came with the package, loaded" if shipped else "was there already, loaded"
    say(f"the step for {warmed.lanes} lanes {did} in {seconds:.2f} s")
    say(f"kept in {warmed.path}" if warmed.path else "kept nowhere: no folder could be written to, see above")
