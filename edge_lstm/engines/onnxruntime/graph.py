"""An ONNX graph run by ONNX Runtime with axes that its import gave it: readings in, outputs of readings out.

Its rule: nothing is guessed here. `GraphAxes` has what each axis is, and the caller how many readings a call gets.

One thread, no spinning: nothing else on the robot is disturbed. A session reads no file but the one it is given: a
graph in memory has no data outside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.axes import GraphAxes, InputAxes
from edge_lstm.errors import EdgeLstmError, ImportModelError
from firmware_bridge.installing import not_importable

Array = npt.NDArray[Any]
TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


def open_session(source: str | Path | bytes) -> Any:
    """An inference session on one thread that does not spin. Raises ImportModelError where the graph does not load."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise EdgeLstmError(f"this needs {not_importable('onnxruntime', error)}") from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if isinstance(source, bytes):  # else data outside of it would be looked for in the current folder
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", "/dev/null/nowhere")
    given = source if isinstance(source, bytes) else str(source)
    left_out = ["NchwcTransformer"] if _ends_the_process(source) else None
    try:
        return ort.InferenceSession(given, options, providers=["CPUExecutionProvider"], disabled_optimizers=left_out)
    except Exception as error:  # onnxruntime raises classes of its own, without a common base
        name = "the graph" if isinstance(source, bytes) else source
        raise ImportModelError(f"{name}: ONNX Runtime does not load it: {one_line(error)}") from None


def _ends_the_process(source: str | Path | bytes) -> bool:
    """Whether ONNX Runtime may end the process while it loads this graph: looking for convolutions to lay out anew it
    does so where a float16 product reads what a Transpose has turned (seen with 1.32.0). Without a convolution there is
    nothing to lay out, so no bit changes where that search is left out."""
    try:
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError:  # which is said where it is loaded
        return False
    return b"Transpose" in content and b"MatMul" in content and b"Conv" not in content


def version() -> str:
    """Of ONNX Runtime: another one need not give the same bits."""
    import onnxruntime

    return str(onnxruntime.__version__)


def one_line(error: Exception) -> str:
    """ONNX Runtime's message on one line, at most 300 characters."""
    text = " ".join(str(error).split())
    return text if len(text) < 300 else text[:300] + " …"


@dataclass(frozen=True)
class _Feed:
    """How an input of the graph is made of the columns of readings (T, n)."""

    columns: slice
    inner: tuple[int, ...]
    has_time: bool
    streams: int | None  # the size of the batch axis
    order: tuple[int, ...]  # from (time, inner …, batch) to the input's own
    dtype: str
    name: str

    def _whole_numbers(self, values: Array) -> Array:
        """The nearest ones: what scaling makes of a whole number is near it. ImportModelError where one is not near."""
        nearest, limits = np.rint(values), np.iinfo(self.dtype)
        near = np.abs(values - nearest) <= np.maximum(1e-3, np.abs(values) * 2.0**-22)
        if not (near & (nearest >= limits.min) & (nearest <= limits.max)).all():
            raise ImportModelError(f"input {self.name!r} takes whole numbers ({self.dtype}); a reading holds another")
        return nearest

    def __call__(self, rows: Array) -> Array:
        part = rows[:, self.columns] if self.has_time else rows[-1, self.columns]
        values = part.reshape((*part.shape[:-1], *self.inner))  # one tuple: it may be empty
        if np.dtype(self.dtype).kind in "iu":
            values = self._whole_numbers(values)
        if self.streams is not None:
            values = np.broadcast_to(values[..., None], (*values.shape, self.streams))
        if self.dtype == "bool":  # a channel's scale may leave 1e-8 of a 0
            values = np.rint(values)
        return np.ascontiguousarray(values.transpose(self.order), self.dtype)


class OnnxGraph:
    """A session and what its inputs and outputs are. Raises ImportModelError where the graph has not such ones."""

    def __init__(self, session: Any, axes: GraphAxes) -> None:
        self.session, self.axes = session, axes
        self.states, self.outputs = axes.states, axes.outputs
        self.types = {v.name: TYPES[v.type] for v in session.get_inputs() if v.type in TYPES}
        self.shapes: dict[str, list[Any]] = {
            v.name: [axes.sizes.get(f"{v.name}[{k}]", d) for k, d in enumerate(v.shape)] for v in session.get_inputs()
        }
        declared = {v.name: list(v.shape) for v in session.get_outputs()}
        needed = (*axes.inputs, *axes.states, *axes.constants, *axes.zero)
        missing = [n for n in needed if n not in self.types]
        missing += [n for n in (*self.outputs, *self.states.values()) if n not in declared]
        if missing:
            raise ImportModelError(
                f"the graph has no input or output {missing[0]!r}; the model was made from another file"
            )
        # Exporters leave a fixed length in the outputs of graphs with an open one; ONNX Runtime then relies on it.
        timed = [(self.shapes[n], a.time) for n, a in axes.inputs.items()]
        timed += [(declared[n], a.time) for n, a in self.outputs.items()]
        lengths = [shape[time] for shape, time in timed if time is not None and time < len(shape)]
        self.length: int | None = min((d for d in lengths if isinstance(d, int)), default=None)
        self.has_time = any(a.time is not None for a in axes.inputs.values())
        self._wanted = [*self.outputs, *self.states.values()]
        self._feeds, start = {}, 0
        for name in axes.inputs:
            if name not in self.states:
                self._feeds[name] = self._feed(name, start)
                start = self._feeds[name].columns.stop

    def _feed(self, name: str, start: int) -> _Feed:
        dims = self._dims(name, 1)
        time, batch = self.axes.inputs[name].time, self.axes.inputs[name].batch
        own = [k for k in range(len(dims)) if k not in (time, batch)]
        inner = tuple(dims[k] for k in own)
        order = [*([time] if time is not None else []), *own, *([batch] if batch is not None else [])]
        return _Feed(
            slice(start, start + int(np.prod(inner, dtype=np.int64))),
            inner,
            time is not None,
            None if batch is None else dims[batch],
            tuple(np.argsort(order).tolist()),
            self.types[name],
            name,
        )

    def _dims(self, name: str, length: int) -> list[int]:
        axes = self.axes.inputs.get(name, InputAxes())
        dims = [d if isinstance(d, int) and d > 0 else 1 for d in self.shapes[name]]
        for axis, size in ((axes.time, length), (axes.batch, self.axes.streams)):
            if axis is not None:
                dims[axis] = size
        return dims

    @property
    def reading_size(self) -> int:
        """How many numbers a reading has."""
        return max((feed.columns.stop for feed in self._feeds.values()), default=0)

    def columns(self, name: str) -> slice:
        """Where an input's numbers stand in a reading."""
        return self._feeds[name].columns

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each input that is carried on, by name."""
        return {n: tuple(self._dims(n, 1)) for n in self.states}

    def first_states(self, length: int = 1) -> dict[str, Array]:
        """The states before the first reading: zero."""
        names = [*self.states, *self.axes.zero]
        return {n: np.zeros(self._dims(n, length), self.types[n]) for n in names}

    def feeds(self, rows: Array) -> dict[str, Array]:
        """Readings (T, n) as the graph's inputs. All streams of a fixed batch get the same."""
        constants = {n: self._constant(n, v, len(rows)) for n, v in self.axes.constants.items()}
        return {name: feed(rows) for name, feed in self._feeds.items()} | constants

    def _constant(self, name: str, value: Any, length: int) -> Array:
        """An input that never changes: one number fills its shape, whose open dimensions are those of the readings."""
        array = np.asarray(value, self.types[name])
        if array.size != 1:
            return array
        sizes = {self.shapes[n][a.time]: length for n, a in self.axes.inputs.items() if a.time is not None}
        dims = [d if isinstance(d, int) and d > 0 else sizes.get(d, self.axes.streams) for d in self.shapes[name]]
        return np.full(dims, array.reshape(()), array.dtype)

    def run(self, rows: Array, states: Mapping[str, Array]) -> tuple[list[Array], dict[str, Array]]:
        """Outputs in the model's order, each (T or 1, n) of the first stream, and the states after the readings."""
        feeds = {**self.feeds(rows), **states}
        try:
            results = self.session.run(self._wanted, feeds)
        except Exception as error:  # of classes of onnxruntime's own
            text = one_line(error)
            raise ImportModelError(f"ONNX Runtime does not run the graph on {len(rows)} readings: {text}") from None
        shown = []
        for (_, axes), value in zip(self.outputs.items(), results, strict=False):
            time, batch = axes.time, axes.batch
            y = np.asarray(value)
            if batch is not None:
                y = np.take(y, [0], batch)
            shown.append(np.moveaxis(y, time, 0).reshape(y.shape[time], -1) if time is not None else y.reshape(1, -1))
        after = dict(zip(self.states, results[len(self.outputs) :], strict=True))
        return shown, {**{n: v for n, v in states.items() if n not in after}, **after}

    def whole(self, rows: Array, states: Mapping[str, Array]) -> Array:
        """The outputs (T, n_out) of a whole log (T, n), each with the reading it comes with; NaN where none comes."""
        shown, _ = self.run(rows, states)
        placed = np.full((len(rows), sum(y.shape[1] for y in shown)), np.nan)
        start = 0
        for (name, axes), y in zip(self.outputs.items(), shown, strict=True):
            timed = axes.time is not None
            places = slice(axes.first - 1, None, axes.stride) if timed else slice(-1, None)
            part = placed[places, start : start + y.shape[1]]
            if len(part) != len(y):
                raise ImportModelError(
                    f"the graph gives {len(y)} rows of {name!r} for {len(rows)} readings, not {len(part)} as at import"
                )
            part[:] = y
            start += y.shape[1]
        return placed

    def newest(self, rows: Array, states: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        """The outputs (n_out,) that belong to the last of the rows, and the states after them."""
        shown, after = self.run(rows, states)
        return np.concatenate([y[-1] for y in shown]).astype(np.float64), after
