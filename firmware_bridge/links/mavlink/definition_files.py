"""Messages out of a MAVLink XML file and those that it includes: another dialect than the common messages.

Its rule: the file is what the MAVLink project publishes and vendors extend, and what `pymavlink` carries; it is read
here, so neither pymavlink's code nor generated classes are needed. A definition that makes no sense is the error of the
key that named it.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from firmware_bridge.errors import nearest
from firmware_bridge.installing import how_to_install
from firmware_bridge.links.mavlink.definition import TYPES, Field, Message
from firmware_bridge.table import Table

_OURS = {theirs: ours for ours, (theirs, _code, _size) in TYPES.items()} | {"uint8_t_mavlink_version": "u8"}
_TYPE = re.compile(r"(\w+)(?:\[(\d+)\])?")


def messages(table: Table, key: str) -> dict[str, Message]:
    """The messages that the file named by a key defines, by name; none where the key is not there."""
    name = table.take(key, str, None)
    if name is None:
        return {}
    path = Path(name) if name.endswith(".xml") else _of_pymavlink(table, key, name)
    if not path.is_file():
        beside = Path(table.source).parent / path
        if not beside.is_file():
            raise table.fail(key, f"there is no file {str(path)!r}")
        path = beside
    try:
        return _read(path, {})
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise table.fail(key, f"{path.name} cannot be read: {error}") from None


@functools.cache
def of_pymavlink(name: str) -> Mapping[int, Message]:
    """The messages of a dialect that pymavlink carries, by number; none where it is not installed."""
    folder = _folder()
    path = None if folder is None else folder / f"{name}.xml"
    if path is None or not path.is_file():
        return {}
    return {message.id: message for message in _read(path, {}).values()}


def _folder() -> Path | None:
    """Where pymavlink, if it is installed, has its files."""
    found = importlib.util.find_spec("pymavlink")
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations))) / "dialects" / "v20"


def _of_pymavlink(table: Table, key: str, name: str) -> Path:
    """The file of one of the dialects that pymavlink carries."""
    folder = _folder()
    if folder is None:
        why = f"{name!r} comes with pymavlink, which is not installed; name an XML file of your own, or"
        raise table.fail(key, f"{why} {how_to_install('pymavlink')}")
    path = folder / f"{name}.xml"
    if not path.is_file():
        raise table.fail(
            key, f"pymavlink has no dialect {name!r}{nearest(name, sorted(x.stem for x in folder.glob('*.xml')))}"
        )
    return path


def _read(path: Path, seen: dict[Path, None]) -> dict[str, Message]:
    path = path.resolve()
    if path in seen:
        return {}
    seen[path] = None
    root = ElementTree.parse(path).getroot()
    found: dict[str, Message] = {}
    for item in root.iter("include"):
        found |= _read(path.parent / (item.text or "").strip(), seen)
    for item in root.iter("message"):
        made = _message(item)
        found[made.name] = made
    return found


def _message(item: ElementTree.Element) -> Message:
    name = item.get("name", "")
    fields: list[Field] = []
    base: int | None = None
    for part in item:
        if part.tag == "extensions":
            base = len(fields)
        elif part.tag == "field":
            match = _TYPE.fullmatch(part.get("type", ""))
            if match is None or match[1] not in _OURS:
                raise ValueError(f"{name}: field {part.get('name')!r} has type {part.get('type')!r}")
            fields.append(Field(part.get("name", ""), _OURS[match[1]], int(match[2] or 0), part.get("units", "")))
    return Message(name, int(item.get("id", "-1")), tuple(fields), len(fields) if base is None else base)
