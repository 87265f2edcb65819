"""One line of text: the numbers in it, and which shape they stand in.

Its rule: the first shape that fits the whole line is its shape; lines of one kind are one reading (`text`). Nothing
that arrives raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from firmware_bridge.links.checksums import CHECKSUMS
from firmware_bridge.recognize.heard import Heard

NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_NO_NUMBER = r"[-+]?(?:nan|inf(?:inity)?|ovf)(?![A-Za-z])"
_NUMBER = re.compile(rf"(?<![\w.])(?:{NUMBER}|{_NO_NUMBER})", re.IGNORECASE)
CELL = re.compile(rf"\s*({NUMBER}|{_NO_NUMBER})\s*", re.IGNORECASE)
_PAIR = re.compile(
    rf"\s*([A-Za-z_][^:=,;|\t]*?)\s*[:=]\s*({NUMBER}|{_NO_NUMBER})\s*([^\s\d,;|:=][^\s,;|:=]*)?"
    r"(?:\s*[,;|\t]\s*|\s+(?=[A-Za-z_][^:=]*[:=])|\s*$)",
    re.IGNORECASE,
)
_TELEPLOT = re.compile(
    rf">([^:|,]+):(?:(-?\d+(?:\.\d+)?):)?({NUMBER}|{_NO_NUMBER})(?:§([^|]*))?(?:\|.*)?", re.IGNORECASE
)
_NMEA = re.compile(rb"[$!]([A-Za-z][A-Za-z0-9]*),([^*]*)\*([0-9A-Fa-f]{2})")
_SLCAN = re.compile(r"(?:t[0-7][0-9A-F]{2}|T[01][0-9A-F]{7})([0-8])((?:[0-9A-F]{2})*)", re.IGNORECASE)


class Line(NamedTuple):
    """A whole line that is text, without its end."""

    t_ns: int
    text: str
    raw: bytes


class Cells(NamedTuple):
    """A line's numbers. `kind`: all lines of one reading have the same; `text`: of each number, as it stands there."""

    kind: tuple[Any, ...]
    text: tuple[str, ...]
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()


# ---------------------------------------------------------------------------------------------- lines


def lines_of(heard: Heard) -> tuple[list[Line], float]:
    """The whole lines that are text, and which share of all bytes they are."""
    data = bytes(heard.data)
    end = b"\n" if b"\n" in data else b"\r"
    lines: list[Line] = []
    readable = at = 0
    pieces = data.split(end)
    for number, piece in enumerate(pieces):
        first, last = number == 0, number == len(pieces) - 1
        raw = piece.strip(b"\r\n\0")
        text = _decoded(raw)
        if text is not None:
            readable += len(piece) + (not last)
            if raw.strip() and not last and (not first or heard.begins_whole):
                lines.append(Line(heard.time_of(at + max(len(piece) - 1, 0)), text, raw))
        at += len(piece) + 1
    return lines, readable / max(len(data), 1)


def _decoded(raw: bytes) -> str | None:
    """The line as text; None where it is none. "°" and "§" come as UTF-8 or as one byte."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        if sum(byte >= 0x80 for byte in raw) > 0.1 * len(raw):
            return None
        text = raw.decode("latin-1")
    return text if text.replace("\t", " ").isprintable() else None


# ---------------------------------------------------------------------------------------------- one line


def cells_of(text: str, raw: bytes) -> Cells | None:
    """The numbers of one line, by the first shape that it has; None: there is none in it."""
    text = text.strip()
    if text.startswith("{"):
        return _json(text)
    if found := _NMEA.fullmatch(raw.strip()):
        head = raw.strip()[1:-3]
        if CHECKSUMS["xor"].of(head) == int(found[3], 16):
            cells = tuple(found[2].decode("latin-1").split(","))
            return Cells(("nmea", found[1].decode(), len(cells)), cells)
        return None
    if (found_text := _TELEPLOT.fullmatch(text)) is not None:
        name, time, value, unit = found_text.groups()
        return Cells(("teleplot", time is not None), (time or "", value), (name,), (unit or "",))
    if (can := _SLCAN.fullmatch(text)) is not None and len(can[2]) in (2 * int(can[1]), 2 * int(can[1]) + 4):
        size = 8 if text[0] == "T" else 3
        return Cells(("slcan", text[1 : 1 + size], int(can[1])), (text[2 + size : 2 + size + 2 * int(can[1])],))
    return _pairs(text) or _csv(text)


def _json(text: str) -> Cells | None:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(tree, dict):
        return None
    flat = dict(_flat("", tree))
    return Cells(("json", tuple(sorted(flat))), tuple(map(json.dumps, flat.values())), tuple(flat))


def _flat(before: str, value: Any) -> Iterable[tuple[str, Any]]:
    """Every leaf of a JSON value with the path to it: "imu.ax", "imu.gyro[0]"."""
    if isinstance(value, dict | list) and before.count(".") < 4:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            name = f"{before}[{key}]" if isinstance(value, list) else f"{before}.{key}"
            if isinstance(value, list) or not re.search(r"[.\[\]]|^$", str(key)):  # no path leads to such a key
                yield from _flat(name.removeprefix("."), item)
    elif before:
        yield before, value


def _pairs(text: str) -> Cells | None:
    """ "label:number" again and again, in any order."""
    at, found = 0, []
    while at < len(text):
        if (pair := _PAIR.match(text, at)) is None:
            return None
        found.append(pair.groups())
        at = pair.end()
    names = [name for name, _, _ in found]
    if not found or len(set(names)) < len(names):
        return None
    # A reading is known by its labels, whatever their order; the separator is the parser's to find.
    order = sorted(range(len(found)), key=lambda k: names[k])
    kind = ("pairs", tuple(names[k] for k in order))
    return Cells(kind, tuple(v for _, v, _ in found), tuple(names), tuple(unit or "" for _, _, unit in found))


def _csv(text: str) -> Cells | None:
    """Numbers with one separator between them, perhaps with words before the first and after the last; else numbers
    within words that stay the same."""
    if (marked := _decimal_comma(text) or _hex(text)) is not None:
        return marked
    found = list(_NUMBER.finditer(text))
    if not found:
        return None
    numbers = tuple(number[0] for number in found)
    ends = [0, *(number.end() for number in found)]
    between = [re.sub(r" +", " ", text[a : number.start()]) for a, number in zip(ends, found, strict=False)]
    first, inner, last = between[0], between[1:], text[found[-1].end() :]
    separators = {piece.strip(" ") or " " for piece in inner}
    if len(separators) <= 1 and separators <= set(",;|\t "):
        separator = separators.pop() if separators else ""
        last = last.strip(f"{separator} \t")
        return Cells(("csv", first, separator, last, len(numbers)), numbers)
    return Cells(("regex", first, *inner, last), numbers)


def _decimal_comma(text: str) -> Cells | None:
    """ "1,5;2,5" or tabs, where every comma is between digits."""
    for separator in ";\t ":
        cells = [cell.strip() for cell in text.strip(f"{separator} ").split(separator)]
        if len(cells) > 1 and "," in text and "." not in text and all(re.fullmatch(r"[-+]?\d+,\d+", c) for c in cells):
            return Cells(("comma", separator, len(cells)), tuple(cell.replace(",", ".") for cell in cells))
    return None


def _hex(text: str) -> Cells | None:
    """ "0A3F,00FF": hexadecimal digits of one width, with at least one letter and no word among them."""
    for separator in ",; \t":
        cells = [cell.strip() for cell in text.strip(f"{separator} ").split(separator)]
        if len(cells) > 1 and all(re.fullmatch(r"(?:0x)?[0-9A-Fa-f]{2,8}", cell) for cell in cells):
            widths = {len(cell) for cell in cells}
            if re.search("[A-Fa-fx]", text) and (len(widths) == 1 or text.count("0x") == len(cells)):
                return Cells(("hex", separator, len(cells)), tuple(cells))
    return None
