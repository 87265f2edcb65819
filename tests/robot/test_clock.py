"""When readings were taken: by the board's clock, where it has one that can be relied on."""

from __future__ import annotations

import numpy as np

from edge_lstm.robot.clock import taken_s

MS = 1_000_000


def test_bursts_on_the_way_leave_no_holes():
    """Readings of 200 Hz that arrive in bursts of ten were taken 5 ms from each other."""
    device_us = [5000 * k for k in range(100)]
    host_ns = [50 * MS * (k // 10 + 1) for k in range(100)]
    t_s, by_board = taken_s(host_ns, device_us, [7] * 100)
    assert by_board
    assert np.allclose(np.diff(t_s), 0.005)
    assert t_s[0] == 0


def test_between_two_boots_the_host_says_how_long_it_was():
    """A board that starts again begins its clock anew, with another number or the same."""
    device_us = [1000, 6000, 11000, 500, 5500]
    host_ns = [0, 5 * MS, 10 * MS, 3010 * MS, 3015 * MS]
    for boots in ([1, 1, 1, 2, 2], [0] * 5):
        t_s, by_board = taken_s(host_ns, device_us, boots)
        assert by_board
        assert np.allclose(t_s, [0, 0.005, 0.010, 3.010, 3.015])


def test_a_clock_that_stands_or_was_set_is_the_hosts():
    """Without a clock, or where the board's jumped by an hour, times are the host's; never do they go back."""
    host_ns = [5 * MS * k for k in range(4)]
    for device_us in ([0] * 4, [0, 5000, 3_600_000_000, 3_600_005_000]):
        t_s, by_board = taken_s(host_ns, device_us, [1] * 4)
        assert not by_board
        assert np.allclose(t_s, [0, 0.005, 0.010, 0.015])
    assert taken_s([], [], [])[0].tolist() == []
    assert taken_s([5], [9], [1])[0].tolist() == [0.0]
