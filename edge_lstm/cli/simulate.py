"""`edge-lstm simulate --link PATH`: a robot behind a real pseudo-terminal, to run against without hardware."""

from __future__ import annotations

import signal
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import click

from edge_lstm.cli.common import Failure, check_writable, json_option, print_json, say, writing


@click.command(name="simulate", short_help="A simulated robot behind a real pseudo-terminal.")
@click.option(
    "--link", required=True, type=click.Path(path_type=Path), help="Where the port appears (a symbolic link)."
)
@click.option(
    "--rate", "rate_hz", type=float, default=200.0, show_default=True, help="Readings per second, up to 5000."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Which drive; the same seed is the same drive.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="How long (default: until Ctrl-C).")
@click.option("--truth", type=click.Path(path_type=Path), help="Write what really happens at each reading here (CSV).")
@click.option(
    "--faults", default="", help='What goes wrong: "flip=1e-5,lose=1e-5,double=…,cut=…,silence=…,reset=…,unplug=…".'
)
@click.option("--fault-seed", type=int, default=0, show_default=True, help="When it goes wrong.")
@json_option
def command(
    link: Path,
    rate_hz: float,
    seed: int,
    seconds: float | None,
    truth: Path | None,
    faults: str,
    fault_seed: int,
    as_json: bool,
) -> None:
    """Simulate a two-wheeled robot with the real protocol behind a pseudo-terminal.

    Faults are chances per byte (flip, lose, double, cut) or events per second (silence, reset, unplug).
    """
    from firmware_bridge.simulator.faults import Faults, Rates
    from firmware_bridge.simulator.pty import serve
    from firmware_bridge.simulator.robot import Robot

    robot = Robot(seed, rate_hz)
    damage = Faults(fault_seed, Rates.parse(faults))
    if not link.absolute().parent.is_dir():
        raise Failure(4, f"{link}: there is no folder {link.absolute().parent} to put the link in; make it")
    if truth is not None:
        check_writable(truth)
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if stopped:
            raise KeyboardInterrupt  # asked twice: leave at once (the link is still removed)
        stopped = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    with writing(truth or link):
        served = serve(
            robot,
            link,
            seconds=seconds,
            faults=damage,
            truth_path=truth,
            stop=lambda: stopped,
            ready=lambda where: say(f"robot (seed {seed}, {rate_hz:g} Hz) at {where}; Ctrl-C ends it", as_json),
        )
    done = asdict(served) | {"faults": asdict(damage.to_host.counts) | damage.counts, "link": str(link), "seed": seed}
    if as_json:
        print_json(done)
        return
    say(
        f"{served.seconds:.1f} s, {served.readings} readings, {served.sent_bytes} bytes sent, "
        f"{served.dropped_frames} frames dropped"
    )
    if any(damage.counts.values()) or damage.to_host.counts.touched:
        say("faults: " + ", ".join(f"{name} {count}" for name, count in done["faults"].items() if count))
