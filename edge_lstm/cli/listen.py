"""`edge-lstm listen PORT`: what arrives at a port that nobody has identified, and the [link] that speaks it.

Its rule: not a byte is written, whatever comes. Where bytes make no sense the usual baud rates are tried, unless
`--baud` fixes one.
"""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import Failure, json_option, plain, print_json, say

if TYPE_CHECKING:
    from firmware_bridge.recognize.findings import Findings, FoundField, FoundReading

OTHERS = (9600, 57600, 921_600, 1_000_000, 230_400, 38400, 19200, 460_800, 250_000, 500_000, 2_000_000, 4800)
SECONDS = 5.0
_LOOK_NS = 1_000_000_000  # after its first byte a stream that makes no sense is given up, for another baud rate,
_PATIENCE_NS = 2_500_000_000  # and so is another baud rate at which nothing arrives
_PROGRESS_NS = 250_000_000


@dataclass(frozen=True)
class Heard:
    """What was found, at which baud rate (None: the port has none), and which were tried."""

    findings: Findings
    baud: int | None
    tried: tuple[int, ...]


def by_hand(findings: Findings) -> str:
    """The way on where nothing can be heard, as the end of a sentence."""
    quiet = findings.kind == "nothing"
    return (
        "; a robot that is asked is written into robot.toml by hand: firmware_bridge/links/README.md" if quiet else ""
    )


@click.command(name="listen", short_help="What arrives at a port, and the [link] that speaks it; writes nothing.")
@click.argument("port")
@click.option(
    "--baud", type=click.IntRange(min=1), show_default="115200, others where that is noise", help="Bits per second."
)
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=SECONDS, show_default=True, help="How long."
)
@json_option
def command(port: str, baud: int | None, seconds: float, as_json: bool) -> None:
    """Listen at PORT and say what arrives, without ever writing a byte: the shape of its text, frames of a known kind
    or of a fixed layout, or noise; names, units, rate, clock and checksum as far as they can be heard; and the [link]
    for robot.toml.

    PORT is a path, VID:PID, VID:PID:SERIAL, tcp://HOST:PORT, udp://HOST:PORT, or udp://:PORT. Ctrl-C ends it early.
    """
    heard = listen(port, baud, seconds)
    findings = heard.findings
    if as_json:
        print_json({"port": port, "baud": heard.baud, "tried": list(heard.tried), **_plain(findings.as_dict())})
    elif findings.recognized:
        _show(port, heard)
    if not findings.recognized:
        what = findings.what if len(heard.tried) > 1 else findings.sentence()
        raise Failure(codes.PORT, f"{port}: {what}{_at(heard)}{by_hand(findings)}")


def listen(name: str, baud: int | None = None, seconds: float = SECONDS) -> Heard:
    """Listen for so long after the first byte, less to a robot of ours; where nothing arrives, for so long at all.
    baud: None tries the usual ones. PortError where the port cannot be opened, Failure(2) for a baud rate of a port
    that has none."""
    from firmware_bridge.ports import network_names
    from firmware_bridge.ports.open_port import BAUD

    network = bool(network_names.scheme(name))
    if baud is not None and network:
        raise Failure(2, f"--baud means nothing for {name}: bits per second are a serial line's; leave it out")
    stop = _Stop()
    bauds = (BAUD, *OTHERS) if baud is None and not network else (baud or BAUD,)
    best: Heard | None = None
    tried: list[int] = []
    with _progress() as progress:
        for rate in bauds:
            findings = _hear(name, rate, seconds, stop, progress, more=rate != bauds[-1], first=not tried)
            if findings is None:  # the system has no such rate
                continue
            tried.append(rate)
            if best is None or findings.certainty > best.findings.certainty:
                best = Heard(findings, None if network else rate, ())
            if findings.certainty > 1 or stop.came or (findings.kind == "nothing" and len(tried) == 1):
                break
    assert best is not None
    return Heard(best.findings, best.baud, () if network else tuple(tried))


def _hear(
    name: str, baud: int, seconds: float, stop: _Stop, progress: Callable[[str], None], more: bool, first: bool
) -> Findings | None:
    """Listen at one baud rate. more: there are others to try; first: none was tried before."""
    from firmware_bridge.errors import PortError
    from firmware_bridge.ports.open_port import open_port
    from firmware_bridge.recognize.recognizer import Recognizer

    try:
        # Kept as it is when closing: otherwise each opening would start an Arduino afresh, into two seconds of silence.
        port = open_port(name, baud, dtr="keep")
    except PortError:
        if first:
            raise
        return None
    recognizer = Recognizer(name=name)
    begin_ns = byte_ns = shown_ns = 0
    looked = False
    stop.port = port
    try:
        for chunk in port.chunks():
            recognizer.feed(chunk)
            begin_ns = begin_ns or chunk.t_ns
            byte_ns = byte_ns or (chunk.t_ns if chunk.link == "data" and chunk.data else 0)
            limit_ns = seconds * 1e9 if first or byte_ns else min(seconds * 1e9, _PATIENCE_NS)
            if chunk.t_ns - (byte_ns or begin_ns) >= limit_ns or chunk.link == "lost":
                break
            if not looked and byte_ns and chunk.t_ns - byte_ns >= min(_LOOK_NS, limit_ns / 2):
                looked, found = True, recognizer.findings()
                if found.kind == "own" or (more and found.certainty <= 1):
                    break
            if chunk.t_ns - shown_ns >= _PROGRESS_NS:
                shown_ns = chunk.t_ns
                progress(f"listening at {baud} baud, {recognizer.count:,} bytes in {recognizer.seconds:.1f} s …")
    finally:
        stop.port = None
        port.close()
    return recognizer.findings()


class _Stop:
    """Ctrl-C and SIGTERM end the listening; a second one ends the program. came: whether one did."""

    def __init__(self) -> None:
        self.came = False
        self.port: Any = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.came:
            raise KeyboardInterrupt
        self.came = True
        if self.port is not None:
            self.port.stop()


class _progress:
    """One line on a terminal, written over again and gone at the end; nothing anywhere else."""

    def __enter__(self) -> Callable[[str], None]:
        self._drawn = False
        return self._draw if sys.stderr.isatty() else lambda text: None

    def _draw(self, text: str) -> None:
        self._drawn = True
        print(f"\r\x1b[K{plain(text)}", end="", file=sys.stderr, flush=True)

    def __exit__(self, *of: object) -> None:
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------- what people see


def _at(heard: Heard) -> str:
    """At which baud rates nothing was found."""
    if len(heard.tried) > 1:
        return f", at none of {len(heard.tried)} baud rates: {', '.join(map(str, heard.tried))}"
    return f" (at {heard.baud} baud)" if heard.baud else ""


def _show(port: str, heard: Heard) -> None:
    findings = heard.findings
    at = f" at {heard.baud} baud" if heard.baud else ""
    say(f"{port}{at}: {findings.what}")
    say(f"{findings.bytes:,} bytes in {findings.seconds:.1f} s; nothing was written")
    if findings.samples:
        say("")
        for sample in findings.samples:
            say(f"    {sample}")
    for reading in findings.readings:
        _show_reading(reading)
    for text in findings.notes:
        say(f"\nnote: {text}")
    if block := findings.link_block():
        say("\nFor robot.toml (names and units are proposals; change them here):\n")
        say(port_block(port, heard.baud) + "\n" + block)
        say(f"next: edge-lstm init {port} MODEL.npz > robot.toml    # the whole file, for a model")


def port_block(port: str, baud: int | None) -> str:
    """[port] as this port was heard."""
    from firmware_bridge.toml_text import toml

    return f"[port]\ndevice = {toml(port)}\n" + (f"baud = {baud}\n" if baud else "")


def _show_reading(reading: FoundReading) -> None:
    """Its fields, with values of each."""
    rate = f", {reading.rate_hz:g} a second" if reading.rate_hz else ""
    say(f"\n{reading.name}: {reading.count} of them{rate}")
    fields = reading.all_fields
    width = max((len(field.declared) for field in fields), default=0)
    for field in fields:
        values = " ".join(f"{value:>10.0f}" if value.is_integer() else f"{value:>10.6g}" for value in field.examples)
        say(f"    {field.declared:{width}}  {values}  {_span(field)}".rstrip())


def _span(field: FoundField) -> str:
    """What the field is, or from where to where it goes."""
    if field.role == "time":
        return f"the robot's clock, in {field.time_unit}"
    if field.role == "counter":
        return "a counter"
    if field.role == "unused" or field.least is None:
        return "no number"
    if field.least == field.greatest:
        return f"always {field.least:g}"
    return f"from {field.least:g} to {field.greatest:g}"


def _plain(value: Any) -> Any:
    """Without NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
