"""A program's own loop, recorded: a replay has its bits; what was changed, is missing or was cut off is said."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import edge_lstm
from edge_lstm.cli import main
from edge_lstm.core.channels import Channel
from edge_lstm.core.feedback import Feedback, Missing, Policy
from edge_lstm.core.model import Model
from edge_lstm.core.storage import save
from edge_lstm.errors import LogError, ReadingError, StateError
from edge_lstm.robot.own_loop import Recordable, RecordedLoop
from edge_lstm.robot.own_replay import Comparison, replay
from edge_lstm.robot.recorded import read
from edge_lstm.streams.missing import MissingReadings
from firmware_bridge.recordings.contents import CALLS, FORM, OUR_FORM, OUTPUTS, READINGS
from firmware_bridge.recordings.mcap_writer import McapWriter
from firmware_bridge.recordings.reader import open_recording
from tests.support.models.nets import network
from tests.support.robots import small_robot

ROOT = Path(__file__).parents[2]
NAN = float("nan")
WORDS = Model(
    network(inputs=3, outputs=2).program, (Channel("temperature", "°C"), Channel("mode", vocabulary=("stop", "go"))),
    (Channel("a"), Channel("b")),
)  # fmt: skip


def drive(r: RecordedLoop, xs: np.ndarray, name: str = "") -> list[bytes | None]:
    """Every kind of call, many times; what came of the steps."""
    of = (name,) if name else ()
    found: list[bytes | None] = []
    for k, x in enumerate(xs):
        if k % 17 == 5:
            x = np.where(np.arange(x.size) == k % x.size, NAN, x)
        y = r.step(*of, x)  # type: ignore[call-overload]
        found.append(None if y is None else y.tobytes())
        if y is not None:
            r.action({"left": y[0], "all": y}, "motor", t_ns=k)
        if k % 23 == 20:
            r.missing(*of, 3)  # type: ignore[call-overload]
        if k % 41 == 40:
            r.reset(name or None)
            r.values("battery", {"v": None if k % 2 else 3.7})
            r.mark(f"reset at {k}")
    return found


def verified(path: Path) -> Comparison:
    """The comparison of everything in the file."""
    return replay(open_recording(path), derived=True)[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "loop.mcap"


PREDICTS = Policy("predict", longest_gap=7)


@pytest.mark.parametrize("policy", [Policy(), Policy("hold", longest_gap=2), PREDICTS], ids=lambda p: p.missing)
@pytest.mark.parametrize("window", [None, 6])
def test_a_loop_replays_to_its_bits(path: Path, rng: np.random.Generator, policy: Policy, window: int | None) -> None:
    """Readings with holes, resets and gaps: each output of the replay has the bits of the loop, and of a stream beside
    it that nobody recorded."""
    model = small_robot.model(feedback=(Feedback("slip_left", "wheel_speed_left"),))
    if window:
        model, policy = network(inputs=4, window=window), Policy(policy.missing.replace("predict", "hold"), 7)  # type: ignore[arg-type]
    xs = rng.normal(size=(300, 4)).astype(np.float32)
    with edge_lstm.record(path, MissingReadings(model.stream(), policy)) as r:
        then = drive(r, xs)
    assert not r.notes
    rows: list[bytes] = []
    summary, found, marks = replay(open_recording(path), rows=lambda row: rows.append(row.output), derived=True)
    assert found.same, found.sentence()
    assert (found.calls, found.differing_bits, found.lost, found.cut) == (300 + 13 + 7, 0, 0, "")
    assert [row or None for row in rows] == then
    assert {"gap", "reset", "reset at 40"} <= {what for _, what in marks}
    assert (summary.readings, summary.lost) == (300, 39)
    assert found.given["/actions/motor"] == sum(y is not None for y in then)
    assert "not recomputed" in found.sentence()
    alone = MissingReadings(model.stream(), policy)
    for k, x in enumerate(xs[:20]):
        y = alone.step(np.where(np.arange(4) == k % 4, NAN, x) if k % 17 == 5 else x)
        assert then[k] == (None if y is None else y.tobytes())


@pytest.mark.parametrize("each", [["skip", None, "hold", None], ["hold", "hold", "skip", "hold"]])
@pytest.mark.parametrize("policy", [PREDICTS, Policy("hold", longest_gap=3), Policy("skip", longest_gap=3)])
def test_what_is_missing_in_its_own_way_replays_so(
    path: Path, rng: np.random.Generator, policy: Policy, each: list[Missing | None]
) -> None:
    """A filler that holds some numbers and skips for others is the same one in a replay."""
    model = small_robot.model(feedback=(Feedback("slip_left", "wheel_speed_left"),))
    with edge_lstm.record(path, MissingReadings(model.stream(), policy, each)) as r:
        drive(r, rng.normal(size=(200, 4)))
    assert verified(path).same, verified(path).sentence()


def test_a_stream_that_remembers_replays_from_there(path: Path, rng: np.random.Generator) -> None:
    """A stream, and a filler in the middle of a gap, go on from what they remember, and so does the replay."""
    model = small_robot.model(feedback=(Feedback("slip_left", "wheel_speed_left"),))
    xs = rng.normal(size=(60, 4)).astype(np.float32)
    stream = model.stream()
    stream.run(xs)
    filler = MissingReadings(model.stream(), PREDICTS)
    filler.run(xs)
    filler.missing(5)
    with edge_lstm.record(path, {"stream": stream, "filler": filler}) as r:
        assert r.step("stream", xs[0]).tobytes() != model.stream().step(xs[0]).tobytes()  # type: ignore[union-attr]
        assert r.missing("filler", 2) is not None  # 7 in a row: the longest that is filled
        assert r.missing("filler", 1) is None  # so that it is known how many there were before
    assert verified(path).same


def test_several_models_are_proven_together(path: Path, rng: np.random.Generator) -> None:
    """Three models at rates of their own, one of them by channel name, in one file."""
    models = {"fast": network("gru", seed=1), "slow": network("rnn", inputs=4, seed=2), "words": WORDS}
    with edge_lstm.record(path, models) as r:
        for k in range(120):
            y = r.step("fast", rng.normal(size=8), t_ns=k * 1_000_000)
            assert y is not None
            if k % 4 == 0:
                r.step("slow", y, t_ns=k * 1_000_000)
            if k % 20 == 0:
                r.step("words", {"temperature": k / 7, "mode": "go" if k % 40 else None}, t_ns=k * 1_000_000)
                r.reset()
    found = verified(path)
    assert found.same, found.sentence()
    assert (found.calls, found.outputs) == (120 + 30 + 6 + 3 * 6, 120 + 30 + 3)
    assert found.until_s == 0.119


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop of 60 readings, to be damaged."""
    path = tmp_path_factory.mktemp("loop") / "loop.mcap"
    xs = np.random.default_rng(5).normal(size=(60, 4)).astype(np.float32)
    with edge_lstm.record(path, network(inputs=4)) as r:
        drive(r, xs)
    return path


Change = Callable[[int, str, bytes], bytes | None]


def rewritten(path: Path, to: Path, change: Change) -> Path:
    """The recording with each message as `change` says, None: without it; whole, with its checksums."""
    then = open_recording(path)
    writer = McapWriter(to, {FORM: OUR_FORM, **then.metadata}, then.attachments)
    for number, (topic, schema, t_ns, data) in enumerate(then.records()):
        if (changed := change(number, topic, data)) is not None:
            writer.add(topic, schema, t_ns, changed)
    writer.finish({"dropped": "0"})
    return to


def test_a_changed_byte_is_found(recorded: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    """Any byte of any message of readings, outputs or calls, changed in a file that is whole otherwise: it is no longer
    verified, or it is no call and is called damaged."""
    kinds = (CALLS, READINGS, OUTPUTS + "/")
    messages = [(t, d) for t, _, d in open_recording(recorded).messages()]
    ours = [k for k, (topic, _) in enumerate(messages) if topic.startswith(kinds)]
    assert len(ours) > 150
    assert verified(rewritten(recorded, tmp_path / "same.mcap", lambda k, t, d: d)).same
    for case, number in enumerate(rng.choice(ours, 60, replace=False)):
        place = int(rng.integers(len(messages[number][1])))
        bit = 1 << int(rng.integers(8))

        def flip(k: int, topic: str, data: bytes, number: int = number, place: int = place, bit: int = bit) -> bytes:
            return data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :] if k == number else data

        changed = rewritten(recorded, tmp_path / f"{case}.mcap", flip)
        with suppress(LogError):  # it is no call of the model
            assert not verified(changed).same, (messages[number], place, bit)


def test_a_call_that_is_missing_is_said(recorded: Path, tmp_path: Path) -> None:
    """Without one call nothing after it is called equal; without one message for people the verdict says so."""
    calls = [k for k, (topic, _, _) in enumerate(open_recording(recorded).messages()) if topic.startswith(CALLS)]
    found = verified(rewritten(recorded, tmp_path / "1.mcap", lambda k, t, d: None if k == calls[9] else d))
    assert not found.same
    assert (found.lost, found.calls, found.after_lost) == (1, 9, len(calls) - 10)
    assert f"1 call is missing, so {len(calls) - 10} after it cannot be compared" in found.sentence()
    found = verified(rewritten(recorded, tmp_path / "2.mcap", lambda k, t, d: None if k == calls[9] + 1 else d))
    assert not found.same
    assert found.derived is not None
    assert not found.differing_bits


def test_a_damaged_block_leaves_it_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file damaged in the middle is compared up to there, and a difference is not excluded: exit code 1."""
    path = tmp_path / "loop.mcap"
    with edge_lstm.record(path, network(inputs=4)) as r:
        for k in range(400):
            r.step(np.full(4, k % 7), t_ns=k * 10_000_000)
    data = bytearray(path.read_bytes())
    blocks = [found.start() for found in re.finditer(b"lz4", data)]
    data[blocks[3] + 300] ^= 1
    path.write_bytes(data)
    assert main(["replay", str(path), "--verify"]) == 1
    said = capsys.readouterr()
    assert "0 differing bits" in said.out
    assert "the recording is damaged: " in said.out
    assert "a difference cannot be excluded" in said.err


def changed_head(path: Path, to: Path, metadata: dict[str, str], attachments: dict[str, bytes]) -> Path:
    """The recording with other texts and files at its beginning."""
    then = open_recording(path)
    writer = McapWriter(to, {FORM: OUR_FORM, **then.metadata, **metadata}, {**then.attachments, **attachments})
    for message in then.records():
        writer.add(*message)
    writer.finish({"dropped": "0"})
    return to


def test_a_strange_head_is_a_sentence(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever stands where the models, their memories and their policies should: exit code 2, and no defect."""
    loop = json.loads(open_recording(recorded).metadata["loop"])
    policy = json.dumps({"model": loop["model"] | {"policy": {"x": 1}}})
    state = json.loads(open_recording(recorded).attachments["model.state"])
    cases: list[tuple[dict[str, str], dict[str, bytes], str]] = [
        ({"loop": text}, {}, "does not say which models its program ran")
        for text in ("", "[]", "[" * 9999, "7", '{"model": 3}', policy)
    ]
    cases += [
        ({"loop": json.dumps({"other": loop["model"]})}, {}, "holds no other.npz"),
        ({"loop": json.dumps({"model": loop["model"] | {"digest": "0"}})}, {}, "the model that ran has"),
        ({}, {"model.npz": b"no"}, "model.npz in"),
    ]
    cases += [
        ({}, {"model.state": json.dumps(state | change).encode()}, why)
        for change, why in (
            ({"memory": "zz"}, "does not say what 'model' remembered"),
            ({"memory": "00"}, "is damaged"),
            ({"reading": "00" * 8}, "is damaged"),
            ({"counts": {"x": 1}}, "does not say what 'model' remembered"),
            ({"draw": float("inf")}, "does not say what 'model' remembered"),
        )
    ]
    for number, (metadata, attachments, why) in enumerate(cases):
        strange = changed_head(recorded, tmp_path / f"{number}.mcap", metadata, attachments)
        assert main(["replay", str(strange), "--verify"]) == 2, why
        assert why in capsys.readouterr().err


def test_another_model_differs(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--model compares with it: exit code 1 with --verify, and where the first difference is."""
    save(network(inputs=4, seed=9), tmp_path / "other.npz")
    save(network(inputs=5), tmp_path / "wide.npz")
    other = ["replay", str(recorded), "--model", str(tmp_path / "other.npz")]
    assert main(other) == 0
    assert main([*other, "--verify", "--json"]) == 1
    told = json.loads(re.sub(r"(?s)^.*?\n(?=\{)", "", capsys.readouterr().out))
    assert told["comparison"]["differing_bits"] > 100
    assert told["comparison"]["first"].startswith("at 0.000000 s")
    assert main(["replay", str(recorded), "--model", f"model={tmp_path / 'wide.npz'}"]) == 2
    assert "was given 4 numbers, the model takes 5" in capsys.readouterr().err


def test_the_command(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Verdict, table and picture as of a robot's recording; the table has every reading and output."""
    pytest.importorskip("matplotlib")
    out, plot = tmp_path / "loop.csv", tmp_path / "loop.png"
    assert main(["replay", str(recorded), "--verify", "-o", str(out), "--plot", str(plot)]) == 0
    assert "\n0 differing bits, " in capsys.readouterr().out
    lines = out.read_text().splitlines()
    assert lines[0] == "t_ns,x[0],x[1],x[2],x[3],y[0],y[1],y[2],y[3]"
    assert len(lines) == 61
    assert plot.stat().st_size > 10_000
    assert main(["replay", str(recorded), "--config", "robot.toml"]) == 2
    assert main(["replay", str(recorded), "--missing", "hold"]) == 2


def test_it_is_a_log_as_well(recorded: Path) -> None:
    """forecast, explain and quantize read what the model was given, to the bit, by the model's digest or channels."""
    xs = np.random.default_rng(5).normal(size=(60, 4)).astype(np.float32)
    series = read(recorded, network(inputs=4))
    holes = np.isnan(series.xs)
    assert holes.sum() == 4
    assert np.array_equal(np.where(holes, xs, series.xs), xs)
    assert np.array_equal(read(recorded, network(inputs=4, seed=8)).xs, series.xs, equal_nan=True)
    with pytest.raises(LogError, match="none of its models has the inputs of"):
        read(recorded, small_robot.model())


LOOP = """
import signal, sys, time, edge_lstm
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in the background without
import numpy as np
model = edge_lstm.load(sys.argv[1])
with edge_lstm.record(sys.argv[2], model) as r:
    for k in range(10**9):
        r.step(np.full(4, k % 7, np.float32))
        r.action({"k": k})
        time.sleep(0.001)
        print(k, flush=True)
"""


def started(tmp_path: Path, calls: int) -> Iterator[subprocess.Popen[str]]:
    """A program that has made so many calls, one each ms."""
    save(network(inputs=4), tmp_path / "model.npz")
    command = [sys.executable, "-c", LOOP, str(tmp_path / "model.npz"), str(tmp_path / "loop.mcap")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < calls:
            pass
        yield process


def test_a_killed_program_replays_up_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """kill -9 in the middle: what is in the file is verified, the verdict says where it ends, exit code 0."""
    for process in started(tmp_path, 2500):
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert main(["replay", str(tmp_path / "loop.mcap"), "--verify"]) == 0
    said = capsys.readouterr().out
    assert "0 differing bits" in said
    assert "the recording is cut off: it ends after" in said
    assert verified(tmp_path / "loop.mcap").calls > 0


def test_ctrl_c_finishes_the_file(tmp_path: Path) -> None:
    """The recording is whole up to the last call, and the program ends as it would without it."""
    for process in started(tmp_path, 100):
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert "KeyboardInterrupt" in said
    found = verified(tmp_path / "loop.mcap")
    assert found.same
    assert not found.cut
    assert found.calls >= 101


def test_an_exception_of_the_loop_passes(path: Path) -> None:
    """It is the loop's own, whatever the file does; the file is finished."""
    r = edge_lstm.record(path, network())
    r.step(np.ones(8))
    with pytest.raises(ZeroDivisionError), r:
        r.step([1 / 0] * 8)
    assert verified(path).calls == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("required", [False, True])
def test_a_full_disk_ends_the_recording_and_not_the_loop(path: Path, required: bool) -> None:
    """The loop's outputs go on; the reason is a warning and a note, or a LogError where the recording is required."""
    model = network()
    r = edge_lstm.record(path, model, required=required)
    assert r._recorder is not None
    with Path("/dev/full").open("wb") as full:
        os.dup2(full.fileno(), r._recorder._file.file.fileno())
    r.step(np.ones(8))
    deadline = time.monotonic() + 60
    while not r._recorder.failed and time.monotonic() < deadline:
        time.sleep(0.02)
    if required:
        with pytest.raises(LogError, match="No space left"):
            r.step(np.ones(8))
        with pytest.raises(LogError, match="not whole"):
            r.close()
        return
    stream = model.stream()
    stream.step(np.ones(8))
    assert np.array_equal(r.step(np.ones(8)), stream.step(np.ones(8)))
    with pytest.warns(RuntimeWarning, match="No space left"):
        r.close()


def test_where_nothing_can_be_recorded(tmp_path: Path) -> None:
    """No folder: a warning, and the loop runs; required: a LogError. A file that is there is left alone."""
    nowhere = tmp_path / "none" / "loop.mcap"
    with pytest.warns(RuntimeWarning, match="Nothing is recorded; the loop runs"):
        r = edge_lstm.record(nowhere, network())
    with r:
        assert r.step(np.ones(8)) is not None
        r.action({"a": 1})
    assert r.path is None
    assert r.notes
    with pytest.raises(LogError, match="could not be begun"):
        edge_lstm.record(nowhere, network(), required=True)
    (tmp_path / "loop.mcap").write_text("mine")
    with edge_lstm.record(tmp_path / "loop.mcap", network()) as r:
        pass
    assert r.path == tmp_path / "loop~2.mcap"
    assert (tmp_path / "loop.mcap").read_text() == "mine"


def test_what_is_refused(path: Path) -> None:
    """Each is a sentence, and the recording holds no trace of it: what was recorded replays."""
    model = network()
    filler = MissingReadings(model.stream(), Policy("hold", 9))
    filler.step(np.ones(8))
    filler.overdue()
    refused: list[tuple[Recordable | dict[str, Recordable], str]] = [
        (model.streams(2), "a Streams cannot be recorded"),  # type: ignore[list-item]
        ({}, "no model to record"),
        ({"a/b": model}, "letters, digits"),
    ]
    for given, why in refused:
        with pytest.raises(ReadingError, match=why):
            edge_lstm.record(path, given)
    with pytest.raises(StateError, match="overdue readings"):
        edge_lstm.record(path, filler)
    stream = model.stream()
    with pytest.raises(ReadingError, match="two names are one stream"):
        edge_lstm.record(path, {"a": stream, "b": stream})
    calls: list[tuple[Callable[[RecordedLoop], object], str]] = [
        (lambda r: r.step(np.ones(8)), "say which model, before the rest: 'left', 'right'"),
        (lambda r: r.step("lefd", np.ones(8)), "no model 'lefd'; did you mean 'left'"),
        (lambda r: r.step("left", np.ones(7)), "expected 8 numbers"),
        (lambda r: r.missing("left", 0), "0 readings cannot be missing"),
        (lambda r: r.action({"a": "fast"}), "'a' is recorded as a number"),
        (lambda r: r.step("left", np.ones(8), t_ns=-1), "t_ns is a time in ns"),
        (lambda r: r.reset("up"), "no model 'up'"),
    ]
    with edge_lstm.record(path, {"left": model, "right": model}) as r:
        r.step("left", np.ones(8))
        for call, why in calls:
            with pytest.raises(ReadingError, match=re.escape(why)):
                call(r)
        r.step("right", np.ones(8))
    found = verified(path)
    assert found.same
    assert found.calls == 2
