"""The tree keeps its shape: imports point down and run in no circle, heavy packages and clocks stay in their rooms."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

from tools.architecture import (
    EXCEPTIONS,
    PACKAGES,
    PAGE,
    ROOMS,
    ROOT,
    Import,
    arrows,
    circles,
    files,
    imports,
    in_page,
    picture,
    room_of,
    upward,
)

KNOWN = files()
# package -> where it may be imported
PLACES = {
    "numba": ("edge_lstm/engines/native/kernels/",),
    "llvmlite": ("edge_lstm/engines/native/",),
    "onnx": ("edge_lstm/importers/", "edge_lstm/engines/onnxruntime/"),
    "onnxruntime": ("edge_lstm/engines/onnxruntime/",),
    "serial": ("firmware_bridge/ports/",),
    "mcap": ("firmware_bridge/recordings/",),
    "matplotlib": ("edge_lstm/plots/", "edge_lstm/examples/"),
    "click": ("edge_lstm/cli/",),
    "rich": ("edge_lstm/cli/",),
    "time": (
        "firmware_bridge/ports/",
        "firmware_bridge/recordings/",
        "firmware_bridge/simulator/pty.py",
        "edge_lstm/bench/",
        "edge_lstm/daemon/",
        "edge_lstm/serve/",
        "edge_lstm/cli/",
    ),
    "http": ("edge_lstm/serve/",),
    "prometheus_client": ("edge_lstm/serve/",),
    "paho": ("edge_lstm/serve/",),
    "foxglove": ("edge_lstm/serve/",),
    "random": ("firmware_bridge/simulator/", "edge_lstm/moments/storms.py"),
}
# what may not be imported when a command starts: `edge-lstm --help` and `inspect` need none of them
LAZY = (
    *("numba", "llvmlite", "onnx", "onnxruntime", "matplotlib", "mcap", "serial"),
    *("prometheus_client", "paho", "foxglove"),
)
EAGER_PLACES = ("edge_lstm/engines/native/", "edge_lstm/importers/", "firmware_bridge/")
FILES = {str(path.relative_to(ROOT)): path for path in KNOWN.values()}


def test_imports_point_down() -> None:
    """No file imports from a room above its own, or beside it, at its top, in a function or for type checkers."""
    assert not upward(arrows())


def test_no_files_import_each_other_in_a_circle() -> None:
    """Within a room too, whatever imports whatever, at its top, in a function or for type checkers."""
    assert not circles(arrows())


def test_the_picture_on_the_page_is_of_this_tree() -> None:
    """ARCHITECTURE.md shows the rooms and arrows as they are; `python -m tools.architecture --write` draws them."""
    text = PAGE.read_text()
    assert in_page(text, picture(arrows())) == text, "python -m tools.architecture --write"


def test_the_page_has_every_room_and_every_answer_once() -> None:
    """ARCHITECTURE.md has each room in one row of its table, from the ground up, and no question twice; each file that
    it names is there."""
    text = PAGE.read_text()
    rooms, answers = (text.split(f"\n## {title}\n")[1].split("\n## ")[0] for title in ("Rooms", "Where things are"))
    named = [name for row in re.findall(r"(?m)^\| (`.*?) \|", rooms) for name in re.findall(r"`([^`]+)`", row)]
    found = [name.replace("/", ".") for name in named]
    found = [name if name.startswith(PACKAGES) else f"edge_lstm.{name}" for name in found]
    assert sorted(found) == sorted(room for row in ROOMS for room in row)
    rows = [room_of(name)[0] for name in found]
    assert rows == sorted(rows)
    questions = re.findall(r"(?m)^\| (.*?\?) \|", answers)
    assert len(questions) == len(set(questions)) > 5
    folders = {ROOT, *(folder for package in PACKAGES for folder in (ROOT / package, *(ROOT / package).rglob("*/")))}
    named_files = set(re.findall(r"`([\w/]+\.(?:py|c|h|md))`", text))
    assert not [name for name in named_files if not any((folder / name).is_file() for folder in folders)]


def test_an_arrow_up_and_a_circle_would_be_seen() -> None:
    """The guard itself: an import in a function counts, one between rooms of a row too, and three make a circle."""
    up = Import("edge_lstm.core.program", 9, "edge_lstm.streams.stream", False)
    beside = Import("edge_lstm.plots.gates", 9, "edge_lstm.bench.measure", False)
    down = Import("edge_lstm.streams.stream", 9, "edge_lstm.core.program", True)
    assert [text.split()[0] for text in upward([up, beside, down])] == [
        "edge_lstm.core.program:9",
        "edge_lstm.plots.gates:9",
    ]
    names = ("edge_lstm.a", "edge_lstm.b", "edge_lstm.c")
    round_ = [Import(one, 1, other, False) for one, other in zip(names, (*names[1:], names[0]), strict=True)]
    assert circles([*round_, down]) == [sorted(names)]


def test_the_exceptions_are_in_use() -> None:
    """Each named exception is an import that is really there, within a function or for type checkers."""
    found = {(i.module, i.target): i.top for path in KNOWN.values() for i in imports(path, KNOWN)}
    assert {pair: found.get(pair) for pair in EXCEPTIONS} == dict.fromkeys(EXCEPTIONS, False)


def test_nothing_lies_loose() -> None:
    """Beside its rooms and pages edge_lstm/ has errors, what makes it a package, and nothing else."""
    loose = {p.name for p in (ROOT / "edge_lstm").iterdir() if p.is_file() and p.suffix != ".md"}
    assert loose <= {"__init__.py", "__main__.py", "errors.py", "py.typed"}


def those(wrong: Callable[[str, Import], bool]) -> list[str]:
    """The imports of the tree that are wrong, of all its files at once."""
    found = ((place, i) for place, path in FILES.items() for i in imports(path, KNOWN))
    return [f"{place}:{i.line} imports {i.target}" for place, i in found if wrong(place, i)]


def package(i: Import) -> str:
    return i.target.split(".")[0]


def test_firmware_bridge_stands_alone() -> None:
    """Nothing in firmware_bridge imports edge_lstm."""
    assert not those(lambda place, i: place.startswith("firmware_bridge/") and package(i) == "edge_lstm")


def test_packages_stay_in_their_places() -> None:
    """numba, onnx, serial, clocks and randomness are imported only where the tree says."""
    assert not those(lambda place, i: package(i) in PLACES and not place.startswith(PLACES[package(i)]))


def test_heavy_packages_are_imported_late() -> None:
    """Outside their own places nothing heavy is imported at the top of a file."""
    assert not those(lambda place, i: i.top and package(i) in LAZY and not place.startswith(EAGER_PLACES))


def test_those_that_are_wrong_would_be_seen() -> None:
    """The guard itself: it looks at every file, and finds what is there."""
    assert len(FILES) == len(KNOWN) > 400
    assert [line.split(":")[0] for line in those(lambda place, i: i.target == "numba")]
    assert {line.split("/")[0] for line in those(lambda place, i: True)} == set(PACKAGES)


def test_every_file_says_what_it_is() -> None:
    """Each file opens with a docstring, and has a room."""
    assert not [place for place, path in FILES.items() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert all(map(room_of, KNOWN))


def test_tools_import_no_tests() -> None:
    """Tests may use what tools offer; no tool imports a test, or what tests share."""
    tools = sorted((ROOT / "tools").rglob("*.py"))
    assert not [(i.module, i.line) for path in tools for i in imports(path, KNOWN) if i.target.split(".")[0] == "tests"]
    assert (ROOT / "tools" / "architecture.py") in tools


def test_tests_share_no_generator() -> None:
    """A generator at the top of a file would make what a test draws depend on the tests before it
    (`tests/support/drawing.py`)."""
    shared = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func).split(".")[-1] in ("default_rng", "Random", "RandomState")
    ]
    assert not shared


def test_no_public_name_is_hidden_by_a_module() -> None:
    """Importing a module sets its name on the package, so none may be called as a public function or class is."""
    import edge_lstm

    modules = {path.stem for path in (ROOT / "edge_lstm").iterdir()}
    assert not modules.intersection(edge_lstm.__all__)
    assert set(PACKAGES) == {name.split(".")[0] for name in KNOWN}
