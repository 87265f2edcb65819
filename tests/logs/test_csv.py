"""CSV as people have it: every kind of table that loggers, spreadsheets and terminals leave behind is read as what it
is, or refused with what to type."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from edge_lstm.errors import LogError
from edge_lstm.logs.asked import Asked
from edge_lstm.logs.csv_log import CsvLog
from edge_lstm.logs.csv_out import CsvWriter
from edge_lstm.logs.stamps import of_day_ns

ROWS = [[k * 10, k * 0.1, -k * 0.2, k * k * 0.05] for k in range(8)]  # ms, x, y, z
NUMBERS = [[float(f"{v:.3f}") for v in row[1:]] for row in ROWS]
PLAIN = "time_ms,x,y,z\n" + "".join(f"{t},{x:.3f},{y:.3f},{z:.3f}\n" for t, x, y, z in ROWS)
DATES = "2017-07-20 10:05:13.{:03d}"


def opened(folder: Path, text: str | bytes, name: str = "log.csv", **asked: Any) -> CsvLog:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return CsvLog(path, Asked(**asked))


def read(log: CsvLog, *names: str) -> tuple[list[float], list[list[float]], list[int]]:
    """(seconds, values, rows with which another recording begins) of the whole log."""
    columns = [c for c in (log.find(name) for name in names or "xyz") if c is not None]
    t_s: list[float] = []
    values: list[list[float]] = []
    begins: list[int] = []
    for block in log.blocks(columns):
        begins += [len(t_s) + k for k in block.begins]
        t_s += block.t_s.tolist()
        values += block.values.tolist()
    return t_s, values, begins


def times(column: str, form: str, scale: float = 1, first: int = 0) -> str:
    """PLAIN with other times."""
    rows = PLAIN.splitlines()[1:]
    made = [
        f"{form.format(first + round(t * scale))},{row.split(',', 1)[1]}"
        for (t, *_), row in zip(ROWS, rows, strict=True)
    ]
    return "\n".join([f"{column},x,y,z", *made]) + "\n"


def swapped(delimiter: str, comma: bool = False) -> str:
    text = PLAIN.replace(",", "|").replace(".", ",") if comma else PLAIN.replace(",", "|")
    return text.replace("|", delimiter)


BANNER = "=~=~=~=~=~=~=~=~= PuTTY log 2024.05.06 12:00:00 =~=~=~=~=~=~=~=~=\n"
SAME = {
    "plain": PLAIN,
    "Windows line ends": PLAIN.replace("\n", "\r\n"),
    "old line ends": PLAIN.replace("\n", "\r"),
    "a byte order mark": "\ufeff" + PLAIN,
    "no end of the last line": PLAIN.rstrip("\n"),
    "blank lines at both ends": f"\n\n{PLAIN}\n\n",
    "a comma after every row": PLAIN.replace("\n", ",\n").replace("z,", "z"),
    "a comma after every row and the header": PLAIN.replace("\n", ",\n"),
    "semicolons": swapped(";"),
    "tabs": swapped("\t"),
    "bars": swapped("|"),
    "blanks": swapped(" "),
    "blanks that line up": swapped("    \t "),
    "a decimal comma": swapped(";", comma=True),
    "a decimal comma and tabs": swapped("\t", comma=True),
    "a blank after each comma": PLAIN.replace(",", ", "),
    "quotes": "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in PLAIN.splitlines()),
    "quotes in the header": PLAIN.replace("x,y,z", '"x","y","z"'),
    "units in the second line": PLAIN.replace("time_ms,x,y,z\n", "time,x,y,z\nms,m/s2,m/s2,m/s2\n"),
    "units in brackets, in the second line": PLAIN.replace("time_ms,x,y,z\n", "time,x,y,z\n[ms],[g],[g],[-]\n"),
    "comments before the header": "# made by hand\n# twice\n" + PLAIN,
    "a header that is a comment": "# " + PLAIN,
    "a header of MATLAB": "% " + swapped(" "),
    "comments between the rows": PLAIN.replace("40,", "# restart\n40,"),
    "a vendor's header": "Device: IMU-7, serial 00123\nFirmware 1.2\n\n" + PLAIN,
    "a banner of PuTTY": BANNER + PLAIN,
    "a banner of PuTTY, blanks": BANNER + swapped(" "),
    "millis": times("millis", "{}"),
    "micros": times("micros", "{}", 1000),
    "dates": times("timestamp", DATES),
    "dates with slashes and a zone": times("timestamp", "2017/07/20 10:05:13.{:03d}Z"),
    "dates with T and an offset": times("timestamp", "2017-07-20T10:05:13.{:03d}+02:00"),
    "compact dates": times("timestamp", "20170720T100513.{:03d}"),
    "times of day": times("time", "10:05:13.{:03d}"),
    "epoch seconds": times("timestamp", "1759512644.{:03d}"),
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME.keys())
def test_the_same_eight_readings(tmp_path: Path, text: str):
    """However it is written, the numbers are the same to the bit, 10 ms apart, in one recording."""
    t_s, values, begins = read(opened(tmp_path, text, model_hz=100.0))
    assert values == NUMBERS
    assert t_s == pytest.approx([row[0] / 1000 for row in ROWS], abs=3e-7)
    assert begins == []


SECONDS = "time_s;x;y;z\n" + "".join(f"0,{10 * k:03d};{k},5;0;1\n" for k in range(8))


@pytest.mark.parametrize("text", [*SAME.values(), SECONDS], ids=[*SAME, "seconds with a decimal comma"])
def test_what_is_written_of_it_is_read_again(tmp_path: Path, text: str):
    """The file of results has the log's own times and numbers in columns that commas part: with a point, whatever the
    log has, so that the same reader finds the same readings at the same times, and pandas finds numbers."""
    log = opened(tmp_path, text, model_hz=100.0)
    columns = [found for found in map(log.find, "xyz") if found is not None]
    with CsvWriter(tmp_path / "out.csv", [log.time.title, "x", "y", "z", "output", "_not_real"]) as out:
        for block in log.blocks(columns):
            none = np.zeros((len(block.t_s), 1), np.float32), np.zeros(len(block.t_s), np.int64)
            out.table(block.time_text, block.values, *none)
    again = CsvLog(tmp_path / "out.csv", Asked(model_hz=100.0))
    assert read(again) == read(opened(tmp_path, text, model_hz=100.0))
    if isinstance(log.time_unit, str) and log.time_unit in ("s", "ms"):
        times = (tmp_path / "out.csv").read_text().splitlines()[1:]
        assert [float(line.split(",")[0]) for line in times]


PACKED = {
    "gzip": (gzip.compress(PLAIN.encode()), {}),
    "two gzip files": (gzip.compress(PLAIN[:50].encode()) + gzip.compress(PLAIN[50:].encode()), {}),
    "zstd": (zstandard.compress(PLAIN.encode()), {}),
    "utf-16": (PLAIN.encode("utf-16"), {}),
    "utf-16 without a mark": (PLAIN.encode("utf-16-le"), {"encoding": "utf-16-le"}),
    "cp1252": (PLAIN.replace("x", "µ").encode("cp1252"), {"encoding": "cp1252"}),
}


@pytest.mark.parametrize(("data", "asked"), PACKED.values(), ids=PACKED.keys())
def test_packed_and_in_other_encodings(tmp_path: Path, data: bytes, asked: dict[str, Any]):
    """The same readings; which encoding is asked for where the first bytes do not say it."""
    log = opened(tmp_path, data, "log.csv.gz", **asked)
    assert read(log, "µ" if "encoding" in asked and asked["encoding"] == "cp1252" else "x", "y", "z")[1] == NUMBERS


ASKED = {
    "no header": (PLAIN.split("\n", 1)[1], "--names t,a,b,c", {"names": ("time_ms", "x", "y", "z")}),
    "a header too short": (
        PLAIN.replace("time_ms,x,y,z", "time_ms,x"),
        "--names t,a,b,c --skip-lines 1",
        {"names": ("time_ms", "x", "y", "z"), "skip_lines": 1},
    ),
    "boot lines": (
        PLAIN.replace("40,", "ets Jul 29 2019 12:21:46\nrst:0x1 (POWERON_RESET)\n40,"),
        "2 of 10 lines cannot be read, lines 6, 7; --skip-bad leaves them out",
        {"skip_bad": True},
    ),
    "one damaged line": (
        PLAIN.replace("40,", "4�0,x.\n40,"),
        "--skip-bad leaves out that one of 9",
        {"skip_bad": True},
    ),
    "the day first": (
        times("time", "20/07/2017 10:05:13.{:03d}"),
        '--time-unit "%d/%m/%Y %H:%M:%S.%f"',
        {"time_unit": "%d/%m/%Y %H:%M:%S.%f"},
    ),
    "the month first": (
        times("time", "7/20/2017 10:05:13.{:03d} AM"),
        '--time-unit "%m/%d/%Y %I:%M:%S.%f %p"',
        {"time_unit": "%m/%d/%Y %I:%M:%S.%f %p"},
    ),
    "a unit that is nowhere near": (times("time", "{}", 0.1), "--time-unit s, ms, us or ns", {"time_unit": "ms"}),
    "Windows letters": (PLAIN.replace("x", "°").encode("cp1252"), "--encoding cp1252", {"encoding": "cp1252"}),
}


@pytest.mark.parametrize(("text", "words", "asked"), ASKED.values(), ids=ASKED.keys())
def test_what_is_open_is_asked_with_what_to_type(tmp_path: Path, text: str | bytes, words: str, asked: dict[str, Any]):
    """Without the option one sentence that names it; with it the same readings (their number where times differ)."""
    with pytest.raises(LogError) as caught:
        read(opened(tmp_path, text, model_hz=100.0), "y", "z")
    assert words in str(caught.value)
    _, values, _ = read(opened(tmp_path, text, model_hz=100.0, **asked), "y", "z")
    assert values == [row[1:] for row in NUMBERS]


@pytest.mark.parametrize(
    "cell", ["#N/A", "NaN", "-nan", "nan(ind)", "-1.#IND", "1.#QNAN", "null", "None", "NULL", "n/a", "", "inf"]
)
def test_cells_without_a_number(tmp_path: Path, cell: str):
    """Excel, C of Windows, pandas and Arduino say it in their own ways: a missing reading, and no other row changes."""
    _, values, _ = read(opened(tmp_path, PLAIN.replace(",0.400,", f",{cell},")))
    assert [k for k, row in enumerate(values) if row[0] != row[0]] == [4]
    assert values[:4] + values[5:] == NUMBERS[:4] + NUMBERS[5:]


def test_lines_of_another_table_are_skipped_as_asked(tmp_path: Path):
    """--skip-lines: what stands before is no table, whatever it looks like; said."""
    log = opened(tmp_path, "a,b,c,d\n9,9,9,9\n" * 2 + PLAIN, skip_lines=4)
    assert read(log)[1] == NUMBERS
    assert "the first 4 lines were skipped (--skip-lines)" in log.notes


# --- times --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "scale", "unit"),
    [(1759512644784, 1, "ms"), (1759512644784000, 1000, "us"), (1742324422348709600, 10**6, "ns")],
)
@pytest.mark.parametrize("model_hz", [100.0, None])
def test_a_unit_that_nobody_says_is_recognised_by_size_and_rate(
    tmp_path: Path, first: int, scale: int, unit: str, model_hz: float | None
):
    """Epoch times of 13, 16 and 19 digits, with a model of that rate and without one; it is said which was taken."""
    log = opened(tmp_path, times("timestamp", "{}", scale, first), model_hz=model_hz)
    assert log.time_unit == unit
    assert any(f"taken as {unit}" in note for note in log.notes)
    assert read(log)[0] == pytest.approx([row[0] / 1000 for row in ROWS], abs=1e-12)


@pytest.mark.parametrize(("step", "model_hz", "unit"), [
    (10, 100.0, "ms"), (0.01, 100.0, "s"), (10_000, 100.0, "us"), (0.05, 200.0, "s"), (1, 100.0, None),
    (60, 100.0, None), (5, 200.0, "ms"), (10, None, "s"), (1e6, None, None), (1, 1.0, "s"), (1000, 1.0, "ms"),
])  # fmt: skip
def test_a_unit_is_never_one_that_makes_the_log_impossible(
    tmp_path: Path, step: float, model_hz: float | None, unit: str | None
):
    """About the model's rate: that unit; seconds where they are at most 30 times off; else the option is asked for."""
    text = "time,x\n" + "".join(f"{k * step:g},1\n" for k in range(20))
    if unit is None:
        with pytest.raises(LogError, match="--time-unit s, ms, us or ns"):
            opened(tmp_path, text, model_hz=model_hz)
    else:
        assert opened(tmp_path, text, model_hz=model_hz).time_unit == unit


@pytest.mark.parametrize("column", ["micros", "time_us", "t [us]"])
def test_a_counter_of_32_bits_wraps(tmp_path: Path, column: str):
    """The wrap is no step back, in whatever block it comes, and said; the seconds are those of a longer counter."""
    ticks = [(2**32 - 45_000 + k * 10_000) for k in range(10)]
    text = f"{column},x\n" + "".join(f"{t % 2**32},{k}\n" for k, t in enumerate(ticks))
    log = opened(tmp_path, text)
    t_s, _, begins = read(log, "x")
    assert t_s == pytest.approx([k * 0.01 for k in range(10)], abs=1e-12)
    assert begins == []
    assert "the time wraps at 2^32 once" in log.notes


def test_a_counter_that_wraps_is_found_although_it_falls(tmp_path: Path):
    """Without a name, the column that increases but for one wrap is the time, not a column of data."""
    ticks = [(2**32 - 45_000 + k * 10_000) % 2**32 for k in range(10)]
    log = opened(tmp_path, "a,x,b\n" + "".join(f"{t},{k % 3},{-k}\n" for k, t in enumerate(ticks)), model_hz=100.0)
    assert log.time.title == "a"


def test_a_fraction_behind_a_colon_is_not_guessed() -> None:
    """Three, six or nine digits are a fraction; fewer may be ms, tenths or frames, so they are no time."""
    assert of_day_ns("00:00:01:005") == (1_005_000_000, False)
    assert of_day_ns("00:00:01:000005") == (1_000_005_000, False)
    assert of_day_ns("00:00:01.5") == (1_500_000_000, False)
    assert of_day_ns("00:00:01:5") is of_day_ns("00:00:01:50") is None


def in_two(titles: str, lines: int = 8) -> str:
    """Times of ROS in two columns, 0.01 s apart, across a second."""
    rows = [(1_700_000_000 + k // 4, k % 4 * 10_000_000, k) for k in range(lines)]
    return titles + ",x\n" + "".join(f"{s},{ns},{x}\n" for s, ns, x in rows)


STEPS = [(k // 4 * 1_000_000_000 + k % 4 * 10_000_000) * 1e-9 for k in range(8)]  # s


@pytest.mark.parametrize(
    ("titles", "asked"),
    [
        ("header.stamp.sec,header.stamp.nanosec", {}),
        ("header/stamp/secs,header/stamp/nsecs", {}),
        ("stamp_sec,stamp_nanosec", {"time": "stamp"}),
        ("sec,nanosec", {}),
        ("/imu.header.stamp.sec,/imu.header.stamp.nanosec", {"time": "/imu.header.stamp"}),
        ("other.sec,other.nanosec", {"time": "other.sec"}),
    ],
)
def test_a_time_in_two_columns_is_one(tmp_path: Path, titles: str, asked: dict[str, Any]):
    """Seconds and nanoseconds as ROS has them are nanoseconds: of lines read at once as of odd ones, to the last."""
    log = opened(tmp_path, in_two(titles), **asked)
    assert any("with the nanoseconds of" in note for note in log.notes)
    assert log.time_unit == "ns"
    assert read(log, "x")[0] == STEPS
    assert [text for block in log.blocks([]) for text in block.time_text][5] == "1700000001010000000"
    odd = in_two(titles).replace("\n1700000001,10000000,5", '\n"1700000001","10000000",5')
    assert read(opened(tmp_path, odd, **asked), "x")[0] == STEPS


def test_a_time_in_two_columns_where_there_are_more(tmp_path: Path):
    """A column that is called time wins; of two pairs one is asked for; rows that are no such pair are bad lines, each
    counted once."""
    more = in_two("stamp.sec,stamp.nanosec").replace("stamp.nanosec,x", "stamp.nanosec,x,t_ms")
    more = "\n".join(f"{line},{20 * k}" if k >= 0 else line for k, line in enumerate(more.splitlines(), -1))
    assert opened(tmp_path, more).time.title == "t_ms"
    assert read(opened(tmp_path, more, time="stamp"), "x")[0] == STEPS
    two = in_two("a.stamp.sec,a.stamp.nanosec").replace(",x\n", ",b.stamp.sec,b.stamp.nanosec,x\n", 1)
    two = two.splitlines()[0] + "\n" + "".join(f"{k},{k},{k},{k},{k}\n" for k in range(9))
    with pytest.raises(LogError, match="say which with --time"):
        opened(tmp_path, two)
    bad = in_two("stamp.sec,stamp.nanosec").replace("10000000,5", "1000000000,5").replace(",20000000,6", ",x,6")
    bad = bad.replace("1700000001,30000000", '"1.5",30000000')
    with pytest.raises(LogError, match="no seconds and nanoseconds; 3 of 8 lines cannot be read, lines 7, 8, 9"):
        read(opened(tmp_path, bad), "x")
    assert read(opened(tmp_path, bad, skip_bad=True), "x")[0] == STEPS[:5]


def test_midnight_is_a_wrap_of_the_time_of_day(tmp_path: Path):
    """23:59:59.9 and 00:00:00.0 are 0.1 s apart."""
    log = opened(tmp_path, "time,x\n23:59:59.8,1\n23:59:59.9,2\n00:00:00.0,3\n00:00:00.1,4\n")
    assert read(log, "x")[0] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert "the time wraps at midnight once" in log.notes


def test_without_a_time_column_the_rate_says_it(tmp_path: Path):
    """--rate, or the model's rate, which is said; a column that may be the time is asked about first."""
    text = "x,y,z\n" + "".join(f"{x:.3f},{y:.3f},{(-1) ** k * z:.3f}\n" for k, (_, x, y, z) in enumerate(ROWS))
    text = text.replace("0.100,", "0.900,", 1)
    for asked, words in (({"rate_hz": 50.0}, "50 Hz (--rate)"), ({"model_hz": 50.0}, "the model's 50 Hz")):
        log = opened(tmp_path, text.replace("-0.200", "7"), **asked)
        t_s, _, _ = read(log)
        assert t_s == pytest.approx([k * 0.02 for k in range(8)])
        assert any(words in note for note in log.notes)
        assert [b.time_text[1] for b in log.blocks([])] == ["0.02"]
    with pytest.raises(LogError, match="--rate HZ"):
        opened(tmp_path, text.replace("-0.200", "7"))
    with pytest.raises(LogError, match=r"'n' could be the time.*--time COLUMN.*--rate HZ"):
        opened(tmp_path, "n,x\n1,5\n1,4\n2,5\n2,3\n", model_hz=50.0)


# --- recordings one after the other ---------------------------------------------------------------------------------

GESTURES = [[(k * 10, g + k / 10) for k in range(20)] for g in range(3)]


def gestures(between: str, label: bool = False, restart: bool = True) -> str:
    """Three recordings of 20 rows. restart: the time begins at 0 again."""
    parts = []
    for g, rows in enumerate(GESTURES):
        at = 0 if restart else g * 1000
        parts.append("".join(f"{t + at},{x:g}{f',{g}' if label else ''}\n" for t, x in rows))
    return f"time_ms,x{',label' if label else ''}\n" + between.join(parts)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (gestures(""), {}),
        (gestures("\n"), {}),
        (gestures("\n\n\n"), {}),
        (gestures("\n", restart=False), {}),
        (gestures("time_ms,x\n"), {}),
        (gestures("# next\n"), {}),
        (gestures("", label=True, restart=False), {"episode": "label"}),
        (gestures("", label=True), {"episode": "label"}),
        (gestures("\n").replace("time_ms", "n"), {"rate_hz": 100.0}),
    ],
)
@pytest.mark.parametrize("block", [1 << 20, 60])
def test_recordings_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, asked: dict[str, Any], block: int
):
    """The clock, blank lines, the header again or a column say where another begins, at any border of blocks."""
    monkeypatch.setattr("edge_lstm.logs.text_file.BLOCK", block)
    log = opened(tmp_path, text, **asked)
    t_s, values, begins = read(log, "x")
    assert begins == [20, 40]
    assert [row[0] for row in values] == [x for rows in GESTURES for _, x in rows]
    assert (np.diff(t_s) > 0).all()
    assert any("holds 3 recordings" in note for note in log.notes)
    if not asked:
        assert read(opened(tmp_path, text, episode="none"), "x")[2] == []


def test_what_is_no_new_recording(tmp_path: Path):
    """A blank line after every row, one wrong time, and a row that came late: one recording."""
    plain = gestures("").splitlines()[:21]
    late = [*plain[:5], plain[6], plain[5], *plain[7:]]
    stray = [*plain[:9], "99999999,5", *plain[9:]]
    for lines in ("\n\n".join(plain), "\n".join(late), "\n".join(stray)):
        assert read(opened(tmp_path, lines + "\n"), "x")[2] == []


# --- lines ----------------------------------------------------------------------------------------------------------


def test_all_bad_lines_are_counted(tmp_path: Path):
    """Not only the first is told: how many there are of how many, and which; left out as asked, the others stay."""
    lines = PLAIN.splitlines() * 1 + [f"{80 + 10 * k},1,2,3" for k in range(200)]
    for k in range(10, 200, 10):
        lines[k] = lines[k][:3]
    lines[50] = "480,1,x9,3"
    with pytest.raises(LogError, match=r"line 11 has 2 cells.*19 of 208 lines cannot be read, lines 11, 21,"):
        read(opened(tmp_path, "\n".join(lines) + "\n"))
    log = opened(tmp_path, "\n".join(lines) + "\n", skip_bad=True)
    assert len(read(log)[1]) == 189
    assert any(note.startswith("19 of 208 lines left out (--skip-bad), lines 11, 21,") for note in log.notes)


def test_hexadecimal_is_said_or_refused(tmp_path: Path):
    """1E10 may be either, and what is meant is asked; with --hex 0x1F, 1f and 1E10 are what they are in base 16."""
    text = "t_ms,x\n0,1E10\n10,0020\n"
    with pytest.raises(LogError, match=r"'1E10' may be 1e\+10 or hexadecimal; say which: --no-hex or --hex"):
        read(opened(tmp_path, text), "x")
    assert read(opened(tmp_path, text, hex=True), "x")[1] == [[0x1E10], [0x20]]
    assert read(opened(tmp_path, text, hex=False), "x")[1] == [[1e10], [20]]
    with pytest.raises(LogError, match="if it is hexadecimal, say --hex"):
        read(opened(tmp_path, "t_ms,x\n0,1A\n10,0x1F\n"), "x")
    assert read(opened(tmp_path, "t_ms,x\n0,1A\n10,0x1F\n", hex=True), "x")[1] == [[26], [31]]
    assert read(opened(tmp_path, "t_ms,x\n0,1e5\n10,1.5E3\n"), "x")[1] == [[1e5], [1500]]


def test_a_log_that_was_cut_off_is_read_to_its_end(tmp_path: Path):
    """A last line without an end and with too few cells, and a packed file without its end: said, the rest is there."""
    log = opened(tmp_path, PLAIN + "80,1.0,2")
    assert read(log)[1] == NUMBERS
    assert "the last line, 10, is cut off, and left out" in log.notes
    big = "t_ms,x\n" + "".join(f"{k},{math.sin(k)}\n" for k in range(50_000))
    for packed, name in (
        (gzip.compress(big.encode()), "log.csv.gz"),
        (zstandard.ZstdCompressor().compress(big.encode()), "log.csv.zst"),
    ):
        log = opened(tmp_path, packed[:-50_000], name)
        assert 1000 < len(read(log, "x")[1]) < 50_000
        assert any("packed file is damaged or cut off" in note for note in log.notes)


def test_what_packs_a_thousandfold_takes_no_memory(tmp_path: Path):
    """300 MB of one line in 300 kB: refused when a line is too long, and many lines are streamed."""
    import tracemalloc

    data = gzip.compress(b"t,x\n" + b"1" * (100 << 20))
    tracemalloc.start()
    with pytest.raises(LogError, match="line 2 is longer than"):
        opened(tmp_path, data, "log.csv.gz")
    assert tracemalloc.get_traced_memory()[1] < 60 << 20
    tracemalloc.stop()
