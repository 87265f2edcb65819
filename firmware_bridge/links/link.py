"""What every link is: the half of a conversation with a robot that runs on this machine, whatever the robot's protocol.

Its rule: a link is sans-IO and deterministic. What it does is a function of the chunks and calls given, in their order;
time is the chunks' time. It never reads a clock, opens nothing, waits for nothing, and draws no random number. So a
recording of the chunks replays to the same events and the same bytes, whatever the protocol.

    for event in link.receive(chunk): …
    write(link.send(chunk.t_ns, action))
    write(link.outgoing())          # what the link itself sends; after every chunk, also an empty one
"""

from __future__ import annotations

from typing import Any, Protocol

from firmware_bridge.dictionary import Dictionary
from firmware_bridge.events import Event
from firmware_bridge.links.counters import Counters
from firmware_bridge.links.promises import Promises
from firmware_bridge.remembered import Tree
from firmware_bridge.values import Action, Chunk


class Link(Protocol):
    """One link to one robot, from before its port is opened until `stop`."""

    @property
    def dictionary(self) -> Dictionary | None:
        """The readings that the robot sends and the actions it takes; None until they are known. Where a robot declares
        nothing, the link makes it from its configuration, and still begins with a `Hello`."""

    @property
    def counters(self) -> Counters:
        """What it has seen and done. They only grow; what its protocol does not have stays 0."""

    @property
    def state(self) -> str:
        """One word for people: closed, listening, asking, running, stopped …"""

    @property
    def due_ns(self) -> int | None:
        """When, in the chunks' time, it next needs a chunk, an empty one if there is none other: a robot that is polled
        must be asked on time. None: the chunks that every port gives at least every `SILENCE_MS` are enough."""

    @property
    def promises(self) -> Promises:
        """What it cannot notice of what goes wrong; `ALL`: it notices everything."""

    @property
    def cut(self) -> bytes:
        """What ends a message that was cut off in the middle, so that the next one is read as one of its own."""

    def receive(self, chunk: Chunk) -> list[Event]:
        """The events of one chunk, in order. Nothing that arrives raises: what is of no use is a `Fault`, what is
        missing a `Gap`, each counted; and however the bytes are cut into chunks, the same readings come out."""

    def send(self, t_ns: int, action: Action, hold_ns: int = 0, of_device_us: int | None = None) -> bytes:
        """The bytes of an action, made at `t_ns`; empty, and counted, while the robot would not obey it.

        hold_ns: how long the link may keep the action alive without another. of_device_us: the device's time of the
        reading that it answers, so that a device which can tell refuses it when it comes too late; None: it answers
        none, time alone made it. Raises ActionError for an action that the
        dictionary does not declare, or a value outside its declared range.
        """

    def outgoing(self) -> bytes:
        """What the link itself sends at the time of the last chunk: requests, polls, heartbeats; or nothing."""

    def unsent(self) -> None:
        """The port did not take what `send` or `outgoing` gave last: what must not be lost is given again."""

    def stop(self, t_ns: int) -> bytes:
        """The bytes that put the robot into its safe output now, empty if its protocol has none. Nothing is sent after
        them: `send` and `outgoing` give nothing any more."""

    def explain(self, data: bytes) -> str:
        """What bytes that were written say, for people: an action with its fields, or the bytes themselves."""

    def report(self) -> dict[str, Any]:
        """Counters, state and whatever else helps in a log, as JSON values."""

    def snapshot(self) -> Tree:
        """All that it remembers between two turns of the loop, as `firmware_bridge/remembered.py` says it. Raises
        SnapshotError where something cannot be said: then a recording has no keyframes."""

    def restore(self, tree: Tree) -> None:
        """Go on as the link that gave this with `snapshot`, made of the same configuration: from here on the same
        chunks and calls give the same events and bytes. Raises SnapshotError, and nothing has changed."""
