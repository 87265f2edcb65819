"""The benchmark beside other runtimes goes on where one of them computes something else, and keeps what other kinds of
CPU gave. No figure is judged here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.bench import aims, measure, page, peers
from tools.bench.network import Contender, Network


def test_a_peer_that_computes_something_else_is_named_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its name, with how far it is off, apart from those that are timed; what it gives as NaN counts as infinitely far.
    Ours may not be wrong."""
    ours, network = peers.FACTORIES[peers.OURS], Network.random(8)

    def off(by: float):
        def make(network: Network, folder: Path, streams: int) -> Contender:
            right = ours(network, folder, streams)
            return Contender(lambda x: right.step(x) + np.float32(by), right.reset)

        return make

    monkeypatch.setattr(peers, "FACTORIES", {peers.OURS: ours, "peer": off(0.0), "half": off(0.5), "nan": off(np.nan)})
    made = peers.contenders(network, tmp_path, 4)
    assert set(made.found) == {peers.OURS, "peer"}
    assert made.wrong == {"half": pytest.approx(0.5, abs=1e-4), "nan": np.inf}
    monkeypatch.setattr(peers, "FACTORIES", {peers.OURS: off(0.5)})
    with pytest.raises(SystemExit, match="edge-lstm differs from float64 by"):
        peers.contenders(network, tmp_path, 4)


def test_every_number_of_lanes_has_a_row():
    """4, 8 and 16 lanes beside what suits this CPU."""
    found = measure.lanes(Network.random(8), 1, 20)
    assert set(found) == {peers.OURS, *(f"{peers.OURS}, {lanes} lanes" for lanes in (4, 8, 16))}


def test_a_machine_without_peers_c_or_a_second_core_has_its_page(tmp_path: Path):
    """Aims have empty cells there, and what was not measured is said; the results of two kinds of CPU stand side by
    side, each with its machine."""
    alone = {8: {peers.OURS: {"us": 1.0, "ratio": 1.0}}}
    rows: dict[str, Any] = dict.fromkeys(
        ("step", "kernel", "log", "logs", "lanes", "streams", "int8", "int8 log"), alone
    )
    rows |= {
        "logs on cores": {},
        "short logs on cores": {},
        "streams of one size": alone,
        "int8 error": alone,
        "window": alone,
        "latency": {},
        "absent": {"peer": "no wheel"},
    }
    rows |= {"start": {}, "wrong": [("ONNX Runtime, int8", 8, 0.079)]}
    machine = {"CPU": "one of 2019", "vectors": "x86-64-v3, 8 lanes", "date": "2026-11-29"}
    result: dict[str, Any] = {"machine": machine, "load": "0.1, 0.1", "rows": rows}
    text = page.page(result)
    assert "computes something else, left out: ONNX Runtime, int8 at H = 8, off by 0.079" in text
    assert "too few cores" in text
    assert aims.fastest(alone[8]) is None
    for kind, cpu in (("x86-64-v3", "one of 2019"), ("aarch64", "a board")):
        (tmp_path / kind).mkdir()
        result["machine"] = {**machine, "CPU": cpu}
        (tmp_path / kind / "results.json").write_text(json.dumps(result))
    both = page.side_by_side(tmp_path)
    assert both.index("a board") < both.index("one of 2019")
    assert "](x86-64-v3/README.md)" in both
