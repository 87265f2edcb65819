"""`edge-lstm serve [NAME]`: shows a run to the world, from a process of its own.

Its rule: nothing is reachable from outside this machine unless told, and nothing is commanded without the token.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import Failure, note, say
from edge_lstm.cli.origins import origin_option, refused

if TYPE_CHECKING:
    from edge_lstm.serve.sink import Sink

PORT, FOXGLOVE_PORT = 8470, 8765
NICE = 10
EVERYWHERE = {"": socket.AF_INET, "0.0.0.0": socket.AF_INET, "::": socket.AF_INET6}  # hosts that are all addresses


@click.command(name="serve", short_help="A run's live page, metrics, MQTT, Foxglove and UDP.")
@click.argument("name", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where it is served; 0.0.0.0: the whole network.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="Of the page; 0: any.")
@click.option("--name", "names", multiple=True, help="A name by which browsers may call this machine, beside its own.")
@click.option("--no-gates", is_flag=True, help="The page does not show what the model remembers and forgets.")
@click.option("--no-commands", is_flag=True, help="The page only shows.")
@click.option(
    "--token-file", type=click.Path(path_type=Path), help="Holds the token of commands; made where it is missing."
)
@click.option("--mqtt", help="A broker: HOST[:PORT]; before it USER:PASSWORD@, before all mqtt:// or mqtts://.")
@click.option(
    "--foxglove",
    type=click.IntRange(0, 65535),
    is_flag=False,
    flag_value=FOXGLOVE_PORT,
    help=f"A port for Foxglove and Lichtblick ({FOXGLOVE_PORT} where none is said).",
)
@origin_option
@click.option("--plotjuggler", help="HOST[:PORT] of PlotJuggler's UDP server, with its parser Influx.")
@click.option("--teleplot", help="HOST[:PORT] of Teleplot.")
def command(
    name: str | None,
    host: str,
    port: int,
    names: tuple[str, ...],
    no_gates: bool,
    no_commands: bool,
    token_file: Path | None,
    mqtt: str | None,
    foxglove: int | None,
    origins: frozenset[str],
    plotjuggler: str | None,
    teleplot: str | None,
) -> None:
    """Show the run NAME (where there is only one, that one) on a live page, and on whatever else is asked for.

    The run does not notice: this process reads what the run writes anyway, and may come and go.
    """
    from edge_lstm.daemon import place
    from edge_lstm.errors import DaemonError
    from edge_lstm.serve.metrics import Metrics
    from edge_lstm.serve.server import Server
    from edge_lstm.serve.strangers import names_of_this_machine

    _give_way()
    folder = _folder(name)
    token = None if no_commands else _token(token_file)
    told = _told()
    with ExitStack() as stack:
        metrics = None
        try:
            sinks = _sinks(folder.name, host, mqtt, foxglove, origins, plotjuggler, teleplot)
        except DaemonError as error:
            raise Failure(codes.MEND, str(error)) from None
        try:
            metrics = Metrics()
        except DaemonError as error:
            note(f"no /metrics: {error}")
        try:
            server = Server(
                folder,
                folder.name,
                host=host,
                port=port,
                token=token,
                names=frozenset(one.lower() for one in names),
                metrics=metrics,
                sinks=sinks,
                gates=not no_gates,
            )
        except OSError as error:
            why = f"the page cannot be there: {error.strerror or error}; choose another --port"
            raise Failure(codes.PORT, f"{host}:{port}: {why}") from None
        stack.callback(server.close)
        address = f"http://{_shown(host)}:{server.web.server_port}/"
        kept = token_file is not None and not sys.stdout.isatty()  # a service's log is no place for what lasts
        say(f"{folder.name}: {address}" + (f"#token={token}" if token and not kept else ""))
        if token and kept:
            note(f"commands: {address}#token= and what {token_file} holds")
        if host in EVERYWHERE:
            own = f"{names_of_this_machine()[-1]}, or whatever other address of this machine they reach"
            note(f"it listens on all addresses ({host}): here it is 127.0.0.1, for others {_shown(host)}, {own}")
        if metrics is not None:
            say(f"metrics: {address}metrics")
        if not (folder / place.STATUS).exists():
            note(f"there is no run {folder.name!r} yet; it is shown when it begins")
        server.run(told)


def _give_way() -> None:
    """To the run, where both want one core: the loop wants it at once, for a tenth of a millisecond, and whoever shows
    that can wait. Threads that begin later inherit it. A policy or niceness that somebody has given it stays."""
    with suppress(OSError):  # a container may forbid it
        os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # never takes a core from whoever has it


def _sinks(
    name: str,
    host: str,
    mqtt: str | None,
    foxglove: int | None,
    origins: frozenset[str],
    plotjuggler: str | None,
    teleplot: str | None,
) -> list[Sink]:
    """Whoever else is to be told. DaemonError: one cannot be."""
    sinks: list[Sink] = []
    if mqtt is not None:
        from edge_lstm.serve.mqtt import Broker, Mqtt

        sinks.append(Mqtt(Broker.parse(mqtt), name, note))
    if origins and foxglove is None:
        raise Failure(codes.MEND, "--origin says whose pages may connect to --foxglove; add it")
    if foxglove is not None:
        from edge_lstm.serve.viewer import Door, Foxglove

        viewer = Foxglove(Door(host, foxglove, origins, refused), name)
        sinks.append(viewer)
        say(f"Foxglove and Lichtblick: ws://{_shown(host)}:{viewer.port}")
    if plotjuggler is not None or teleplot is not None:
        from edge_lstm.serve.packets import PORTS, Packets

        wanted = zip(PORTS, (plotjuggler, teleplot), strict=True)
        sinks += [Packets(form, where) for form, where in wanted if where is not None]
    return sinks


def _folder(name: str | None) -> Path:
    """The run's folder: one that is named may begin later."""
    from edge_lstm.daemon import place
    from edge_lstm.errors import DaemonError

    try:
        return place.find(name)
    except DaemonError as error:
        if name is None:
            raise Failure(codes.PORT, str(error)) from None
        if not place.NAME.fullmatch(name):
            raise Failure(codes.MEND, str(error)) from None
        return place.base() / name


def _token(file: Path | None) -> str:
    """128 bits: new at each start, or those of the file, which only its owner may read."""
    if file is None:
        return secrets.token_urlsafe(16)
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
            new.write(secrets.token_urlsafe(16) + "\n")
    except FileExistsError:
        pass
    except OSError as error:
        raise Failure(codes.of_system(error), f"{file}: cannot be made: {error.strerror}") from None
    try:
        if file.stat().st_mode & 0o077:
            raise Failure(codes.MEND, f"{file}: others may read or write it; chmod 600 {file}")
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(codes.MEND, f"{file}: cannot be read: {error}") from None
    if len(token) < 16 or not (token.isascii() and token.isprintable()) or " " in token:
        raise Failure(codes.MEND, f"{file}: holds no token: one word of 16 letters at least")
    return token


def _shown(host: str) -> str:
    """The host as it stands in an address that can be opened; where it is all of them, the one that others reach."""
    if host in EVERYWHERE:
        host = _outward(EVERYWHERE[host]) or "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _outward(family: socket.AddressFamily) -> str:
    """This machine's address on the network that leads on to all others; "": there is none. Nothing is sent."""
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as one:
        one.connect(("2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1", 9))
        return str(one.getsockname()[0])
    return ""


def _told() -> threading.Event:
    """Set by Ctrl-C or SIGTERM."""
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    return told
