"""How a text is a table: what parts its cells, where it begins, what its columns are called.

Its rule: the rows decide. Whatever makes the most of them alike, with the most numbers in them, parts the cells; the
line of as many names before them is the header. Lines before it, a row of units and a header behind a # are taken as
what they are, and said.

Never: take a line of numbers for a header, or names for columns that they do not count.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_lstm.core.units import kinds_of
from edge_lstm.errors import LogError
from edge_lstm.logs.asked import Asked
from edge_lstm.logs.log import UNITS
from edge_lstm.logs.stamps import of_day_ns, other_order, stamp_ns
from firmware_bridge.words import plural

LOOKED_AT = 1000  # lines
BLANKS = ""  # as a delimiter: any number of blanks and tabs
COMMENTS = ("#", "%")
MISSING = {
    *("", "nan", "+nan", "-nan", "na", "n/a", "null", "none", "nil", "<na>", "nan(ind)", "-nan(ind)", "nan(snan)"),
    *("#n/a", "#n/a!", "#na", "#n/a n/a", "#nv", "#div/0!", "#value!", "#num!", "#null!", "1.#qnan", "-1.#qnan"),
    *("1.#ind", "-1.#ind", "1.#inf", "-1.#inf", "ovf"),
}  # fmt: skip
_DELIMITERS = (",", ";", "\t", "|", BLANKS)
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?", re.ASCII)
_LONGEST = 48  # characters of a line that is shown


@dataclass(frozen=True)
class Layout:
    """What a text is. cells: of each line, the one after a delimiter at the end too."""

    delimiter: str
    cells: int
    titles: tuple[str, ...]
    units: tuple[str, ...]  # of a row of units; "" where none is said
    first: int  # the number of the first line of rows
    header: str  # the header as it is written; "" where there is none
    trailing: bool  # whether each row ends with a delimiter
    comma: bool  # numbers have a decimal comma
    notes: tuple[str, ...]

    def split(self, line: str) -> list[str]:
        """The cells of a line."""
        return split(line, self.delimiter)


def split(line: str, delimiter: str) -> list[str]:
    """The cells of a line, without the blanks around them."""
    if delimiter == BLANKS:
        return line.split()
    if '"' in line:
        try:
            return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])]
        except csv.Error:
            pass
    return [cell.strip() for cell in line.split(delimiter)]


def number(text: str) -> float | None:
    """What Python takes for a number, but for underscores."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def decimal_comma(text: str) -> str:
    """A number with a decimal comma as one with a point; "" where it is none."""
    return text.replace(",", ".") if _COMMA.fullmatch(text) else ""


def look(path: Path, lines: Sequence[str], asked: Asked) -> Layout:
    """lines: the first of the log. LogError: it is no table that can be read as it is."""
    table = [(k, line) for k, line in enumerate(lines, 1) if k > asked.skip_lines and line.strip()]
    rows = [(k, line) for k, line in table if not line.startswith(COMMENTS)]
    if not rows:
        raise LogError(f"{path}: has no line of a table{' after those skipped' if asked.skip_lines else ''}")
    delimiter, cells, at = _parted(rows)
    if at is None:  # names alone
        titles = split(rows[0][1], delimiter)
        nothing = ("",) * len(titles)
        first = len(lines) + 1 if all(number(cell) is None for cell in titles) else rows[0][0]
        return Layout(delimiter, len(titles), tuple(titles), nothing, first, rows[0][1], False, False, ())
    data = [found for k, line in rows if k >= at and len(found := split(line, delimiter)) == cells]
    trailing = cells > 1 and all(not found[-1] for found in data)
    notes: list[str] = []
    header_at, header, units, first = _find_header(table, rows, at, delimiter, cells, trailing, asked, notes)
    titles = list(asked.names) or (split(header, delimiter) if header else [])
    if trailing and len(titles) == cells:
        trailing = not titles[-1]  # a column with a name and without a number is one
        titles = titles[: cells - trailing]
    own = cells - trailing
    if asked.names and header:
        notes.append(f"the names are those of --names, not those in line {header_at}")
    if not titles:
        raise LogError(f"{path}: {_no_header(rows, at, own, delimiter, data)}")
    if len(titles) != own:
        raise LogError(f"{path}: {_miscounted(asked, titles, own, header_at, data)}")
    notes += _before([(k, line) for k, line in table if k < (header_at or at)])
    if asked.skip_lines:
        what = plural(asked.skip_lines, "line was", f"{asked.skip_lines} lines were")
        notes.append(f"the first {what} skipped (--skip-lines)")
    sample = [cell for found in data for cell in found]
    commas = 0 if delimiter == "," else sum(bool(decimal_comma(cell)) for cell in sample)
    comma = commas > sum("." in cell and number(cell) is not None for cell in sample)
    if comma:
        notes.append("its numbers have a decimal comma")
    bare = tuple(unit.strip("()[] ") for unit in units[:own]) if units else ("",) * own
    return Layout(delimiter, cells, tuple(titles), bare, first, header, trailing, comma, tuple(notes))


def _find_header(
    table: Sequence[tuple[int, str]],
    rows: Sequence[tuple[int, str]],
    at: int,
    delimiter: str,
    cells: int,
    trailing: bool,
    asked: Asked,
    notes: list[str],
) -> tuple[int, str, list[str], int]:
    """(its line's number, 0: there is none; what it says; units of a row after it; the first line of rows)."""
    names = [(k, line) for k, line in rows if k < at and _names(split(line, delimiter), cells, trailing)]
    if names:
        head = _which(names, delimiter)
        number_of, line = names[head]
        if len(names) > head + 1 and _of_units(units := split(names[head + 1][1], delimiter)):
            notes.append(f"line {names[head + 1][0]} holds units")
            return number_of, line, units, names[head + 1][0] + 1
        return number_of, line, [], number_of + 1
    before = [(k, line) for k, line in table if k < at]
    if not asked.names and before and before[-1][1].startswith(COMMENTS):  # a header that is written as a comment
        k, line = before[-1]
        bare = line.lstrip("".join(COMMENTS)).strip()
        if _names(split(bare, delimiter), cells, trailing):
            notes.append(f"line {k} is taken as the header, without its {line[0]}")
            return k, bare, [], at
    return 0, "", [], at


def _good(cell: str, comma: bool) -> bool:
    """Whether a cell may be one of a row of readings."""
    return (
        cell.lower() in MISSING
        or number(cell) is not None
        or (comma and bool(decimal_comma(cell)))
        or (":" in cell and bool(stamp_ns(cell) or of_day_ns(cell) or other_order([cell])))
    )


def _told(cell: str, comma: bool) -> bool:
    return bool(cell) and _good(cell, comma)


def _parted(rows: Sequence[tuple[int, str]]) -> tuple[str, int, int | None]:
    """(delimiter, cells of a row, number of the first row of readings, None: there is none)."""
    best: tuple[float, str, int, int | None] = (0.0, max(",;\t", key=rows[0][1].count), 0, None)
    for fewest in (2, 1):
        for delimiter in _DELIMITERS if fewest == 2 else (",",):
            found = []
            for k, line in rows:
                cells = split(line, delimiter)
                if len(cells) >= fewest and any(_told(cell, delimiter != ",") for cell in cells):
                    found.append((k, len(cells), sum(_good(cell, delimiter != ",") for cell in cells) / len(cells)))
            if not found:
                continue
            counts = Counter(count for _, count, _ in found)
            most = max(counts.values())
            usual = next(count for _, count, _ in found if counts[count] == most)
            score = sum(share for _, count, share in found if count == usual)
            if score > best[0] * (1 + 1e-9):
                best = (score, delimiter, usual, next(k for k, count, _ in found if count == usual))
        if best[3] is not None:
            break
    return best[1:]


def _names(cells: Sequence[str], count: int, trailing: bool) -> bool:
    fits = len(cells) == count or (trailing and len(cells) == count - 1)
    return fits and any(cells) and not any(number(cell) is not None for cell in cells)


def _which(names: Sequence[tuple[int, str]], delimiter: str) -> int:
    """Which of the lines of names is the header: the first, but among blanks, where any sentence may have as many
    words, the last before a row of units and the readings."""
    if delimiter != BLANKS:
        return 0
    last = len(names) - 1
    return last - 1 if last and _of_units(split(names[last][1], delimiter)) else last


def _of_units(cells: Sequence[str]) -> bool:
    """Whether a line holds units and nothing else."""
    told = [cell.strip("()[] ") for cell in cells]
    known = [text.lower() in UNITS or bool(kinds_of(text)) for text in told]
    return any(known) and all(fine or text in ("", "-", "1", "none") for text, fine in zip(told, known, strict=True))


def _before(lines: Sequence[tuple[int, str]]) -> list[str]:
    """What stands before the table, as notes."""
    skipped = [(k, line) for k, line in lines if not line.startswith(COMMENTS)]
    comments, notes = len(lines) - len(skipped), []
    if skipped:
        shown = skipped[0][1].strip()
        shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
        one = len(skipped) == 1
        which = f"line {skipped[0][0]}" if one else f"lines {skipped[0][0]} to {skipped[-1][0]}"
        notes.append(f"{which} before the table {'was' if one else 'were'} skipped: {shown!r}")
    if comments:
        what = "a line" if comments == 1 else f"{comments} lines"
        notes.append(
            f"{what} before the header begin{'s' if comments == 1 else ''} with # or % and "
            f"{'was' if comments == 1 else 'were'} skipped"
        )
    return notes


def _listed(count: int) -> str:
    return ",".join(["t", "a", "b", "c", "d", "e", "f", "g"][:count]) + (",…" if count > 8 else "")


def _no_header(
    rows: Sequence[tuple[int, str]], at: int, count: int, delimiter: str, data: Sequence[Sequence[str]]
) -> str:
    if before := [(k, line) for k, line in rows if k < at]:
        k, line = before[-1]
        short = split(line, delimiter)
        if len(short) > 1 and not any(number(cell) is not None for cell in short):
            return _miscounted(Asked(), short, count, k, data)
    line = next(line for k, line in rows if k == at)
    shown = next((cell for cell in split(line, delimiter) if number(cell) is not None), line.strip()[:_LONGEST])
    return (
        f"line {at} holds the number {shown!r}, so it is data, not a header; a header with the columns' names is "
        f"needed: say the names of its {count} columns with --names {_listed(count)}"
    )


def _miscounted(asked: Asked, titles: Sequence[str], own: int, at: int, data: Sequence[Sequence[str]]) -> str:
    rows = f"all {len(data)} rows looked at have {own} cells" if len(data) > 1 else f"the row has {own} cells"
    if asked.names:
        return f"--names says {len(titles)} names, and {rows}"
    return (
        f"the header in line {at} has {len(titles)} names, and {rows}; say the names with --names {_listed(own)} "
        f"--skip-lines {at}"
    )
