"""FILE.md is held to the model file: the same keys and kinds in both, and a digest by what the page says alone."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.core import storage
from edge_lstm.core.axes import GraphAxes, InputAxes, OutputAxes
from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel
from edge_lstm.core.feedback import Feedback, Policy
from edge_lstm.core.model import Model
from edge_lstm.core.operations import KINDS
from edge_lstm.core.timing import Timing
from tests.support.models.nets import network

PAGE = (Path(storage.__file__).parent / "FILE.md").read_text()
NAMED = ("timing.axes.inputs", "timing.axes.outputs")  # keys are names there
FREE = (
    "provenance",
    "timing.axes.states",
    "timing.axes.constants",
    "timing.axes.sizes",
)  # and here; and what is below is not ours
FREE_OF_OPERATIONS = ("program.operations[].weights", "program.operations[].attributes")


def sections() -> dict[str, str]:
    """Heading → text of the page's parts."""
    parts = re.split(r"(?m)^##+ (.*)\n", PAGE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def keys_of(text: str) -> set[str]:
    """The first column of a part's tables, as far as it is in `code`."""
    return set(re.findall(r"(?m)^\| `([^`]+)` \|", text))


def everything() -> Model:
    """A model whose file has every key there is."""
    b = Builder()
    x, h = b.input("x", 3), b.state("h", 3, [1.0, 2.0, 3.0])
    y = b.binary("add", b.binary("mul", x, h), b.constant([0.5, 0.25, 0.125]))
    b.next(h, b.map("tanh", y))
    b.output("y", y)
    axes = GraphAxes(
        {"x": InputAxes(0, 1)},
        {"y": OutputAxes(0, 1, 2, 3)},
        {"h": "h'"},
        ("z",),
        {"sr": 16000},
        linear_before_reset=1,
        sizes={"x[2]": 3},
    )
    channels = tuple(Channel(name, "m/s²", 2.0, -1.0) for name in ("a", "b", "c"))
    timing = Timing(first_output=2, stride=3, delay=1, axes=axes)
    feedback, policy = (Feedback("a", "a"),), Policy("hold", 7)
    return Model(b.build(), channels, channels, 200.0, timing, {"source": "x"}, "é", feedback, policy)


def keys(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(section of the page, key) of everything below a JSON value."""
    if isinstance(tree, list):
        for item in tree:
            yield from keys(item, f"{path}[]")
    elif isinstance(tree, Mapping) and path not in (*FREE, *FREE_OF_OPERATIONS):
        for key, value in tree.items():
            below = f"{path}.NAME" if path in NAMED else f"{path}.{key}".lstrip(".")
            if path not in NAMED:
                yield path or "header", key
            yield from keys(value, below)


def opened(model: Model) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Header and arrays of a model's file, read with a zip reader and NumPy."""
    with zipfile.ZipFile(io.BytesIO(storage.content(model))) as archive:
        count = len(archive.namelist()) - 1
        header, *arrays = (
            np.load(io.BytesIO(archive.read(f"{name}.npy"))) for name in ("edge_lstm.json", *map(str, range(count)))
        )
    return json.loads(header.tobytes()), arrays


def test_every_key_of_a_file_is_on_the_page_and_no_other() -> None:
    """The header of a model that has everything, down to the last key, beside the tables of the page."""
    found: dict[str, set[str]] = {}
    for section, key in keys(opened(everything())[0]):
        found.setdefault(section, set()).add(key)
    assert found.pop("outputs[]") == found["inputs[]"]
    found["inputs[]` and `outputs[]"] = found.pop("inputs[]")
    on_page = {heading.strip("`"): keys_of(text) for heading, text in sections().items() if heading.startswith("`")}
    assert found == on_page


def test_the_kinds_on_the_page_are_those_of_programs() -> None:
    """Each kind of operation with its attributes."""
    rows = re.findall(r"(?m)^\| `(\w+)` \|.*\| ([^|]*)\|$", sections()["Kinds"])
    on_page = {name: set(re.findall(r"`(\w+)`", attributes)) for name, attributes in rows}
    assert on_page == {name: set(kind.attributes) for name, kind in KINDS.items()}


def test_the_limits_on_the_page_are_the_code_s() -> None:
    """Bytes and members; how large an arena and a window may be is tested beside the program."""
    assert (storage.MAX_BYTES, storage._MAX_ARRAYS) == (2**30, 65_536)
    assert "| bytes of all arrays | 2^30 |" in PAGE
    assert "| members of the archive | 65,536 |" in PAGE
    assert f"# The model file, format {storage.FORMAT}\n" in PAGE


def digest(header: Mapping[str, Any], arrays: list[np.ndarray]) -> str:
    """By the page's words, from what stands in the file."""
    timing = header["timing"]
    windowed = timing["mode"] == "window"
    found = {"format": 1, "window": timing["window"] if windowed else None}
    found |= {key: header[key] for key in ("rate_hz", "inputs", "outputs", "program")}
    found |= {key: header[key] for key in ("feedback", "policy") if key in header}
    if not windowed and (timing["first_output"], timing["stride"]) != (1, 1):
        found |= {"ready": timing["first_output"], "every": timing["stride"]}
    if timing["before_window"] != "wait":
        found |= {"before_window": timing["before_window"]}
    sha = hashlib.sha256(json.dumps(found, sort_keys=True).encode())
    for array in arrays:
        sha.update(str((array.dtype.str, array.shape)).encode() + array.tobytes())
    return sha.hexdigest()


@pytest.mark.parametrize(
    "model",
    [
        everything(),
        network("gru"),
        replace(network("lstm"), timing=Timing.over_window(5)),
        replace(network("rnn"), timing=Timing.over_window(5, "zeros")),
        replace(network("lstm"), timing=Timing.over_window(5, whole=True)),
    ],
    ids=["everything", "continuous", "window", "zeros before", "whole window"],
)
def test_the_digest_is_what_the_page_says(model: Model) -> None:
    """Somebody who has the page and not this package comes to the digest in the file."""
    header, arrays = opened(model)
    assert digest(header, arrays) == header["digest"]


def test_format_1_had_the_keys_of_the_page(tmp_path: Path) -> None:
    """A file of format 1 (a model in a recording of 0.1) has those keys in place of `timing`, and no others."""
    from firmware_bridge.recordings.reader import open_recording

    recordings = sorted((Path(__file__).parents[1] / "vectors" / "recordings").glob("*.mcap"))
    old = np.load(io.BytesIO(open_recording(recordings[0]).attachments["model.npz"]))
    header = json.loads(old["edge_lstm.json"].tobytes())
    assert header["format"] == 1
    instead = keys_of(sections()["Format 1"])
    assert instead == {"window", "ready", "every", "before_window"}
    assert set(header) <= (keys_of(sections()["`header`"]) - {"timing"}) | instead
