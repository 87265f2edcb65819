"""Step graphs as users have them: the names, shapes and habits of speech enhancement, voice activity detection and
recurrent policies, and some odd ones.

Its rule: one function for each idiom, (path, generator) to a StepGraph; weights are drawn, what the file means is known
here. `CASES` says of each what has to be typed, if anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.support.graphs.onnx_files import Array
from tests.support.graphs.step_graphs import Draft, StepGraph, cell, enhancer, packed

Dims = list[Any]
ENDLESS = 2**31 - 1


def _finish(
    d: Draft,
    path: Path,
    x: Dims,
    states: dict[str, tuple[str, Dims]],
    shown: dict[str, Dims],
    *,
    flags: dict[str, Dims] | None = None,
    fixed: dict[str, tuple[Array, Dims]] | None = None,
    sizes: dict[str, int] | None = None,
    more: dict[str, Dims] | None = None,
) -> StepGraph:
    """Writes the file. sizes: what open dimensions are in a run; more: outputs that are not shown."""
    flags, fixed, sizes = flags or {}, fixed or {}, {"batch": 1} | (sizes or {})
    ins = {"x": x} | {name: dims for name, (_, dims) in states.items()} | flags
    ins |= {name: dims for name, (_, dims) in fixed.items()}
    outs = shown | dict(states.values()) | (more or {})
    d.save(path, ins, outs)
    if whole := {name for name, (value, _) in fixed.items() if value.dtype == np.int64}:
        model = onnx.load(path)
        for value in model.graph.input:
            if value.name in whole:
                value.type.tensor_type.elem_type = TensorProto.INT64
        onnx.save(model, path)

    def real(dims: Dims) -> tuple[int, ...]:
        return tuple(sizes.get(one, one) for one in dims)

    return StepGraph(
        path,
        real(x),
        {name: (after, real(dims)) for name, (after, dims) in states.items()},
        tuple(shown),
        {name: real(dims) for name, dims in flags.items()},
        {name: value for name, (value, _) in fixed.items()},
    )


def _linear(d: Draft, x: str, inputs: int, outputs: int, out: str = "") -> str:
    return d.add("Add", d.add("MatMul", x, d.weights(inputs, outputs)), d.weights(outputs), out=out)


def _squeeze(d: Draft, x: str, axis: int, out: str = "") -> str:
    return d.add("Squeeze", x, d.whole(axis), out=out)


def _unsqueeze(d: Draft, x: str, axis: int, out: str = "") -> str:
    return d.add("Unsqueeze", x, d.whole(axis), out=out)


def _pick(d: Draft, x: str, k: int, axis: int = 0) -> str:
    """x[k:k + 1] along an axis."""
    return d.add("Slice", x, d.whole(k), d.whole(k + 1), d.whole(axis))


def _branch(d: Draft, make: Callable[[], list[str]]) -> Any:
    """The graph of an If's branch."""
    outside, d.nodes = d.nodes, []
    names = make()
    outs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    inner, d.nodes = helper.make_graph(d.nodes, "branch", [], outs), outside
    return inner


# --- speech enhancement ---------------------------------------------------------------------------------------------


def denoiser(path: Path, rng: np.random.Generator) -> StepGraph:
    """Three GRUs, one on another's inputs and outputs, as in RNNoise: voice, noise and gains."""
    d = Draft(rng)
    dense = d.add("Tanh", _linear(d, "x", 10, 6))
    _, voice = d.recurrent("GRU", dense, 6, 6, ["vad_gru_state"])
    _, noise = d.recurrent("GRU", d.add("Concat", dense, voice, "x", axis=2), 22, 6, ["noise_gru_state"])
    _, gains = d.recurrent("GRU", d.add("Concat", voice, noise, "x", axis=2), 22, 6, ["denoise_gru_state"])
    states = {}
    for name, value in (("vad", voice), ("noise", noise), ("denoise", gains)):
        d.add("Identity", value, out=f"{name}_gru_state_out")
        states[f"{name}_gru_state"] = (f"{name}_gru_state_out", [1, 1, 6])
    d.add("Sigmoid", _linear(d, gains, 6, 8), out="gains")
    return _finish(d, path, [1, 1, 10], states, {"gains": [1, 1, 8]})


def subbands(path: Path, rng: np.random.Generator) -> StepGraph:
    """A bidirectional LSTM over the bands, and one LSTM over time for every band: their state has 9 columns."""
    d, F, C = Draft(rng), 9, 4
    bands = d.add("Reshape", "x", d.whole(F, 1, 2))
    y, *_ = d.recurrent("LSTM", bands, 2, C, [], direction="bidirectional")
    y = d.add("Reshape", d.add("Transpose", y, perm=[0, 2, 1, 3]), d.whole(1, F, 2 * C))
    _, h, c = d.recurrent("LSTM", y, 2 * C, C, ["h0", "c0"])
    d.add("Identity", h, out="hn")
    d.add("Identity", c, out="cn")
    d.add("Reshape", d.add("MatMul", h, d.weights(C, 2)), d.whole(1, 1, F, 2), out="mask")
    states = {"h0": ("hn", [1, F, C]), "c0": ("cn", [1, F, C])}
    return _finish(d, path, [1, 1, F, 2], states, {"mask": [1, 1, F, 2]})


def real_and_imaginary(path: Path, rng: np.random.Generator) -> StepGraph:
    """A complex GRU: two networks, each on the real and on the imaginary part, four states of one shape."""
    d, U = Draft(rng), 5
    parts = [_squeeze(d, _pick(d, "x", k, 3), 3) for k in (0, 1)]
    after: dict[tuple[int, int], str] = {}
    states = {}
    for net in (0, 1):
        for part in (0, 1):
            name = f"hidden_{net}{'ri'[part]}"
            _, after[net, part] = d.recurrent("GRU", parts[part], 6, U, [name])
            d.add("Identity", after[net, part], out=f"{name}_next")
            states[name] = (f"{name}_next", [1, 1, U])
    real = d.add("Sub", after[0, 0], after[1, 1])
    imaginary = d.add("Add", after[0, 1], after[1, 0])
    d.add("Concat", real, imaginary, axis=2, out="spectrum")
    return _finish(d, path, [1, 1, 6, 2], states, {"spectrum": [1, 1, 2 * U]})


def causal_caches(path: Path, rng: np.random.Generator, count: int = 2) -> StepGraph:
    """Dilated causal convolutions, the readings that each looks back to in a cache of 3 axes."""
    d, C = Draft(rng), 4
    now, states = d.add("Conv", "x", d.weights(C, 3, 1)), {}
    for k in range(count):
        joined = d.add("Concat", f"conv_cache_{k}", now, axis=2)
        now = d.add("Add", now, d.add("Tanh", d.add("Conv", joined, d.weights(C, C, 3), dilations=[2**k])))
        d.add("Slice", joined, d.whole(1), d.whole(ENDLESS), d.whole(2), out=f"conv_cache_{k}_out")
        states[f"conv_cache_{k}"] = (f"conv_cache_{k}_out", [1, C, 2 * 2**k])
    d.add("Conv", now, d.weights(2, C, 1), out="y")
    return _finish(d, path, [1, 3, 1], states, {"y": [1, 2, 1]})


# --- voice activity detection ---------------------------------------------------------------------------------------


def _spectrum(d: Draft, x: str, width: int, bins: int, pad: int) -> str:
    """|STFT| of [B, N] as a convolution behind reflecting padding: [B, bins, frames]."""
    padded = d.add("Pad", _unsqueeze(d, x, 1), d.whole(0, 0, 0, 0, 0, pad), mode="reflect")
    both = d.add("Conv", padded, d.weights(2 * bins, 1, width), strides=[width // 2])
    parts = [d.add("Slice", both, d.whole(k), d.whole(k + bins), d.whole(1)) for k in (0, bins)]
    squares = [d.add("Mul", part, part) for part in parts]
    return d.add("Sqrt", d.add("Add", d.add("Add", *squares), d.weights_of(1e-6)))


def _voice(d: Draft, state: str, width: int, bins: int, units: int) -> list[str]:
    """Chunk to (speech, state [2, B, units]): h and c are one tensor's halves."""
    seen = d.add(
        "Relu", d.add("Conv", _spectrum(d, "x", width, bins, width // 2), d.weights(units, bins, 3), pads=[1, 1])
    )
    mean = d.add("ReduceMean", seen, axes=[2], keepdims=0)
    h, c = _pick(d, state, 0), _pick(d, state, 1)
    _, hn, cn = d.recurrent("LSTM", _unsqueeze(d, mean, 0), units, units, [h, c])
    speech = d.add("Sigmoid", _linear(d, d.add("Relu", _squeeze(d, hn, 0)), units, 1))
    return [speech, d.add("Concat", hn, cn, axis=0)]


def voice(path: Path, rng: np.random.Generator, *, open_samples: bool = False, by_rate: bool = True) -> StepGraph:
    """Voice activity: an If on the sample rate with a network in each branch, state [2, B, H], the STFT a convolution
    behind reflecting padding."""
    d, U = Draft(rng), 6
    samples, batch = ("samples", "batch") if open_samples else (32, 1)
    if by_rate:
        d.constants["rate"] = np.array(16000)
        high = _branch(d, lambda: _voice(d, "state", 16, 5, U))
        low = _branch(d, lambda: _voice(d, "state", 8, 3, U))
        d.outputs("If", [d.add("Equal", "sr", "rate")], ["output", "stateN"], then_branch=high, else_branch=low)
    else:
        speech, after = _voice(d, "state", 16, 5, U)
        d.add("Identity", speech, out="output")
        d.add("Identity", after, out="stateN")
    states = {"state": ("stateN", [2, batch, U])}
    fixed: dict[str, tuple[Array, Dims]] = {"sr": (np.array(16000), [])} if by_rate else {}
    return _finish(d, path, [batch, samples], states, {"output": [batch, 1]}, fixed=fixed, sizes={"samples": 32})


def four_memories(path: Path, rng: np.random.Generator) -> StepGraph:
    """Four memory blocks, each with a cache [1, C, 3, 1] of one shape (FSMN): their names are numbered."""
    d, C = Draft(rng), 4
    now, states = d.add("Relu", _linear(d, "x", 6, C)), {}
    for k in range(4):
        projected = d.add("MatMul", now, d.weights(C, C))
        column = _unsqueeze(d, d.add("Transpose", projected, perm=[0, 2, 1]), 3)
        joined = d.add("Concat", f"in_cache{k}", column, axis=2)
        kept = d.add("Conv", joined, d.weights(C, 1, 4, 1), group=C)
        back = d.add("Transpose", _squeeze(d, kept, 3), perm=[0, 2, 1])
        now = d.add("Relu", _linear(d, d.add("Add", projected, back), C, C))
        d.add("Slice", joined, d.whole(1), d.whole(ENDLESS), d.whole(2), out=f"out_cache{k}")
        states[f"in_cache{k}"] = (f"out_cache{k}", [1, C, 3, 1])
    d.add("Softmax", _linear(d, now, C, 3), axis=2, out="logits")
    return _finish(d, path, [1, 1, 6], states, {"logits": [1, 1, 3]})


# --- policies -------------------------------------------------------------------------------------------------------


def legged(path: Path, rng: np.random.Generator, op: str) -> StepGraph:
    """rsl_rl: observations [1, n], states [1, 1, H], ELU behind."""
    d, U = Draft(rng), 6
    names = [("h_in", "h_out"), ("c_in", "c_out")][: 2 if op == "LSTM" else 1]
    _, *after = d.recurrent(op, _unsqueeze(d, "x", 0), 5, U, [before for before, _ in names])
    for value, (_, out) in zip(after, names, strict=True):
        d.add("Identity", value, out=out)
    d.add("MatMul", d.add("Elu", _linear(d, _squeeze(d, after[0], 0), U, 8)), d.weights(8, 3), out="actions")
    return _finish(d, path, [1, 5], {i: (o, [1, 1, U]) for i, o in names}, {"actions": [1, 3]})


def games(path: Path, rng: np.random.Generator) -> StepGraph:
    """rl_games: observations normalized by running statistics and clipped, mu, sigma and value beside the states."""
    d, U = Draft(rng), 6
    scaled = d.add("Div", d.add("Sub", "x", d.weights(5)), d.weights_of(*(1.0 + 0.1 * k for k in range(5))))
    obs = d.add("Clip", scaled, d.weights_of(-5.0), d.weights_of(5.0))
    mlp = d.add("Elu", _linear(d, obs, 5, 8))
    y, h, c = d.recurrent("LSTM", _unsqueeze(d, mlp, 0), 8, U, ["out_state.1", "hidden_state.1"])
    d.add("Identity", h, out="out_state")
    d.add("Identity", c, out="hidden_state")
    last = _squeeze(d, _squeeze(d, y, 1), 0)
    _linear(d, last, U, 3, "mu")
    d.add("Expand", d.add("Reshape", d.weights(3), d.whole(1, 3)), d.whole(1, 3), out="log_std")
    _linear(d, last, U, 1, "value")
    states = {"out_state.1": ("out_state", [1, 1, U]), "hidden_state.1": ("hidden_state", [1, 1, U])}
    return _finish(d, path, [1, 5], states, {"mu": [1, 3], "value": [1, 1]}, more={"log_std": [1, 3]})


def baselines(path: Path, rng: np.random.Generator) -> StepGraph:
    """stable-baselines' recurrent PPO: LSTMs of actor and critic, each with h and c, reset by `episode_starts`."""
    d, U = Draft(rng), 5
    keep = d.add("Sub", d.weights_of(1.0), d.add("Reshape", "episode_starts", d.whole(1, -1, 1)))
    states, last = {}, {}
    for net in ("pi", "vf"):
        held = [d.add("Mul", keep, f"{s}_{net}") for s in "hc"]
        _, h, c = d.recurrent("LSTM", _unsqueeze(d, "x", 0), 4, U, held)
        for value, s in ((h, "h"), (c, "c")):
            d.add("Identity", value, out=f"{s}_{net}_out")
            states[f"{s}_{net}"] = (f"{s}_{net}_out", [1, 1, U])
        last[net] = d.add("Tanh", _linear(d, _squeeze(d, h, 0), U, 6))
    _linear(d, last["pi"], 6, 2, "action")
    _linear(d, last["vf"], 6, 1, "value")
    return _finish(d, path, [1, 4], states, {"action": [1, 2], "value": [1, 1]}, flags={"episode_starts": [1]})


def agents(path: Path, rng: np.random.Generator) -> StepGraph:
    """ML-Agents: one memory [B, 1, 2 H] of both h and c, version and size as constant outputs, discrete actions."""
    d, U = Draft(rng), 4
    memory = d.add("Transpose", "recurrent_in", perm=[1, 0, 2])
    held = [d.add("Slice", memory, d.whole(k), d.whole(k + U), d.whole(2)) for k in (0, U)]
    _, h, c = d.recurrent("LSTM", _unsqueeze(d, d.add("Tanh", _linear(d, "x", 5, 6)), 0), 6, U, held)
    d.add("Transpose", d.add("Concat", h, c, axis=2), perm=[1, 0, 2], out="recurrent_out")
    logits = _linear(d, _squeeze(d, h, 0), U, 3)
    masked = d.add("Add", logits, d.add("Mul", "action_masks", d.weights_of(-10.0)))
    d.add("Softmax", masked, axis=1, out="discrete_actions")
    for name, number in (("version_number", 3.0), ("memory_size", 2.0 * U)):
        d.add("Identity", d.weights_of(number), out=name)
    states = {"recurrent_in": ("recurrent_out", ["batch", 1, 2 * U])}
    shown = {"discrete_actions": ["batch", 3]}
    constant: dict[str, Dims] = {"version_number": [1], "memory_size": [1]}
    return _finish(d, path, ["batch", 5], states, shown, flags={"action_masks": ["batch", 3]}, more=constant)


def workers(path: Path, rng: np.random.Generator) -> StepGraph:
    """RLlib: states [B, H] without an axis of layers, named by numbers, in and out; sequence lengths are an input."""
    d, U = Draft(rng), 5
    held = [_unsqueeze(d, f"state_in_{k}", 0) for k in (0, 1)]
    lengths = d.add("Cast", "seq_lens", to=TensorProto.INT32)
    d.count += 1
    outs = [f"v{d.count}_{k}" for k in range(3)]
    given = [_unsqueeze(d, d.add("Tanh", _linear(d, "x", 4, 6)), 0), d.weights(1, 4 * U, 6), d.weights(1, 4 * U, U)]
    d.outputs("LSTM", [*given, "", lengths, *held], outs, hidden_size=U)
    for k in (0, 1):
        _squeeze(d, outs[1 + k], 0, f"state_out_{k}")
    _linear(d, "state_out_0", U, 3, "output")
    states = {f"state_in_{k}": (f"state_out_{k}", ["batch", U]) for k in (0, 1)}
    return _finish(
        d, path, ["batch", 4], states, {"output": ["batch", 3]}, fixed={"seq_lens": (np.array([1]), ["batch"])}
    )


def stacked(path: Path, rng: np.random.Generator) -> StepGraph:
    """Two layers whose h and c are stacked on the axis of layers, [2, 1, H] each, sliced and joined again; the greedy
    action beside them."""
    d, U = Draft(rng), 5
    now, width = _unsqueeze(d, "x", 0), 4
    after: dict[str, list[str]] = {"hidden": [], "cell": []}
    for layer in (0, 1):
        _, h, c = d.recurrent("LSTM", now, width, U, [_pick(d, "hidden", layer), _pick(d, "cell", layer)])
        now, width = h, U
        after["hidden"].append(h)
        after["cell"].append(c)
    for name, parts in after.items():
        d.add("Concat", *parts, axis=0, out=f"next_{name}")
    _linear(d, _squeeze(d, now, 0), U, 3, "q")
    states = {name: (f"next_{name}", [2, 1, U]) for name in after}
    return _finish(d, path, [1, 4], states, {"q": [1, 3]})


# --- bidirectional, quantized, odd ----------------------------------------------------------------------------------


def both_ways_in_a_step(path: Path, rng: np.random.Generator) -> StepGraph:
    """A bidirectional GRU over one reading, whose two states are handed on."""
    d, U = Draft(rng), 4
    y, h = d.recurrent("GRU", _unsqueeze(d, "x", 0), 3, U, ["h"], direction="bidirectional")
    d.add("Identity", h, out="h_next")
    _linear(d, d.add("Reshape", y, d.whole(1, 2 * U)), 2 * U, 2, "y")
    return _finish(d, path, [1, 3], {"h": ("h_next", [2, 1, U])}, {"y": [1, 2]})


def over_bands(path: Path, rng: np.random.Generator) -> StepGraph:
    """Bidirectional GRU over bands in front of an LSTM cell in primitives whose states nobody has named."""
    d, F, C = Draft(rng), 7, 3
    y, _ = d.recurrent("GRU", d.add("Transpose", "x", perm=[1, 0, 2]), 2, C, [], direction="bidirectional")
    wide = d.add("Reshape", d.add("Transpose", y, perm=[2, 0, 1, 3]), d.whole(1, 2 * C * F))
    h, c = cell(d, "LSTM", wide, ["103", "104"], 2 * C * F, 5)
    d.add("Identity", h, out="131")
    d.add("Identity", c, out="127")
    _linear(d, h, 5, 2, "y")
    return _finish(d, path, [1, F, 2], {"103": ("131", [1, 5]), "104": ("127", [1, 5])}, {"y": [1, 2]})


def integer_weights(path: Path, rng: np.random.Generator, op: str = "LSTM") -> StepGraph:
    """Weights of a recurrent layer as int8 behind DequantizeLinear."""
    d, U = Draft(rng), 6
    gates, names = (4, ["h", "c"]) if op == "LSTM" else (3, ["h"])

    def weights(width: int) -> str:
        whole = d.weights_of()
        d.constants[whole] = rng.integers(-127, 128, (1, gates * U, width)).astype(np.int8)
        zero = d.weights_of()
        d.constants[zero] = np.array(0, np.int8)
        scale = d.weights_of()
        d.constants[scale] = np.array(0.01, np.float32)
        return d.add("DequantizeLinear", whole, scale, zero)

    d.count += 1
    outs = [f"v{d.count}_{k}" for k in range(1 + len(names))]
    more = {"linear_before_reset": 1} if op == "GRU" else {}
    given = [_unsqueeze(d, "x", 0), weights(4), weights(U), "", "", *(f"{n}_in" for n in names)]
    d.outputs(op, given, outs, hidden_size=U, **more)
    for n, value in zip(names, outs[1:], strict=True):
        d.add("Identity", value, out=f"{n}_out")
    _linear(d, _squeeze(d, outs[1], 0), U, 2, "y")
    states = {f"{n}_in": (f"{n}_out", [1, 1, U]) for n in names}
    return _finish(d, path, [1, 4], states, {"y": [1, 2]})


def plain_cell(path: Path, rng: np.random.Generator, before: str, after: str) -> StepGraph:
    """An Elman cell in primitives: no gate proves its state."""
    d, U = Draft(rng), 5
    total = d.add("Add", d.add("MatMul", "x", d.weights(3, U)), d.add("MatMul", before, d.weights(U, U)))
    d.add("Tanh", total, out=after)
    _linear(d, after, U, 2, "y")
    return _finish(d, path, [1, 3], {before: (after, [1, U])}, {"y": [1, 2]})


def simple_units(path: Path, rng: np.random.Generator) -> StepGraph:
    """SRU: c' = f c + (1 - f) W x, the gates of x alone, a highway of what is read."""
    d, U = Draft(rng), 5
    f = d.add("Sigmoid", _linear(d, "x", U, U))
    r = d.add("Sigmoid", _linear(d, "x", U, U))
    one = d.weights_of(1.0)
    fresh = d.add("Mul", d.add("Sub", one, f), d.add("MatMul", "x", d.weights(U, U)))
    d.add("Add", d.add("Mul", f, "c_prev"), fresh, out="c_next")
    shown = d.add("Mul", r, d.add("Tanh", "c_next"))
    d.add("Add", shown, d.add("Mul", d.add("Sub", one, r), "x"), out="y")
    return _finish(d, path, [1, U], {"c_prev": ("c_next", [1, U])}, {"y": [1, U]})


def state_space(path: Path, rng: np.random.Generator) -> StepGraph:
    """A diagonal linear recurrence (S4D, LRU) behind a short convolution, two caches of one shape (Mamba)."""
    d, C, N = Draft(rng), 4, 3
    column = _unsqueeze(d, "x", 2)
    joined = d.add("Concat", "conv_state", column, axis=2)
    d.add("Slice", joined, d.whole(1), d.whole(ENDLESS), d.whole(2), out="conv_state_out")
    seen = d.add("Conv", joined, d.weights(C, 1, 4), group=C)
    decay = d.weights_of()
    d.constants[decay] = rng.uniform(0.5, 0.95, (1, C, N)).astype(np.float32)
    d.add("Add", d.add("Mul", decay, "ssm_state"), d.add("Mul", seen, d.weights(1, C, N)), out="ssm_state_out")
    d.add("ReduceSum", d.add("Mul", "ssm_state_out", d.weights(1, C, N)), d.whole(2), out="y", keepdims=0)
    states = {"conv_state": ("conv_state_out", [1, C, 3]), "ssm_state": ("ssm_state_out", [1, C, N])}
    return _finish(d, path, [1, C], states, {"y": [1, C]})


def attention_cache(path: Path, rng: np.random.Generator) -> StepGraph:
    """Attention over the last 5 readings, whose keys and values lie in two caches of one shape [1, heads, 4, D]."""
    d, H, D = Draft(rng), 2, 3
    q, k, v = (
        d.add("Transpose", d.add("Reshape", _linear(d, "x", 6, H * D), d.whole(1, 1, H, D)), perm=[0, 2, 1, 3])
        for _ in range(3)
    )
    keys, values = d.add("Concat", "past_key", k, axis=2), d.add("Concat", "past_value", v, axis=2)
    for joined, out in ((keys, "present_key"), (values, "present_value")):
        d.add("Slice", joined, d.whole(1), d.whole(ENDLESS), d.whole(2), out=out)
    weights = d.add("Softmax", d.add("MatMul", q, d.add("Transpose", keys, perm=[0, 1, 3, 2])), axis=3)
    seen = d.add("Reshape", d.add("Transpose", d.add("MatMul", weights, values), perm=[0, 2, 1, 3]), d.whole(1, H * D))
    _linear(d, seen, H * D, 2, "y")
    states = {f"past_{n}": (f"present_{n}", [1, H, 4, D]) for n in ("key", "value")}
    return _finish(d, path, [1, 6], states, {"y": [1, 2]})


def batch_first_layout(path: Path, rng: np.random.Generator) -> StepGraph:
    """h and c swapped in the list of inputs, the cell with peepholes and a clip, the batch open."""
    d, U = Draft(rng), 4
    d.count += 1
    outs = [f"v{d.count}_{k}" for k in range(3)]
    given = [_unsqueeze(d, "x", 0), d.weights(1, 4 * U, 3), d.weights(1, 4 * U, U), d.weights(1, 8 * U), ""]
    d.outputs("LSTM", [*given, "lstm_h", "lstm_c", d.weights(1, 3 * U)], outs, hidden_size=U, clip=3.0)
    d.add("Identity", outs[2], out="lstm_c_new")
    d.add("Identity", outs[1], out="lstm_h_new")
    _linear(d, _squeeze(d, outs[1], 0), U, 2, "y")
    states = {f"lstm_{s}": (f"lstm_{s}_new", [1, "batch", U]) for s in "ch"}
    return _finish(d, path, ["batch", 3], states, {"y": ["batch", 2]})


# --- what has to be typed -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """build: the graph; typed: the answer to the one question, () where none is asked; odd: bidirectional, quantized
    or out of the ordinary."""

    build: Callable[[Path, np.random.Generator], StepGraph]
    typed: tuple[str, ...] = ()
    odd: bool = False


CASES = {
    "enhancer, 14 GRUs": Case(partial(enhancer, energies=5)),
    "enhancer of 33 bands": Case(partial(enhancer, bands=33, channels=2, energies=1)),
    "denoiser": Case(denoiser),
    "packed [1, 2, 16, 2]": Case(partial(packed, written=False, units=16)),
    "packed, written out": Case(partial(packed, written=True, units=16)),
    "sub-bands": Case(subbands, odd=True),
    "complex": Case(real_and_imaginary),
    "causal caches": Case(partial(causal_caches, count=3)),
    "voice, by rate": Case(voice, ("--set sr=16000",)),
    "voice, one rate": Case(partial(voice, by_rate=False)),
    "voice, open samples": Case(partial(voice, by_rate=False, open_samples=True), ("--size samples=32",)),
    "voice, four caches": Case(four_memories),
    "rsl_rl LSTM": Case(partial(legged, op="LSTM")),
    "rsl_rl GRU": Case(partial(legged, op="GRU")),
    "rl_games": Case(games),
    "stable-baselines": Case(baselines),
    "ML-Agents": Case(agents),
    "RLlib": Case(workers, ("--set seq_lens=1",)),
    "stacked layers": Case(stacked),
    "both ways in a step": Case(both_ways_in_a_step, odd=True),
    "both ways over bands, unnamed cell": Case(over_bands, odd=True),
    "int8 LSTM": Case(integer_weights, odd=True),
    "int8 GRU": Case(partial(integer_weights, op="GRU"), odd=True),
    "Elman, named": Case(partial(plain_cell, before="hidden_in", after="hidden_out"), odd=True),
    "Elman, unnamed": Case(partial(plain_cell, before="11", after="17"), ("--state 11=17",), odd=True),
    "SRU": Case(simple_units, ("--state c_prev=c_next",), odd=True),
    "state space": Case(state_space, odd=True),
    "attention cache": Case(attention_cache, odd=True),
    "peepholes": Case(batch_first_layout, odd=True),
}
