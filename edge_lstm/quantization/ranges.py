"""What the logs show of each channel, and what they do not: reasons to doubt a report that looks good.

Its rule: sentences and figures about readings in physical units, each naming its channel; nothing is refused here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import flat_names
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Floats
from edge_lstm.quantization.observe import Log, measured

_HARDLY = 0.1  # of the calibration's range: what moves less over the held-out readings proves little there
_USUAL, _ABSURD = 0.999, 1e4  # a value so many times as large as this part of its channel's values is no reading
_NAMED = 8  # channels in one sentence


@dataclass(frozen=True)
class Beyond:
    """A channel that left the range of the calibration in the held-out readings: that range, the farthest value, and in
    which part of the readings it lay outside. In its unit."""

    channel: str
    unit: str
    lowest: float
    highest: float
    reached: float
    part: float

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"channel {self.channel!r} was calibrated over {self.lowest:.4g} … {self.highest:.4g}{unit} and reached"
            f" {self.reached:.4g}{unit} in the held-out readings, outside in {self.part:.2%} of them"
        )


def beyond(model: Model, calibration: Sequence[Log], held_out: Sequence[Log]) -> tuple[Beyond, ...]:
    """The channels that left their calibrated range, the one that went farthest (as a part of it) first."""
    found: list[tuple[float, Beyond]] = []
    for column, channel in measured(model):
        seen, later = _values(calibration, column), _values(held_out, column)
        lowest, highest = float(seen.min()), float(seen.max())
        excess = np.maximum(lowest - later, later - highest)
        if excess.max() > 0:
            farthest, part = float(later[excess.argmax()]), float((excess > 0).mean())
            share = float(excess.max()) / max(highest - lowest, np.finfo(np.float32).tiny)
            found.append((share, Beyond(channel.name, channel.unit, lowest, highest, farthest, part)))
    return tuple(one for _, one in sorted(found, key=lambda pair: -pair[0]))


def doubts(
    model: Model, logs: tuple[Sequence[Log], Sequence[Log]], outputs: tuple[Floats, Floats], *, ranged: bool
) -> tuple[str, ...]:
    """Sentences. logs: calibration and held out; outputs: float32 (n, n_outputs) over them; ranged: whether the
    layers' inputs become integers that reach as far as they did in the calibration."""
    return (*(_calibration(model, logs[0]) if ranged else ()), *_held_out(model, logs, outputs))


def _calibration(model: Model, logs: Sequence[Log]) -> Iterator[str]:
    """A channel that stands still, or a value that no sensor gives: neither shows a range."""
    for column, channel in measured(model):
        values = _values(logs, column)
        if values.min() == values.max():
            yield (
                f"channel {channel.name!r} is {values[0]:.4g} in all {len(values):,} calibration readings, so nothing"
                " shows its range, and any larger value is clipped; calibrate with a log in which it moves"
            )
            continue
        size = np.abs(values)
        usual = float(np.quantile(size, _USUAL, method="lower"))
        if usual > 0 and size.max() > _ABSURD * usual:
            log, row = _place(logs, int(size.argmax()))
            yield (
                f"{log.name}: row {row} holds {values[size.argmax()]:.4g} in channel {channel.name!r}, of which"
                f" {_USUAL:.1%} are within ±{usual:.4g}: that one value decides its range, and the others become"
                " almost 0; remove the row"
            )


def _held_out(model: Model, logs: tuple[Sequence[Log], Sequence[Log]], outputs: tuple[Floats, Floats]) -> Iterator[str]:
    """What hardly moves over the held-out readings, compared with the calibration's."""
    seen, later = logs
    inputs = [(c.name, np.ptp(_values(seen, column)), np.ptp(_values(later, column))) for column, c in measured(model)]
    answers = zip(flat_names(model.outputs), *(np.ptp(each, axis=0) for each in outputs), strict=True)
    for what, ranges in (("input", inputs), ("output", list(answers))):
        still = [repr(name) for name, before, now in ranges if now < _HARDLY * before]
        if still:
            more = f" and {len(still) - _NAMED} more" if len(still) > _NAMED else ""
            yield (
                f"{what} {', '.join(still[:_NAMED])}{more}: the held-out readings move over less than {_HARDLY:.0%} of"
                " the calibration's range, so the errors over them prove little; hold out a log in which it moves"
            )


def _values(logs: Sequence[Log], column: int) -> npt.NDArray[np.float64]:
    return np.concatenate([log.xs[:, column] for log in logs]).astype(np.float64)


def _place(logs: Sequence[Log], number: int) -> tuple[Log, int]:
    """The log, and its row, of a reading that is counted over all of them."""
    for log in logs:
        if number < len(log.xs):
            return log, int(log.rows[number])
        number -= len(log.xs)
    raise IndexError(number)
