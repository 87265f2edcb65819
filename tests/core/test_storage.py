"""The model file: what is saved is loaded; whatever else is in a file is a clear error."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import edge_lstm
from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel, channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.timing import Timing
from edge_lstm.engines.native.session import layout_of
from edge_lstm.errors import ModelFileError
from tests.support.models.nets import CELLS, network, readings
from tests.support.models.quantized_nets import SCHEMES, quantized_network

VECTORS = Path(__file__).parents[1] / "vectors" / "models_0_1"


@pytest.mark.parametrize("kind", CELLS)
def test_a_loaded_model_is_the_saved_one(kind, tmp_path):
    """Everything comes back: channels, rate, window, provenance, digest, and the bits of what it computes."""
    program = network(kind, layers=2).program
    saved = Model(
        program,
        tuple(Channel(f"in{k}", "m/s²", scale=0.1 * (k + 1), offset=-k) for k in range(8)),
        (Channel("état", vocabulary=("a", "b", "c")), Channel("y")),
        rate_hz=200.0,
        timing=Timing.over_window(5),
        provenance={"source": "x.onnx", "nodes": ["a", "b"]},
        name="gait",
    )
    saved_path = tmp_path / "gait.npz"
    edge_lstm.save(saved, saved_path)
    loaded = edge_lstm.load(saved_path)
    for field in ("inputs", "outputs", "rate_hz", "timing", "provenance", "name", "digest"):
        assert getattr(loaded, field) == getattr(saved, field)
    xs = readings(20, 8)
    assert loaded.stream().run(xs).tobytes() == saved.stream().run(xs).tobytes()
    assert [p.name for p in tmp_path.iterdir()] == ["gait.npz"]


def test_every_operation_kind_survives_the_file(tmp_path):
    """A program with each kind of operation computes the same bits after saving and loading, infinite bounds
    included."""
    b = Builder()
    x, h = b.input("x", 6), b.state("h", 6, np.arange(6))
    y = b.binary("add", b.map("clip", x, alpha=-1.0, beta=float("inf")), b.constant(np.arange(6)))
    y = b.binary("mul", b.take(y.elements[::-1]), b.reduce("mean", h))
    b.next(h, b.softmax(y, rows=2))
    b.output("y", y)
    model = Model(b.build(), tuple(Channel(f"x{k}") for k in range(6)), tuple(Channel(f"y{k}") for k in range(6)))
    edge_lstm.save(model, tmp_path / "m.npz")
    xs = readings(10, 6)
    assert edge_lstm.load(tmp_path / "m.npz").stream().run(xs).tobytes() == model.stream().run(xs).tobytes()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_integers_survive_the_file(scheme, tmp_path):
    """A quantized model is as many bytes smaller as its weights are, and computes the same bits after loading."""
    model = quantized_network("gru", scheme, units=64)
    edge_lstm.save(model, tmp_path / "q.npz")
    edge_lstm.save(network("gru", units=64), tmp_path / "f.npz")
    xs = readings(10, 8)
    loaded = edge_lstm.load(tmp_path / "q.npz")
    assert loaded.digest == model.digest
    assert loaded.stream().run(xs).tobytes() == model.stream().run(xs).tobytes()
    sizes = [(tmp_path / name).stat().st_size for name in ("q.npz", "f.npz")]
    assert sizes[0] < sizes[1] - 2.5 * model.program.multiply_adds


def test_weights_that_operations_share_stand_once_in_file_and_memory(tmp_path):
    """A program that uses the same arrays in several operations is as small as one that uses them once."""
    w, bias, sizes = np.ones((64, 64), np.float32), np.ones(64, np.float32), {}
    for times in (1, 8):
        b = Builder()
        y = b.input("x", 64)
        for _ in range(times):
            y = b.map("tanh", b.dense(y, W=w, b=bias))
        b.output("y", y)
        model = Model(
            b.build(), channels_for(("x",), (64,)), channels_for(("y",), (64,)), timing=Timing(first_output=2)
        )
        edge_lstm.save(model, tmp_path / f"{times}.npz")
        loaded = edge_lstm.load(tmp_path / f"{times}.npz")
        assert (loaded.digest, loaded.timing.first_output) == (model.digest, 2)
        sizes[times] = (layout_of(loaded, 8).weights.size, (tmp_path / f"{times}.npz").stat().st_size)
    assert sizes[8][0] < 1.2 * sizes[1][0]
    assert sizes[8][1] < 1.5 * sizes[1][1]


def test_the_digest_is_of_what_is_computed():
    """Another weight, channel scale or window changes the digest; another name or provenance does not."""
    base = network(seed=1)
    same = Model(base.program, base.inputs, base.outputs, provenance={"source": "elsewhere"}, name="other")
    windowed = Model(base.program, base.inputs, base.outputs, timing=Timing.over_window(3))
    scaled = Model(base.program, (Channel("x[0]", scale=2.0), *base.inputs[1:]), base.outputs)
    assert base.digest == same.digest
    assert len({base.digest, windowed.digest, scaled.digest, network(seed=2).digest}) == 4


@pytest.fixture
def content(tmp_path):
    """The bytes of a good model file."""
    edge_lstm.save(network(), tmp_path / "good.npz")
    return (tmp_path / "good.npz").read_bytes()


def refused(tmp_path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message) as caught:
        edge_lstm.load(path)
    assert str(path) in str(caught.value)


def rewritten(content: bytes, **entries: bytes | None) -> bytes:
    """The same archive with entries replaced, added (name → bytes) or left out (None)."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            if name not in entries:
                new.writestr(name, old.read(name))
        for name, value in entries.items():
            if value is not None:
                new.writestr(name, value)
    return out.getvalue()


def array_bytes(array) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asarray(array), allow_pickle=True)
    return out.getvalue()


def with_header(content: bytes, change) -> bytes:
    header = json.loads(np.load(io.BytesIO(content))["edge_lstm.json"].tobytes())
    change(header)
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    return rewritten(content, **{"edge_lstm.json.npy": array_bytes(text)})


def test_files_of_other_kinds_are_refused_with_the_way_out(tmp_path, content):
    """Missing, empty, foreign, a folder, weights of PyTorch, a newer format: each has its own sentence."""
    with pytest.raises(ModelFileError, match=r"nowhere\.npz: cannot be read: No such file"):
        edge_lstm.load(tmp_path / "nowhere.npz")
    with pytest.raises(ModelFileError, match="cannot be read: Is a directory"):
        edge_lstm.load(tmp_path)
    refused(tmp_path, b"", "empty")
    refused(tmp_path, b"hello world" * 100, "not a model file")
    out = io.BytesIO()
    np.savez(out, weight=np.zeros(3))
    refused(tmp_path, out.getvalue(), "edge-lstm import")
    refused(tmp_path, with_header(content, lambda h: h.update(format=3)), "newer edge-lstm.*upgrade")
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08")
    with pytest.raises(ModelFileError, match="edge-lstm import"):
        edge_lstm.load(tmp_path / "m.onnx")


def test_arrays_that_are_missing_foreign_or_not_numbers_are_refused(tmp_path, content):
    """An array left out, added, pickled or of another shape is an error, and no pickle is ever opened."""
    refused(tmp_path, rewritten(content, **{"1.npy": None}), "does not belong to the file")
    refused(
        tmp_path,
        rewritten(content, **{"extra.npy": array_bytes(np.zeros(2))}),
        "does not belong to the file",
    )
    refused(tmp_path, rewritten(content, **{"0.npy": array_bytes(np.array([print], object))}), "not numbers")
    refused(tmp_path, rewritten(content, **{"0.npy": array_bytes(np.zeros(3, np.float32))}), "program is broken")
    damaged = array_bytes(np.zeros(16, np.float32)).replace(b"(16,)", b"(99,)")
    refused(tmp_path, rewritten(content, **{"0.npy": damaged}), "size does not match")
    last = len(zipfile.ZipFile(io.BytesIO(content)).namelist()) - 1
    refused(tmp_path, rewritten(content, **{f"{last}.npy": array_bytes(np.zeros(2))}), "is used by nothing")


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.pop("program"),
        lambda h: h.update(inputs=3),
        lambda h: h.update(rate_hz="fast"),
        lambda h: h["timing"].update(window=-1),
        lambda h: h["timing"].update(window=3.0),
        lambda h: h["timing"].update(mode="window", window=1 << 20, first_output=1 << 20),
        lambda h: h["timing"].update(first_output=2.5),
        lambda h: h["timing"].update(axes={"linear_before_reset": True}),
        lambda h: h.update(format=0),
        lambda h: h.update(format=True),
        lambda h: h.update(provenance=[["source", "x.onnx"]]),
        lambda h: h.update(name="\x1b]0;"),
        lambda h: h["inputs"][0].update(scale=1e-50),
        lambda h: h["inputs"][0].update(offset=1e300),
        lambda h: h["inputs"].pop(),
        lambda h: h["inputs"][0].update(scale="two"),
        lambda h: h["program"].update(arena_size=None),
        lambda h: h["program"].update(arena_size=1 << 60),
        lambda h: h["program"]["operations"][0].update(kind=["lstm"]),
        lambda h: h["program"]["operations"][0].update(inputs=[[0, 1.5]]),
        lambda h: h["program"]["operations"][0]["weights"].update(W=-1),
        lambda h: h["program"]["operations"].pop(),
        lambda h: h.update(digest="0" * 64),
        lambda h: h["inputs"][0].update(offset=1.0),
    ],
)
def test_a_header_that_was_tampered_with_is_refused(change, tmp_path, content):
    """Any change to the header is a ModelFileError, never another exception and never a model."""
    refused(tmp_path, with_header(content, change), "bad.npz: .")


def test_a_key_that_this_version_does_not_know_is_refused_by_name(tmp_path, content):
    """What a later version adds to the header may decide what is computed: it is never left out in silence."""
    refused(tmp_path, with_header(content, lambda h: h.update(ensemble=3)), "bad.npz: .*'ensemble'")


def test_a_mode_that_contradicts_the_graph_is_refused(tmp_path):
    """The mode is not in the digest: a graph that reads whole logs from the end is never run reading by reading, and
    one with states never as a whole log."""
    for name, mode in (("onnx_log", "continuous"), ("onnx_step", "log")):
        edge_lstm.save(edge_lstm.load(VECTORS / f"{name}.npz"), tmp_path / "good.npz")
        good = (tmp_path / "good.npz").read_bytes()
        changed = with_header(good, lambda h, mode=mode: h["timing"].update(mode=mode))
        refused(tmp_path, changed, f"bad.npz: model .*the timing is {mode!r}")


@pytest.mark.parametrize(("cuts", "changes"), [(50, 500), pytest.param(200, 2000, marks=pytest.mark.long)])
def test_a_file_cut_or_changed_anywhere_is_refused(tmp_path, content, cuts, changes):
    """Cut at any of these places or with any of these bytes changed, a file is refused or is still exactly the same
    model."""
    random, digest = np.random.default_rng(0), network().digest
    variants = [content[:n] for n in np.linspace(0, len(content) - 1, cuts, dtype=int)]
    for place in random.integers(0, len(content), changes):
        variants.append(content[:place] + bytes([content[place] ^ random.integers(1, 256)]) + content[place + 1 :])
    path, kept = tmp_path / "bad.npz", 0
    for variant in variants:
        path.write_bytes(variant)
        try:
            kept += edge_lstm.load(path).digest == digest
        except ModelFileError:
            continue
    assert kept < changes / 10  # a changed time stamp in the archive changes nothing


def test_saving_is_whole_or_not_at_all(tmp_path, monkeypatch):
    """Where the disk is full the old file is still there, unchanged, and no partial one beside it."""
    import os

    path = tmp_path / "m.npz"
    edge_lstm.save(network(seed=1), path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelFileError, match="No space left"):
        edge_lstm.save(network(seed=2), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.npz"]


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_a_device_is_written_to_and_not_replaced(tmp_path):
    """/dev/full stands for a disk without room: an error that names it, and it is still a device; a link to a file
    stays a link."""
    model = network("lstm")
    with pytest.raises(ModelFileError, match=r"^/dev/full: cannot be written: No space left on device$"):
        edge_lstm.save(model, "/dev/full")
    assert Path("/dev/full").is_char_device()
    (tmp_path / "link.npz").symlink_to(tmp_path / "file.npz")
    edge_lstm.save(model, tmp_path / "link.npz")
    assert (tmp_path / "link.npz").is_symlink()
    assert edge_lstm.load(tmp_path / "file.npz").digest == model.digest


def test_saving_into_a_folder_that_is_not_there_says_so(tmp_path):
    """The error names the file and the reason."""
    with pytest.raises(ModelFileError, match=r"m\.npz: cannot be written: No such file or directory"):
        edge_lstm.save(network(), tmp_path / "nowhere" / "m.npz")


def test_a_header_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    """A hundred megabytes of JSON would be gigabytes of objects: refused by its size."""
    text = np.frombuffer(b"[" + b"0," * (20 << 20) + b"0]", np.uint8)
    np.savez(tmp_path / "m.npz", **{"edge_lstm.json": text})
    with pytest.raises(ModelFileError, match="its header has more than 33554432 bytes"):
        edge_lstm.load(tmp_path / "m.npz")
