"""What runs of ONNX, from the importers' own table of operators.

    python -m tools.operators [--write]
Prints the table that stands in edge_lstm/importers/README.md; --write puts it there.

Its rule: the page says what the records say, and nothing is written there by hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_lstm.importers.onnx.operators import constants
from edge_lstm.importers.onnx.operators.record import Operator
from edge_lstm.importers.onnx.operators.table import TABLE

PAGE = Path(__file__).resolve().parent.parent / "edge_lstm" / "importers" / "README.md"
MARKS = ("<!-- operators: python -m tools.operators --write -->\n", "\n<!-- end of operators -->")
_CONSTANTS = {record.name for record in constants.RECORDS}
KINDS = (
    "element by element",
    "moves data",
    "looks along its axes by a kernel",
    "takes whole axes together",
    "multiplies matrices",
    "carries a state along an axis",
    "holds graphs",
    "lists of values",
    "of sizes and constants",
    "Refused by every engine, since they draw random numbers",
)


def kind(record: Operator) -> str:
    """How an operator treats the readings of a sequence."""
    if record.recurrent:
        return KINDS[5]
    if record.expand is not None:
        return KINDS[7 if record.lists else 6]
    if record.moves is not None:
        return KINDS[1]
    if record.kernel:
        return KINDS[2]
    if record.products is not None:
        return KINDS[4]
    if record.lower is None and record.fold is not None and record.name in _CONSTANTS:
        return KINDS[8]
    if record.takes is not None:
        return KINDS[3]
    return KINDS[9] if record.random is not None and record.lower is None else KINDS[0]


def table() -> str:
    """Operators by how they treat time: on readings, on constants alone, and with ONNX Runtime only."""
    found: dict[str, list[Operator]] = {name: [] for name in KINDS}
    for record in sorted(TABLE.values(), key=lambda record: record.name):
        found[kind(record)].append(record)
    lines = ["| operators | native engine | of constants only | with ONNX Runtime only |", "|---|---|---|---|"]
    *shown, drawn = KINDS
    for name in shown:
        columns: tuple[list[str], list[str], list[str]] = ([], [], [])
        for record in found[name]:
            columns[0 if record.native else 1 if record.fold else 2].append(record.name)
        lines.append(f"| {name} | {' | '.join(', '.join(names) or '–' for names in columns)} |")
    names = ", ".join(record.name for record in found[drawn])
    return "\n".join([*lines, "", f"{drawn}: {names}."])


def in_page(text: str, drawn: str) -> str:
    """The page with this table between its marks."""
    start, end = text.index(MARKS[0]) + len(MARKS[0]), text.index(MARKS[1])
    return text[:start] + drawn + text[end:]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--write", action="store_true", help="put the table into the importers' page")
    options = parser.parse_args()
    print(table())
    if options.write:
        PAGE.write_text(in_page(PAGE.read_text(), table()))


if __name__ == "__main__":
    main()
