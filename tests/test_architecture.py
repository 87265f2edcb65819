"""The tree keeps its shape: imports go downwards only, heavy packages and clocks stay in their rooms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(p for name in ("edge_lstm", "firmware_bridge") for p in (ROOT / name).rglob("*.py"))

# Lowest first. A module may import, at its top, from its own row and from rows above it.
LAYERS = [
    ["firmware_bridge.errors", "edge_lstm.errors"],
    ["edge_lstm.realtime"],
    ["firmware_bridge"],
    ["firmware_bridge.simulator"],
    ["edge_lstm.kinds"],
    ["edge_lstm.program"],
    ["edge_lstm.kernels"],
    ["edge_lstm.model"],
    ["edge_lstm.packing"],
    ["edge_lstm.assembly"],
    ["edge_lstm.memory", "edge_lstm.feedback"],
    ["edge_lstm.stream"],
    ["edge_lstm.storage", "edge_lstm.gaps", "edge_lstm.gates", "edge_lstm.sequence"],
    ["edge_lstm.firmware_quantized", "edge_lstm.firmware_table"],
    ["edge_lstm.engines", "edge_lstm.firmware"],
    ["edge_lstm.importers", "edge_lstm.verification"],
    ["edge_lstm.channels", "edge_lstm.config"],
    ["edge_lstm.logs"],
    ["edge_lstm.both_sides"],
    ["edge_lstm.controller"],
    ["edge_lstm.runtime"],
    ["edge_lstm.replay", "edge_lstm.replay_table"],
    ["edge_lstm.bench", "edge_lstm.bench_machine", "edge_lstm.bench_onnx"],
    ["edge_lstm.series"],
    ["edge_lstm.quantization"],
    [
        "edge_lstm.plot",
        "edge_lstm.plot_gates",
        "edge_lstm.plot_forecast",
        "edge_lstm.plot_quantize",
        "edge_lstm.explain",
    ],
    ["edge_lstm.examples"],
    ["edge_lstm.cli"],
]
# package -> where it may be imported
ROOMS = {
    "numba": ("edge_lstm/kernels/",),
    "llvmlite": ("edge_lstm/kernels/",),
    "onnx": ("edge_lstm/importers/",),
    "onnxruntime": ("edge_lstm/engines/",),
    "serial": ("firmware_bridge/ports.py", "firmware_bridge/serial_names.py"),
    "mcap": ("firmware_bridge/recording.py", "firmware_bridge/recorder.py"),
    "matplotlib": (
        "edge_lstm/plot.py",
        "edge_lstm/plot_gates.py",
        "edge_lstm/plot_forecast.py",
        "edge_lstm/plot_quantize.py",
        "edge_lstm/examples/",
    ),
    "click": ("edge_lstm/cli/",),
    "rich": ("edge_lstm/cli/",),
    "time": (
        "firmware_bridge/ports.py",
        "firmware_bridge/recorder.py",
        "firmware_bridge/recording.py",
        "firmware_bridge/simulator/pty.py",
        "edge_lstm/bench.py",
        "edge_lstm/bench_machine.py",
        "edge_lstm/bench_onnx.py",
        "edge_lstm/cli/",
    ),
    "random": ("firmware_bridge/simulator/",),
}
# what may be imported when a command starts: `edge-lstm --help` and `inspect` need neither
LAZY = ("numba", "llvmlite", "onnx", "onnxruntime", "matplotlib", "mcap", "serial")
EAGER_ROOMS = ("edge_lstm/kernels/", "edge_lstm/importers/", "firmware_bridge/")


def imports(path: Path, *, top_only: bool) -> Iterator[tuple[int, str]]:
    """Line and module of each import; without those for type checkers only."""
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    tree = ast.parse(path.read_text(), str(path))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    functions = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped or (top_only and id(node) in functions):
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{package}:{node.lineno} relative import"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def layer(module: str) -> int | None:
    """The row of the longest name in LAYERS that this module belongs to."""
    found = [
        (len(name), number)
        for number, row in enumerate(LAYERS)
        for name in row
        if module == name or module.startswith(name + ".")
    ]
    return max(found)[1] if found else None


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downwards_only(path):
    """No module imports, at its top, from a layer above its own; firmware_bridge knows nothing of edge_lstm."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    own = layer(module)
    if module == "edge_lstm":
        assert not [name for _, name in imports(path, top_only=True) if name.startswith("edge_lstm")]
        return
    assert own is not None, f"{module} has no place in LAYERS"
    for line, name in imports(path, top_only=True):
        other = layer(name)
        if other is not None:
            assert other <= own, f"{path}:{line} {module} imports {name}, which lies above it"
    if module.startswith("firmware_bridge"):
        assert not [name for _, name in imports(path, top_only=False) if name.startswith("edge_lstm")]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_packages_stay_in_their_rooms(path):
    """numba, onnx, serial, clocks and randomness are imported only where the tree says."""
    place = str(path.relative_to(ROOT))
    for line, name in imports(path, top_only=False):
        rooms = ROOMS.get(name.split(".")[0])
        assert rooms is None or place.startswith(rooms), f"{place}:{line} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_packages_are_imported_late(path):
    """Outside their own rooms nothing heavy is imported at the top of a file."""
    place = str(path.relative_to(ROOT))
    if place.startswith(EAGER_ROOMS):
        return
    heavy = [f"{place}:{line} {name}" for line, name in imports(path, top_only=True) if name.split(".")[0] in LAZY]
    assert not heavy


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_says_what_it_is(path):
    """Each file opens with a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


def test_no_public_name_is_hidden_by_a_module() -> None:
    """Importing a module sets its name on the package, so none may be called as a public function or class is."""
    import edge_lstm

    modules = {path.stem for path in (ROOT / "edge_lstm").iterdir()}
    assert not modules.intersection(edge_lstm.__all__)
