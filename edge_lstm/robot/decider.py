"""What the loop is given: whatever takes events and decides what the robot does, one model or several, and what stands
around it.

Its rule: the loop, the recorder and the display know a `Decider` and nothing more of it. What watches or controls one
is an `AroundDecider`: all that it does not do itself is done by what is inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from edge_lstm.robot.controller import Counts, Deciding, Decision

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.robot.config import RobotConfig
    from firmware_bridge.events import Event
    from firmware_bridge.remembered import Tree


class Decider(Protocol):
    """What the loop, the recorder and the display use of a Controller: one model, several, or either with events."""

    config: RobotConfig

    @property
    def latest(self) -> Decision | None: ...

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def counts(self) -> Counts: ...

    @property
    def not_real(self) -> int: ...

    @property
    def output_names(self) -> tuple[str, ...]: ...

    @property
    def output_units(self) -> tuple[str, ...]: ...

    @property
    def model(self) -> Model | None:
        """The only one; None where there are several."""

    def no_steps(self) -> str:
        """Why there has been no step of one of the models; "" where all have made some."""

    def others(self) -> Mapping[str, tuple[float, ...]]:
        """The formats beside the tick's that feed a model, on the robot that is there, and how old their values may
        be, ms."""

    def fed(self) -> Iterator[tuple[str, Model, Mapping[str, str]]]:
        """Each model's name ("" for the only one), the model, and the sources of those of its channels that
        no [inputs] makes."""

    def handle(self, event: Event) -> Decision | None: ...

    def silence(self, t_ns: int) -> Decision | None: ...

    def unbind(self) -> None: ...

    def snapshot(self) -> Tree:
        """See `Deciding`."""

    def restore(self, tree: Tree) -> None:
        """See `Deciding`."""

    def take_up(self, tree: Tree) -> None:
        """See `Deciding`."""


Inside = TypeVar("Inside", bound=Decider)


class AroundDecider(Deciding, Generic[Inside]):
    """A Decider around another one."""

    def __init__(self, inner: Inside) -> None:
        self.inner, self.config = inner, inner.config

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def digest(self) -> str:
        return self.inner.digest

    @property
    def counts(self) -> Counts:
        return self.inner.counts

    @property
    def not_real(self) -> int:
        return self.inner.not_real

    @property
    def output_names(self) -> tuple[str, ...]:
        return self.inner.output_names

    @property
    def output_units(self) -> tuple[str, ...]:
        return self.inner.output_units

    @property
    def model(self) -> Model | None:
        return self.inner.model

    def fed(self) -> Iterator[tuple[str, Model, Mapping[str, str]]]:
        """See `Decider`."""
        return self.inner.fed()

    def no_steps(self) -> str:
        """See `Decider`."""
        return self.inner.no_steps()

    def others(self) -> Mapping[str, tuple[float, ...]]:
        """See `Decider`."""
        return self.inner.others()

    def unbind(self) -> None:
        """As a Controller's."""
        self.inner.unbind()
