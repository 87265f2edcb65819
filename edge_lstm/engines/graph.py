"""An ONNX graph run by ONNX Runtime in the meaning that its import gave it: readings in, outputs of readings out.

Its rule: the same rows as a Stream of the imported model, in network units. What an axis means is not guessed again; it
stands in the model's provenance ("graph"). One thread, no spinning: nothing else on the robot is disturbed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError, ImportModelError

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
    except ImportError:
        raise EdgeLstmError("this needs onnxruntime: pip install onnxruntime") from None
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        given = source if isinstance(source, bytes) else str(source)
        return ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own, without a common base
        name = "the graph" if isinstance(source, bytes) else source
        raise ImportModelError(f"{name}: ONNX Runtime does not load it: {error}") from None


class OnnxGraph:
    """A session and what its inputs and outputs mean."""

    def __init__(self, session: Any, meaning: Mapping[str, Any]) -> None:
        self.session, self.meaning = session, meaning
        self.axes: Mapping[str, Any] = meaning["inputs"]
        self.states: Mapping[str, str] = meaning["states"]
        self.outputs: Mapping[str, Any] = meaning["outputs"]
        self.types = {v.name: TYPES[v.type] for v in session.get_inputs() if v.type in TYPES}
        self.shapes: dict[str, list[Any]] = {v.name: list(v.shape) for v in session.get_inputs()}
        missing = [n for n in (*self.axes, *meaning["constants"]) if n not in self.shapes]
        if missing:
            raise ImportModelError(f"the graph has no input {missing[0]!r}; the model was made from another file")
        # Exporters leave a fixed length in the outputs of graphs with an open one; ONNX Runtime then relies on it.
        declared = {v.name: list(v.shape) for v in session.get_outputs()}
        lengths = [self.shapes[n][a["time"]] for n, a in self.axes.items() if a["time"] is not None]
        lengths += [declared[n][a["time"]] for n, a in self.outputs.items() if a["time"] is not None]
        self.length: int | None = min((d for d in lengths if isinstance(d, int)), default=None)
        self.has_time = any(a["time"] is not None for a in self.axes.values())

    def _dims(self, name: str, length: int) -> list[int]:
        axes = self.axes.get(name, {"time": None, "batch": None})
        dims = [d if isinstance(d, int) and d > 0 else 1 for d in self.shapes[name]]
        for axis, size in ((axes["time"], length), (axes["batch"], self.meaning["streams"])):
            if axis is not None:
                dims[axis] = size
        return dims

    def first_states(self, length: int = 1) -> dict[str, Array]:
        """The states before the first reading: zero."""
        names = [*self.states, *self.meaning["zero"]]
        return {n: np.zeros(self._dims(n, length), self.types[n]) for n in names}

    def feeds(self, rows: Array) -> dict[str, Array]:
        """Readings (T, n) as the graph's inputs. All streams of a fixed batch get the same."""
        found, start = {}, 0
        for name, axes in self.axes.items():
            if name in self.states:
                continue
            dims = self._dims(name, len(rows))
            time, batch = axes["time"], axes["batch"]
            inner = [d for k, d in enumerate(dims) if k not in (time, batch)]
            size = int(np.prod(inner, dtype=np.int64))
            part = rows[:, start : start + size]
            start += size
            values = part.reshape(len(rows), *inner) if time is not None else part[-1].reshape(inner)
            order = [k for k in range(len(dims)) if k not in (time, batch)]
            if time is not None:
                order.insert(0, time)
            if batch is not None:
                values = np.broadcast_to(values[..., None], (*values.shape, dims[batch]))
                order.append(batch)
            found[name] = np.ascontiguousarray(np.transpose(values, np.argsort(order)).astype(self.types[name]))
        for name, value in self.meaning["constants"].items():
            found[name] = np.asarray(value, self.types[name])
        return found

    def run(self, rows: Array, states: Mapping[str, Array]) -> tuple[list[Array], dict[str, Array]]:
        """Outputs in the model's order, each (T or 1, n) of the first stream, and the states after the readings."""
        wanted = [*self.outputs, *self.states.values()]
        try:
            results = self.session.run(wanted, {**self.feeds(rows), **states})
        except Exception as error:  # of classes of onnxruntime's own
            raise ImportModelError(f"ONNX Runtime does not run the graph on {len(rows)} readings: {error}") from None
        shown = []
        for (_, axes), value in zip(self.outputs.items(), results, strict=False):
            time, batch = axes["time"], axes["batch"]
            y = np.asarray(value)
            if batch is not None:
                y = np.take(y, [0], batch)
            shown.append(np.moveaxis(y, time, 0).reshape(y.shape[time], -1) if time is not None else y.reshape(1, -1))
        after = dict(zip(self.states, results[len(self.outputs) :], strict=True))
        return shown, {**{n: v for n, v in states.items() if n not in after}, **after}

    def newest(self, rows: Array, states: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        """The outputs (n_out,) that belong to the last of the rows, and the states after them."""
        shown, after = self.run(rows, states)
        return np.concatenate([y[-1] for y in shown]).astype(np.float64), after
