"""The events of a robot's outputs, watched around whatever makes them.

Its rule: an event begins and ends with outputs that were made of a reading; what stands in for late ones begins and
ends nothing. Its action takes the place of the one that the models make of that reading.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from edge_lstm.errors import ConfigError
from edge_lstm.robot.controller import Decision, said_decision, taken_decision
from edge_lstm.robot.decider import AroundDecider, Decider
from edge_lstm.robot.thresholds import Watch
from firmware_bridge.events import Hello, Reading, Reset

if TYPE_CHECKING:
    from firmware_bridge.events import Event
    from firmware_bridge.remembered import Tree

_NAN = float("nan")


class Watched(AroundDecider[Decider]):
    """A Controller or Models whose outputs' events are watched; see `Decider`. An event's action takes the place of the
    one that the models make of that reading."""

    def __init__(self, inner: Decider) -> None:
        """ConfigError: an event is of an output that there is not."""
        super().__init__(inner)
        self.watch = Watch(self.config.events, inner.output_names)
        self.latest: Decision | None = None

    def snapshot(self) -> Tree:
        """See `Deciding`."""
        return {
            "inner": self.inner.snapshot(),
            "watch": self.watch.snapshot(),
            "latest": said_decision(self.latest),
        }

    def take_up(self, tree: Tree) -> None:
        """See `Deciding`."""
        self.inner.take_up(tree["inner"])
        self.watch.restore(tree["watch"])
        known = self.inner.latest
        if known is None:
            self.latest = None
            return
        binding = known.binding
        self.latest = taken_decision(tree["latest"], lambda _dictionary: binding)
        with suppress(ConfigError):  # then it is not bound
            self.watch.bind(binding.dictionary)

    def handle(self, event: Event) -> Decision | None:
        """As a Controller's."""
        if type(event) is Hello:
            return self._bind(event)
        decision = self.inner.handle(event)
        if decision is not None and type(event) is Reading:
            happened, action = self.watch.look(event.t_ns, _of_this_reading(decision, len(self.output_names)))
            if happened:
                decision = decision._replace(
                    happened=happened, action=action or decision.action, urgent=action is not None
                )
            shown, form = self.inner.latest, decision.binding.action
            seen = shown is not None and action is not None and form is not None and action.format == form.name
            self.latest = shown._replace(action=action) if shown is not None and seen else shown
        elif type(event) is Reset and self.config.on_reset == "reset":
            self.watch.reset()
        return decision

    def silence(self, t_ns: int) -> Decision | None:
        """As a Controller's. What stands in for late readings begins and ends nothing."""
        decision = self.inner.silence(t_ns)
        if decision is not None:
            self.latest = self.inner.latest
        return decision

    def _bind(self, hello: Hello) -> Decision | None:
        try:
            decision = self.inner.handle(hello)
            self.watch.bind(hello.dictionary)
        except ConfigError:
            self.unbind()
            raise
        self.latest = self.inner.latest
        return decision


def _of_this_reading(decision: Decision, count: int) -> list[float]:
    """All outputs, NaN where they were not made now."""
    if not decision.made:
        return [_NAN] * count if decision.outputs is None else decision.outputs
    return [
        value
        for one in decision.made
        for value in (one.outputs if one.new and one.outputs is not None else [_NAN] * len(one.names))
    ]
