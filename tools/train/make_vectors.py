"""Exports small recurrent models with PyTorch, and writes what PyTorch itself computes with them: `tests/vectors/onnx`.

Run by hand when the spread changes (`pip install -e '.[train]'`, then `python -m tools.train.make_vectors [name
part]`); the tests only read the files, so they need no PyTorch. Every model has a fixed seed.

Per model: `NAME.onnx` as the exporter wrote it, without its notes about the machine, and `NAME.npz` with

    x       (B, T, I)  readings of B independent streams
    y       (B, T, O)  what PyTorch gives after reading t: for a sequence model on the readings so far, for a model with
                       baked-in length n on the last n readings (NaN before there are n), for a step model with its
                       state carried by hand
    window  the baked-in length, or 0
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

OUT = Path(__file__).resolve().parents[2] / "tests" / "vectors" / "onnx"
STREAMS, READINGS = 3, 9
CELLS: dict[str, type[nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Sequence(nn.Module):
    """A recurrent stack over a whole sequence, with a head on every step or on the last one."""

    def __init__(
        self,
        cell: str,
        size: tuple[int, int, int],
        head: nn.Module | None = None,
        *,
        batch_first: bool = True,
        last: str = "",
        initial: str = "",
        states_out: bool = False,
        **options: object,
    ) -> None:
        super().__init__()
        width, units, layers = size
        self.rnn = CELLS[cell](width, units, layers, batch_first=batch_first, **options)
        self.head = head or nn.Linear(units, 2)
        self.batch_first, self.last, self.initial, self.states_out = batch_first, last, initial, states_out
        if initial == "learned":
            self.h0 = nn.Parameter(torch.randn(layers, 1, units) * 0.5)
            self.c0 = nn.Parameter(torch.randn(layers, 1, units) * 0.5)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        state = None
        if self.initial == "learned":
            batch = x.shape[0 if self.batch_first else 1]
            state = self.h0.expand(-1, batch, -1).contiguous()
            if isinstance(self.rnn, nn.LSTM):
                state = (state, self.c0.expand(-1, batch, -1).contiguous())
        y, final = self.rnn(x, state)
        if self.last == "index":
            y = y[:, -1, :] if self.batch_first else y[-1]
        elif self.last == "state":
            y = (final[0] if isinstance(final, tuple) else final)[-1]
        y = self.head(y)
        if self.states_out:
            return (y, *(final if isinstance(final, tuple) else (final,)))
        return y


class Step(nn.Module):
    """One reading with the states as inputs and outputs, as robot policies are exported."""

    def __init__(
        self, cell: str, size: tuple[int, int, int], head: nn.Module | None = None, *, flat: bool = False
    ) -> None:
        super().__init__()
        width, units, layers = size
        self.rnn = CELLS[cell](width, units, layers, batch_first=True)
        self.head, self.flat = head or nn.Linear(units, 2), flat

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        y, after = self.rnn(x.unsqueeze(1) if self.flat else x, state if len(state) == 2 else state[0])
        y = self.head(y)
        return (y.squeeze(1) if self.flat else y, *(after if isinstance(after, tuple) else (after,)))


class LstmStep(Step):
    """Step with the names of its two states in the signature (the default exporter takes them from there)."""

    def forward(self, x: Tensor, h_in: Tensor, c_in: Tensor) -> tuple[Tensor, ...]:
        return super().forward(x, h_in, c_in)


class OneStateStep(Step):
    """Step with the name of its one state in the signature."""

    def forward(self, x: Tensor, h_in: Tensor) -> tuple[Tensor, ...]:
        return super().forward(x, h_in)


class PackedStep(nn.Module):
    """h and c of an LSTM stacked in one tensor [2, B, H]."""

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(width, units, batch_first=True), nn.Linear(units, 2)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, (h, c) = self.rnn(x, (state[0:1].contiguous(), state[1:2].contiguous()))
        return self.head(y), torch.cat([h, c], dim=0)


class LstmCellStep(nn.Module):
    """LSTMCell: no LSTM operator in the graph, only its arithmetic."""

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(width, units), nn.Linear(units, 2)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        h, c = self.cell(x, (h, c))
        return self.head(h), h, c


class GruCellStep(nn.Module):
    """GRUCell written out, with an activation behind the head."""

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(width, units), nn.Linear(units, 2)

    def forward(self, x: Tensor, hidden_in: Tensor) -> tuple[Tensor, ...]:
        h = self.cell(x, hidden_in)
        return torch.nn.functional.elu(self.head(h)), h


class CellLoop(nn.Module):
    """An LSTMCell in a Python loop: the exporter writes the loop out, step by step."""

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.units, self.cell, self.head = units, nn.LSTMCell(width, units), nn.Linear(units, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.shape[0], self.units)
        c = torch.zeros(x.shape[0], self.units)
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], (h, c))
        return self.head(h)


class Normalized(nn.Module):
    """Scaling of readings and outputs inside the network, as buffers."""

    def __init__(self, inner: nn.Module, width: int) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("mean", torch.linspace(-1, 1, width))
        self.register_buffer("std", torch.linspace(0.5, 2, width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(self.inner((x - self.mean) / self.std) * 3.0 + 0.5, -1.5, 1.5)


def perceptron(width: int) -> nn.Sequential:
    layers = (nn.Linear(width, 6), nn.ELU(0.7), nn.Linear(6, 5), nn.LeakyReLU(0.2), nn.Linear(5, 3), nn.Tanh())
    return nn.Sequential(*layers)


def norm_head(width: int) -> nn.Sequential:
    head = nn.Sequential(nn.Linear(width, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3), nn.Softmax(dim=-1))
    head[1].running_mean = torch.linspace(-0.5, 0.5, 6)
    head[1].running_var = torch.linspace(0.5, 1.5, 6)
    return head


@dataclass
class Case:
    """One export. Its name says form (seq: open length, step; else the length is baked in), exporter and opset."""

    name: str
    make: Callable[[], nn.Module]
    states: tuple[tuple[int, ...], ...] = ()  # step: the shape of each state for B = 1
    batch_axis: int = 0  # of x
    state_batch_axis: int = 1
    flat: bool = False  # step: x is [B, I] instead of [B, 1, I]
    dynamic_batch: bool = True
    external: bool = False
    width: int = 3
    window: int = 5

    @property
    def form(self) -> str:
        return "sequence" if "_seq_" in self.name else "step" if self.states else "window"

    @property
    def exporter(self) -> str:
        return "legacy" if "legacy" in self.name else "dynamo"

    @property
    def opset(self) -> int:
        found = re.search(r"(?:legacy|dynamo)(\d+)", self.name)
        assert found, self.name
        return int(found[1])


def cases() -> list[Case]:
    two, one = (3, 8, 2), (3, 8, 1)
    h1, hc = ((2, 1, 8),), ((2, 1, 8), (2, 1, 8))
    cell: dict[str, Any] = {"state_batch_axis": 0, "flat": True}
    static: dict[str, Any] = {"dynamic_batch": False}
    return [
        Case("lstm_seq_legacy11", lambda: Sequence("lstm", two)),
        Case("lstm_seq_legacy17_time_first", lambda: Sequence("lstm", two, batch_first=False), batch_axis=1),
        Case("lstm_seq_legacy13_learned", lambda: Sequence("lstm", two, initial="learned")),
        Case("lstm_seq_legacy14_last_perceptron", lambda: Sequence("lstm", one, perceptron(8), last="index")),
        Case("lstm_seq_legacy17_states_out", lambda: Sequence("lstm", (3, 4, 2), nn.Identity(), states_out=True)),
        Case("lstm_seq_legacy18_no_bias", lambda: Sequence("lstm", one, bias=False)),
        Case("lstm_seq_legacy20_normalized", lambda: Normalized(Sequence("lstm", one), 3)),
        Case("gru_seq_legacy11", lambda: Sequence("gru", two)),
        Case("gru_seq_legacy12_last_state_norm", lambda: Sequence("gru", two, norm_head(8), last="state")),
        Case("gru_seq_legacy17_learned", lambda: Sequence("gru", two, initial="learned")),
        Case("rnn_seq_legacy16_relu", lambda: Sequence("rnn", two, nonlinearity="relu")),
        Case("rnn_seq_legacy11", lambda: Sequence("rnn", two)),
        Case("lstm_window_legacy15", lambda: Sequence("lstm", two, last="index")),
        Case("lstm_window_dynamo18", lambda: Sequence("lstm", two, last="index")),
        Case("lstm_window_dynamo20_static", lambda: Sequence("lstm", two, initial="learned"), **static),
        Case("gru_window_dynamo18", lambda: Sequence("gru", two, perceptron(8), last="state")),
        Case("gru_window_dynamo19_time_first", lambda: Sequence("gru", two, batch_first=False), batch_axis=1),
        Case("rnn_window_dynamo18", lambda: Sequence("rnn", two)),
        Case(
            "rnn_window_dynamo20_learned",
            lambda: Sequence("rnn", one, initial="learned", nonlinearity="relu"),
            **static,
        ),
        Case("lstm_cell_loop_dynamo18", lambda: CellLoop(3, 8)),
        Case("lstm_cell_loop_legacy17", lambda: CellLoop(3, 8)),
        Case("lstm_step_legacy11", lambda: LstmStep("lstm", two), hc),
        Case("lstm_step_dynamo18", lambda: LstmStep("lstm", two), hc),
        Case(
            "lstm_step_dynamo20_flat",
            lambda: LstmStep("lstm", two, perceptron(8), flat=True),
            hc,
            flat=True,
            external=True,
            **static,
        ),
        Case("gru_step_legacy14", lambda: OneStateStep("gru", two), h1),
        Case("gru_step_dynamo18", lambda: OneStateStep("gru", two), h1),
        Case("rnn_step_legacy17", lambda: OneStateStep("rnn", two), h1),
        Case("rnn_step_dynamo18", lambda: OneStateStep("rnn", two), h1),
        Case("lstm_step_legacy17_packed", lambda: PackedStep(3, 8), h1),
        Case("lstm_step_dynamo18_packed", lambda: PackedStep(3, 8), h1),
        Case("lstm_cell_legacy13", lambda: LstmCellStep(3, 8), ((1, 8), (1, 8)), **cell),
        Case("lstm_cell_dynamo18", lambda: LstmCellStep(3, 8), ((1, 8), (1, 8)), **cell),
        Case("gru_cell_legacy17", lambda: GruCellStep(3, 8), ((1, 8),), **cell),
        Case("gru_cell_dynamo18", lambda: GruCellStep(3, 8), ((1, 8),), **cell),
        # Above 8,192 weights in one matrix the default exporter leaves the reordering of the gates in the graph.
        Case("lstm_large_dynamo18", lambda: Sequence("lstm", (3, 46, 1), last="index")),
        Case("gru_large_step_dynamo18", lambda: OneStateStep("gru", (3, 53, 1)), ((1, 1, 53),)),
    ]


def run(case: Case, model: nn.Module, x: Tensor) -> Tensor:
    """What PyTorch gives after each reading, in the case's meaning in time: (B, T, O)."""
    rows = []
    states = tuple(torch.zeros(shape).repeat_interleave(STREAMS, case.state_batch_axis) for shape in case.states)
    for t in range(READINGS):
        if case.form == "step":
            out = model(x[:, t] if case.flat else x[:, t : t + 1], *states)
            y, states = out[0], out[1:]
            rows.append(y.reshape(STREAMS, -1))
            continue
        first = max(0, t + 1 - case.window) if case.form == "window" else 0
        if case.form == "window" and t + 1 < case.window:
            rows.append(None)
            continue
        piece = x[:, first : t + 1]
        out = model(piece.transpose(0, 1) if case.batch_axis == 1 else piece)
        parts = out if isinstance(out, tuple) else (out,)
        rows.append(torch.cat([newest(case, part, t + 1 - first) for part in parts], dim=1))
    width = next(row for row in rows if row is not None).shape[1]
    return torch.stack([row if row is not None else torch.full((STREAMS, width), float("nan")) for row in rows], dim=1)


def newest(case: Case, y: Tensor, length: int) -> Tensor:
    """The part of an output that belongs to the newest reading: (B, O)."""
    if y.dim() == 3 and y.shape[case.batch_axis] == STREAMS and y.shape[1 - case.batch_axis] == length:
        return y.select(1 - case.batch_axis, -1)
    if y.dim() == 3:  # a final state [L, B, H]
        return y.transpose(0, 1).reshape(STREAMS, -1)
    return y


def export(case: Case, model: nn.Module, path: Path) -> None:
    batch = 4 if case.dynamic_batch else STREAMS
    length = 1 if case.form == "step" else case.window
    shape = [batch, length, case.width] if case.batch_axis == 0 else [length, batch, case.width]
    x = torch.randn([batch, case.width] if case.flat else shape)
    states = [torch.zeros(s).repeat_interleave(batch, case.state_batch_axis) for s in case.states]
    state_names = ["h_in", "c_in"][: len(states)] if len(states) < 2 or case.state_batch_axis else ["h", "c"]
    inputs = ["x", *state_names]
    outputs = ["y", *(name.replace("_in", "_out") if "_in" in name else f"{name}_next" for name in state_names)]
    if getattr(model, "states_out", False):
        outputs = ["y", "h_n", "c_n"]
    arguments = (x, *states)
    if case.exporter == "legacy":
        axes: dict[str, dict[int, str]] = {"x": {case.batch_axis: "batch"} if case.dynamic_batch else {}}
        if case.form == "sequence":
            axes["x"][1 - case.batch_axis] = "time"
        for name in state_names:
            axes[name] = {case.state_batch_axis: "batch"} if case.dynamic_batch else {}
        torch.onnx.export(
            model,
            arguments,
            path,
            dynamo=False,
            opset_version=case.opset,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes,
        )
        return
    shapes = None
    if case.dynamic_batch:
        symbol = torch.export.Dim("batch")
        shapes = [{case.batch_axis: symbol}, *({case.state_batch_axis: symbol} for _ in states)]
    torch.onnx.export(
        model,
        arguments,
        path,
        dynamo=True,
        opset_version=case.opset,
        input_names=inputs,
        output_names=outputs,
        dynamic_shapes=tuple(shapes) if shapes else None,
        external_data=case.external,
        verbose=False,
    )


def strip(path: Path) -> None:
    """Takes out what the default exporter notes about the machine: stack traces with paths, in every node."""
    proto = onnx.load(path, load_external_data=False)
    graph = proto.graph
    del proto.metadata_props[:], graph.value_info[:]
    for item in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
    path.write_bytes(proto.SerializeToString(deterministic=True))


def main() -> None:
    warnings.simplefilter("ignore")
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    OUT.mkdir(parents=True, exist_ok=True)
    for case in cases():
        if wanted not in case.name:
            continue
        torch.manual_seed(sum(case.name.encode()))
        model = case.make().eval()
        with torch.no_grad():
            path = OUT / f"{case.name}.onnx"
            export(case, model, path)
            strip(path)
            x = torch.randn(STREAMS, READINGS, case.width)
            y = run(case, model, x)
        window = case.window if case.form == "window" else 0
        np.savez_compressed(path.with_suffix(".npz"), x=x.numpy(), y=y.numpy(), window=np.int64(window))
        print(f"{case.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
