"""Tables with types, as pandas and others write them: their times, texts and titles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from edge_lstm.errors import LogError
from edge_lstm.logs import open_log
from edge_lstm.logs.asked import NOTHING, Asked
from edge_lstm.logs.formats import arrow
from edge_lstm.logs.log import Log
from edge_lstm.logs.survey import survey

Write = Callable[[pa.Table, Path], None]
FORMS: dict[str, Write] = {".parquet": parquet.write_table, ".feather": feather.write_feather}
T = np.arange(200)
HUNDRED = replace(NOTHING, model_hz=100.0)


def read(log: Log, *titles: str) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Seconds, values, and the rows with which another recording begins."""
    blocks = list(log.blocks([log.find(title) for title in titles]))
    begins = [block.lines[k] - 1 for block in blocks for k in block.begins]
    return np.concatenate([b.t_s for b in blocks]), np.concatenate([b.values for b in blocks]), begins


@pytest.fixture(params=FORMS)
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Path]:
    """Columns → a table in a file."""

    def made(**columns: Any) -> Path:
        path = tmp_path / f"a{request.param}"
        FORMS[request.param](pa.table(columns), path)
        return path

    return made


@pytest.mark.parametrize(
    ("title", "times", "asked", "unit"),
    [
        ("timestamp", T * 10_000 + 1_700_000_000_000_000, HUNDRED, "us"),
        ("timestamp", T * 10_000 + 1_700_000_000_000_000, NOTHING, "us"),
        ("t", T * 10, HUNDRED, "ms"),
        ("t", T * 0.01, HUNDRED, "s"),
        ("millis", T * 10, NOTHING, "ms"),
        ("time_ns", T * 10_000_000, NOTHING, "ns"),
        ("micros", (T * 10_000 + (1 << 32) - 500_000) % (1 << 32), NOTHING, "us"),
        ("t", T * 10, replace(NOTHING, time_unit="ms"), "ms"),
    ],
)
def test_what_a_time_counts_is_found_as_in_csv(
    write: Callable[..., Path], title: str, times: np.ndarray, asked: Asked, unit: str
) -> None:
    """By the title, the model's rate, or the size of dates; and counters of 32 bits wrap."""
    log = open_log(write(**{title: times, "ax": T * 0.5}), asked)
    t_s, values, begins = read(log, "ax")
    assert log.time_unit == unit
    assert np.allclose(t_s, T * 0.01, rtol=0, atol=1e-9)
    assert np.array_equal(values[:, 0], T * 0.5)
    assert not begins


def test_a_unit_that_nothing_says_is_asked_for(write: Callable[..., Path]) -> None:
    """Nothing impossible is assumed, and what the title says is not contradicted."""
    with pytest.raises(LogError, match=r"does not say its unit, and its rows would come at .* say it: --time-unit"):
        open_log(write(t=T * 123_456, ax=T), HUNDRED)
    with pytest.raises(LogError, match="is in ms by its header, --time-unit says us"):
        open_log(write(t_ms=T, ax=T), replace(NOTHING, time_unit="us"))
    with pytest.raises(LogError, match="holds no dates"):
        open_log(write(t=T, ax=T), replace(NOTHING, time_unit="%Y"))
    with pytest.raises(LogError, match="not in range"):
        open_log(write(t=pa.array([2**63, 2**63 + 1], pa.uint64()), ax=[1, 2]), replace(NOTHING, time_unit="ns"))


def test_recordings_one_after_the_other_have_a_memory_each(write: Callable[..., Path]) -> None:
    """Where the clock begins anew, or a column changes, also between blocks; "none" is none."""
    count = 30_000
    path = write(
        t=np.tile(np.arange(count) * 0.01, 5), run=np.repeat(["a", "b", "b", "c", "c"], count), x=range(5 * count)
    )
    log = open_log(path)
    t_s, values, begins = read(log, "x")
    assert begins == [count, 2 * count, 3 * count, 4 * count]
    assert (np.diff(t_s) > 0).all()
    assert np.array_equal(values[:, 0], range(5 * count))
    assert any("holds 5 recordings one after the other" in note for note in log.notes)
    assert read(open_log(path, replace(NOTHING, episode="run")), "x")[2] == [count, 3 * count]
    assert read(open_log(path, replace(NOTHING, episode="none")), "x")[2] == []
    with pytest.raises(LogError, match="no column 'rum' for --episode; did you mean 'run'"):
        open_log(path, replace(NOTHING, episode="rum"))


def test_rows_that_are_in_no_order_are_refused(write: Callable[..., Path]) -> None:
    """As of CSV, also where the column says itself that it holds times."""
    mixed = np.random.default_rng(0).permutation(200)
    for times in (mixed * 0.01, pa.array(mixed * 10_000, pa.timestamp("us")), np.zeros(200)):
        with pytest.raises(LogError, match=r"(goes back \d+ times in 200 rows|never increases), so it is no time"):
            open_log(write(t=times, ax=T))


def test_rows_without_a_time_have_a_rate(write: Callable[..., Path]) -> None:
    """--rate: the rows come so fast; without it the sentence names the option."""
    path = write(ax=T * 0.5)
    with pytest.raises(LogError, match="or the rate of the rows with --rate HZ"):
        open_log(path)
    t_s, values, _ = read(open_log(path, replace(NOTHING, rate_hz=50.0)), "ax")
    assert np.allclose(t_s, T / 50)
    assert np.array_equal(values[:, 0], T * 0.5)


def test_every_kind_of_number_is_that_of_pandas(write: Callable[..., Path]) -> None:
    """Whole, half, decimal, truth, from a dictionary, with rows that hold none; titles with blanks around them."""
    decimals = [Decimal(k * 7919 % 100_003).scaleb(-6) for k in range(200)]
    path = write(
        t=T * 0.01,
        whole=pa.array([None if k % 7 == 0 else k for k in range(200)], pa.int64()),
        half=pa.array((T * 0.25).astype(np.float16)),
        decimal=pa.array(decimals, pa.decimal128(18, 6)),
        truth=pa.array([None if k % 5 == 0 else k % 2 == 0 for k in range(200)]),
        picked=pa.array([1.5, 2.5] * 100).dictionary_encode(),
        **{" blank ": T * 3.0},
    )
    titles = ["whole", "half", "decimal", "truth", "picked", "blank"]
    _, values, _ = read(open_log(path), *titles)
    theirs = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_feather(path)
    exact = theirs[[*titles[:-1], " blank "]].astype(float).to_numpy()
    assert np.array_equal(values, exact, equal_nan=True)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_texts_are_words_and_no_numbers(write: Callable[..., Path], kind: pa.DataType) -> None:
    """A model that wants words has them, of pandas' large texts too; where numbers are wanted it is said."""
    path = write(t=[0.0, 0.1, 0.2], mode=pa.array(["a", None, "b"], kind), x=[1.0, 2.0, 3.0])
    log = open_log(path)
    blocks = list(log.blocks([log.find("mode")], {0: ["b", "a"]}))
    assert np.array_equal(blocks[0].values[:, 0], [1.0, np.nan, 0.0], equal_nan=True)
    with pytest.raises(LogError, match="column 'mode' holds texts, not numbers"):
        read(log, "mode")
    assert [one.count for one in survey(open_log(path))] == [0, 3]


def test_lists_are_columns_of_their_elements(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the first list's length, of rows in any number; a list that is shorter, or none, lacks the others; structs are
    their fields, and lists of anything else are left out, by a note."""
    monkeypatch.setattr(arrow, "_BATCH", 700)
    count = 2000  # more than are read at once
    lists = [[float(k), k + 0.25, -float(k)] for k in range(count)]
    lists[5], lists[1900], lists[1901] = [5.0], None, [1.0, 2.0, 3.0, 4.0]
    pose = pa.struct([("x", pa.int64()), ("at", pa.struct([("q", pa.list_(pa.int64()))]))])
    # Before 26 pyarrow refuses Parquet in which a list of fixed size is missing ("Expected all lists to be of size=2").
    missing = 7 if int(pa.__version__.split(".")[0]) >= 26 else count
    path = write(
        t_s=np.arange(count) * 0.01,
        gyro=pa.array(lists),
        fixed=pa.array([None if k == missing else [k, -k] for k in range(count)], pa.list_(pa.int32(), 2)),
        pose=pa.array([{"x": k, "at": {"q": [k, k + 1]}} if k != 3 else None for k in range(count)], pose),
        words=pa.array([["a", "b"]] * count),
    )
    log = open_log(path)
    titles = [c.title for c in log.columns][1:]
    assert titles == ["gyro[0]", "gyro[1]", "gyro[2]", "fixed[0]", "fixed[1]", "pose.x", "pose.at.q[0]", "pose.at.q[1]"]
    assert any("left out: words" in note for note in log.notes)
    values = read(log, *titles)[1]
    wanted = np.arange(count, dtype=float)[:, None] * [1, 1, -1, 1, -1, 1, 1, 1] + [0, 0.25, 0, 0, 0, 0, 0, 1]
    wanted[5, 1:3], wanted[1900, :3], wanted[1901, :3] = np.nan, np.nan, [1, 2, 3]
    wanted[missing : missing + 1, 3:5], wanted[3, 5:] = np.nan, np.nan
    assert np.array_equal(values, wanted, equal_nan=True)


def test_a_time_in_two_columns_is_one(write: Callable[..., Path]) -> None:
    """Seconds and nanoseconds as ROS has them, flat or as a struct, are nanoseconds; another column that is called time
    wins, --time names the pair, and what is no such pair is refused."""
    seconds, rest = 1_700_000_000 + T // 100, T % 100 * 10_000_000
    flat = write(**{"header.stamp.sec": seconds, "header.stamp.nanosec": rest, "ax": T * 0.5})
    log = open_log(flat)
    assert (log.time.title, log.time_unit) == ("header.stamp [ns]", "ns")
    assert any("'header.stamp.sec' with the nanoseconds of" in note for note in log.notes)
    assert np.array_equal(read(log, "ax")[0], T * 10_000_000 * 1e-9)
    pair = [{"sec": int(a), "nanosec": int(b)} for a, b in zip(seconds, rest, strict=True)]
    assert np.array_equal(read(open_log(write(stamp=pair, ax=T)), "ax")[0], T * 10_000_000 * 1e-9)
    both = write(**{"t_ms": T * 20, "stamp.sec": seconds, "stamp.nanosec": rest, "ax": T})
    assert open_log(both).time.title == "t_ms"
    for asked in ("stamp", "stamp.sec", "stamp.nanosec"):
        assert read(open_log(both, replace(NOTHING, time=asked)), "ax")[0][-1] == pytest.approx(1.99)
    with pytest.raises(LogError, match="hold rows that are no seconds and nanoseconds"):
        open_log(write(**{"stamp.sec": seconds, "stamp.nanosec": rest * 1000, "ax": T}))


def test_lists_that_end_nowhere_are_damage(tmp_path: Path) -> None:
    """Offsets of a damaged file point far outside of it: a sentence, and nothing is read there."""
    path = tmp_path / "a.feather"
    table = pa.table({"t_s": T * 0.01, "gyro": pa.array([[1.0, 2.0, 3.0]] * len(T))})
    feather.write_feather(table, path, compression="uncompressed")
    offsets = np.arange(0, 3 * len(T) + 1, 3, dtype=np.int32)
    whole = path.read_bytes()
    for place, wrong in ((1, 1 << 30), (50, -5), (100, 1 << 29)):
        damaged = offsets.copy()
        damaged[place] = wrong
        assert whole.count(offsets.tobytes()) == 1
        path.write_bytes(whole.replace(offsets.tobytes(), damaged.tobytes()))
        with pytest.raises(LogError, match="cannot be read"):
            list(open_log(path).blocks([]))


@pytest.mark.parametrize("rows", [500, 70_000])
def test_float32_stays_what_it_is(tmp_path: Path, rows: int) -> None:
    """Columns of float32 come as rows of float32, with the numbers that float64 would have; beside another kind all are
    float64. Times are those of the file, in one row group or several, of one batch or more, asked for twice, and as a
    column among others."""
    times, a, b = np.arange(rows) / 100, np.arange(rows, dtype=np.float32) / 7, np.arange(rows, dtype=np.float64) / 7
    a[3] = np.nan
    table = pa.table({"time_s": times, "a": a, "b": b})
    for size in (rows, rows // 3):
        parquet.write_table(table, tmp_path / "log.parquet", row_group_size=size)
        log = open_log(tmp_path / "log.parquet")
        for titles, kind in ((["a"], np.float32), (["a", "b"], np.float64), (["a", "time_s"], np.float64), ([], None)):
            columns = [c for title in titles if (c := log.find(title))]
            blocks = list(log.blocks(columns))
            assert np.array_equal(np.concatenate([block.t_s for block in blocks]), times)
            if titles:
                assert {block.numbers.dtype.type for block in blocks} == {kind}
                values = np.concatenate([block.values for block in blocks])
                wanted = [table[title].to_numpy().astype(np.float64) for title in titles]
                assert np.array_equal(values, np.stack(wanted, axis=1), equal_nan=True)
