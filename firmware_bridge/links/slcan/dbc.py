"""Messages by the names of a DBC file, read with cantools.

Its rule: cantools alone decides what a signal means. It is imported where a configuration names a file, and nowhere
else; where it is missing the error says what to install.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from firmware_bridge.errors import nearest
from firmware_bridge.installing import not_importable
from firmware_bridge.table import Table

LONGEST_FILE = 16 * 1024 * 1024


@dataclass(frozen=True)
class Database:
    """The messages of a file by their names, and what cantools raises."""

    messages: Mapping[str, Any]
    failure: type[Exception]


def load(table: Table) -> Database | None:
    """The database that [link] dbc names; None where it names none."""
    name = table.take("dbc", str, None)
    if name is None:
        return None
    try:
        import cantools
    except ImportError as error:
        raise table.fail("dbc", f"needs the package {not_importable('cantools', error)}") from error
    path = table.folder / name
    try:
        if path.stat().st_size > LONGEST_FILE:
            raise table.fail("dbc", f"{path} is longer than {LONGEST_FILE:,} bytes; is it a DBC file?")
        read = cantools.database.load_file(path, database_format="dbc")
        return Database({item.name: item for item in read.messages}, cantools.Error)
    except OSError as error:
        raise table.fail("dbc", f"{path} cannot be read: {error.strerror or error}") from None
    except (cantools.Error, ValueError, LookupError) as error:
        raise table.fail("dbc", f"{path} is no DBC file that cantools understands: {str(error)[:200]}") from None


@dataclass(frozen=True)
class Message:
    """One message of the file, and those of its signals that are looked at."""

    definition: Any
    signals: tuple[str, ...]
    failure: type[Exception]  # what cantools raises

    @property
    def size(self) -> int:
        """Bytes of its data."""
        return cast(int, self.definition.length)

    def decode(self, data: bytes) -> list[float] | None:
        """Physical values of its signals; None where they are not all in it, as of a multiplexed message."""
        try:
            values = self.definition.decode(data, decode_choices=False)
            return [float(values[name]) for name in self.signals]
        except (self.failure, ValueError, LookupError):
            return None

    def encode(self, values: Mapping[str, float], strict: bool = False) -> bytes:
        """The data for physical values of all its signals. strict: raises ValueError for one that does not fit."""
        try:
            return bytes(self.definition.encode(dict(values), strict=strict))
        except (self.failure, ValueError, LookupError, OverflowError) as error:
            raise ValueError(str(error)[:200]) from None


def message(table: Table, database: Database | None, signals: Sequence[str] | None) -> Message:
    """The message that a reading's or an action's table names. signals: None for all."""
    name = table.take("message", str)
    if database is None:
        raise table.fail("message", 'is given, but no file that explains it: add dbc = "FILE.dbc" to [link]')
    if name not in database.messages:
        raise table.fail("message", f"there is no message {name!r} in the DBC file{nearest(name, database.messages)}")
    found = database.messages[name]
    known = [signal.name for signal in found.signals]
    for signal in signals or ():
        if signal not in known:
            raise table.fail("fields", f"{name} has no signal {signal!r}{nearest(signal, known)}")
    if found.length > 8:
        raise table.fail("message", f"{name} has {found.length} bytes; a frame of classic CAN has 8 at most")
    return Message(found, tuple(known if signals is None else signals), database.failure)


def units(item: Message) -> list[str]:
    """The unit of each signal, as the file has it."""
    return [item.definition.get_signal_by_name(name).unit or "" for name in item.signals]


def identifier(item: Message) -> tuple[int, bool]:
    """Of its frame, and whether it has 29 bits."""
    return item.definition.frame_id, item.definition.is_extended_frame


def bits(item: Message) -> list[int | None]:
    """Of each signal, where it could be a counter."""
    return [bits_of(item, name) for name in item.signals]


def bits_of(item: Message, name: str) -> int | None:
    """Of a whole number without sign and scale, after which it begins again at 0; else None."""
    signal = item.definition.get_signal_by_name(name)
    plain = not (signal.is_signed or signal.is_float) and signal.scale == 1 and signal.offset == 0
    return signal.length if plain else None
