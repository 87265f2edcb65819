"""Every link keeps the promises of `Link`; another kind of link joins LINKS."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from firmware_bridge.links.link import Link
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.values import Action, Chunk
from tests.support.robots import MS, Session

LINKS: list[Callable[[], Link]] = [Bridge]  # for the type checker: each satisfies the protocol


@pytest.mark.parametrize("make", LINKS)
def test_a_link_has_what_the_protocol_says(make: Callable[[], Link]) -> None:
    """Every member is there, methods with the protocol's parameters, before a single byte has come."""
    link = make()
    for name in (name for name in vars(Link) if not name.startswith("_")):
        promised, found = getattr(Link, name), getattr(link, name)
        if callable(promised):
            wanted = [item.replace(annotation="") for item in inspect.signature(promised).parameters.values()][1:]
            given = [item.replace(annotation="") for item in inspect.signature(found).parameters.values()]
            assert wanted == given, name
    assert link.dictionary is None
    assert link.due_ns is None or link.due_ns >= 0


@pytest.mark.parametrize("make", LINKS)
def test_a_link_that_has_stopped_says_nothing_more(make: Callable[[], Link]) -> None:
    """After `stop` neither an action nor anything of the link's own goes out, whatever comes in."""
    session = Session(bridge=make())  # type: ignore[arg-type]
    session.run(50)
    link, t_ns = session.bridge, session.now_ms * MS
    assert link.stop(t_ns)
    sent = len(session.written)
    session.run(500)
    assert not any(session.written[sent:])
    assert link.send(session.now_ms * MS, Action("limits", (0.25, 0.5))) == link.outgoing() == b""


@pytest.mark.parametrize("make", LINKS)
def test_a_link_is_a_function_of_its_chunks(make: Callable[[], Link]) -> None:
    """The same chunks and calls give the same events, bytes and report again."""
    session = Session(bridge=make())  # type: ignore[arg-type]
    session.give(Chunk(0, b"/dev/robot", "opened"))
    session.run(200)
    again = Session(bridge=make())  # type: ignore[arg-type]
    for chunk in session.chunks:
        again.give(chunk)
    assert (again.events, again.written) == (session.events, session.written)
    assert again.bridge.report() == session.bridge.report()
