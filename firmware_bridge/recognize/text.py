"""Text lines: their shape, and the names, units, rate and clock of the numbers in them.

Its rule: lines that are alike but for their numbers are one reading; what comes again and again is believed, what comes
once (a cut first line, a boot log, "i2c: timeout") is shown and else left alone. Lines count by their bytes' arrival.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from firmware_bridge.declared import LONGEST_TEXT
from firmware_bridge.links.lines.text import escaped
from firmware_bridge.recognize.columns import by_clock, clean_name, distinct, fields_of, named, split_unit
from firmware_bridge.recognize.findings import SAMPLES, FoundField, FoundReading, shown
from firmware_bridge.recognize.heard import Heard, nice_rate, rate_of
from firmware_bridge.recognize.layouts import layout_of
from firmware_bridge.recognize.line import CELL, NUMBER, Cells, Line, cells_of, lines_of
from firmware_bridge.toml_text import Hex

_GPS = re.compile(r"(?:G[PNALBQ]|BD)(?:GGA|RMC|GSA|GSV|GLL|VTG|GNS|ZDA|TXT)")
_KIND = re.compile(r"-?\d+|\"[ -~]*\"")  # what a message's kind is called, as JSON
_TYPE_KEYS = ("T", "type", "t", "id", "msg", "cmd", "kind")
_APART = ("json", "nmea", "slcan", "pairs", "teleplot")  # kinds whose lines say what they are
MOST_READINGS = 8
LEAST_LINES = 2  # that are alike, before they are believed; one with a checksum that holds is enough


@dataclass(frozen=True)
class Text:
    """What a stream is as text. share: of its bytes, in lines that can be read; others: lines of no reading."""

    share: float
    lines: int
    readings: tuple[FoundReading, ...]
    samples: tuple[str, ...]
    others: tuple[str, ...]
    other_lines: int
    slcan: bool = False
    gps: bool = False


def read_text(heard: Heard) -> Text:
    """Look at what was heard as text; `share` says how well that goes."""
    lines, share = lines_of(heard)
    groups: dict[tuple[Any, ...], list[tuple[Line, Cells]]] = {}
    others: list[Line] = []
    for line in lines:
        cells = cells_of(line.text, line.raw)
        if cells is None:
            others.append(line)
        else:
            groups.setdefault(cells.kind, []).append((line, cells))
    _join_words(groups)
    most = max((len(group) for group in groups.values()), default=0)
    kept, few = [], list[Line]()
    for group in groups.values():
        # Lines that only their prefix or labels tell apart are two readings; others are damaged, or debug lines.
        kind = group[0][1].kind
        least = 0.02 if kind[0] in _APART or kind[1].strip() else 0.2
        if len(group) >= max(1 if kind[0] == "nmea" else LEAST_LINES, most * least):
            kept.append(group)
        else:
            few += [line for line, _ in group]
    kept = sorted(_named_types(kept), key=lambda group: -len(group) * len(group[0][1].text))
    kept, alike = _told_apart(kept)
    slcan = bool(kept) and kept[0][0][1].kind[0] == "slcan"
    strangers = [group for group in kept if (group[0][1].kind[0] == "slcan") != slcan]  # of another dialect
    kept = [group for group in kept if group not in strangers]
    few += [line for group in alike + strangers for line, _ in group]
    readings = _distinct([made for group in kept[:MOST_READINGS] if (made := _reading(group, others))])
    strays = [line for line in others if not _is_header(line.text, readings)] + few
    return Text(
        share,
        len(lines),
        tuple(readings),
        tuple(shown(line.raw) for line, _ in (kept[0][-SAMPLES:] if kept else ())),
        tuple(dict.fromkeys(shown(line.raw) for line in strays if line.text.strip()))[-SAMPLES:],
        len(strays),
        slcan=slcan,
        gps=bool(kept) and kept[0][0][1].kind[0] == "nmea" and bool(_GPS.fullmatch(kept[0][0][1].kind[1])),
    )


# ---------------------------------------------------------------------------------------------- lines alike

Group = list[tuple[Line, Cells]]


def _join_words(groups: dict[tuple[Any, ...], Group]) -> None:
    """Columns that hold words ("IDLE,1.5,2.5") make lines of many kinds: join those with as many cells."""
    loose = [key for key in groups if key[0] in ("csv", "regex")]
    lines = [item for key in loose for item in groups[key]]
    most = max((len(group) for group in groups.values()), default=0)
    for separator in ",;\t|":
        counts = Counter(line.text.count(separator) for line, _ in lines if separator in line.text)
        if not counts:
            continue
        cells, joined = counts.most_common(1)[0]
        with_it = [key for key in loose if any(line.text.count(separator) == cells for line, _ in groups[key])]
        starts = {key[1] for key in with_it if key[0] == "csv"}
        if cells >= 2 and joined > 2 * most and len(starts) > 1:
            for key in loose:
                groups[key] = [item for item in groups[key] if item[0].text.count(separator) != cells]
                if not groups[key]:
                    del groups[key]
            new = ("words", separator, cells + 1)
            groups[new] = [
                (line, Cells(new, tuple(line.text.split(separator))))
                for line, _ in lines
                if line.text.count(separator) == cells
            ]
            return


def _told_apart(groups: Sequence[Group]) -> tuple[list[Group], list[Group]]:
    """Those that a link could tell apart, of two that it could not the larger; and the others, damaged most likely."""
    kept: list[Group] = []
    alike: list[Group] = []
    for group in groups:
        mark = _mark(group)
        (alike if any(_meet(mark, _mark(other)) for other in kept) else kept).append(group)
    return kept, alike


Mark = tuple[str, frozenset[Any]]


def _mark(group: Group) -> Mark:
    """The shape of a group, and by what its lines are told from others of that shape: prefix, labels, kind of message,
    CAN id; none: by nothing."""
    kind = group[0][1].kind
    if kind[0] in ("csv", "nmea", "comma", "hex", "words"):
        return "csv", frozenset({{"csv": kind[1], "nmea": f"${kind[1]},"}.get(kind[0], "")})
    if kind[0] == "pairs":
        return "pairs", frozenset(kind[1])
    if kind[0] == "json":
        return "json", frozenset({kind[2:4]} if len(kind) == 4 else ())
    return kind[0], frozenset({kind[1]} if kind[0] == "slcan" else ())


def _meet(one: Mark, other: Mark) -> bool:
    """Whether a line could be of both. Patterns are for one reading only."""
    if one[0] != other[0] or "regex" in (one[0], other[0]):
        return "regex" in (one[0], other[0])
    return not one[1] or not other[1] or bool(one[1] & other[1])


def _named_types(groups: list[Group]) -> Iterable[Group]:
    """JSON objects by the key that says what they are, where there is one: {"T": 1001, …}."""
    for group in groups:
        if group[0][1].kind[0] != "json":
            yield group
            continue
        names = group[0][1].names
        rows = [dict(zip(cells.names, cells.text, strict=True)) for _, cells in group]
        key = next((name for name in _TYPE_KEYS if name in names), None)
        key = key or next((name for name in names if rows[0][name].startswith('"')), None)
        kinds = {row[key] for row in rows} if key else set()
        several = 1 <= len(kinds) <= max(1, len(rows) // 4) and all(_KIND.fullmatch(kind) for kind in kinds)
        if key is None or not several:
            yield group
            continue
        for kind in sorted(kinds):
            new = ("json", names, key, json.loads(kind))
            of_kind = [item for item, row in zip(group, rows, strict=True) if row[key] == kind]
            yield [(line, cells._replace(kind=new)) for line, cells in of_kind]


def _reading(group: Group, others: Sequence[Line]) -> FoundReading | None:
    """What these lines say, all of one kind."""
    kind = group[0][1].kind
    make = {"teleplot": _teleplot, "json": _json_reading, "slcan": _slcan_reading}.get(kind[0])
    return make(group) if make else _row_reading(group, others)


def _row_reading(group: Group, others: Sequence[Line]) -> FoundReading | None:
    """A line is a reading: csv, pairs, NMEA, hexadecimal, or words with numbers in them."""
    kind = group[0][1].kind
    cells = [found for _, found in group]
    if kind[0] == "pairs":
        cells = [_in_order(found, cells[0].names) for found in cells]
    count = len(cells[0].text)
    names, units = list(cells[0].names) or named(count), list(cells[0].units) or [""] * count
    keys: dict[str, Any] = {"shape": "pairs" if kind[0] == "pairs" else "csv"}
    name = "sensors"
    if kind[0] == "csv":
        prefix, suffix = kind[1], kind[3]
        keys |= {"prefix": escaped(prefix)} if prefix.strip() else {}
        keys |= {"suffix": escaped(suffix)} if suffix else {}
        keys |= {"separator": escaped(kind[2])} if kind[2] not in ("", ",") else {}
        letters = re.sub("[^A-Za-z]", "", prefix)
        names = distinct(letters.lower()) if len(letters) == count else names
        name = letters.lower() or name
    elif kind[0] == "nmea":
        keys |= {"prefix": f"${kind[1]},", "checksum": "nmea"}
        name = kind[1].lower()
    elif kind[0] == "comma":
        keys |= {"separator": escaped(kind[1]), "decimal": ","}
    elif kind[0] == "hex":
        keys |= {"base": "hex"} | ({"separator": escaped(kind[1])} if kind[1] != "," else {})
    elif kind[0] == "words" and kind[1] != ",":
        keys |= {"separator": escaped(kind[1])}
    elif kind[0] == "regex":
        names = _named_by(kind[1:], count)
        keys = {"shape": "regex", "pattern": _pattern(kind[1:], distinct(map(_group_name, names)))}
        names = distinct(map(_group_name, names))
    if kind[0] in ("csv", "words", "comma", "hex") and (header := _header(others, kind, count)):
        names, units = [n for n, _ in header], [u for _, u in header]
    base = 16 if kind[0] == "hex" else 10
    labels = names
    names = distinct(map(clean_name, names))
    if kind[0] == "pairs" and (other := _labels(names, labels)):
        keys["labels"] = other
    return _made(name, names, units, group, [c.text for c in cells], keys, base)


def _labels(names: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """What the robot writes for a field, where that is not its name: "Motor speed" has a space."""
    return {name: label for name, label in zip(names, labels, strict=True) if name != label}


def _made(
    name: str,
    names: Sequence[str],
    units: Sequence[str],
    group: Group,
    texts: Sequence[Sequence[str]],
    keys: Mapping[str, Any],
    base: int = 10,
) -> FoundReading:
    """The reading with its rate, and what each of its columns is."""
    rate_hz = rate_of([line.t_ns for line, _ in group])
    rows = [[_number(text, base) for text in row] for row in texts]
    whole = [all(re.fullmatch(r"\s*[-+]?\w*\s*", text) for text in column) for column in zip(*texts, strict=True)]
    fields = fields_of(names, units, rows, rate_hz, whole)
    if all(field.role != "value" for field in fields):  # a clock or a counter is all there is
        fields = tuple(field.plain() for field in fields)
    return FoundReading(name, fields, len(group), nice_rate(by_clock(fields) or rate_hz), tuple(keys.items()))


def _number(text: str, base: int) -> float | None:
    """A cell's number; None where it holds a word, or nothing. "nan" and "ovf" are numbers that are missing."""
    if base == 16:
        try:
            return float(int(text, 16))
        except ValueError:
            return None
    found = CELL.fullmatch(text)
    if found is None:
        return None
    try:
        return float(found[1])
    except ValueError:  # ovf
        return float("nan")


def _in_order(cells: Cells, names: tuple[str, ...]) -> Cells:
    """The same pairs in the order of these names."""
    if cells.names == names:
        return cells
    texts = dict(zip(cells.names, cells.text, strict=True))
    return cells._replace(names=names, text=tuple(texts[name] for name in names))


def _header(others: Sequence[Line], kind: tuple[Any, ...], count: int) -> list[tuple[str, str]]:
    """Names and units from a line of words with as many cells; [] where there is none."""
    separator = kind[2] if kind[0] == "csv" else kind[1]
    for line in others:
        text = line.text.strip()
        cells = text.strip(f"{separator} ").split(separator) if separator.strip(" ") else text.split()
        if len(cells) == count > 1 and all(re.match(r"\s*[\"']?[A-Za-z_°]", cell) for cell in cells):
            return [split_unit(cell) for cell in cells]
    return []


def _is_header(text: str, readings: Sequence[FoundReading]) -> bool:
    found = re.split(r"[,;|\t]", text.strip())
    names = [split_unit(cell)[0] for cell in found if cell.strip()]
    return any(names == [field.name for field in reading.fields] for reading in readings)


def _named_by(literals: Sequence[str], count: int) -> list[str]:
    """For each number, the last word before it."""
    words = [re.findall(r"[A-Za-z_][A-Za-z_0-9]*", literal) for literal in literals[:count]]
    return [found[-1] if found else letter for found, letter in zip(words, named(count), strict=True)]


def _group_name(name: str) -> str:
    return re.sub(r"\W", "_", name, flags=re.ASCII).lstrip("_0123456789").rstrip("_") or "field"


def _pattern(literals: Sequence[str], names: Sequence[str]) -> str:
    """A regular expression with a named group for each number, any space where there was one."""
    made = ""
    for literal, name in zip(literals, [*names, ""], strict=True):
        made += re.sub(r"(?:\\? |\\\t|\t)+", r"\\s+", re.escape(literal))
        made += f"(?P<{name}>{NUMBER})" if name else ""
    return made


def _usable(name: str) -> bool:
    """Whether a field can be called so: the way to a JSON value cannot be renamed."""
    return not name.startswith("_") and name.isprintable() and " " not in name and len(name) <= LONGEST_TEXT


def _json_reading(group: Group) -> FoundReading | None:
    """Its numbers, by the way to each; None: there are none."""
    kind = group[0][1].kind
    keys: dict[str, Any] = {"shape": "json"}
    where = kind[2:4] if len(kind) == 4 else None
    if where:
        keys["where"] = {where[0]: where[1]}
    rows = [dict(zip(cells.names, cells.text, strict=True)) for _, cells in group]
    names = [
        name
        for name in group[0][1].names
        if not (where and name == where[0]) and _number(rows[-1][name], 10) is not None and _usable(name)
    ]
    if not names:
        return None
    texts = [[row[name] for name in names] for row in rows]
    name = clean_name(str(where[1])) if where else "sensors"
    name = name if name[:1].isalpha() else f"{where[0]}{name}".lower() if where else name
    return _made(name, names, [""] * len(names), group, texts, keys)


def _teleplot(group: Group) -> FoundReading | None:
    """One variable a line, the last of them with the longest pause behind it. None: no reading was whole."""
    order = list(dict.fromkeys(cells.names[0] for _, cells in group))
    counts = Counter(cells.names[0] for _, cells in group)
    order = [name for name in order if counts[name] * 4 > max(counts.values())]  # a damaged name comes once
    group = [(line, cells) for line, cells in group if cells.names[0] in order]
    pauses = dict.fromkeys(order, 0)
    for (line, cells), (after, _) in itertools.pairwise(group):
        pauses[cells.names[0]] += after.t_ns - line.t_ns
    last = max(order, key=lambda name: (pauses[name], order.index(name)))
    order = order[order.index(last) + 1 :] + order[: order.index(last) + 1]
    units = {cells.names[0]: cells.units[0] for _, cells in group}
    rows: list[list[str]] = []
    ends: Group = []
    row: dict[str, str] = {}
    timed = group[0][1].kind[1]
    for line, cells in group:
        row[cells.names[0]] = cells.text[1]
        if cells.names[0] == last:
            if len(row) == len(order):
                rows.append([*([cells.text[0]] if timed else []), *(row[name] for name in order)])
                ends.append((line, cells))
            row = {}
    if not rows:
        return None
    fields = distinct([*(["ms"] if timed else []), *map(clean_name, order)])
    keys: dict[str, Any] = {"shape": "teleplot", "last": fields[-1]}
    if other := _labels(fields[len(fields) - len(order) :], order):
        keys["labels"] = other
    made = _made("sensors", fields, [*([""] if timed else []), *(units[n] for n in order)], ends or group, rows, keys)
    return replace(made, fields=made.fields[1:]) if timed and made.fields[0].role == "value" else made


def _slcan_reading(group: Group) -> FoundReading:
    """The frames of one CAN id."""
    _, can_id, size = group[0][1].kind
    rate_hz = rate_of([line.t_ns for line, _ in group])
    keys: list[tuple[str, Any]] = [("id", Hex(int(can_id, 16)))] + [("extended", True)] * (len(can_id) > 3)
    fields: tuple[FoundField, ...] = ()
    if size:
        layout, fields = layout_of([bytes.fromhex(cells.text[0]) for _, cells in group], rate_hz)
        keys.append(("layout", layout))
    return FoundReading(f"id_{can_id.lower()}", fields, len(group), nice_rate(rate_hz), tuple(keys))


def _distinct(readings: list[FoundReading]) -> list[FoundReading]:
    """With different names."""
    names = distinct(reading.name for reading in readings)
    return [replace(reading, name=name) for reading, name in zip(readings, names, strict=True)]
