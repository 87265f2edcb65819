"""A robot with a firmware of its own, to be simulated: a log or the two-wheeled drive, in the dialect of a [link].

Its rule: what the robot speaks is the link's own declaration; where no configuration is given, the table [link] that
fits is made here, so that robot and host cannot differ. Which numbers go into which field is found by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_lstm.errors import ConfigError, nearest
from edge_lstm.logs import open_log
from edge_lstm.logs.asked import Asked
from edge_lstm.logs.played import PlayedLog, columns_for, declared
from edge_lstm.robot.config import link_of
from firmware_bridge.dictionary import Dictionary, Field, Format
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.dialects import OWN, LinkConfig
from firmware_bridge.simulator.dialects.blocks import block
from firmware_bridge.simulator.dialects.own import OwnRobot
from firmware_bridge.simulator.dialects.robot_side import ROBOT_SIDES, robot_side
from firmware_bridge.simulator.drive import Drive
from firmware_bridge.simulator.played import Driven, Played, Source, Table
from firmware_bridge.simulator.robot import READING_FIELDS, robot_dictionary

if TYPE_CHECKING:
    from edge_lstm.logs.log import Column, Log
    from firmware_bridge.simulator.played import Values

DRIVE_HZ = 200.0
LONGEST_AGE_MS = 500  # of an action that a played robot with our own protocol obeys
MOTOR = Format(
    "motor", 2, "action", tuple(Field(side, "f64", "", minimum=-1, maximum=1, safe=0) for side in ("left", "right"))
)
_SOURCE = "the [link] made for this robot"


@dataclass(frozen=True)
class Play:
    """A robot ready to be served, and what to say of it."""

    board: Played
    end: bytes  # the byte that ends each of its messages; b"": none does
    what: str  # for people
    block: str  # the table [link] for a robot.toml; "" where a configuration was given, or our own protocol is spoken
    readings: Mapping[str, tuple[str, ...]]
    actions: Mapping[str, tuple[str, ...]]
    safe: Mapping[str, Values]
    notes: list[str]
    left_out: Callable[[], int]  # readings of which a number was missing


def play(
    *,
    log: Path | None = None,
    dialect: str | None = None,
    config: Path | None = None,
    loop: bool = False,
    rate_hz: float | None = None,
    time: str | None = None,
    time_unit: str | None = None,
    seed: int = 0,
) -> Play:
    """The robot. log: its readings, None: the drive; config: the robot.toml whose [link] it speaks, dialect: without
    one. ConfigError, LogError or BridgeError where they do not fit together."""
    table = open_log(log, Asked(time=time, time_unit=time_unit)) if log is not None else None
    if dialect not in (None, OWN, *ROBOT_SIDES):
        raise ConfigError(f"--dialect {dialect!r} is unknown{nearest(str(dialect), (OWN, *ROBOT_SIDES))}")
    link = _link(config, dialect)
    columns: Mapping[str, list[Column]] = {}
    readings: tuple[Format, ...]
    actions: tuple[Format, ...]
    text = ""
    if link is None:  # nothing is declared yet
        if table is not None:
            reading, columns = declared(table, rate_hz)
            readings, actions = (reading,), (MOTOR,)
        else:
            readings, actions = robot_dictionary(rate_hz or DRIVE_HZ).readings, robot_dictionary().actions
        if dialect in (None, OWN):
            return _own(table, readings, actions, columns, loop, rate_hz, seed)
        device = log.stem if log is not None else "simulated-robot"
        text = block(str(dialect), device, readings, actions)
        link = link_of(text, _SOURCE, Path())
    opened = link.open()
    if not isinstance(opened, Dialect):
        raise ConfigError(f"{config}: [link] is our own protocol; give --dialect {OWN} alone, without --config")
    readings = tuple(item.form for item in opened.readings.values())
    actions = tuple(item.form for item in opened.actions.values())
    source = _source(table, readings, actions, columns, loop, rate_hz, seed)
    watchdogs = [item.watchdog_ms for item in opened.actions.values() if item.watchdog_ms]
    safe = {item.name: item.safe_action().values for item in actions}
    board = Played(robot_side(opened), source, safe=safe, watchdog_us=min(watchdogs) * 1000 if watchdogs else None)
    return _made(board, opened.name, table, source, readings, actions, text)


def _own(
    table: Log | None,
    readings: tuple[Format, ...],
    actions: tuple[Format, ...],
    columns: Mapping[str, list[Column]],
    loop: bool,
    rate_hz: float | None,
    seed: int,
) -> Play:
    """With our own protocol: the robot declares itself."""
    source = _source(table, readings, actions, columns, loop, rate_hz, seed)
    actions = tuple(replace(a, max_age_ms=LONGEST_AGE_MS) if a.max_age_ms is None else a for a in actions)
    side = OwnRobot(Dictionary((*readings, *actions), "simulated-robot", "1.0", protocol=2), seed)
    return _made(Played(side, source), OWN, table, source, readings, actions, "")


def _made(
    board: Played,
    dialect: str,
    table: Log | None,
    source: Source,
    readings: tuple[Format, ...],
    actions: tuple[Format, ...],
    text: str,
) -> Play:
    rows = source.rows_of if isinstance(source, Table) else None
    return Play(
        board=board,
        end=board.side.end,
        what=f"{table.path if table is not None else 'two-wheeled robot'} in dialect {dialect}",
        block=text,
        readings={item.name: tuple(field.name for field in item.fields) for item in readings},
        actions={item.name: tuple(field.name for field in item.fields) for item in actions},
        safe={item.name: item.safe_action().values for item in actions},
        notes=list(table.notes) if table is not None else [],
        left_out=lambda: rows.left_out if isinstance(rows, PlayedLog) else 0,
    )


def _source(
    table: Log | None,
    readings: tuple[Format, ...],
    actions: tuple[Format, ...],
    columns: Mapping[str, list[Column]],
    loop: bool,
    rate_hz: float | None,
    seed: int,
) -> Source:
    """Where its readings come from."""
    if table is not None:
        return Table(PlayedLog(table, columns or columns_for(table, readings), rate_hz), loop)
    names = [name for name, _ in READING_FIELDS]
    reading = readings[0]
    for field in reading.fields:
        if field.name not in names:
            why = f"the two-wheeled robot measures no {field.name!r}{nearest(field.name, names)}"
            raise ConfigError(f"[link.reading.{reading.name}] fields: {why}; with --from a log can give it")
    rate = rate_hz or reading.rate_hz or DRIVE_HZ
    pick = [names.index(field.name) for field in reading.fields]
    return Driven(Drive(seed, rate), reading.name, actions[0] if actions else None, pick)


def _link(config: Path | None, dialect: str | None) -> LinkConfig | None:
    """The configuration's [link]; None where there is none."""
    if config is None:
        return None
    try:
        text = config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{config}: cannot be read: {error}") from None
    found = link_of(text, str(config), config.parent)
    if dialect is not None and dialect != found.dialect:
        raise ConfigError(f"{config}: [link] dialect is {found.dialect!r}, but --dialect says {dialect!r}")
    return found
