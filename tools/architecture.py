"""The rooms of the tree and the arrows between them, from the code's own imports.

    python -m tools.architecture [--write]
Prints the picture that stands in edge_lstm/ARCHITECTURE.md; --write puts it there. Exit code 1 where an arrow points up
or files import each other in a circle, with each of them.

Its rule: every import counts, inside functions and under TYPE_CHECKING too. A room may use those below it and none
above; within a room files may use each other, but never in a circle. `tests/test_architecture.py` holds the tree to it.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "edge_lstm" / "ARCHITECTURE.md"
PACKAGES = ("firmware_bridge", "edge_lstm")
# From the ground up. Rooms in one row do not know each other.
ROOMS: tuple[tuple[str, ...], ...] = (
    ("firmware_bridge.errors",),
    ("edge_lstm.errors",),
    ("firmware_bridge",),
    ("firmware_bridge.ports",),
    ("firmware_bridge.links",),
    ("firmware_bridge.recordings", "firmware_bridge.recognize", "firmware_bridge.simulator"),
    ("edge_lstm.core",),
    ("edge_lstm.engines",),
    ("edge_lstm.streams",),
    ("edge_lstm.logs", "edge_lstm.signals"),
    ("edge_lstm.analysis", "edge_lstm.firmware"),
    ("edge_lstm.importers", "edge_lstm.quantization"),
    ("edge_lstm.robot",),
    ("edge_lstm.moments",),
    ("edge_lstm.fleet",),
    ("edge_lstm.bench", "edge_lstm.plots"),
    ("edge_lstm.examples", "edge_lstm.tutorial"),
    ("edge_lstm.daemon",),
    ("edge_lstm.serve",),
    ("edge_lstm.cli",),
    ("edge_lstm",),  # what a user imports
)
# The named exception: a model, which is data, opens the streams that run it (`Model.stream`, `Model.streams`).
EXCEPTIONS = frozenset(
    {("edge_lstm.core.model", "edge_lstm.streams.stream"), ("edge_lstm.core.model", "edge_lstm.streams.gates")}
)


@dataclass(frozen=True)
class Import:
    """One import: from which module, in which line, of what. top: neither in a function nor for type checkers alone."""

    module: str
    line: int
    target: str
    top: bool


def module_of(path: Path) -> str:
    """The dotted name of a file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def files() -> dict[str, Path]:
    """Every module of both packages, by name."""
    return {module_of(path): path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))}


def imports(path: Path, known: Mapping[str, Path]) -> tuple[Import, ...]:
    """Every import of a file; of names taken from a package that are modules of their own, those modules."""
    return _imports(path, frozenset(known))


@cache  # a file is read once, however many tests look at it
def _imports(path: Path, known: frozenset[str]) -> tuple[Import, ...]:
    return tuple(_each_import(path, known))


def _each_import(path: Path, known: frozenset[str]) -> Iterator[Import]:
    module, tree = module_of(path), ast.parse(path.read_text(), str(path))
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        top = id(node) not in hidden
        if isinstance(node, ast.Import):
            yield from (Import(module, node.lineno, alias.name, top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}:{node.lineno}: a relative import")
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield Import(module, node.lineno, full if full in known else str(node.module), top)


def room_of(module: str) -> tuple[int, str]:
    """Row and name of the room that a module is in: the longest name in ROOMS that it begins with."""
    fitting = ((row, name) for row, names in enumerate(ROOMS) for name in names if f"{module}.".startswith(f"{name}."))
    return max(fitting, key=lambda found: len(found[1]))


def arrows() -> list[Import]:
    """Every import of one of our files by another, but for the named exceptions."""
    known = files()
    found = [i for path in known.values() for i in imports(path, known) if i.target in known and i.target != i.module]
    return [i for i in found if (i.module, i.target) not in EXCEPTIONS]


def upward(found: list[Import]) -> list[str]:
    """A sentence for each arrow that does not point down."""
    wrong = []
    for i in found:
        (row, room), (other_row, other) = room_of(i.module), room_of(i.target)
        if other != room and other_row >= row:
            wrong.append(f"{i.module}:{i.line} imports {i.target}: {room} may not use {other}")
    return wrong


def circles(found: list[Import]) -> list[list[str]]:
    """Groups of files that import each other in a circle (Tarjan 1972)."""
    graph: dict[str, set[str]] = {}
    for i in found:
        graph.setdefault(i.module, set()).add(i.target)
        graph.setdefault(i.target, set())
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(module: str) -> None:
        number[module] = low[module] = len(number)
        stack.append(module)
        for target in sorted(graph[module]):
            if target not in number:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], number[target])
        if low[module] == number[module]:
            start = stack.index(module)
            if len(group := stack[start:]) > 1:
                groups.append(sorted(group))
            del stack[start:]

    for module in sorted(graph):
        if module not in number:
            visit(module)
    return groups


def picture(found: list[Import]) -> str:
    """Each room with its files and what it uses, from the top down; numbers are imports."""
    sizes = Counter(room_of(module)[1] for module in files())
    uses: dict[str, Counter[str]] = {}
    for i in found:
        room, other = room_of(i.module)[1], room_of(i.target)[1]
        if room != other:
            uses.setdefault(room, Counter())[other] += 1
    width = max(map(len, sizes))
    lines = []
    for names in reversed(ROOMS):
        for name in names:
            below = sorted(uses.get(name, Counter()).items(), key=lambda item: (-room_of(item[0])[0], item[0]))
            text = ", ".join(f"{other.removeprefix('edge_lstm.')} {count}" for other, count in below) or "nothing"
            lines.append(f"{name:{width}} {sizes[name]:3} files  → {text}")
    rooms, between = sum(map(len, ROOMS)), sum(map(len, uses.values()))
    lines.append(f"{rooms} rooms, {between} arrows between them, {len(found)} imports of {len(files())} files")
    return "\n".join(lines)


MARKS = ("<!-- rooms: python -m tools.architecture --write -->\n```text\n", "\n```\n<!-- end of rooms -->")


def in_page(text: str, drawn: str) -> str:
    """The page with this picture between its marks."""
    start, end = text.index(MARKS[0]) + len(MARKS[0]), text.index(MARKS[1])
    return text[:start] + drawn + text[end:]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--write", action="store_true", help="put the picture into ARCHITECTURE.md")
    options = parser.parse_args()
    found = arrows()
    print(picture(found))
    wrong = upward(found) + ["a circle: " + ", ".join(group) for group in circles(found)]
    print(*wrong, sep="\n", file=sys.stderr)
    if options.write:
        PAGE.write_text(in_page(PAGE.read_text(), picture(found)))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
