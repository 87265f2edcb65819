"""Logs: what a table holds is found and said; what cannot be read is named by file, line and column."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_lstm.cli import main
from edge_lstm.errors import LogError
from edge_lstm.logs import READERS, kind_of, open_log
from edge_lstm.logs.asked import NOTHING, Asked
from edge_lstm.logs.csv_log import CsvLog
from edge_lstm.logs.csv_out import CsvWriter, texts
from edge_lstm.logs.jitter import jitter, middle
from edge_lstm.logs.log import column

REAL = Path(__file__).parents[3] / "shared" / "real" / "logs" / "xio_imu_99hz.csv"


def write(folder: Path, text: str | bytes, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(log: CsvLog, *names: str) -> tuple[np.ndarray, np.ndarray]:
    """(t_s, values) of the whole log."""
    columns = [c for c in (log.find(name) for name in names) if c is not None]
    blocks = list(log.blocks(columns))
    return np.concatenate([b.t_s for b in blocks]), np.concatenate([b.values for b in blocks])


@pytest.mark.parametrize(
    ("title", "name", "unit"),
    [
        ("Gyroscope X (deg/s)", "Gyroscope X", "deg/s"),
        ("speed [rad/s]", "speed", "rad/s"),
        ("t_ns", "t", "ns"),
        ("Time (s)", "Time", "s"),
        ("timestamp_us", "timestamp", "us"),
        ("wheel_s", "wheel_s", ""),
        ("x[3]", "x[3]", ""),
        (" plain ", "plain", ""),
    ],
)
def test_a_title_is_taken_apart(title: str, name: str, unit: str):
    """Units come from brackets, and for times from a suffix; an index in brackets stays part of the name."""
    found = column(0, title)
    assert (found.name, found.unit) == (name, unit)


@pytest.mark.parametrize(
    ("header", "scale"),
    [("Time (s)", 1), ("time", 1), ("t_ms", 1e-3), ("timestamp [us]", 1e-6), ("T_NS", 1e-9), ("elapsed (msec)", 1e-3)],
)
def test_the_time_column_is_found_by_name_and_its_unit_is_honoured(tmp_path: Path, header: str, scale: float):
    """A column called time, in the middle and in any unit, gives seconds since the first row."""
    log = CsvLog(write(tmp_path, f"a,{header},b\n1,100,2\n3,110,4\n"))
    t_s, values = read(log, "a", "b")
    assert t_s == pytest.approx([0, 10 * scale])
    assert values.tolist() == [[1, 2], [3, 4]]
    assert bool(log.notes) == (header == "time")


def test_nanoseconds_since_1970_lose_nothing(tmp_path: Path):
    """Whole-number times stay whole: one nanosecond next to 1.7e18 is still one nanosecond."""
    log = CsvLog(write(tmp_path, "t_ns,a\n1700000000000000001,1\n1700000000000000002,1\n"))
    assert read(log, "a")[0].tolist() == [0.0, 1e-9]


def test_without_a_name_the_only_increasing_column_is_the_time(tmp_path: Path):
    """Where no column is called time, the one that always increases is taken, and that is said."""
    log = CsvLog(write(tmp_path, "a,b,c\n5,0.1,1\n4,0.2,2\n6,0.4,2\n"))
    assert log.time.title == "b"
    assert any("always increases" in note for note in log.notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,1\n2,2\n", ["several columns", "'a', 'b'", "--time"]),
        ("a,b\n1,3\n1,2\n", ["no column looks like the time", "--time"]),
        ("time,t,b\n1,3,1\n1,2,1\n", ["several columns", "'time', 't'"]),
        ("", ["is empty"]),
        ("\n\n  \n", ["is empty"]),
        ("t,a\n", ["no rows"]),
        ("a,b\n", ["no rows"]),
        ("1.0,2.0\n2.0,3.0\n", ["line 1", "'1.0'", "header"]),
        ("t,a\n1,2\n2,x7\n", ["line 3", "column 'a'", "'x7'", "not a number"]),
        ("t,a\n1,2\n2,1_000\n", ["line 3", "'1_000'"]),
        ("t,a\n1,2\n2\n", ["line 3", "has 1 cell,", "header has 2"]),
        ("t,a\n1,2\n2,3,4\n", ["line 3", "3 cells", "header has 2"]),
        ("t,a\n1,2\n,3\n", ["line 3", "column 't'", "not a time"]),
        ("t (weeks),a\n1,2\n", ["'weeks'", "is not one of"]),
        (b"t,a\n1,\xff\xfe\n", ["UTF-8"]),
        (b"\x7fELF\0\0\0junk", ["zero byte at 4"]),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str | bytes, words: list[str]):
    """Each damage gives one sentence with the file and the line, the column or what to do."""
    path = write(tmp_path, text)
    with pytest.raises(LogError) as caught:
        read(CsvLog(path), "a")
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_a_place_that_holds_no_log_is_named(tmp_path: Path):
    """Missing, a folder, an unknown suffix: said before anything is opened."""
    for path, word in (
        (tmp_path / "no.csv", "no such file"),
        (tmp_path, "folder"),
        (write(tmp_path, "\0\1", "a.xyz"), ".bag"),
    ):
        with pytest.raises(LogError, match=word):
            kind_of(path)


def test_a_table_is_opened_by_the_reader_of_its_suffix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever case it is written in, with the options as given; a file of another suffix is tried as CSV."""
    asked = []

    class Own(CsvLog):
        def __init__(self, path: Path, said: Asked = NOTHING) -> None:
            asked.append((path.name, said.time, said.time_unit))
            super().__init__(path, said)

    monkeypatch.setitem(READERS, ".own", Own)
    for name in ("a.OWN", "a.csv", "a.dat"):
        log = open_log(write(tmp_path, "n,a\n0,1\n1,2\n", name), Asked(time="n", time_unit="ms"))
        assert (type(log), log.time.title, log.time_unit) == (Own if name == "a.OWN" else CsvLog, "n", "ms")
    assert asked == [("a.OWN", "n", "ms")]
    assert kind_of(tmp_path / "a.OWN") == "table"


def test_missing_cells_are_missing_readings(tmp_path: Path):
    """Empty, nan, inf and null are NaN; the rows around them are as they were."""
    t_s, values = read(CsvLog(write(tmp_path, "t,a\n0,1\n1,\n2,nan\n3,inf\n4,null\n5,2\n")), "a")
    assert t_s.tolist() == [0, 1, 2, 3, 4, 5]
    assert [v == v for v in values[:, 0]] == [True, False, False, False, False, True]


def test_other_delimiters_quotes_and_line_ends(tmp_path: Path):
    """Semicolons, tabs, Windows line ends, a byte order mark and quoted titles with commas are read as meant."""
    for text in (
        "t;a\n0;1\n1;2\n",
        "t\ta\n0\t1\n1\t2\n",
        "t,a\r\n0,1\r\n1,2\r\n",
        "\ufefft,a\n0,1\n\n1,2\n",
        't,"a"\n0,"1"\n1,2\n',
    ):
        assert read(CsvLog(write(tmp_path, text)), "A")[1].tolist() == [[1], [2]]


def test_words_of_a_vocabulary_become_their_index(tmp_path: Path):
    """A column of words is read through the channel's vocabulary; a word outside it is named."""
    log = CsvLog(write(tmp_path, "t,dinner\n0,pizza\n1,sushi\n2,\n"))
    (block,) = log.blocks([log.columns[1]], {0: ("sushi", "pizza")})
    assert block.values[:2, 0].tolist() == [1, 0]
    assert math.isnan(block.values[2, 0])
    with pytest.raises(LogError, match=r"line 2.*'pizza' is not one of sushi, waffles"):
        list(log.blocks([log.columns[1]], {0: ("sushi", "waffles")}))


numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30))
def test_the_fast_and_the_slow_parser_agree(rows: list[tuple[float, float]]):
    """Any numbers, written and read by either parser, are the same bits (a quoted cell forces the slow one)."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        body = "".join(f"{k},{a!r},{b!r}\n" for k, (a, b) in enumerate(rows))
        fast = read(CsvLog(write(Path(name), "t,a,b\n" + body)), "a", "b")
        slow = read(CsvLog(write(Path(name), "t,a,b\n" + body.replace("0,", '"0",', 1))), "a", "b")
    assert fast[0].tobytes() == slow[0].tobytes()
    assert fast[1].tobytes() == slow[1].tobytes() == np.array(rows).tobytes()


@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_written_numbers_read_back_to_the_same_bits(values: list[float]):
    """The text of a float32 is the shortest that gives the same float32 again; NaN is an empty cell."""
    array = np.array([values], np.float32)
    (row,) = texts(array)
    for text, value in zip(row, array[0], strict=True):
        assert text == "" if np.isnan(value) else np.float32(text).tobytes() == value.tobytes()


def test_jitter_says_how_regular_a_log_is():
    """Median, extremes and the share of irregular distances are what a count by hand gives."""
    found = jitter(np.array([0, 0.01, 0.02, 0.03, 0.06, 0.06]))
    assert (found.rows, found.backwards) == (6, 1)
    assert found.median_dt_s == pytest.approx(0.01)
    assert found.max_dt_s == pytest.approx(0.03)
    assert found.irregular == pytest.approx(2 / 5)
    assert jitter(np.array([1.0])).sentence() == "fewer than two rows, so no rate"


def test_the_middle_is_numpys_median():
    """Of steps that keep to a rate, where it is counted, and of others, where it is sorted; of any number of them."""
    random = np.random.default_rng(7)
    regular = np.diff(np.arange(20_001) / 200)
    for steps in (regular, random.normal(0.005, 0.002, 20_000), np.repeat([0.1, 0.2], 5000), np.array([0.0, -0.0])):
        for count in (1, 2, 3, 1000, 1001, 9999, 10_000, len(steps)):
            assert middle(steps[:count]) == np.median(steps[:count])


def test_a_result_appears_whole_or_not_at_all(tmp_path: Path):
    """An error while writing leaves the old file as it was and nothing beside it; success replaces it."""
    path = write(tmp_path, "old", "out.csv")

    def interrupted() -> None:
        with CsvWriter(path, ["a"]) as out:
            out.rows([["1"]])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    with CsvWriter(path, ["a"]) as out:
        out.rows([["1"]])
    assert path.read_text() == "a\n1\n"
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


@pytest.mark.skipif(not REAL.exists(), reason="the folder of real logs is not here")
def test_a_real_imu_log():
    """The 99 Hz log of a real IMU: time found, units kept, 13,514 rows, its jitter as published beside it."""
    log = CsvLog(REAL)
    assert (log.time.title, log.time_unit, log.notes) == ("Time (s)", "s", [])
    assert [c.unit for c in log.columns[1:]] == ["deg/s"] * 3 + ["g"] * 3 + ["uT"] * 3
    t_s, values = read(log, *(c.title for c in log.columns[1:]))
    found = jitter(t_s)
    assert values.shape == (13514, 9)
    assert not np.isnan(values).any()
    assert 99 < found.rate_hz < 99.5
    assert 7.5e-3 < found.min_dt_s < 7.6e-3
    assert 30e-3 < found.max_dt_s < 30.5e-3


def test_what_is_wrong_with_a_line_is_not_said_of_a_column(tmp_path: Path, capsys):
    """`channels` refuses a table with a short line, or times that cannot be read, as every command does; a column of
    texts in a good one is listed as having no numbers."""
    short = write(tmp_path, "time,gx,cur\n0,1,2\n1,2\n2,3,4\n", "short.csv")
    assert main(["channels", str(short)]) == 2
    assert "line 3 has 2 cells, the header has 3" in capsys.readouterr().err
    odd = write(tmp_path, 't_us,gx\n0,1\n"10,000",2\n', "odd.csv")
    assert main(["channels", str(odd)]) == 2
    assert "'10,000' is not a time" in capsys.readouterr().err
    texts = write(tmp_path, "t_us,gx,state\n0,1,on\n10000,2,off\n", "texts.csv")
    assert main(["channels", str(texts)]) == 0
    assert capsys.readouterr().out.splitlines() == ["gx          100 Hz          2 numbers  1 … 2", "state  no numbers"]
