"""`edge-lstm bench`: what it measures is there, is counted right, and says so when the machine disturbs. No figure is
judged here; how fast this is depends on the machine."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

import edge_lstm
from edge_lstm.analysis.verify import verify
from edge_lstm.bench import machine as bench_machine
from edge_lstm.bench import measure as bench
from edge_lstm.bench.onnx import beside
from edge_lstm.bench.timing import Plan, Times
from edge_lstm.cli import main
from edge_lstm.cli.bench import command, verdict
from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel, channels_for
from edge_lstm.core.model import Model
from edge_lstm.quantization import quantize
from tests.engines.onnxruntime.test_whole_logs import log_model, two_layers
from tests.support.graphs.fallback_graphs import lstm_step
from tests.support.models import nets

EXAMPLES = Path(edge_lstm.__file__).parent / "examples"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The JSON of the shipped example beside the graph it came from."""
    path = tmp_path_factory.mktemp("bench") / "model.npz"
    edge_lstm.save(edge_lstm.import_onnx(EXAMPLES / "slip_stall.onnx"), path)
    seen: list[str] = []
    against = EXAMPLES / "slip_stall.onnx"
    plan = Plan(0.02, 2000)
    made = bench.measure(edge_lstm.load(path), path, plan, against, lambda what, share: seen.append(what))
    assert {"single steps", "a whole log", "many streams", "new processes", "ONNX Runtime"} <= set(seen)
    return json.loads(json.dumps(made, allow_nan=False))


@pytest.fixture(autouse=True)
def _one_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """In all but what `found` has measured: a process that starts takes longer than all else."""
    monkeypatch.setattr(bench, "STARTS", (1, 1))


def test_percentiles_are_in_order_and_of_as_many_steps_as_asked(found: dict):
    """2,000 steps were timed; p50 <= p99 <= p99.9 <= max, for the step, the paced step and the empty loop."""
    assert found["step_us"]["calls"] == 2000
    for kind in ("step_us", "paced_us", "empty_us"):
        times = found[kind]
        assert 0 < times["p50"] <= times["p99"] <= times["p99.9"] <= times["max"]
        assert times["jitter"] == pytest.approx(times["p99.9"] - times["p50"])
    assert found["sustains_hz"] == pytest.approx(1e6 / 2 / found["step_us"]["p99.9"])


def test_percentiles_are_numpy_s():
    """Over any times, also longer than a millisecond, in any number of blocks: the percentiles that sorting gives."""
    random = np.random.default_rng(0)
    ns = np.exp(random.normal(9, 3, 20_000)).astype(np.int64)
    times = Times()
    for part in np.split(ns, 10):
        times.add(part)
    measured, ordered = times.summary(), np.sort(ns)
    assert measured["calls"] == 20_000
    assert [measured[key] for key in ("p50", "p99", "p99.9", "max")] == (
        ordered[[10_000, 19_800, 19_980, 19_999]] / 1e3
    ).tolist()
    assert (ns > 1_000_000).sum() > 100


def test_everything_is_reported(found: dict):
    """Log, streams, start, memory and machine have figures; outputs were compared with ONNX Runtime before timing."""
    assert found["log"]["per_s"] > 0
    assert set(found["streams_us"]) == {str(count) for count in bench.COUNTS}
    assert found["start"]["seconds"] > 0
    assert found["start"]["rss_mib"] > 10
    assert found["machine"]["lanes"] in (4, 8, 16)
    assert 0 <= found["onnxruntime"]["error"] < 1e-5
    assert found["onnxruntime"]["step_us"] is None
    assert "no state" in found["onnxruntime"]["why"]
    assert found["onnxruntime"]["log"]["ratio"] > 0


def test_a_step_keeps_no_memory(found: dict):
    """1,000 steps keep 0 bytes, take less than one object's worth for a moment, and cause no collection of garbage."""
    memory = found["allocated"]
    assert memory["calls"] == 1000
    assert (memory["kept_bytes"], memory["collections"]) == (0, 0)
    assert memory["momentary_bytes"] < 200


def test_what_keeps_memory_is_caught():
    """A call that keeps 1,000 bytes, one that takes a megabyte for a moment, and one that leaves cycles are counted."""
    kept: list[bytes] = []
    assert bench.allocated(lambda x: kept.append(bytes(1000)), [None] * 100)["kept_bytes"] > 1000
    assert bench.allocated(lambda x: len(bytes(1_000_000)), [None] * 100)["momentary_bytes"] > 900_000

    def cycle(x: object) -> None:
        ring: list[object] = []
        ring.append(ring)

    assert bench.allocated(cycle, [None] * 5000)["collections"] > 0


def test_late_outputs_are_counted():
    """At 1,000 Hz a call of 3 ms is late every time."""
    slow = bench.paced(lambda x: time.sleep(0.003), [None], 1000, 0.02)
    assert slow["calls"] == slow["late"] == 20
    assert slow["p50"] > 3000


@pytest.mark.parametrize(
    ("waited", "stolen", "spread", "longest", "words"),
    [
        (0.0, 0.0, 1.0, 30.0, []),
        (0.4, 0.0, 1.0, 30.0, ["other processes kept it from a core for 40%"]),
        (0.0, 0.3, 1.0, 30.0, ["other guests of this host took 30%"]),
        (0.0, 0.0, 1.5, 30.0, ["the median step changed by 50%"]),
        (0.0, 0.0, 1.0, 900.0, ["a loop without any step was held up for 900 µs"]),
    ],
)
def test_a_noisy_machine_is_named(monkeypatch, waited, stolen, spread, longest, words):
    """Each sign of a disturbance gives its sentence, a quiet machine none, and the verdict says whose the peaks are."""
    monkeypatch.setattr(bench_machine.Disturbance, "shares", lambda self: (waited, stolen))
    step = {"p50": 1.0, "p99.9": 2.0, "spread": spread}
    measured = bench_machine.noise(bench_machine.Disturbance(), step, {"max": longest})
    assert len(measured["why"]) == len(words)
    assert all(word in why for word, why in zip(words, measured["why"], strict=True))
    sentence = verdict({"step_us": step, "sustains_hz": 250_000.0, "noise": measured}, 200.0)
    assert "at its 200 Hz that is under 1% of a core" in sentence
    assert ("not quiet" in sentence) == bool(words)


def test_a_rate_that_cannot_be_sustained_is_said():
    """A step of 2 ms at p99.9 does not sustain 1 kHz, and the verdict says so with what it does sustain."""
    step = {"p50": 900.0, "p99.9": 2000.0}
    sentence = verdict({"step_us": step, "sustains_hz": 250.0, "noise": {"why": []}}, 1000.0)
    assert "too long for its 1000 Hz, for 250 readings/s is what it sustains" in sentence


def test_the_load_is_that_of_the_usual_step():
    """Of a step of 0.8 µs with a tail of 300 µs, 200 Hz is no load: the slowest step decides what is sustained."""
    step = {"p50": 0.8, "p99.9": 300.0}
    sentence = verdict({"step_us": step, "sustains_hz": 1600.0, "noise": {"why": []}}, 200.0)
    assert "at its 200 Hz that is under 1% of a core" in sentence
    assert "1,600 readings/s" in sentence
    busy = verdict({"step_us": {"p50": 500.0, "p99.9": 900.0}, "sustains_hz": 550.0, "noise": {"why": []}}, 200.0)
    assert "at its 200 Hz that is 10% of a core" in busy


def test_readings_are_what_the_model_takes():
    """Words come one-hot, numbers about their channel's offset, row numbers within the table; nothing is refused."""
    b = Builder()
    x, word, number = b.input("x", 1), b.input("word", 3), b.input("row", 2)
    table = b.lookup(number, np.ones((5, 2), np.float32))
    b.output("y", b.take(np.concatenate([x.elements, word.elements, table.elements])))
    channels = (Channel("x", scale=2.0, offset=100.0), Channel("word", vocabulary=("a", "b", "c")))
    model = Model(b.build(), (*channels, *channels_for(("row",), (2,))), channels_for(("y",), (8,)))
    rows = bench.readings(model, 500)
    assert abs(rows[:, 0].mean() - 100) < 1
    assert (np.sort(rows[:, 1:4]) == [0, 0, 1]).all()
    assert set(rows[:, 4:].ravel()) == {0, 1, 2, 3, 4}
    model.stream().run(rows)


def test_the_page_lists_every_key(found: dict):
    """BENCH.md names each key of --json and no other, and each command on it is one that the program takes."""
    page = (Path(edge_lstm.__file__).parent / "bench" / "README.md").read_text()
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `")]
    keys = {key for names, _ in rows for key in re.findall(r"`(\w+)`", names)}
    assert keys == set(found) | {"verdict"}
    inner = {key for value in found.values() if isinstance(value, dict) for key in value}
    named = set(re.findall(r"`([\w.]+)`", page))
    assert {key for key in inner if not key.isdigit()} <= named
    for line in re.findall(r"^    edge-lstm (.*)$", page, re.M):
        verb, *arguments = line.split()
        assert verb == "bench"
        command.make_context(verb, arguments).close()


def test_a_window_model_is_measured_too(tmp_path: Path, capsys):
    """A model that has a window speaks from its first timed step on; many streams are refused with the reason."""
    path = tmp_path / "window.npz"
    edge_lstm.save(nets.network(window=50), path)
    assert main(["bench", str(path), "--readings", "1000", "--seconds", "0.02"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for words in ("p99.9", "0 bytes kept per step", "window of 50", "from process start", "µs, and all but one"):
        assert words in out


def test_a_model_that_onnx_runtime_runs_is_measured_too(tmp_path: Path, capsys):
    """Its steps, log and start have figures; one that takes whole logs only is refused with a sentence."""
    model = edge_lstm.import_onnx(lstm_step(tmp_path / "cell.onnx"), engine="onnxruntime")
    edge_lstm.save(model, tmp_path / "cell.npz")
    assert main(["bench", str(tmp_path / "cell.npz"), "--readings", "1000", "--seconds", "0.02", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["step_us"]["p50"] > 0
    assert found["allocated"]["kept_bytes"] < 1
    edge_lstm.save(log_model(two_layers(tmp_path / "log.onnx")), tmp_path / "log.npz")
    assert main(["bench", str(tmp_path / "log.npz")]) == 2
    assert "takes whole logs only" in capsys.readouterr().err


def test_a_quantized_model_is_compared_on_ordinary_readings():
    """Beside ONNX Runtime a quantized model's error is the one on standard normal readings, which its calibration
    reaches, not the one on readings that saturate it; and it is said that the model is quantized."""
    graph = EXAMPLES / "slip_stall.onnx"
    model = edge_lstm.import_onnx(graph)
    made = quantize(model, bench.readings(model, 1000))
    measured = beside(made, graph, bench.readings(model, 200), Plan(0.01))
    found = {run.name: run.error for run in verify(made, graph, short=True).runs}
    assert measured["quantized"]
    assert measured["error"] == found["random"] < found["saturation"]


def test_what_was_granted_is_told_not_what_was_asked_for(tmp_path: Path, capsys, monkeypatch):
    """A priority that the system refuses is a note, and the paced part is not said to have had it; a core that was
    given is."""

    def refuse(*arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    path, core = tmp_path / "model.npz", max(os.sched_getaffinity(0))
    edge_lstm.save(nets.network(), path)
    command = ["bench", str(path), "--readings", "1000", "--seconds", "0.02", "--priority", "50", "--cpu", str(core)]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert f"paced part scheduled core {core}\n" in out
    assert "note: priority 50 was refused" in err


def test_a_log_gives_the_readings(tmp_path: Path, capsys):
    """Its whole rows, over and over; one without a number is left out, and said. A log with none, and options of logs
    without one, are refused."""
    path, log = tmp_path / "model.npz", tmp_path / "log.csv"
    model = nets.network()
    edge_lstm.save(model, path)
    titles = [c.name for c in model.inputs]
    rows = np.random.default_rng(3).normal(0, 1, (40, len(titles))).round(3)
    lines = [f"{k / 100},{','.join(map(str, row))}" for k, row in enumerate(rows.tolist())]
    lines[7] = "0.07," + ",".join([""] * len(titles))
    log.write_text("\n".join([",".join(["t_s", *titles]), *lines]) + "\n")
    assert main(["bench", str(path), "--log", str(log), "--readings", "200", "--seconds", "0.02", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["readings"] == {"rows": 39, "of": str(log)}
    assert "1 of the 40 readings" in err
    assert main(["bench", str(path), "--channels", "a"]) == 2
    assert "--channels has no meaning without --log" in capsys.readouterr().err
    log.write_text("\n".join([",".join(["t_s", *titles]), lines[7], lines[7].replace("0.07", "0.08")]) + "\n")
    assert main(["bench", str(path), "--log", str(log)]) == 2
    assert "none of its 2 readings is whole" in capsys.readouterr().err


def test_bad_input_is_a_sentence(tmp_path: Path, capsys):
    """No model, no graph, a graph that is not the model's, a core that is not there: exit code 2 and what is wrong."""
    path, graph = tmp_path / "model.npz", EXAMPLES / "slip_stall.onnx"
    edge_lstm.save(nets.network(), path)
    for arguments, words in (
        (["nothing.npz"], "nothing.npz"),
        ([path, "--against", "nothing.onnx"], "nothing.onnx: there is no such file"),
        ([path, "--against", graph], "was not made from an ONNX file"),
        ([path, "--cpu", "65535"], "there is no core 65535"),
        ([path, "--seconds", "0"], "--seconds"),
        ([path, "--seconds", "nan"], "--seconds"),
    ):
        assert main(["bench", *map(str, arguments)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert words in err.replace("\n", " ")
