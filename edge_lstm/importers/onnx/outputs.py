"""What an output of a graph shows: of which reading and stream, and when it comes.

Its rule: proven from the origins of its elements, or a Misfit: an output is one reading of one stream, or all of them
along one axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx.lowering import Lowering
from edge_lstm.importers.onnx.plan import Ids
from edge_lstm.importers.onnx.provenance import ENDED, Misfit, ProvenMisfit, StreamsMisfit, Traced, find_axis
from edge_lstm.importers.onnx.rates import Rate, rate_along
from edge_lstm.importers.spelling import T, say

ALL_STATES = (
    "every output of the graph is a state, so all of them are shown (a lone cell); where there should be a head behind"
    " it, export that too"
)


def shown_outputs(names: Sequence[str], states: Mapping[str, str]) -> list[str]:
    """The outputs that a stream shows: those that are no states, or all where there are no others."""
    return [name for name in names if name not in states.values()] or list(names)


def newest(name: str, y: Traced, low: Lowering) -> Ids:
    """The ids of an output that belong to the newest reading of one stream, in the output's own order."""
    return output_of(name, y, low).ids


def newest_of(output: str) -> str:
    """The note of an output of which a stream shows one row."""
    return (
        f"output {output!r} has a row for each reading of the window; the model gives the newest one. The others are of"
        " the same window, after fewer of its readings"
    )


@dataclass(frozen=True)
class Output:
    """What an output shows. ids: of one reading of one stream, in the output's own order. axes: which of its axes are
    time and batch. rate: with which readings it comes, None where only the newest is there; moment: which reading that
    is (0: any). delay: how many readings after the end of a sequence its last places would come.
    """

    ids: Ids
    axes: dict[str, int | None]
    rate: Rate | None = None
    moment: int = 0
    delay: int = 0


def output_of(name: str, y: Traced, low: Lowering) -> Output:
    """What an output shows. Raises Misfit where that is not one reading of one stream, or all along one axis."""
    origins = y.origins
    axes: dict[str, int | None] = {"time": None, "batch": None}
    rate: Rate | None = None
    moment = delay = 0
    if low.batch > 1 and y.b.any():
        axis = find_axis(y.b, low.batch)
        if axis is None:
            raise StreamsMisfit(f"output {name!r} [{_shape(y)}] mixes the streams of the batch")
        if (np.take(y.ids, [0], axis) != y.ids).any():
            raise Misfit(f"output {name!r} [{_shape(y)}] is computed differently for different streams of the batch")
        axes["batch"] = axis
        origins = np.take(origins, 0, axis)
    y = Traced(origins)
    if low.length > 1:
        along = [(a, rate_along(y.t, a, low.length)) for a in range(y.ndim)]
        axis, found = next(((a, f) for a, f in along if f is not None), (0, None))
        if found is not None:
            rate, came = found
            if (np.take(y.ids, [0], axis) != np.take(y.ids, range(came), axis)).any():
                raise Misfit(
                    f"output {name!r} [{_shape(y)}] is computed differently at different readings of the sequence; no"
                    f" stream can compute it. Use {low.as_window}"
                )
            axes["time"] = axis + (axes["batch"] is not None and axis >= axes["batch"])
            origins = np.take(origins, 0, axis)
            places = y.shape[axis]
            delay = rate.first + (places - 1) * rate.stride - low.length if places > came else 0
        else:
            moment = _moment(name, y, low)
    ids = Traced(origins).ids.reshape(-1)
    if not ids.size:
        raise ImportModelError(f"output {name!r} is empty")
    return Output(ids, axes, rate, moment, delay)


def _moment(name: str, y: Traced, low: Lowering) -> int:
    """The reading that all of an output belongs to: the newest one of a rate, or ENDED."""
    moments = set(y.t.reshape(-1).tolist()) - {0}
    strided = low.open_length and low.rates.period > 1
    if ENDED in moments and not strided:
        raise ProvenMisfit(
            f"output {name!r} [{_shape(y)}] belongs to the end of the sequence, which a layer that looks ahead has seen"
            f" with padding behind it; a continuous stream has no end. Use {say(mode='window', window=T)}, or export"
            " the outputs of all readings: they come late, but they come"
        )
    last = {low.length}
    if strided:  # with this length the newest value may have come before, or would come after the end
        last |= {ENDED} | {rate.newest(low.length) for rate in low.rates.seen}
    if len(moments) > 1 or not moments <= last:
        shown_ones = ["the end" if t == ENDED else t for t in sorted(moments)[:4]]
        raise Misfit(
            f"output {name!r} [{_shape(y)}] holds readings {shown_ones} … of a sequence of {low.length}; it must be the"
            f" newest one, or all of them along one axis. Use {low.as_window}, over the last readings"
        )
    return moments.pop() if moments else 0


def _shape(y: Traced) -> str:
    return ", ".join(map(str, y.shape))
