"""A robot's clock and counter, followed by the base of all dialects, on robots whose every reading is known: what is
counted as missing is what is missing, what is believed is true, and a restart is one Reset."""

from __future__ import annotations

import random
from typing import Any

import pytest

from firmware_bridge.events import Event, Fault, Gap, Reading, Reset
from firmware_bridge.table import Table
from firmware_bridge.values import Chunk
from tests.firmware_bridge.links.test_dialect import Rows, feed, imu, kinds, link
from tests.support.robots import MS

S = 1000 * MS
CLOCK = imu(counter=None, counter_bits=None)
COUNTER = imu(time=None)


def told(events: list[Event]) -> tuple[int, int, int]:
    """Readings, missing ones, resets."""
    missing = sum(event.count for event in events if isinstance(event, Gap))
    return sum(isinstance(event, Reading) for event in events), missing, sum(isinstance(e, Reset) for e in events)


def row(made: Rows, t_ns: int, ms: float, count: int = 0) -> list[Event]:
    return made.receive(Chunk(t_ns, f"{ms!r} {count} 1\n".encode()))


def times(events: list[Event]) -> list[int]:
    return [event.t_device_us for event in events if isinstance(event, Reading)]


def test_times_are_those_of_the_robot_to_the_microsecond() -> None:
    """Seconds as decimal fractions are no binary ones, and µs since 1970 need 51 bits: neither loses its last digit,
    nor do a million of them add up to an error."""
    made = link(**imu(counter=None, counter_bits=None, time_unit="s"))
    events = [event for n in range(300) for event in row(made, n * 10 * MS, round(n * 0.01, 2))]
    assert times(events) == [10_000 * n for n in range(300)]
    made = link(**imu(counter=None, counter_bits=None, time_unit="us"))
    began = 1_700_000_000_123_457
    events = [event for n in range(100) for event in row(made, n * 10 * MS, began + n * 10_001)]
    assert times(events) == [began + n * 10_001 for n in range(100)]


def test_a_time_beyond_all_times_is_a_fault() -> None:
    """Whatever digits have become, nothing raises, and nothing is believed that cannot be a time."""
    made = link(**imu(counter=None, counter_bits=None, time_unit="s"))
    for text in ("1e308", "1e300", "inf", "nan", "-1", "1e20"):
        assert kinds(feed(made, (0, f"{text} 0 1")))[-1] == "Fault", text
    assert told(feed(made, (10, "5 0 1"))) == (1, 0, 0)


@pytest.mark.parametrize("rate_hz", [5000, 1000, 400, 333, 100])
def test_a_clock_coarser_than_the_readings_loses_none_and_hides_none(rate_hz: int) -> None:
    """5 kHz by millis(): the clock stands still for five readings, then jumps by as many. None is missing; and where
    one in a hundred is, about so many are told."""
    for share in (0.0, 0.01):
        rng, made, events, lost = random.Random(1), link(**imu(counter=None, counter_bits=None, rate_hz=rate_hz)), [], 0
        for n in range(5000):
            t_ns = n * S // rate_hz
            if n > 50 and rng.random() < share:
                lost += 1
            else:
                events += row(made, t_ns, t_ns // MS)
        readings, missing, resets = told(events)
        assert (readings, resets) == (5000 - lost, 0)
        assert abs(missing - lost) <= (0 if rate_hz <= 400 or not share else lost * 0.4), (missing, lost)


def test_millis_of_an_avr_skips_and_repeats_and_nothing_is_missing() -> None:
    """Its timer ticks every 1.024 ms, and millis() makes up for it with steps of two: at 1 kHz a number comes twice and
    another never."""
    made = link(**imu(counter=None, counter_bits=None, rate_hz=1000))
    events = []
    for n in range(5000):
        overflows = n * 1000 // 1024
        events += row(made, n * MS, overflows + 24 * overflows // 1000)
    assert told(events) in ((5000, 0, 0), (5000, 1, 0))  # which of them comes first is chance


@pytest.mark.parametrize("drift", [-0.02, -0.001, 0.001, 0.02])
def test_a_clock_that_drifts_stays_as_hard_to_fool_as_in_the_first_second(drift: float) -> None:
    """For an hour 2 % slow or fast; then one damaged digit, 10 s ahead: a fault, no gap of a thousand, no Reset."""
    made = link(**imu(counter=None, counter_bits=None, rate_hz=10))
    events = []
    for n in range(36_000):
        events += row(made, n * 100 * MS, round(n * 100 * (1 + drift)))
    assert told(events) == (36_000, 0, 0)
    n = 36_000
    events = row(made, n * 100 * MS, round(n * 100 * (1 + drift)) + 10_000)
    for n in range(36_001, 36_010):
        events += row(made, n * 100 * MS, round(n * 100 * (1 + drift)))
    assert told(events) == (9, 1, 0)


@pytest.mark.parametrize("unit", ["ms", "us"])
def test_a_long_silence_of_a_clock_that_wraps(unit: str) -> None:
    """The link is lost for two hours, in which micros() begins again once or twice: the gap is two hours long."""
    made = link(**imu(counter=None, counter_bits=None, rate_hz=100, time_unit=unit))
    tick = {"ms": 1, "us": 1000}[unit]
    began = 2**32 - 5000 * tick
    events = []
    for n in (*range(100), *range(720_000, 720_100)):
        events += row(made, n * 10 * MS, (began + n * 10 * tick) % 2**32)
    assert told(events) == (200, 719_900, 0)


def test_a_clock_that_counts_beyond_32_bits_does_not_wrap_there() -> None:
    """esp_timer_get_time() is micros in 64 bits: 80 minutes of silence are 80 minutes."""
    made = link(**imu(counter=None, counter_bits=None, rate_hz=100, time_unit="us"))
    events = []
    for n in (*range(100), *range(480_000, 480_100)):
        events += row(made, n * 10 * MS, 2**32 + 7 + n * 10_000)
    assert told(events) == (200, 479_900, 0)
    assert times(events)[-1] == 2**32 + 7 + 480_099 * 10_000


@pytest.mark.parametrize("ran_s", [3600, 4293, 2100])
def test_a_restart_is_no_wrap(ran_s: int) -> None:
    """micros() wraps after 71 minutes. A robot that is unplugged after `ran_s`, for 40 minutes, and starts afresh has
    restarted, though a clock that wrapped could say the same within those 40 minutes."""
    made = link(**imu(counter=None, counter_bits=None, rate_hz=100, time_unit="us"))
    events = row(made, 0, ran_s * 1_000_000) + row(made, 10 * MS, ran_s * 1_000_000 + 10_000)
    for n in range(10):
        events += row(made, 2400 * S + n * 10 * MS, 5_000_000 + n * 10_000)
    assert told(events) == (11, 0, 1)


def test_batches_and_jitter_around_a_wrap_are_no_restart() -> None:
    """50 readings in one chunk, half a second late the first of them, and 200 ms of jitter besides; the wrap falls on
    the first of a batch, in turn on every other."""
    for first in range(50):
        rng, made, events = random.Random(first), link(**imu(counter=None, counter_bits=None, rate_hz=100)), []
        began = 2**32 - (1000 + first * 10)
        for batch in range(10):
            t_ns = (batch + 1) * 500 * MS + rng.randrange(200 * MS)
            data = b"".join(b"%d 0 1\n" % ((began + (batch * 50 + n) * 10) % 2**32) for n in range(50))
            events += made.receive(Chunk(t_ns, data))
        assert told(events) == (500, 0, 0), first


@pytest.mark.parametrize("rate_hz", [0.5, 2, 10, 100, 1000])
def test_what_waited_in_a_buffer_comes_first_and_then_what_is_new(rate_hz: float) -> None:
    """At opening 20 readings of a minute ago arrive at once, then those of now: all old ones are delivered, the minute
    is a gap, and at most the first two of the new ones are not believed."""
    period_ms = 1000 / rate_hz
    made = link(**imu(counter=None, counter_bits=None, rate_hz=rate_hz))
    made.receive(Chunk(0, b"/dev/x", "opened"))
    events = made.receive(Chunk(0, b"".join(b"%d 0 1\n" % (n * period_ms) for n in range(20))))
    assert told(events) == (20, 0, 0)
    skip = round(60_000 / period_ms) + 20
    for n in range(20):
        events += row(made, round(n * period_ms) * MS, (skip + n) * period_ms)
    readings, missing, resets = told(events)
    assert resets == 0
    assert readings in (38, 39, 40)
    assert readings + missing == skip + 20


def test_a_host_that_slept_for_an_hour() -> None:
    """Its clock stood still, the robot's did not: an hour of readings is missing, and nothing has restarted."""
    made = link(**CLOCK)
    events = [event for n in range(100) for event in row(made, n * 10 * MS, n * 10)]
    for n in range(100):
        events += row(made, 1000 * MS + n * 10 * MS, 3_600_000 + n * 10)
    assert told(events) == (199, 359_901, 0)


def test_a_reading_an_hour() -> None:
    """Nothing about it is special."""
    made = link(**imu(counter=None, counter_bits=None, rate_hz=1 / 3600, time_unit="s"))
    events = []
    for n in (0, 1, 2, 5, 6):
        events += row(made, n * 3600 * S, n * 3600 + 0.25)
    assert told(events) == (5, 2, 0)


# ------------------------------------------------------------------------------------------ counters


@pytest.mark.parametrize("bits", [4, 8, 16, 32])
def test_a_counter_that_went_all_the_way_round_while_the_link_was_lost(bits: int) -> None:
    """With a rate, or a clock, ten seconds at 100 Hz are 1000 readings, however few bits the counter has."""
    for changes in ({"time": None}, {}):
        made, events = link(**imu(counter_bits=bits, **changes)), []
        for n in (*range(50), *range(1050, 1100)):
            events += row(made, n * 10 * MS, n * 10, n % 2**bits)
        readings, missing, resets = told(events)
        assert (readings, resets) == (100, 0)
        assert abs(missing - 1000) <= (0 if bits >= 8 else 60)
        assert (missing - 1000) % 2 ** min(bits, 30) == 0


def test_jitter_never_makes_a_counter_go_round() -> None:
    """200 ms of jitter at 100 Hz with 4 bits, one reading in twenty lost: each lost one is told, none is made up."""
    rng, made, events, lost = random.Random(2), link(**imu(time=None, counter_bits=4)), [], 0
    arrived_ns = 0
    for n in range(3000):
        arrived_ns = max(arrived_ns, n * 10 * MS + rng.randrange(200 * MS))
        if n and rng.random() < 0.05:
            lost += 1
        else:
            events += row(made, arrived_ns, 0, n % 16)
    assert told(events) == (3000 - lost, lost, 0)


def test_a_counter_of_one_bit() -> None:
    """It can tell that one is missing only as a number that comes twice; nothing raises, no gap is made up."""
    made = link(**imu(time=None, counter_bits=1))
    events = [event for n in range(100) if n != 50 for event in row(made, n * 10 * MS, 0, n % 2)]
    assert told(events) == (98, 0, 0)
    assert made.counters.faults == {"counter": 1}


def test_a_counter_without_a_clock_goes_back_after_a_boot_message() -> None:
    """Then the robot has restarted: one Reset. Without the message nobody knows."""
    made = link(**COUNTER)
    events = feed(made, (0, "0 99 1"), (10, "0 100 1"), (20, "boot"), (2000, "0 0 1"), (2010, "0 1 1"))
    assert [kind for kind in kinds(events) if kind != "Hello"] == ["Reading", "Reading", "Reset", "Reading", "Reading"]


def test_a_request_that_was_not_answered_is_one_gap_also_where_the_robot_has_a_clock() -> None:
    """`missed` told it; the robot's clock and counter tell it again, and that is not another one."""
    for changes in (imu(), CLOCK, COUNTER):
        made = link(**changes)
        events = feed(made, (0, "0 0 1"), (10, "10 1 1"))
        made.missed(20 * MS, "imu")
        events += feed(made, (30, "30 3 1"), (40, "40 4 1"))
        assert told(events) == (4, 0, 0)
        assert made.counters.lost_readings == 1


# ------------------------------------------------------------------------------------------ several readings, one clock


class Two(Rows):
    """ "imu …" and "gps …" lines, or a "bat …" line without a clock."""

    name = "two"

    def decode(self, t_ns: int, data: bytes) -> None:
        for line in data.splitlines():
            if line == b"boot":
                self.booted()
                continue
            name, *texts = line.decode().split()
            self.deliver(t_ns, name, [float(text) for text in texts])


def two() -> Two:
    part: dict[str, Any] = {"fields": ["ms", "x"], "time": "ms"}
    readings = {"imu": part | {"rate_hz": 100}, "gps": part | {"rate_hz": 10}, "bat": {"fields": ["v"]}}
    return Two(Table("robot.toml", "link", {"reading": readings}))


@pytest.mark.parametrize("boot", [True, False])
def test_one_restart_is_one_reset_whichever_reading_notices(boot: bool) -> None:
    """Three kinds of readings, two with the same clock. The boot message helps whichever comes first, also after one
    that has no clock; the reading that has not noticed is judged by the new boot."""
    for first in ("imu", "gps", "bat"):
        made = two()
        lines = [(n * 10, f"imu {90_000 + n * 10} 1\ngps {90_000 + n * 10} 1\nbat 12") for n in range(3)]
        if boot:
            lines.append((500, "boot"))
        lines.append((1000, f"{first} 12" if first == "bat" else f"{first} 30 1"))
        lines += [(1010 + n * 10, f"imu {40 + n * 10} 1\ngps {40 + n * 10} 1\nbat 12") for n in range(3)]
        events = feed(made, *lines)
        assert sum(isinstance(event, Reset) for event in events) == 1, first
        assert sum(isinstance(event, Gap) for event in events) == 0
        faults = [event for event in events if isinstance(event, Fault)]
        assert len(faults) <= (0 if boot else 3)
        assert all(fault.status == "time" for fault in faults)
