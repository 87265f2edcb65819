"""`edge-lstm simulate --link PATH`: a robot behind a real pseudo-terminal, to run against without hardware.

Its rule: without --from, --dialect and --config it is the robot with our own protocol. With one of them it is a robot
with a firmware of its own: the table [link] that fits is printed before it starts, to be pasted into a robot.toml.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli.common import Failure, check_writable, json_option, keep_inputs, note, print_json, say, writing
from firmware_bridge.links.dialects import OWN

if TYPE_CHECKING:
    from edge_lstm.robot.played import Play
    from firmware_bridge.simulator.faults import Faults
    from firmware_bridge.simulator.pty import Served

RATE_HZ = 200.0
_LINGER_S = 0.5  # after the last row: until the host has read it


@click.command(name="simulate", short_help="A simulated robot behind a real pseudo-terminal.")
@click.option(
    "--link", required=True, type=click.Path(path_type=Path), help="Where the port appears (a symbolic link)."
)
@click.option(
    "--from", "log", type=click.Path(path_type=Path), help="Play this log, instead of the two-wheeled robot's sensors."
)
@click.option("--dialect", help="What the robot speaks: own, lines, struct … (default: the configuration's, or own).")
@click.option("--config", type=click.Path(path_type=Path), help="A robot.toml: its [link] says what the robot speaks.")
@click.option("--loop", is_flag=True, help="With --from: from the start again at the end.")
@click.option(
    "--rate",
    "rate_hz",
    type=click.FloatRange(min=0, min_open=True),
    help=f"Readings per second, up to 5000 (default: the log's own times, or {RATE_HZ:g}).",
)
@click.option("--time", help="With --from: the time column, where the log does not say.")
@click.option("--time-unit", type=click.Choice(["s", "ms", "us", "ns"]), help="With --from: its unit.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which drive; the same seed is the same drive.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="How long (default: until Ctrl-C).")
@click.option(
    "--truth", type=click.Path(path_type=Path), help="What really happens at each reading (.csv), or else (.jsonl)."
)
@click.option("--faults", default="", help='What goes wrong, such as "flip=1e-5,reset=0.1".')
@click.option("--fault-seed", type=int, default=0, show_default=True, help="When it goes wrong.")
@json_option
def command(
    link: Path,
    log: Path | None,
    dialect: str | None,
    config: Path | None,
    loop: bool,
    rate_hz: float | None,
    time: str | None,
    time_unit: str | None,
    seed: int,
    seconds: float | None,
    truth: Path | None,
    faults: str,
    fault_seed: int,
    as_json: bool,
) -> None:
    """Simulate a robot behind a pseudo-terminal: two-wheeled and with our own protocol, or, with --dialect, with a
    firmware of its own; or play a log (--from) as a robot, each row at its own time.

    Faults are chances per byte (flip, lose, double, cut) or events per second (silence, reset, unplug).
    """
    from firmware_bridge.simulator.faults import Faults, Rates
    from firmware_bridge.simulator.pty import PATIENCE_S, Terminal, serve, serve_board
    from firmware_bridge.simulator.robot import Robot

    if log is None and (loop or time or time_unit):
        raise Failure(2, f"--{'loop' if loop else 'time' if time else 'time-unit'} is for --from, a log to be played")
    rates = Rates.parse(faults)
    keep_inputs({"--truth": truth}, (log, config))
    if not link.absolute().parent.is_dir():
        raise Failure(4, f"{link}: there is no folder {link.absolute().parent} to put the link in; make it")
    if truth is not None:
        check_writable(truth)

    if log is None and config is None and dialect in (None, OWN):
        robot, damage = Robot(seed, rate_hz or RATE_HZ), Faults(fault_seed, rates)
        what = f"robot (seed {seed}, {robot.rate_hz:g} Hz)"
        _note_of_another(link)
        with _until_told() as told, writing(truth or link):
            served = serve(
                robot,
                link,
                seconds=seconds,
                faults=damage,
                truth_path=truth,
                stop=told,
                ready=lambda where: say(f"{what} at {where}; Ctrl-C ends it", as_json),
            )
        _report(served, damage, {"link": str(link), "seed": seed}, as_json)
        return

    from edge_lstm.robot.played import play

    made = play(
        log=log, dialect=dialect, config=config, loop=loop, rate_hz=rate_hz, time=time, time_unit=time_unit, seed=seed
    )
    damage = Faults(fault_seed, rates, made.end)
    for line in made.notes:
        say(f"note: {line}", True)
    if made.block:
        say(made.block.rstrip(), as_json)
    _note_of_another(link)
    with _until_told() as told, writing(truth or link), _truth(made, truth):
        served = serve_board(
            made.board,
            Terminal(link, made.end, PATIENCE_S),
            seconds=seconds,
            faults=damage,
            stop=_at_the_end(made, told),
            ready=lambda where: say(f"{made.what} at {where}; Ctrl-C ends it", as_json),
        )
    board = made.board
    more = {"actions": board.obeyed, "timeouts": board.timeouts, "left_out": made.left_out(), "what": made.what}
    _report(served, damage, {"link": str(link), "seed": seed, **more}, as_json)


def _note_of_another(link: Path) -> None:
    """That the link leads somewhere already. It cannot be refused: a simulator that was killed leaves its link behind,
    and any terminal may have got its number since."""
    if link.is_symlink() and link.exists():
        note(f"{link} led to {link.readlink()}; if another simulator still runs there, it is not to be found any more")


def _at_the_end(made: Play, told: Callable[[], bool]) -> Callable[[], bool]:
    """Whether it is over: somebody has said so, or the last row was sent a moment ago."""
    last_us: int | None = None

    def over() -> bool:
        nonlocal last_us
        if made.board.finished and last_us is None:
            last_us = made.board.now_us
        return told() or (last_us is not None and made.board.now_us - last_us > _LINGER_S * 1e6)

    return over


@contextlib.contextmanager
def _truth(made: Play, path: Path | None) -> Iterator[None]:
    """The truth's file for the time of the block."""
    from firmware_bridge.simulator.truth import PlayedTruth

    if path is None:
        yield
        return
    file = PlayedTruth(path, made.readings, made.actions, made.safe)
    made.board.on_event = file.write
    try:
        yield
    finally:
        file.close()


@contextlib.contextmanager
def _until_told() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM has come; a second one leaves at once (the link is still removed)."""
    told = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal told
        if told:
            raise KeyboardInterrupt
        told = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    yield lambda: told


def _report(served: Served, damage: Faults, more: dict[str, Any], as_json: bool) -> None:
    """What it came to."""
    counts = asdict(damage.to_host.counts) | damage.counts
    if as_json:
        print_json(asdict(served) | {"faults": counts} | more)
        return
    actions = f", {more['actions']} actions obeyed" if "actions" in more else ""
    say(
        f"{served.seconds:.1f} s, {served.readings} readings, {served.sent_bytes} bytes sent, "
        f"{served.dropped_frames} frames dropped{actions}"
    )
    if more.get("left_out"):
        say(f"readings left out, because a number of theirs is missing in the log: {more['left_out']}")
    if any(damage.counts.values()) or damage.to_host.counts.touched:
        say("faults: " + ", ".join(f"{name} {count}" for name, count in counts.items() if count))
