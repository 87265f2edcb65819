"""Missing readings: what stands in for them, what it depends on, and that live, replay and Python agree bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_lstm.core.feedback import Feedback, Policy
from edge_lstm.errors import FeedbackError, ModelFileError, ReadingError
from edge_lstm.streams import missing as missing_module
from edge_lstm.streams.missing import LAST, MissingReadings
from tests.streams.test_forecast import follower
from tests.streams.test_rollout import diner
from tests.support.models import nets
from tests.support.robots import small_robot

MODEL = follower()
XS = nets.readings(40, 3, seed=8)
NAN = float("nan")


def filler(missing: str = "predict", longest_gap: int | None = None) -> MissingReadings:
    return MissingReadings(MODEL.stream(), Policy(missing, longest_gap))  # type: ignore[arg-type]


def test_predict_is_the_forecast():
    """n missing readings leave the stream where a forecast of n steps ends, and give its last output."""
    stream = MODEL.stream()
    loop = MissingReadings(stream, Policy("predict"))
    for x in XS[:9]:
        loop.step(x)
    forecast = stream.forecast(6)
    assert loop.missing(6).tobytes() == forecast.outputs[-1].tobytes()
    assert (loop.not_real, loop.counts.filled) == (6, 6)


def test_hold_repeats_the_last_reading_and_skip_waits():
    """Hold is the same reading again; skip leaves the memory as it is."""
    reference, held, skipped = MODEL.stream(), filler("hold"), filler("skip")
    for x in XS[:9]:
        reference.step(x)
        held.step(x)
        skipped.step(x)
    assert skipped.missing(4) is None
    assert skipped.stream.snapshot() == reference.snapshot()
    for _ in range(4):
        y = reference.step(XS[8])
    assert held.missing(4).tobytes() == y.tobytes()
    assert held.stream.snapshot() == reference.snapshot()


@pytest.mark.parametrize("policy", ["skip", "hold", "predict"])
def test_a_channel_of_its_own_mind(policy: str):
    """A number that is held has its last value whatever the policy; one that is skipped ends the reading; others are
    the policy's. A reading that is missing wholly, but came, is met number by number. A log comes to the same bits."""
    each = ("hold", "skip", None)
    made = MissingReadings(MODEL.stream(), Policy(policy), each)  # type: ignore[arg-type]
    plain = MissingReadings(MODEL.stream(), Policy(policy))  # type: ignore[arg-type]
    xs = XS[:12].copy()
    xs[4, 0] = xs[6, 1] = xs[8, :] = xs[10, 2] = NAN
    ys = [made.step(x) for x in xs]
    taken = [y is not None for y in ys]
    assert taken == [k not in ((6, 8) if policy != "skip" else (6, 8, 10)) for k in range(12)]
    filled = xs.copy()
    filled[4, 0] = xs[3, 0]
    for k in (6, 8):
        filled[k] = NAN
    expected = [plain.step(x) if taken[k] else None for k, x in enumerate(filled)]
    for one, other in zip(ys[:5], expected[:5], strict=True):
        assert (one is None) == (other is None)
        assert one is None or one.tobytes() == other.tobytes()  # type: ignore[union-attr]
    run = MissingReadings(MODEL.stream(), Policy(policy), each).run(xs)  # type: ignore[arg-type]
    assert run.taken.tolist() == taken
    again = MissingReadings(MODEL.stream(), Policy(policy), each)  # type: ignore[arg-type]
    for k, x in enumerate(xs):
        y = again.step(x)
        assert y is None or y.tobytes() == run.outputs[k].tobytes()


@pytest.mark.parametrize("missing", ["hold", "predict"])
def test_only_the_missing_channels_are_filled(missing: str):
    """NaN in one channel: that one is predicted, or keeps its last value; the others are as read."""
    reference, filled = MODEL.stream(), filler(missing)
    for x in XS[:5]:
        y = reference.step(x).copy()
        filled.step(x)
    stand_in = y[0] if missing == "predict" else XS[4][0]
    expected = reference.step([stand_in, XS[5][1], XS[4][2]])
    assert filled.step([NAN, XS[5][1], np.inf]).tobytes() == expected.tobytes()
    assert (filled.counts.patched, filled.not_real) == (1, 1)


@pytest.mark.parametrize("missing", ["skip", "hold", "predict"])
def test_nothing_is_invented_before_the_first_reading(missing: str):
    """Missing readings at the beginning are skipped, by every policy."""
    filled = filler(missing)
    assert filled.missing(3) is None
    assert filled.step([NAN, 0, 0]) is None
    assert not filled.taken
    assert filled.counts.skipped == 4
    assert filled.step(XS[0]).tobytes() == MODEL.stream().step(XS[0]).tobytes()


@pytest.mark.parametrize("missing", ["skip", "hold", "predict"])
@pytest.mark.parametrize("longest", [0, 1, 5])
def test_after_the_longest_gap_the_memory_is_reset(missing: str, longest: int):
    """So many missing readings are bridged, one more and the next reading meets a fresh memory."""
    for gap in (longest, longest + 1, longest + 20):
        filled = filler(missing, longest)
        for x in XS[:7]:
            filled.step(x)
        filled.missing(gap)
        assert filled.counts.resets == (gap > longest)
        y = filled.step(XS[7]).copy()
        assert (y.tobytes() == MODEL.stream().step(XS[7]).tobytes()) is (gap > longest)
        assert filled.not_real == gap


def test_a_channel_that_stays_silent_ends_like_a_gap():
    """A channel that is NaN for longer than the longest gap is not filled for ever: the readings are skipped then."""
    filled = filler("hold", 3)
    filled.step(XS[0])
    taken = []
    for x in XS[1:8]:
        filled.step([NAN, x[1], x[2]])
        taken.append(filled.taken)
    assert taken == [True] * 3 + [False] * 4
    assert filled.counts.resets == 1


Event = st.one_of(
    st.tuples(st.just("real"), st.integers(0, 39), st.integers(0, 6)),  # reading, how many were believed overdue
    st.tuples(st.just("gap"), st.integers(1, 6), st.integers(0, 9)),
    st.tuples(st.just("holes"), st.integers(0, 39), st.integers(0, 7)),
)


@given(st.sampled_from(["skip", "hold", "predict"]), st.sampled_from([None, 0, 2, 7]), st.lists(Event, max_size=25))
def test_what_was_believed_overdue_changes_nothing(missing: str, longest: int | None, events: list[tuple]):
    """However many readings were taken for late before the truth came: outputs, memory and counts are the same."""
    patient, hasty = filler(missing, longest), filler(missing, longest)
    for kind, number, late in events:
        if kind != "holes":
            for _ in range(late):
                hasty.overdue()
        outputs = []
        for one in (patient, hasty):
            if kind == "gap":
                one.missing(number)
                y = one.step(XS[number])
            else:
                x = XS[number].copy()
                if kind == "holes":
                    x[[bool(late >> k & 1) for k in range(3)]] = NAN
                y = one.step(x)
            outputs.append(None if y is None else y.tobytes())
        assert outputs[0] == outputs[1]
    assert patient.snapshot().memory == hasty.snapshot().memory
    assert (patient.counts, patient.not_real) == (hasty.counts, hasty.not_real)


@given(
    st.sampled_from(["skip", "hold", "predict"]), st.sampled_from([None, 3]), st.lists(st.integers(0, 15), max_size=60)
)
def test_a_whole_log_is_the_same_as_its_readings_one_by_one(missing: str, longest: int | None, holes: list[int]):
    """run() with NaN anywhere: the bits, the counts and not_real of step()."""
    xs = np.resize(XS, (len(holes), 3))
    for x, bits in zip(xs, holes, strict=True):
        x[[bool(bits >> k & 1) and bits < 8 for k in range(3)]] = NAN
    whole, single = filler(missing, longest), filler(missing, longest)
    result = whole.run(xs)
    for k, x in enumerate(xs):
        y = single.step(x)
        expected = np.full(2, np.nan, np.float32) if y is None else y
        assert result.outputs[k].tobytes() == expected.tobytes()
        assert (result.taken[k], result.not_real[k]) == (single.taken, single.not_real)
    assert whole.counts == single.counts
    assert whole.snapshot().memory == single.snapshot().memory


def test_not_real_counts_the_latest_hundred():
    """Each output's not_real is the number of unreal readings among the latest 100."""
    filled, real = filler("hold"), []
    random = np.random.default_rng(5)
    for k in range(400):
        lost = k > 0 and random.random() < 0.3
        filled.missing() if lost else filled.step(XS[k % 40])
        real.append(not lost)
        assert filled.not_real == sum(not r for r in real[-LAST:])


def test_a_window_is_filled_too():
    """In window mode, too, hold gives what the repeated readings give; predict waits for the first output."""
    model = follower(window=4)
    reference, held, predicted = model.stream(), MissingReadings(model.stream(), Policy("hold")), None
    for x in XS[:6]:
        reference.step(x)
        held.step(x)
    reference.step(XS[5])
    y = reference.step(XS[5])
    assert held.missing(2).tobytes() == y.tobytes()
    predicted = MissingReadings(model.stream(), Policy("predict"))
    predicted.step(XS[0])
    assert predicted.missing(1) is None
    assert predicted.counts.skipped == 1


def test_what_cannot_be_is_an_error():
    """Predict without feedback, an unknown policy, a negative gap, a wrong length: named; the state is unchanged."""
    with pytest.raises(FeedbackError, match="'lstm-16' declares no feedback"):
        MissingReadings(nets.network().stream(), Policy("predict"))
    with pytest.raises(ModelFileError, match="'guess'"):
        Policy("guess")  # type: ignore[arg-type]
    with pytest.raises(ModelFileError, match="-1"):
        Policy("hold", -1)
    filled = filler()
    filled.step(XS[0])
    before = filled.snapshot().memory
    with pytest.raises(ReadingError, match="3 numbers"):
        filled.step([NAN, 0])
    with pytest.raises(ReadingError, match="real numbers"):
        filled.step(["a", "b", "c"])
    assert filled.snapshot().memory == before


def test_a_fill_that_explodes_is_skipped_and_counted():
    """Holding a reading that doubles the memory ends before infinity; the memory stays finite."""
    stream = small_robot.unstable().stream()
    filled = MissingReadings(stream, Policy("hold"))
    filled.step([3e37])
    filled.missing(50)
    assert filled.counts.unstable > 0
    assert filled.counts.filled + filled.counts.skipped == 50
    assert all(np.isfinite(v).all() for v in stream.state.values())


def test_words_that_were_drawn_for_late_readings_are_drawn_again():
    """With sampling, too, what was believed overdue changes nothing: the draws are counted with the memory."""
    model = diner(feedback=(Feedback("next", "dinner", "sample", 5),))
    patient, hasty = (
        MissingReadings(model.stream(), Policy("predict")),
        MissingReadings(model.stream(), Policy("predict")),
    )
    for k in range(60):
        x = {"dinner": k % 3, "day": k % 2, "late": None if k % 7 == 3 else 1.0}
        for _ in range(k % 5):
            hasty.overdue()
        for one in (patient, hasty):
            one.missing(k % 4)
            one.step(x)
        assert patient.snapshot().memory == hasty.snapshot().memory
    assert patient.counts == hasty.counts
    words = [MissingReadings(model.stream(), Policy("predict")) for _ in range(2)]
    for one in words:
        one.step({"dinner": 0, "day": 0, "late": 1})
        one.missing(30)
    assert words[0].snapshot().memory == words[1].snapshot().memory


@pytest.mark.parametrize("missing", ["skip", "hold", "predict"])
@pytest.mark.parametrize("longest", [None, 0, 3, 7, 10**9])
def test_a_gap_is_passed_over_as_one_by_one(missing: str, longest: int | None, monkeypatch: pytest.MonkeyPatch):
    """However many are missing at once, what is remembered and counted is what single ones come to, also where the gap
    begins before the first reading, and where it is longer than the most that are filled."""
    monkeypatch.setattr(missing_module, "MOST_FILLED", 12)
    for before in (0, 4):
        for count in (1, 3, 4, 8, 11, 12, 13, 14, 40):
            at_once, single = filler(missing, longest), filler(missing, longest)
            for x in XS[:before]:
                at_once.step(x)
                single.step(x)
            y = at_once.missing(count)
            for _ in range(count):
                z = single.missing(1)
            assert (y is None) == (z is None)
            assert at_once.snapshot().memory == single.snapshot().memory
            assert at_once.counts == single.counts, (before, count)
            assert at_once.not_real == single.not_real
            late = filler(missing, longest)  # known as late first: the same again
            for x in XS[:before]:
                late.step(x)
            late.overdue(count)
            late.missing(count)
            assert late.snapshot().memory == single.snapshot().memory
            for one in (at_once, single):
                one.step(XS[9])
            assert at_once.snapshot().memory == single.snapshot().memory


@pytest.mark.parametrize("missing", ["skip", "hold", "predict"])
@pytest.mark.parametrize("longest", [None, 100, 10**15])
def test_a_gap_without_end_is_bounded_work(missing: str, longest: int | None, monkeypatch: pytest.MonkeyPatch):
    """10^15 missing readings at once, lost or late: a bounded number of steps, then the memory is reset and that is
    counted; with skip it waits, unless a longest gap is said."""
    assert missing_module.MOST_FILLED == 65_536
    monkeypatch.setattr(missing_module, "MOST_FILLED", 1000)
    for what in ("missing", "overdue"):
        one = filler(missing, longest)
        one.step(XS[0])
        getattr(one, what)(10**15)
        if missing == "skip":
            assert one.counts.resets == (1 if longest == 100 and what == "missing" else 0)
            assert one.counts.filled == 0
        else:
            assert one.counts.resets == 1
            assert one.counts.filled == (100 if longest == 100 else missing_module.MOST_FILLED)
            assert one.counts.skipped == 10**15 - one.counts.filled
            assert one.not_real == LAST
