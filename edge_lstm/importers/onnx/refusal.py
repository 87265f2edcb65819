"""Why a stage of an import came to nothing, as a record: what is said to the user, and how it compares with others.

Its rule: inside a stage an operator deep in the graph refuses by raising; at the stage's edge that becomes a `Refusal`
(`Refusal.of`), and from there on refusals are compared as records. No error is read back, none carries a search's data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from edge_lstm.errors import EdgeLstmError, UnsupportedError
from edge_lstm.importers.onnx.provenance import Misfit, ProvenMisfit, ShapeMisfit, SureMisfit


class About(Enum):
    """What a refusal is about, in words for a table."""

    AXES = "these axes do not fit"
    SHAPES = "sizes do not go together"
    STREAM = "the axes are right, a stream cannot run it"
    UNCLEAR = "several axes would do"
    STATES = "which state is which is not clear"
    MEMORY = "nothing is remembered"
    NO_WINDOW = "no axis is a window"
    GRAPH = "whatever the axes"


@dataclass(frozen=True)
class Refusal:
    """What is said (`error`, raised where nothing else fits), and how far it came.

    progress: nodes that were understood before it. receptive_field: readings that the graph looks back, or compares its
    length with. loop: a loop written out in time was assumed.
    """

    error: EdgeLstmError
    about: About
    progress: float = 0.0
    receptive_field: int = 0
    loop: bool = False

    def __post_init__(self) -> None:
        # The frames in which it was raised hold whole drawings; of a search, hundreds of refusals are kept.
        self.error.__traceback__ = self.error.__context__ = None

    @classmethod
    def of(cls, error: EdgeLstmError, progress: float = 0.0, receptive_field: int = 0, loop: bool = False) -> Refusal:
        """What an error that a stage raised says of the axes."""
        if isinstance(error, SureMisfit):
            progress = math.inf
        kinds = ((ShapeMisfit, About.SHAPES), (ProvenMisfit, About.STREAM), (Misfit, About.AXES))
        about = next((about for kind, about in kinds if isinstance(error, kind)), About.GRAPH)
        return cls(error, about, progress, receptive_field, loop)

    @property
    def of_axes(self) -> bool:
        """Whether other axes, or a window, may do where these do not."""
        return self.about in (About.AXES, About.SHAPES, About.STREAM)

    @property
    def of_engine(self) -> bool:
        """Whether it is the native engine that lacks something, so that ONNX Runtime may run the graph."""
        return isinstance(self.error, UnsupportedError)

    def __str__(self) -> str:
        return str(self.error)
