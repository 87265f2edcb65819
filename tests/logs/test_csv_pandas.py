"""What is read is what pandas reads, wherever it reads the table too; and what is written is what Python writes."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pandas
from hypothesis import example, given
from hypothesis import strategies as st

from edge_lstm.logs import cells, digits
from edge_lstm.logs.csv_log import CsvLog
from edge_lstm.logs.csv_out import texts

plain = st.decimals(-(10**9), 10**9, places=6).map(str)
short = st.tuples(st.integers(-(10**15), 10**15), st.integers(0, 15)).map(lambda p: f"{p[0] / 10 ** p[1]:.{p[1]}f}")
exact = st.floats(allow_nan=False, allow_infinity=False).map(repr)
single = st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda x: str(np.float32(x)))
whole = st.integers(-(10**20), 10**20).map(str)
odd = st.sampled_from(
    ["", "nan", "NaN", "N/A", "#N/A", "null", "None", "1.#IND", "<NA>", "-0", "+5", ".5", "5.", "00012", " 7 "]
)
numbers = plain | short | exact | single | whole
tables = st.lists(st.tuples(numbers | odd, numbers, numbers | odd), min_size=1, max_size=40)


@given(tables, st.sampled_from([",", ";", "\t", "|"]), st.sampled_from(["\n", "\r\n"]))
def test_every_cell_is_the_double_of_pandas(rows: list[tuple[str, str, str]], mark: str, end: str):
    """Any numbers in any spelling, and every word for nothing, to the bit (read with float_precision round_trip)."""
    import tempfile

    lines = [f"t_ms{mark}a{mark}b{mark}c", *(mark.join([str(k), *row]) for k, row in enumerate(rows))]
    text = end.join(lines) + end
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer ones always read to the last bit, and say that they do
        frame = pandas.read_csv(
            io.StringIO(text), sep=mark, float_precision="round_trip", dtype=dict.fromkeys("abc", np.float64)
        )
    expected = frame[["a", "b", "c"]].to_numpy(np.float64, copy=True)
    expected[np.isinf(expected)] = np.nan
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "log.csv"
        path.write_bytes(text.encode())
        log = CsvLog(path)
        (block,) = log.blocks(log.columns[1:])
    same = block.values.view(np.int64) == expected.view(np.int64)
    assert (same | (np.isnan(block.values) & np.isnan(expected))).all()


@given(st.lists(numbers, min_size=1, max_size=60))
@example(
    ["9007199254740993", "0.1234567890123456", "999999999999999.5", "-.5", "5.", "-", ".", "1.2.3", "1/2", "1:2", ""]
)
def test_what_is_read_many_at_once_is_what_float_reads(found: list[str]):
    """Where a cell is read at all it is Python's float to the bit, whole numbers are whole, and nothing else is."""
    data = ("\n".join(found) + "\n").encode()
    places = cells.padded(data)
    ends = np.flatnonzero(places == ord("\n"))
    starts = np.concatenate(([cells.WINDOW], ends[:-1] + 1))
    values, read, integers, is_whole = cells.numbers(places, starts, ends)
    for text, value, fine, integer, whole_one in zip(found, values, read, integers, is_whole, strict=True):
        if fine:
            assert np.float64(float(text)).tobytes() == value.tobytes()
        if whole_one:
            assert int(text) == integer
        if text.lstrip("-").isdigit() and len(text.lstrip("-")) <= 15:
            assert fine
            assert whole_one


def texts_of(found: digits.Texts) -> list[str]:
    return [bytes(row[row != 0]).decode() for row in found]


@given(st.lists(st.floats() | plain.map(float) | short.map(float), min_size=1, max_size=60))
@example([0.0, -0.0, 1e15, 1e-4, 9.99e-5, 123456789012345.0, float("nan"), float("inf"), 1e16, 5e-324, 0.1 + 0.2])
def test_doubles_are_written_as_python_writes_them(values: list[float]):
    """repr, for every double; nothing for NaN."""
    array = np.array(values)
    assert texts_of(digits.doubles(array)) == [row[0] for row in texts(array[:, None])]


@given(st.lists(st.floats(width=32) | plain.map(lambda t: float(np.float32(t))), min_size=1, max_size=60))
@example([2.0**k for k in range(-30, 40)])
@example([999999.94, 1e6, 1e-4, 0.5, 16777216.0, 8388608.5])
def test_singles_are_written_as_numpy_writes_them(values: list[float]):
    """The shortest text that is the same float32, as NumPy has it, powers of two among them."""
    array = np.array(values, np.float32)
    assert texts_of(digits.floats(array)) == [row[0] for row in texts(array[:, None])]


def test_many_singles_and_doubles():
    """Drawn over all bits and over short decimals: not one text differs."""
    rng = np.random.default_rng(7)
    bits = rng.integers(0, 2**32, 40_000, np.uint32).view(np.float32)
    tens = 10.0 ** rng.integers(-6, 7, 20_000)
    singles = np.concatenate(
        (bits, rng.normal(size=40_000).astype(np.float32), (rng.normal(size=20_000) * tens).astype(np.float32))
    )
    assert texts_of(digits.floats(singles)) == [row[0] for row in texts(singles[:, None])]
    doubles = np.concatenate(
        (rng.normal(size=20_000), rng.normal(size=40_000).round(6), rng.normal(size=20_000) * tens)
    )
    assert texts_of(digits.doubles(doubles)) == [row[0] for row in texts(doubles[:, None])]
