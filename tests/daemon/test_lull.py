"""The lull between two readings: work beside the loop begins in it, one at a time, and nobody hangs with the loop."""

from __future__ import annotations

import threading
import time
from collections import deque

from edge_lstm.daemon.lull import Lull


def _waiting(lull: Lull, count: int) -> None:
    while len(lull._waiting) < count:
        time.sleep(0.001)


def test_who_waits_goes_on_when_the_loop_is_done_with_a_chunk() -> None:
    """Not before it; one of several at each chunk, in the order in which they came."""
    lull, went = Lull(), []

    def work(name: str) -> None:
        went.append((name, lull.wait(60.0)))

    threads = []
    for count, name in enumerate(("status", "keeper"), 1):
        threads.append(threading.Thread(target=work, args=(name,)))
        threads[-1].start()
        _waiting(lull, count)
    assert went == []
    lull.begins()
    threads[0].join()
    assert went == [("status", True)]
    lull.begins()
    threads[1].join()
    assert went == [("status", True), ("keeper", True)]


def test_a_loop_that_hangs_holds_nobody_up() -> None:
    """Who has waited as long as it may goes on, and leaves nothing behind that would take the next one's lull."""
    lull = Lull()
    assert not lull.wait(0.01)
    lull.begins()  # nobody waits: it is nobody's
    assert not lull.wait(0.01)
    thread = threading.Thread(target=lull.wait, args=(60.0,))
    thread.start()
    _waiting(lull, 1)
    lull.begins()
    thread.join()


def test_who_gives_up_just_now_does_not_end_the_loop() -> None:
    """Between the look at who waits and their turn they may have gone: nothing is raised in the loop."""

    class JustGone(deque[threading.Lock]):
        def __bool__(self) -> bool:
            return True

    lull = Lull()
    lull._waiting = JustGone()
    lull.begins()
    assert not list(lull._waiting)
