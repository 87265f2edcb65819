"""Where something is in a log, in the log's own words, and what is said of a log of another rate than the model's."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import edge_lstm
from edge_lstm.cli import main
from edge_lstm.core.channels import Channel
from edge_lstm.core.storage import save
from edge_lstm.errors import LogError
from edge_lstm.logs import open_log
from tests.support.logs import tiny
from tests.support.robots import small_robot

INPUTS = tuple(Channel(name) for name in ("a", "b", "c", "d"))
PLACES = {"bag": "message", "ulog": "message", "parquet": "row", "csv": "line"}
PAGE = Path(edge_lstm.__file__).parent / "logs" / "README.md"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with a model of four inputs that was made for 100 Hz."""
    monkeypatch.chdir(tmp_path)
    save(small_robot.model(INPUTS, rate_hz=100.0), tmp_path / "m.npz")
    return tmp_path


def _log(folder: Path, kind: str) -> tuple[Path, str]:
    """The tiny log of this kind, and --channels for two of its rates."""
    if kind != "csv":
        names = tiny.NAMES[kind]
        return tiny.MAKERS[kind](folder), ",".join(f"{c}={names[k]}" for c, k in zip("abcd", (0, 1, 6, 7), strict=True))
    cells = (["" if x is None else repr(x) for x in row] for row in tiny.outer_join())
    rows = [",".join([str(t_ns), *row]) for (t_ns, _, _), row in zip(tiny.MERGED, cells, strict=True)]
    path = folder / "log.csv"
    path.write_text("\n".join(["t_ns,gx,gy,gz,ax,ay,az,current,rpm", *rows]) + "\n")
    return path, "a=gx,b=gy,c=current,d=rpm"


@pytest.mark.parametrize("kind", list(PLACES))
def test_rows_are_called_what_they_are(place: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A text has lines, a bag and a flight log messages, a table in Parquet rows: in the notes of a replay, and where a
    reference is told from the outputs. Columns that were too old at as many ticks are one note."""
    log, channels = _log(place, kind)
    tick = channels.split(",")[2].partition("=")[2]
    run = ["replay", str(log), "--model", "m.npz", "--channels", channels, "--tick", tick, "--max-age", "1"]
    main(run)
    said = capsys.readouterr().out
    found = re.findall(r"skipped for a missing number: ([a-z]+?)s? ", said)
    assert found == [PLACES[kind]], said
    assert len(re.findall("older than their --max-age", said)) == 1
    assert "older than its" not in said


def test_a_scale_that_was_asked_for_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What --channels makes of a column's numbers stands in the notes, as a known unit does: columns alike together."""
    (place / "raw.csv").write_text("t_ms,p (raw),q (raw),r,s\n" + "".join(f"{10 * k},1,2,3,4\n" for k in range(5)))
    assert main(["replay", "raw.csv", "--model", "m.npz", "--channels", "a=p *0.5 +1,b=q *0.5 +1,c=r *2,d=s"]) == 0
    said = capsys.readouterr().out
    assert "\nnote: p (raw), q (raw): ×0.5 +1, as --channels says\nnote: r: ×2, as --channels says\n" in said


def test_the_ends_of_a_range_can_be_told_apart(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Times in µs since 1970 are alike in six digits: `channels` shows as many as tell them apart, and no more of
    others."""
    assert main(["channels", str(tiny.MAKERS["ulog"](place))]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["imu.acc[2]"].endswith("numbers  9.71 … 9.90999")
    low, high = (float(end) for end in re.findall(r"numbers  (\S+) … (\S+)", lines["motor.rpm"])[0])
    assert (low, high) == (100, 179)
    stamps = [re.findall(r"numbers  (\S+) … (\S+)", line)[0] for name, line in lines.items() if "time" in name]
    assert stamps
    assert all(first != last for first, last in stamps)


@pytest.mark.parametrize("name", ["rwa.csv", "tyny.ulg"])
def test_a_log_that_is_not_there_is_answered_with_the_one_beside_it(place: Path, name: str) -> None:
    """Also where nobody has looked at its kind before: of a text, and of a format that is told by its first bytes."""
    (place / "raw.csv").write_text("t,a\n0,1\n")
    tiny.MAKERS["ulog"](place)
    right = {"rwa.csv": "raw.csv", "tyny.ulg": "tiny.ulg"}[name]
    with pytest.raises(LogError, match=f"^{name}: there is no such file; did you mean '{right}'"):
        open_log(Path(name))


def test_another_rate_is_said_with_the_way_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The note names both rates and the page. The page's lines make a log of the model's rate, which the same
    --channels fit, whose numbers are the means of the readings of each period, and which has no such note."""
    pytest.importorskip("pandas")
    values = np.random.default_rng(8).normal(size=(400, 4))
    rows = [
        ",".join([str(1_700_000_000_000_000_000 + 5_000_000 * k), *map(repr, row)])
        for k, row in enumerate(values.tolist())
    ]
    (place / "fast.csv").write_text("\n".join(["t_ns,a,b,c,d", *rows]) + "\n")
    assert main(["replay", "fast.csv", "--model", "m.npz", "-o", "readings.csv"]) == 0
    said = capsys.readouterr().out
    assert "made for 100 Hz, the log has 200 Hz, and nothing is resampled" in said
    text = PAGE.read_text(encoding="utf-8")
    assert "\n## Another rate\n" in text
    (snippet,) = re.findall(r"```python\n(import pandas\n.*?)```", text, re.S)
    exec(compile(snippet, str(PAGE), "exec"), {})
    assert main(["replay", "at_100_hz.csv", "--model", "m.npz", "-o", "slow.csv"]) == 0
    assert "resampled" not in capsys.readouterr().out
    slow = np.loadtxt("slow.csv", delimiter=",", skiprows=1)
    assert slow[:, 1:5] == pytest.approx(values.reshape(200, 2, 4).mean(axis=1), abs=1e-12)
