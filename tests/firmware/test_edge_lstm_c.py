"""The C machine against the compiled one: the same bits, whatever the model, the compiler and its optimization."""

from __future__ import annotations

import ctypes
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

from edge_lstm.cli import main
from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import channels_for
from edge_lstm.core.feedback import Policy
from edge_lstm.core.model import Model
from edge_lstm.core.operation import padded
from edge_lstm.core.storage import describe, save
from edge_lstm.engines.native.kernels import abi
from edge_lstm.engines.native.layout import lay_out
from edge_lstm.engines.native.session import Native
from edge_lstm.errors import ProgramError, StateError
from edge_lstm.firmware import export as firmware
from edge_lstm.firmware.export import vector_readings
from edge_lstm.firmware.table import BINARIES, FIELDS, INSTRUCTIONS, MAPS, REDUCTIONS
from edge_lstm.streams.stream import Stream
from tests.support.models.every_operation import models
from tests.support.models.half_nets import halved
from tests.support.models.nets import network, readings
from tests.support.models.quantized_nets import SCHEMES, Integers, cell, quantized_network
from tests.support.robots.toolchain import HERE, SANITIZE, SOURCES, compile_c, need, run

STEPS = 10_000
MODELS = models()
COMPILERS = [
    ("gcc", "-O2"),
    *(pytest.param(*other, marks=pytest.mark.long) for other in (("gcc", "-O0"), ("gcc", "-O3"), ("clang", "-O0"))),
    ("clang", "-O2"),
]


def write_models(folder: Path, chosen: list[Model]) -> None:
    """models.h: the headers, the table MODELS and an arena for the largest."""
    names = [f"M{k}" for k in range(len(chosen))]
    for name, model in zip(names, chosen, strict=True):
        (folder / f"{name}.h").write_text(firmware.firmware(model, name).text)
    lines = [f'#include "{name}.h"' for name in names]
    lines.append(f"static const edge_lstm_model *const MODELS[] = {{{', '.join(f'&{name}' for name in names)}}};")
    lines.append(f"static union {{ float {'; float '.join(f'a{n}[{n}_ARENA]' for n in names)}; }} whole;")
    lines.append("static float *const arena = whole.aM0;")
    (folder / "models.h").write_text("\n".join([*lines, ""]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the headers of all models are."""
    path = tmp_path_factory.mktemp("models")
    write_models(path, MODELS)
    return path


def build(folder: Path, compiler: str, *flags: str) -> ctypes.CDLL:
    """The C machine with all models, as a shared library; made once for each folder."""
    sources = [SOURCES / "edge_lstm.c", HERE / "lstm_shim.c"]
    path = folder / f"{'-'.join((compiler, *flags))}.so"
    if not path.exists():
        compile_c(compiler, path, sources, "-shared", "-fPIC", *flags)
    return ctypes.CDLL(str(path))


def c_run(
    library: ctypes.CDLL, number: int, xs: npt.NDArray[np.float32], outputs: int = 0
) -> tuple[npt.NDArray[np.float32], list[int]]:
    """Outputs and statuses from the reset state; NaN where there is no output."""
    ys = np.full((len(xs), outputs or MODELS[number].program.output_size), np.nan, np.float32)
    statuses = np.zeros(len(xs), np.int32)
    library.shim_begin(number)
    library.shim_run(*(ctypes.c_void_p(a.ctypes.data) for a in (xs, ys, statuses)), len(xs))
    return ys, statuses.tolist()


def bits(values: npt.NDArray[np.float32]) -> bytes:
    """As bytes, every NaN being the same NaN: its payload and sign are the processor's, not ours."""
    return np.where(np.isnan(values), np.float32(np.nan), values).tobytes()


def log_of(model: Model) -> npt.NDArray[np.float32]:
    """Readings of every size: as the network expects them, large, and all finite bit patterns."""
    size = model.program.input_size
    usual = vector_readings(model, STEPS)
    strange = np.random.default_rng(1).integers(0, 2**32, (STEPS, size), np.uint32).view(np.float32)
    strange = np.where(np.isfinite(strange), strange, np.float32(0))
    which = np.arange(STEPS)[:, None] % 4
    share = strange if not model.program.states or model.name == "all shapes" else usual
    return np.ascontiguousarray(np.where(which == 3, share, np.where(which == 2, 10 * usual, usual)).astype(np.float32))


@pytest.fixture(scope="module")
def expected() -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """(readings, outputs of the compiled machine) of each model."""
    logs = [log_of(model) for model in MODELS]
    return [(xs, model.stream().run(xs)) for model, xs in zip(MODELS, logs, strict=True)]


@pytest.mark.parametrize(("compiler", "level"), COMPILERS)
def test_c_computes_the_same_bits(folder, expected, compiler, level):
    """Ten thousand readings of each of 33 models, among them every operation and function, and every quantized layer in
    every scheme: equal bits."""
    library = build(folder, compiler, level)
    assert all(np.isfinite(ys).mean() > 0.3 and len(np.unique(ys)) > 100 for _, ys in expected)
    for number, (xs, ys) in enumerate(expected):
        got, statuses = c_run(library, number, xs)
        assert statuses == np.isnan(ys).all(axis=1).astype(int).tolist()  # a row without an output is NaN in Python
        assert bits(got) == bits(ys), f"{MODELS[number].name} with {compiler} {level}"


def test_the_bits_do_not_depend_on_contraction_being_off(folder, expected):
    """A build that allows the compiler to fuse products and sums (Arduino's default) gets the same bits, on a CPU that
    can fuse."""
    if "fma" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this CPU has no FMA")
    library = build(folder, "gcc", "-O3", "-mfma", "-ffp-contract=fast")
    for number, (xs, ys) in enumerate(expected):
        assert bits(c_run(library, number, xs)[0]) == bits(ys), MODELS[number].name


@pytest.mark.parametrize("compiler", ["gcc", pytest.param("clang", marks=pytest.mark.long)])
def test_nothing_undefined_happens_whatever_the_readings(folder, compiler):
    """Address and undefined-behaviour sanitizers find nothing in any model, also on readings of arbitrary bits."""
    sources = [SOURCES / "edge_lstm.c", HERE / "lstm_shim.c"]
    run(compile_c(compiler, folder / f"sanitized-{compiler}", sources, "-DSTANDALONE", *SANITIZE))


def test_fast_math_is_refused(tmp_path):
    """A build with -ffast-math ends with a sentence, not with other bits."""
    need("gcc")
    with pytest.raises(AssertionError, match="must not be compiled with -ffast-math"):
        compile_c("gcc", tmp_path / "o", [SOURCES / "edge_lstm.c"], "-c", "-ffast-math")


def test_the_selftest_passes_and_notices_a_changed_weight(folder, tmp_path):
    """edge_lstm_selftest is 0 for every model as exported, and not 0 when one bit of one weight is another."""
    library = build(folder, "gcc", "-O2")
    for number in range(len(MODELS)):
        library.shim_begin(number)
        assert library.shim_selftest() == 0, MODELS[number].name
    write_models(tmp_path, MODELS[:1])
    header = tmp_path / "M0.h"
    text = header.read_text()
    before, weights = text.split("m0_weights[] = {", 1)
    weights = re.sub(r"(0x1\.[0-9a-f]{4})([0-9a-f])", lambda m: f"{m[1]}{int(m[2], 16) ^ 1:x}", weights, count=1)
    header.write_text(f"{before}m0_weights[] = {{{weights}")
    assert header.read_text() != text
    changed = build(tmp_path, "gcc", "-O2")
    changed.shim_begin(0)
    assert changed.shim_selftest() != 0


def test_an_index_without_a_row_is_refused(tmp_path):
    """A lookup beyond its table is status 4 in C, as it is an error in Python; the next reading goes on."""
    b = Builder()
    x = b.input("x", 1)
    b.output("y", b.lookup(x, [[1.0, 2.0], [3.0, 4.0]]))
    model = Model(b.build(), channels_for(("x",), (1,)), channels_for(("y",), (2,)), name="lookup")
    write_models(tmp_path, [model])
    library = build(tmp_path, "gcc", "-O2")
    ys, statuses = c_run(library, 0, np.array([[0], [1.9], [2], [-1], [-0.5]], np.float32), outputs=2)
    assert statuses == [0, 0, 4, 4, 0]
    np.testing.assert_array_equal(ys[[0, 1, 4]], [[1, 2], [3, 4], [1, 2]])


def overflowing(scheme: str) -> Model:
    """A quantized layer behind an activation that overflows."""
    b, w = Builder(), Integers(scheme, 1, 6)
    x = b.input("x", 6)
    y = cell(b, "lstm", b.map("exp", x), 6, w, "lstm")
    b.output("y", b.quantized_dense(y, scheme=scheme, weights=w(2, 6, None, "b")))
    return Model(b.build(), channels_for(("x",), (6,)), channels_for(("y",), (2,)), name=f"overflows, {scheme}")


def test_what_cannot_become_an_integer_is_refused(tmp_path):
    """An activation that overflows before a quantized layer, of every scheme, is status 3 in C, as it is an error in
    Python, and what comes afterwards is as if the reading had never come."""
    chosen = [overflowing(scheme) for scheme in ("int8", "int16", "int8-dynamic")]
    write_models(tmp_path, chosen)
    library = build(tmp_path, "gcc", "-O2")
    xs = readings(9, 6, seed=4)
    xs[3, 5] = 89.0  # exp is beyond float32
    for number, model in enumerate(chosen):
        ys, statuses = c_run(library, number, xs, outputs=2)
        assert statuses == [0, 0, 0, 3, 0, 0, 0, 0, 0], model.name
        stream = model.stream()
        with pytest.raises(StateError):
            stream.run(xs)
        assert bits(np.delete(ys, 3, axis=0)) == bits(model.stream().run(np.delete(xs, 3, axis=0))), model.name


def test_float16_takes_half_of_the_flash():
    """Of 128 units; nothing of the arena."""
    model = network("lstm", 11, 128, 4)
    whole, small = firmware.firmware(model), firmware.firmware(halved(model))
    assert small.flash_bytes < 0.51 * whole.flash_bytes
    assert small.arena_bytes == whole.arena_bytes
    assert small.multiply_adds == whole.multiply_adds
    assert small.cycles > whole.cycles


def test_int8_takes_a_quarter_of_the_flash():
    """Of 128 units, weights as int8 with their scales take little more than a quarter; the arena grows by less."""
    whole = firmware.firmware(network("lstm", 11, 128, 4))
    small = firmware.firmware(quantized_network("lstm", "int8", 11, 128, 4))
    assert small.flash_bytes < 0.28 * whole.flash_bytes
    assert small.arena_bytes < 1.3 * whole.arena_bytes
    assert small.cycles < 0.6 * whole.cycles


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_exported_arena_holds_what_c_touches(scheme):
    """The arena of a quantized model is the program's, the slots of the channels' scaling, and C's own scratch; weights
    for another machine are not even made."""
    model = quantized_network("gru", scheme, 7, 21, 3)
    scaled = replace(model, inputs=tuple(replace(c, scale=2.0) for c in model.inputs))
    scratch = 0 if scheme == "int8-weights" else (8 + 24) // 2  # x and h in whole words, as int16
    if scheme == "int8-dynamic":
        scratch = 2 * 24 // 2  # the head's x, and once more, finer
    program = model.program.arena_size
    assert firmware.firmware(model).arena_bytes == 4 * (program + scratch)
    assert firmware.firmware(scaled).arena_bytes == 4 * (program + 4 * padded(7) + scratch)
    assert lay_out(model, 1).weights.size == 1


def test_c_and_python_refuse_the_same_steps(tmp_path):
    """Of an LSTM whose c' alone is kept, an h' that is no number refuses no step, neither in C nor in Python."""
    b = Builder()
    x = b.dense(b.input("x", 1), W=[[3e38], [3e38]], b=[0.0, 0.0])
    c = b.state("c", 1)
    w = np.ones((4, 2), np.float32)
    w[3] = [1, -1]  # o: infinity - infinity
    _, c_next = b.lstm(x, b.constant([0.0]), c, W=w, R=np.zeros((4, 1)), b=np.zeros(4))
    b.next(c, c_next)
    b.output("c", c_next)
    model = Model(b.build(), channels_for(("x",), (1,)), channels_for(("c",), (1,)), name="c alone")
    write_models(tmp_path, [model])
    xs = np.array([[0.1], [2.0], [0.1]], np.float32)
    ys, statuses = c_run(build(tmp_path, "gcc", "-O2"), 0, xs, outputs=1)
    assert statuses == [0, 0, 0]
    for lanes in (4, 8, 16):
        assert bits(Stream(model, Native(lanes)).run(xs)) == bits(ys)


def test_feedback_and_policy_are_noted():
    """What a model declares for forecasts and missing readings is no secret that the header drops."""
    model = replace(network(), policy=Policy(missing="hold"))
    assert firmware.firmware(model).notes == (
        "the model's policy stays on the host: the board refuses an incomplete reading",
    )
    assert firmware.firmware(network()).notes == ()


def test_a_bad_reading_changes_nothing(folder):
    """NaN or infinity in a reading is status 2, and the outputs afterwards are as if it had never come."""
    library = build(folder, "gcc", "-O2")
    xs = readings(50, 8, seed=3)
    with_bad = np.insert(xs, 20, np.full(8, np.nan, np.float32), axis=0)
    with_bad = np.insert(with_bad, 30, np.array([1, 2, 3, np.inf, 5, 6, 7, 8], np.float32), axis=0)
    ys, statuses = c_run(library, 0, np.ascontiguousarray(with_bad))
    assert [k for k, status in enumerate(statuses) if status == 2] == [20, 30]
    assert bits(np.delete(ys, [20, 30], axis=0)) == bits(MODELS[0].stream().run(xs))


def test_c_has_the_numbers_that_the_exporter_writes():
    """The enums in edge_lstm.h are the exporter's tuples, and these name what the machine has today."""
    text = (SOURCES / "edge_lstm.h").read_text()
    names = {
        kind: re.findall(r"EDGE_LSTM_([A-Z_]+)", re.sub(r"/\*.*?\*/", "", body, flags=re.S))
        for body, kind in re.findall(r"typedef enum \{([^}]*)\} edge_lstm_(\w+);", text)
    }
    assert tuple(names["kind"]) == INSTRUCTIONS
    assert tuple(name.lower() for name in names["map"]) == MAPS
    assert tuple(name.lower() for name in names["binary"]) == BINARIES
    assert tuple(name.lower() for name in names["reduce"]) == tuple(f"row_{name}" for name in REDUCTIONS)
    assert re.search(r"uint32_t ([a-z, ]+);\n\} edge_lstm_row", text)[1].upper().split(", ") == list(FIELDS)
    assert set(MAPS) <= set(abi.MAP_CODES)
    tested = {op.kind for model in MODELS for op in model.program.operations}
    assert tested == {row.lower() for row in INSTRUCTIONS} - {"input", "check", "commit", "output"}


def test_what_c_lacks_is_refused_by_name(monkeypatch):
    """An operation or a function that C has not is a sentence with its number, kind and name; nothing is exported."""
    model = network()
    strange = replace(model.program.operations[1], kind="convolution", name="head")
    program = object.__new__(type(model.program))  # as a later version's checked program would be
    vars(program).update(vars(model.program), operations=(model.program.operations[0], strange))
    later = object.__new__(Model)
    vars(later).update(vars(model), program=program)
    with pytest.raises(
        ProgramError, match=r"operation 1 \(convolution head\) is not in the C runtime, which has lstm, gru"
    ):
        firmware.firmware(later)
    header, arrays = describe(model)
    monkeypatch.setattr(firmware, "describe", lambda model: ({**header, "moon": 1}, arrays))
    with pytest.raises(ProgramError, match="has moon, which the C runtime does not know"):
        firmware.firmware(model)
    monkeypatch.undo()
    operation = replace(model.program.operations[1], kind="map", name="", attributes={"function": "gamma"})
    vars(program).update(operations=(operation,))
    with pytest.raises(
        ProgramError, match=r"operation 0 \(map\): 'gamma' is not in the C runtime, which has identity, tanh"
    ):
        firmware.firmware(later)


def test_the_command_writes_a_header_that_compiles(tmp_path):
    """`edge-lstm firmware model.npz -o net.h` tells what it costs; the header holds the digest and compiles."""
    from edge_lstm.cli.firmware import command

    model = replace(network("gru", 3, 5, 2), name='42 "odd" */ name')
    save(model, tmp_path / "model.npz")
    done = CliRunner().invoke(command, [str(tmp_path / "model.npz"), "-o", str(tmp_path / "net.h")])
    assert done.exit_code == 0, done.output
    assert "MODEL_42_ODD_NAME" in done.output
    assert "an estimate, not a measurement" in done.output
    text = (tmp_path / "net.h").read_text()
    assert model.digest in text
    (tmp_path / "main.c").write_text(
        '#include "net.h"\nint main(void) { static float a[MODEL_42_ODD_NAME_ARENA], x[3], y[2]; edge_lstm_stream s;'
        " edge_lstm_begin(&s, &MODEL_42_ODD_NAME, a); return edge_lstm_selftest(&s, x, y); }\n"
    )
    run(compile_c("gcc", tmp_path / "main", [SOURCES / "edge_lstm.c", tmp_path / "main.c"]))


def test_the_program_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """c/README.md: its ten lines of C, its export and its line of gcc make a program that has Python's bits."""
    need("gcc")
    page = (SOURCES / "README.md").read_text()
    (program,) = re.findall(r"(?s)### On a PC first.*?```c\n(.*?)```", page)
    export, compiled = re.findall(r"(?m)^    (edge-lstm firmware model.npz .*|gcc .*main.c.*)$", page)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "main.c").write_text(program)
    for file in ("edge_lstm.c", "edge_lstm.h"):
        (tmp_path / file).write_text((SOURCES / file).read_text())
    model, xs = network(), readings(50, 8)
    save(model, tmp_path / "model.npz")
    assert main(export.split()[1:]) == 0
    subprocess.run(compiled.split(), check=True, timeout=60)
    given = "\n".join(" ".join(map(repr, row)) for row in xs.tolist())
    printed = subprocess.run(["./model"], input=given, capture_output=True, text=True, check=True, timeout=60).stdout
    ys = np.array([[float(text) for text in line.split()] for line in printed.splitlines()], np.float32)
    assert ys.tobytes() == model.stream().run(xs).tobytes()
