"""Models as users write them, through both exporters of PyTorch and several operator sets: do they run, and rightly?

Run by hand (`pip install -e '.[train]'`, then `python -m tools.train.export_table`); writes importers/EXPORTS.md. Each
export is imported with `auto` and the options a user would need, and compared with ONNX Runtime by
`edge_lstm.verify`. An export is equal, refused (by which sentence), or the exporter itself failed. Exit code 1 where
one is wrong or crashes.
"""

from __future__ import annotations

import io
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edge_lstm.analysis.verify import verify
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "edge_lstm" / "importers" / "EXPORTS.md"
LEGACY, DYNAMO = (11, 13, 17, 20), (18, 20)
T = 12
VERSIONS = {
    "torch": torch.__version__.split("+")[0],
    "old": ", ".join(map(str, LEGACY)),
    "new": ", ".join(map(str, DYNAMO)),
}
HEAD = """# Models as users write them, through PyTorch's exporters

{models} models, torch {torch}, both exporters, operator sets {old} (legacy) and {new} (dynamo), with an open and
a fixed length. Of {tried} files {equal} are equal to ONNX Runtime within 1e-5 of the output's range, {refused} are
refused by name, {wrong} are wrong; {exporter} more the exporter did not write. Made by `tools/train/export_table.py`.
In brackets: the largest difference, and the timing. The last four models are exported wrongly on purpose:
a file that then holds another network is refused.

| model | exports |
|---|---|
"""


class Lambda(nn.Module):
    """A module around a function of its parts."""

    def __init__(self, forward: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.function = forward

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self.parts, *inputs)


def seq(make: Callable[[], nn.Module], *inputs: Tensor, **options: Any) -> dict[str, Any]:
    return {"make": make, "inputs": inputs or (torch.randn(1, T, 6),), **options}


def last(cell: nn.Module, head: nn.Module) -> nn.Module:
    return Lambda(lambda p, x: p["head"](p["rnn"](x)[0][:, -1]), rnn=cell, head=head)


def every(cell: nn.Module, head: nn.Module) -> nn.Module:
    return Lambda(lambda p, x: p["head"](p["rnn"](x)[0]), rnn=cell, head=head)


def lstm(**options: Any) -> nn.LSTM:
    return nn.LSTM(6, 10, batch_first=True, **options)


class Normalized(nn.Module):
    """Mean and deviation in buffers, LSTM, dropout, two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.randn(6))
        self.register_buffer("std", torch.rand(6) + 0.5)
        self.rnn, self.drop = nn.LSTM(6, 10, 2, batch_first=True, dropout=0.2), nn.Dropout(0.1)
        self.head = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn((x - self.mean) / self.std)
        return self.head(self.drop(y))


class Attention(nn.Module):
    """LSTM, then attention pooling over time."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.score, self.head = lstm(), nn.Linear(10, 1), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        return self.head((torch.softmax(self.score(y), 1) * y).sum(1))


class Causal(nn.Module):
    """Causal convolutions, then a GRU."""

    def __init__(self, pad: int = 2) -> None:
        super().__init__()
        self.conv, self.rnn, self.head = nn.Conv1d(6, 8, 3), nn.GRU(8, 10, batch_first=True), nn.Linear(10, 2)
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        z = torch.relu(self.conv(nn.functional.pad(x.transpose(1, 2), (self.pad, 0))))
        return self.head(self.rnn(z.transpose(1, 2))[0])


class CellLoop(nn.Module):
    """A loop over time in Python, with LSTMCell."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(6, 10), nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = c = torch.zeros(x.shape[0], 10)
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], (h, c))
        return self.head(h)


class ScriptedLoop(nn.Module):
    """A loop over an open number of readings that the exporter keeps as one, with LSTMCell."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(6, 10), nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        h, c = torch.zeros(x.size(0), 10), torch.zeros(x.size(0), 10)
        ys = torch.jit.annotate(list[Tensor], [])
        for t in range(x.size(1)):
            h, c = self.cell(x[:, t], (h, c))
            ys.append(self.head(h))
        return torch.stack(ys, 1)


class Concatenated(nn.Module):
    """A cell by hand on cat([x, h])."""

    def __init__(self) -> None:
        super().__init__()
        self.gates, self.new = nn.Linear(16, 20), nn.Linear(16, 10)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        z, r = torch.sigmoid(self.gates(torch.cat([x, h], 1))).chunk(2, 1)
        h = (1 - z) * torch.tanh(self.new(torch.cat([x, r * h], 1))) + z * h
        return h.mean(1, keepdim=True), h


class StepLstm(nn.Module):
    """One reading of an LSTM with its states as inputs and outputs, as robot policies are exported."""

    def __init__(self, layers: int = 2) -> None:
        super().__init__()
        self.body, self.rnn = nn.Sequential(nn.Linear(6, 8), nn.ELU()), nn.LSTM(8, 10, layers)
        self.head = nn.Sequential(nn.Linear(10, 8), nn.ELU(), nn.Linear(8, 3))

    def forward(self, obs: Tensor, h_in: Tensor, c_in: Tensor) -> tuple[Tensor, ...]:
        y, (h, c) = self.rnn(self.body(obs).unsqueeze(0), (h_in, c_in))
        return self.head(y.squeeze(0)), h, c


class Chunk(nn.Module):
    """Convolutions over a chunk of samples, an LSTM over chunks with its state in and out (voice activity)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(1, 8, 16, 8), nn.ReLU(), nn.Conv1d(8, 8, 3, 2, 1), nn.ReLU())
        self.rnn, self.head = nn.LSTMCell(8, 10), nn.Linear(10, 1)

    def forward(self, x: Tensor, h_in: Tensor, c_in: Tensor) -> tuple[Tensor, ...]:
        h, c = self.rnn(self.conv(x.unsqueeze(1)).mean(2), (h_in, c_in))
        return torch.sigmoid(self.head(torch.relu(h))), h, c


class Autoencoder(nn.Module):
    """The last state repeated over the window and decoded."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder, self.head = lstm(), nn.LSTM(10, 10, batch_first=True), nn.Linear(10, 6)

    def forward(self, x: Tensor) -> Tensor:
        _, (h, _) = self.encoder(x)
        return self.head(self.decoder(h[-1].unsqueeze(1).repeat(1, x.shape[1], 1))[0])


class SelfAttention(nn.Module):
    """LSTM and one head of self-attention over the window."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.q, self.k, self.head = lstm(), nn.Linear(10, 10), nn.Linear(10, 10), nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        weights = torch.softmax(self.q(y) @ self.k(y).transpose(1, 2) / 10**0.5, -1)
        return self.head((weights @ y)[:, -1])


STATE, CELL = torch.zeros(1, 10), torch.zeros(1, 10)  # one tensor for both would be joined by the newer exporter
MODELS: dict[str, dict[str, Any]] = {
    "LSTM, Linear on every step": seq(lambda: every(lstm(), nn.Linear(10, 2))),
    "LSTM, Linear on the last step": seq(lambda: last(lstm(), nn.Linear(10, 2))),
    "2 LSTM with dropout, normalization in buffers": seq(Normalized),
    "GRU, Linear": seq(lambda: every(nn.GRU(6, 10, batch_first=True), nn.Linear(10, 2))),
    "3 GRU, time first": seq(lambda: every(nn.GRU(6, 10, 3), nn.Linear(10, 2)), torch.randn(T, 1, 6)),
    "RNN tanh": seq(lambda: every(nn.RNN(6, 10, batch_first=True), nn.Linear(10, 2))),
    "RNN relu, last step": seq(lambda: last(nn.RNN(6, 10, batch_first=True, nonlinearity="relu"), nn.Linear(10, 2))),
    "LSTM of 64 (large weights)": seq(lambda: every(nn.LSTM(6, 64, batch_first=True), nn.Linear(64, 2))),
    "LSTM without bias": seq(lambda: every(lstm(bias=False), nn.Linear(10, 2))),
    "LSTM, LayerNorm, GELU": seq(lambda: every(lstm(), nn.Sequential(nn.LayerNorm(10), nn.GELU(), nn.Linear(10, 2)))),
    "LSTM, BatchNorm after the last step, Softmax": seq(
        lambda: last(lstm(), nn.Sequential(nn.BatchNorm1d(10), nn.Linear(10, 4), nn.Softmax(-1)))
    ),
    "LSTM, SiLU and Hardswish": seq(
        lambda: every(lstm(), nn.Sequential(nn.Linear(10, 8), nn.SiLU(), nn.Linear(8, 8), nn.Hardswish()))
    ),
    "LSTM, PReLU, LogSoftmax": seq(
        lambda: every(lstm(), nn.Sequential(nn.Linear(10, 8), nn.PReLU(), nn.Linear(8, 4), nn.LogSoftmax(-1)))
    ),
    "LSTM and GRU in parallel": seq(
        lambda: Lambda(
            lambda p, x: p["head"](torch.cat([p["a"](x)[0], p["b"](x)[0]], -1)),
            a=lstm(), b=nn.GRU(6, 4, batch_first=True), head=nn.Linear(14, 2),
        )
    ),
    "residual LSTM": seq(
        lambda: Lambda(lambda p, x: p["rnn"](x)[0] + x, rnn=nn.LSTM(6, 6, batch_first=True))
    ),
    "LSTM, two outputs": seq(
        lambda: Lambda(
            lambda p, x: (lambda y: (p["a"](y), torch.sigmoid(p["b"](y))))(p["rnn"](x)[0]),
            rnn=lstm(), a=nn.Linear(10, 2), b=nn.Linear(10, 1),
        )
    ),
    "LSTM, the state h_n as output": seq(
        lambda: Lambda(lambda p, x: p["head"](p["rnn"](x)[1][0][-1]), rnn=lstm(num_layers=2), head=nn.Linear(10, 2))
    ),
    "LSTM, mean over time": seq(
        lambda: Lambda(lambda p, x: p["head"](p["rnn"](x)[0].mean(1)), rnn=lstm(), head=nn.Linear(10, 2))
    ),
    "GRU, max over time": seq(
        lambda: Lambda(
            lambda p, x: p["head"](p["rnn"](x)[0].amax(1)), rnn=nn.GRU(6, 10, batch_first=True), head=nn.Linear(10, 2)
        )
    ),
    "LSTM, attention over time": seq(Attention, window=T),
    "LSTM, self-attention": seq(SelfAttention, window=T),
    "bidirectional LSTM": seq(lambda: last(lstm(bidirectional=True), nn.Linear(20, 2)), window=T),
    "bidirectional GRU, 2 layers, mean": seq(
        lambda: Lambda(
            lambda p, x: p["head"](p["rnn"](x)[0].mean(1)),
            rnn=nn.GRU(6, 10, 2, batch_first=True, bidirectional=True), head=nn.Linear(20, 2),
        ),
        window=T,
    ),
    # The newer exporter writes nn.RNN out, without a sign of what is time: it asks, and is told.
    "bidirectional RNN": seq(
        lambda: last(nn.RNN(6, 10, batch_first=True, bidirectional=True), nn.Linear(20, 2)), static=True, time_axis=1
    ),
    "RNN, flattened window": seq(
        lambda: Lambda(
            lambda p, x: p["head"](p["rnn"](x)[0].flatten(1)),
            rnn=nn.RNN(6, 10, batch_first=True), head=nn.Linear(10 * T, 2),
        ),
        static=True, time_axis=1,
    ),
    "LSTM, flattened window": seq(
        lambda: Lambda(lambda p, x: p["head"](p["rnn"](x)[0].flatten(1)), rnn=lstm(), head=nn.Linear(10 * T, 2)),
        static=True,
    ),
    "causal Conv1d, GRU": seq(Causal),
    "symmetric Conv1d, LSTM": seq(
        lambda: Lambda(
            lambda p, x: p["head"](p["rnn"](p["conv"](x.transpose(1, 2)).transpose(1, 2))[0][:, -1]),
            conv=nn.Conv1d(6, 6, 3, padding=1), rnn=lstm(), head=nn.Linear(10, 2),
        ),
        window=T,
    ),
    "Conv1d, MaxPool over time, LSTM": seq(
        lambda: Lambda(
            lambda p, x: p["head"](p["rnn"](p["pool"](p["conv"](x.transpose(1, 2))).transpose(1, 2))[0][:, -1]),
            conv=nn.Conv1d(6, 6, 3, padding=1), pool=nn.MaxPool1d(2), rnn=lstm(), head=nn.Linear(10, 2),
        ),
        window=T,
    ),
    "autoencoder": seq(Autoencoder, window=T),
    "LSTMCell in a loop": seq(CellLoop, static=True),
    "LSTMCell in a scripted loop": seq(lambda: torch.jit.script(ScriptedLoop())),
    "LSTM step with states": {"make": StepLstm, "inputs": (torch.randn(1, 6), *torch.zeros(2, 2, 1, 10)), "step": True,
                              "names": ["obs", "h_in", "c_in"], "out": ["actions", "h_out", "c_out"]},
    "GRU step with state": {
        "make": lambda: Lambda(
            lambda p, x, h: (lambda r: (p["head"](r[0].squeeze(0)), r[1]))(p["rnn"](x.unsqueeze(0), h)),
            rnn=nn.GRU(6, 10), head=nn.Linear(10, 2),
        ),
        "inputs": (torch.randn(1, 6), torch.zeros(1, 1, 10)), "step": True, "names": ["x", "h_in"],
        "out": ["y", "h_out"],
    },
    "LSTMCell step": {
        "make": lambda: Lambda(
            lambda p, x, h, c: (lambda s: (p["head"](s[0]), *s))(p["rnn"](x, (h, c))),
            rnn=nn.LSTMCell(6, 10), head=nn.Linear(10, 2),
        ),
        "inputs": (torch.randn(1, 6), STATE, CELL), "step": True, "names": ["x", "h_in", "c_in"],
        "out": ["y", "h_out", "c_out"],
    },
    "LSTMCell step, the exporter's own names": {
        "make": lambda: Lambda(
            lambda p, x, h, c: (lambda s: (p["head"](s[0]), *s))(p["rnn"](x, (h, c))),
            rnn=nn.LSTMCell(6, 10), head=nn.Linear(10, 2),
        ),
        "inputs": (torch.randn(1, 6), STATE, CELL), "step": True, "names": None,
    },
    "GRUCell step, the exporter's own names": {
        "make": lambda: Lambda(
            lambda p, x, h: (lambda s: (p["head"](s), s))(p["rnn"](x, h)), rnn=nn.GRUCell(6, 10), head=nn.Linear(10, 2)
        ),
        "inputs": (torch.randn(1, 6), STATE), "step": True, "names": None,
    },
    "GRU cell by hand on cat([x, h])": {
        "make": Concatenated, "inputs": (torch.randn(1, 6), STATE), "step": True, "names": ["x", "h_in"],
        "out": ["y", "h_out"],
    },
    "convolutions over a chunk, LSTMCell": {
        "make": Chunk, "inputs": (torch.randn(1, 512), STATE, CELL), "step": True, "names": ["x", "h_in", "c_in"],
        "out": ["y", "h_out", "c_out"],
    },
    "embedding, LSTM": seq(
        lambda: Lambda(
            lambda p, x: p["head"](p["rnn"](p["words"](x))[0]),
            words=nn.Embedding(9, 6), rnn=lstm(), head=nn.Linear(10, 9),
        ),
        torch.randint(0, 9, (1, T)),
    ),
    "LSTMCell step, h and c from one example tensor": {
        "make": lambda: Lambda(
            lambda p, x, h, c: (lambda s: (p["head"](s[0]), *s))(p["rnn"](x, (h, c))),
            rnn=nn.LSTMCell(6, 10), head=nn.Linear(10, 2),
        ),
        "inputs": (torch.randn(1, 6), STATE, STATE), "step": True, "names": ["x", "h_in", "c_in"],
        "out": ["y", "h_out", "c_out"],
    },
    "LSTM with proj_size": seq(lambda: every(lstm(proj_size=4), nn.Linear(4, 2))),
    "bidirectional RNN, step without states (lost at export)": {
        "make": lambda: every(nn.RNN(6, 10, batch_first=True, bidirectional=True), nn.Linear(20, 2)),
        "inputs": (torch.randn(1, 1, 6),), "step": True, "names": ["x"], "out": ["y"],
    },
    "step without states (lost at export)": {
        "make": lambda: every(lstm(), nn.Linear(10, 2)), "inputs": (torch.randn(1, 1, 6),), "step": True,
        "names": ["x"], "out": ["y"],
    },
}  # fmt: skip


def export(model: nn.Module, path: Path, entry: dict[str, Any], opset: int, dynamo: bool, dynamic: bool) -> None:
    """One file; raises what the exporter raises."""
    more: dict[str, Any] = {}
    if dynamic:
        time = 0 if entry["inputs"][0].shape[0] == T else 1
        more = (
            {"dynamic_axes": {"x": {time: "T"}}} if not dynamo else {"dynamic_shapes": ({time: torch.export.Dim("T")},)}
        )
    if (names := entry.get("names", ["x"])) is not None:
        more["input_names"] = names
    if "out" in entry:
        more["output_names"] = entry["out"]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        torch.onnx.export(model, entry["inputs"], path, opset_version=opset, dynamo=dynamo, **more)


def outcome(path: Path, entry: dict[str, Any], dynamic: bool) -> str:
    """ "equal …", "refused: …", "WRONG …" or "CRASH …"."""
    tried: list[dict[str, Any]] = [{}]
    if dynamic and "window" in entry:
        tried.append({"mode": "window", "window": entry["window"]})
    if "time_axis" in entry:
        tried.append({"time_axis": entry["time_axis"]})
    said = ""
    for options in tried:
        try:
            model = import_onnx(path, engine="machine", **options)
            report = verify(model, path, short=True)
        except ImportModelError as error:
            said = str(error).removeprefix(f"{path}: ").splitlines()[0]
            continue
        except Exception as error:
            return f"CRASH {type(error).__name__}: {error}"
        meaning = {None: "continuous"}.get(model.provenance["window"], f"window {model.provenance['window']}")
        asked = ", asked for" if options else ""
        return f"equal ({report.error:.0e}; {meaning}{asked})" if report.ok else f"WRONG {report.error:.1e}"
    return f"refused: {said}"


def attempts(name: str) -> dict[str, list[str]]:
    """What becomes of one model through every exporter and operator set: result -> the exports that have it."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    entry = MODELS[name]
    results: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for dynamo, opset in [*((False, o) for o in LEGACY), *((True, o) for o in DYNAMO)]:
            for dynamic in (True, False):
                if dynamic and (entry.get("step") or entry.get("static") or (dynamo and opset != DYNAMO[0])):
                    continue
                torch.manual_seed(0)
                model = entry["make"]().eval()
                path = Path(folder) / f"{dynamo}_{opset}_{dynamic}.onnx"
                kind = "step" if entry.get("step") else "open T" if dynamic else f"T = {T}"
                try:
                    export(model, path, entry, opset, dynamo, dynamic)
                    result = outcome(path, entry, dynamic)
                except Exception as error:
                    result = f"the exporter fails ({type(error).__name__})"
                results.setdefault(result, []).append(f"{'dynamo' if dynamo else 'legacy'} {opset}, {kind}")
    return results


def main() -> int:
    """All models, or those whose name holds the argument, on two processes; writes the page where all are tried."""
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    names = [name for name in MODELS if only in name]
    lines, counts = [], dict.fromkeys(("equal", "refused", "exporter", "wrong"), 0)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for name, results in zip(names, pool.map(attempts, names), strict=True):
            for result, exports in results.items():
                counts[{"e": "equal", "r": "refused", "t": "exporter"}.get(result[0], "wrong")] += len(exports)
            print(name, *(f"  {', '.join(v)}: {k}" for k, v in results.items()), sep="\n", flush=True)
            lines.append(f"| {name} | " + "<br>".join(f"{'; '.join(v)}: **{k}**" for k, v in results.items()) + " |")
    print(counts)
    if not only:
        tried = counts["equal"] + counts["refused"] + counts["wrong"]
        OUT.write_text(HEAD.format(models=len(lines), tried=tried, **counts, **VERSIONS) + "\n".join(lines) + "\n")
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
