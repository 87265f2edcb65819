"""`edge-lstm firmware MODEL -o MODEL.h`: a model as a C header, for the network on a microcontroller.

With `--config robot.toml` in place of MODEL: the model of that file with its inputs and outputs as one program.
"""

from __future__ import annotations

from pathlib import Path

import click

from edge_lstm.cli.common import check_writable, json_option, print_json, say, writing

CLOCK_HZ = 168e6  # of an STM32F4, which many robots have


@click.command(name="firmware", short_help="A model as a C header, for a microcontroller.")
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--config", type=click.Path(path_type=Path), help="A robot.toml: its model, with inputs and outputs.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The header (default: MODEL or robot.toml, .h).")
@click.option("--name", help="Prefix of its constants (default: the model's name).")
@json_option
def command(model: Path | None, config: Path | None, output: Path | None, name: str | None, as_json: bool) -> None:
    """Write a model file (.npz) as a C header: table, weights, sizes, and a vector for edge_lstm_selftest().

    It goes with firmware_bridge/c/edge_lstm.[ch], which computes the same bits as Python. With --config robot.toml in
    place of MODEL the header is the model of that file with its [inputs] and [outputs] as one program: it takes the
    raw numbers of the robot's fields, and gives what is made of the outputs.
    """
    import firmware_bridge
    from edge_lstm.core.storage import load, write_whole
    from edge_lstm.firmware.export import firmware

    remarks: tuple[str, ...] = ()
    if config is not None and model is None:
        from edge_lstm.robot.config import load_config
        from edge_lstm.robot.on_board import on_board

        path = output or config.with_suffix(".h")
        loaded, remarks = on_board(load_config(config))
    elif model is not None and config is None:
        path = output or model.with_suffix(".h")
        loaded = load(model)
    else:
        raise click.UsageError("give either MODEL or --config robot.toml, one of them")
    check_writable(path)
    made = firmware(loaded, name, remarks)
    with writing(path):
        write_whole(path, made.text.encode())
    microseconds = made.seconds(CLOCK_HZ) * 1e6
    if as_json:
        print_json(
            {
                "file": str(path),
                "name": made.name,
                "digest": loaded.digest,
                "flash_bytes": made.flash_bytes,
                "arena_bytes": made.arena_bytes,
                "multiply_adds": made.multiply_adds,
                "estimated_us_at_168_mhz": round(microseconds, 1),
                "notes": list(made.notes),
            }
        )
        return
    say(f"{path}: {made.name}, {made.flash_bytes:,} bytes in flash, {made.arena_bytes:,} bytes of arena in RAM")
    say(
        f"{made.multiply_adds:,} multiply-adds per reading: about {microseconds:,.0f} µs on a Cortex-M4F at 168 MHz "
        "(an estimate, not a measurement)"
    )
    sources = Path(firmware_bridge.__file__).parent / "c"
    say(f"compile it with {sources / 'edge_lstm.c'}; {sources / 'README.md'} says how")
    for note in made.notes:
        say(f"note: {note}")
