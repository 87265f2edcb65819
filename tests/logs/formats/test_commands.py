"""Every command that takes a log takes every format: what it writes is what it writes for the same rows as CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edge_lstm
from edge_lstm.cli import main
from edge_lstm.core.channels import Channel
from edge_lstm.core.feedback import Feedback
from edge_lstm.importers import import_onnx
from tests.support.logs import tiny
from tests.support.robots import small_robot

GRAPH = Path(__file__).parents[2] / "vectors" / "onnx" / "gru_step_legacy14.onnx"
NAMES = [f"c{k}" for k in range(4)]
INPUTS = tuple(Channel(name, "", 2.0) for name in NAMES)
FEEDBACK = tuple(Feedback(o.name, name) for o, name in zip(small_robot.OUTPUTS, NAMES, strict=True))
PICKED = (0, 1, 5, 6)  # of the eight channels: three of the tick's topic, one of the other
COMMANDS = [
    "replay LOG --model model.npz MATCH --missing hold -o out.csv",
    "forecast LOG --model model.npz MATCH --at 1 --steps 20 -o out.csv",
    "explain LOG --model model.npz MATCH -o out",
    "quantize model.npz --calibrate LOG MATCH -o q.npz",
]


def written(place: Path, command: str) -> dict[str, bytes | str]:
    """What a command writes: the numbers of tables without their header and times, the digests of models."""
    before = set(place.rglob("*"))
    assert main(command.split(" ")) == 0
    found: dict[str, bytes | str] = {}
    for path in sorted(set(place.rglob("*")) - before):
        if path.suffix == ".csv":
            rows = path.read_bytes().split(b"\n")[1:]
            found[path.name] = b"\n".join(
                row.partition(b",")[2] if command.startswith("replay") else row for row in rows
            )
        elif path.suffix == ".npz":
            found[path.name] = edge_lstm.load(path).digest
        if path.is_file():
            path.unlink()
    return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with a model, and the ticks as log.csv."""
    monkeypatch.chdir(tmp_path)
    edge_lstm.save(small_robot.model(INPUTS, feedback=FEEDBACK), tmp_path / "model.npz")
    rows = [
        [str(t), *map(repr, row)] for (t, *_), row in zip(tiny.IMU, tiny.expected()[:, PICKED].tolist(), strict=True)
    ]
    lines = [",".join(["t_ns", *NAMES]), *(",".join(row).replace("nan", "") for row in rows)]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_it(place: Path, command: str) -> None:
    """Channels of two topics of a recording and of a ULog, ticks and ages: the bits of CSV."""
    exact = written(place, command.replace("LOG", "log.csv").replace("MATCH ", ""))
    assert exact
    for name in ("mcap cdr", "ulog"):
        pairs = ",".join(f"{own}={tiny.NAMES[name][k]}" for own, k in zip(NAMES, PICKED, strict=True))
        match = f"--channels {pairs} --tick {tiny.TICKS[name]} --max-age 1000"
        path = tiny.MAKERS[name](place)
        assert written(place, command.replace("LOG", path.name).replace("MATCH", match)) == exact, name


def test_verify_takes_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model against its graph, over the messages of a bag; and a reading without a number is refused."""
    model = import_onnx(GRAPH)
    edge_lstm.save(model, place / "gru.npz")
    tiny.bag(place / "a.bag")
    names = [tiny.ROS_NAMES[k % 6] for k in range(len(model.inputs))]
    pairs = ",".join(f"{c.name}={n}" for c, n in zip(model.inputs, names, strict=True))
    asked = ["verify", "gru.npz", "--against", str(GRAPH), "--log", "a.bag", "--channels", pairs]
    assert main(asked) == 0
    assert "log " in capsys.readouterr().out


def test_a_recording_of_ours_is_a_log_of_its_topics(capsys: pytest.CaptureFixture[str]) -> None:
    """`channels` lists its readings and outputs; `replay` still replays it as a recording."""
    from edge_lstm.logs import kind_of, open_log

    path = Path(__file__).parents[2] / "vectors" / "recordings" / "format_0_1.mcap"
    assert kind_of(path) == "recording"
    assert main(["channels", str(path)]) == 0
    out = capsys.readouterr().out
    assert "/readings/" in out
    assert "/outputs." in out
    log = open_log(path)
    column = next(c for c in log.columns if c.title.startswith("/outputs."))
    assert np.isfinite(np.concatenate([block.values for block in log.blocks([column])])).any()
