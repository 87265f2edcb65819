"""A made-up log format, added from outside: every command that takes a table takes it, with the bits of CSV.

Files touched: one, the format's (`tbl_log.py`), and one line, in `edge_lstm.logs.READERS` (here at run time).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edge_lstm
from edge_lstm.cli import main
from edge_lstm.core.channels import Channel
from edge_lstm.core.feedback import Feedback
from edge_lstm.importers import import_onnx
from edge_lstm.logs import READERS, kind_of, open_log
from tests.additions import tbl_log
from tests.support.robots import small_robot

GRAPH = Path(__file__).parents[1] / "vectors" / "onnx" / "gru_step_legacy14.onnx"
FEEDBACK = tuple(Feedback(o.name, i.name) for o, i in zip(small_robot.OUTPUTS, small_robot.INPUTS, strict=True))
FREE = tuple(Channel(c.name, "", c.scale, c.offset) for c in small_robot.INPUTS)  # of the outputs' unit, none


def tables(folder: Path, titles: list[str], values: np.ndarray) -> None:
    """The same table in both formats, as log.csv and log.tbl; readings 10 ms apart."""
    t_ns = [1_700_000_000_000_000_000 + 10_000_000 * k for k in range(len(values))]
    tbl_log.write(folder / "log.tbl", titles, t_ns, values)
    cells = ([str(t), *("" if v != v else repr(v) for v in row)] for t, row in zip(t_ns, values.tolist(), strict=True))
    (folder / "log.csv").write_text("\n".join(map(",".join, [["t_ns", *titles], *cells])) + "\n")


@pytest.fixture
def place(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with model.npz and a log in both formats, one reading of it missing; `.tbl` added."""
    monkeypatch.setitem(READERS, ".tbl", tbl_log.TblLog)
    monkeypatch.chdir(tmp_path)
    edge_lstm.save(small_robot.model(FREE, feedback=FEEDBACK), tmp_path / "model.npz")
    values = rng.normal(0, 3, (400, 4))
    values[17, 2] = np.nan
    tables(tmp_path, [c.name for c in FREE], values)
    return tmp_path


def results(place: Path, suffix: str, command: str) -> dict[str, bytes | str]:
    """What the command writes for log{suffix}: the bytes of tables, the digests of models."""
    before = set(place.rglob("*"))
    assert main(command.replace("LOG", f"log{suffix}").split()) == 0
    written: dict[str, bytes | str] = {}
    for path in sorted(set(place.rglob("*")) - before):
        if path.suffix == ".csv":
            written[path.name] = path.read_bytes()
        elif path.suffix == ".npz":
            written[path.name] = edge_lstm.load(path).digest
        if path.is_file():
            path.unlink()
    return written


@pytest.mark.parametrize(
    "command",
    [
        "replay LOG --model model.npz -o out.csv",
        "forecast LOG --model model.npz --at 2 --steps 20 -o out.csv",
        "explain LOG --model model.npz -o out",
        "quantize model.npz --calibrate LOG -o q.npz",
    ],
)
def test_every_command_takes_the_format(place: Path, command: str) -> None:
    """What it writes is what it writes for the same table as CSV, bit for bit."""
    written = results(place, ".csv", command)
    assert written
    assert results(place, ".tbl", command) == written


def test_verify_takes_the_format(place: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]) -> None:
    """A model is compared with its graph over the log's readings: the same report for both formats."""
    model = import_onnx(GRAPH)
    edge_lstm.save(model, place / "gru.npz")
    titles = [c.name for c in model.inputs]
    tables(place, titles, rng.normal(0, 1, (30, len(titles))))
    reports = []
    for log in ("log.csv", "log.tbl"):
        assert main(["verify", "gru.npz", "--against", str(GRAPH), "--log", log]) == 0
        reports.append(capsys.readouterr().out)
    assert reports[0] == reports[1]
    assert "log " in reports[0]


def test_what_the_format_says_for_itself(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own complaints come out as sentences, and it stands in the list of what can be read."""
    assert kind_of(place / "log.tbl") == "table"
    assert open_log(place / "log.tbl").find("current left") == open_log(place / "log.csv").find("current left")
    assert main(["replay", "log.tbl", "--model", "model.npz", "--time-unit", "ms"]) == 2
    assert capsys.readouterr().err == (
        "edge-lstm: log.tbl: --time-unit does not go with a .tbl log, which says everything itself\n"
    )
    (place / "log.xyz").touch()
    assert main(["replay", "log.xyz", "--model", "model.npz"]) == 2
    assert ".feather, .bfl, .tbl" in capsys.readouterr().err
