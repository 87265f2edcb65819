"""`edge-lstm describe PORT`: what the robot at a port declares, the names and units that robot.toml needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli.arrived import Arrived
from edge_lstm.cli.common import Failure, json_option, print_json, say

if TYPE_CHECKING:
    from firmware_bridge.dictionary import Dictionary, Format

_PATIENCE_NS = 3_000_000_000


@click.command(name="describe", short_help="What the robot at a port declares: messages, fields, units, limits.")
@click.argument("port")
@click.option("--baud", type=click.IntRange(min=1), show_default="115200", help="Bits per second of a serial line.")
@click.option("--clear-fault", is_flag=True, help="End the fault in which the robot is found; look at it first.")
@json_option
def command(port: str, baud: int | None, clear_fault: bool, as_json: bool) -> None:
    """Ask the robot at PORT which readings it sends and which actions it takes.

    PORT is a path, VID:PID, VID:PID:SERIAL, tcp://HOST:PORT, udp://HOST:PORT, or udp://:PORT to listen there.

    `edge-lstm fields` is the old name of this command.
    """
    dictionary, fault = ask(port, baud)
    if fault and clear_fault:
        ask(port, baud, clear_fault=True)
    if as_json:
        print_json({"port": port, **describe(dictionary), "fault": fault, "cleared": bool(fault) and clear_fault})
        return
    _show(dictionary)
    if fault:
        say(f"\nfault: {fault} ({'cleared' if clear_fault else 'describe --clear-fault ends it'})")


def ask(name: str, baud: int | None, clear_fault: bool = False) -> tuple[Dictionary, str]:
    """The dictionary of the handshake, and why the robot is in a fault ("": it is not). Nothing is written before the
    robot has shown that it is ours. clear_fault: the fault is ended. Failure(3) where none of ours speaks in time."""
    from firmware_bridge.links.own.bridge import Bridge
    from firmware_bridge.ports import network_names
    from firmware_bridge.ports.open_port import BAUD, open_port

    if baud is not None and network_names.scheme(name):
        raise Failure(2, f"--baud means nothing for {name}: bits per second are a serial line's; leave it out")
    port, bridge = open_port(name, baud or BAUD), Bridge(clear_fault=clear_fault)
    arrived = Arrived(name)
    first_ns: int | None = None
    t_ns = 0
    try:
        for chunk in port.chunks():
            t_ns = chunk.t_ns
            first_ns = t_ns if first_ns is None else first_ns
            bridge.receive(chunk)
            arrived(chunk)
            fault = bridge.report()["fault"] if bridge.state == "fault" else ""
            if bridge.dictionary is not None and (bridge.state != "fault" or (fault and not clear_fault)):
                return bridge.dictionary, fault
            if t_ns - first_ns > _PATIENCE_NS:
                break
            port.write(bridge.outgoing())
    finally:
        port.write(bridge.stop(t_ns))
        port.close()
    raise Failure(3, f"{name}: no robot of ours has spoken in 3 s; {arrived.sentence()}")


def describe(dictionary: Dictionary) -> dict[str, Any]:
    """The declarations as JSON values, named as in PROTOCOL.md."""
    return {
        "device": dictionary.device,
        "version": dictionary.version,
        "dictionary": dictionary.digest.hex(),
        "formats": [
            {
                "name": form.name,
                "direction": form.direction,
                "rate_hz": form.rate_hz,
                "max_age_ms": form.max_age_ms,
                "fields": [field.as_json() for field in form.fields],
            }
            for form in dictionary.formats
        ],
    }


def _age(form: Format) -> str:
    """How old an action of this format may be, where the robot has said so."""
    return f"   obeyed until {form.max_age_ms} ms after its reading" if form.max_age_ms else ""


def _show(dictionary: Dictionary) -> None:
    say(f"{dictionary.device} {dictionary.version}, dictionary {dictionary.digest.hex()}")
    for form in dictionary.formats:
        table, rate = ("[readings]", form.rate_hz) if form.direction == "reading" else ("[action]", None)
        say(f'\n{table} format = "{form.name}"' + (f"   {rate:g} readings per second" if rate else "") + _age(form))
        width = max(len(field.name) for field in form.fields)
        for field in form.fields:
            text = f"  {field.name:{width}}  {field.type:4} {field.unit}"
            if field.minimum is not None and field.maximum is not None:
                text += f"  {field.minimum:g} to {field.maximum:g}"
                text += f", safe {field.safe:g}" if field.safe is not None else ""
            say(text.rstrip())
