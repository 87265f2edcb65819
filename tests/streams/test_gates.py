"""Gates: they are what the cell computes, and reading them changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_lstm.engines.native.session import Native
from edge_lstm.errors import StateError, UnknownNameError
from edge_lstm.streams.gates import WORDS, GateStream
from tests.streams.test_forecast import follower
from tests.support.models import nets
from tests.support.models.half_nets import halved, widened
from tests.support.models.quantized_nets import SCHEMES, quantized_network

XS = nets.readings(60, 8, seed=2)


@pytest.mark.parametrize("kind", nets.CELLS)
@pytest.mark.parametrize("window", [None, 6])
def test_gates_on_or_off_gives_the_same_bits(kind: str, window: int | None):
    """Two layers, step and run, snapshots in both directions: outputs and memory are bit-identical."""
    model = nets.network(kind, layers=2, units=13, window=window)
    plain, gated = model.stream(), model.stream(gates=True)
    for x in XS[:20]:
        expected, found = plain.step(x), gated.step(x)
        assert (expected is None) is (found is None)
        if expected is not None:
            assert found.tobytes() == expected.tobytes()
    assert gated.snapshot() == plain.snapshot()
    assert gated.run(XS).tobytes() == plain.run(XS).tobytes()
    other = model.stream(gates=True)
    other.restore(plain.snapshot())
    plain.restore(gated.snapshot())
    assert other.step(XS[0]).tobytes() == plain.step(XS[0]).tobytes()


@pytest.mark.parametrize("kind", nets.CELLS)
def test_the_gates_of_float16_are_those_of_float32_with_these_weights(kind: str):
    """Weights below the normal ones of float16 among them, whose halves it does not hold."""
    model = halved(nets.network(kind, units=13, layers=2))
    operations = list(model.program.operations)
    small = {key: (w * np.float16(2**-12)) if key == "W" else w for key, w in operations[0].weights.items()}
    small["W"].flags.writeable = False
    operations[0] = replace(operations[0], weights=small)
    model = replace(model, program=replace(model.program, operations=tuple(operations)))
    gated, twin = model.stream(gates=True), widened(model).stream(gates=True)
    for x in XS[:20]:
        assert gated.step(x).tobytes() == twin.step(x).tobytes()
        assert {k: g.tobytes() for k, g in gated.gates.items()} == {k: g.tobytes() for k, g in twin.gates.items()}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", nets.CELLS)
def test_the_gates_of_integers_are_those_the_layer_computes(kind: str, scheme: str):
    """A quantized layer has gates too: the outputs keep their bits, and the next memory follows from the gates."""
    model = quantized_network(kind, scheme, units=13, layers=2)
    plain, gated = model.stream(), model.stream(gates=True)
    for x in XS[:20]:
        before = {name: value.astype(float) for name, value in gated.state.items()}
        assert gated.step(x).tobytes() == plain.step(x).tobytes()
        for name in (f"{kind}0", f"{kind}1"):
            g = {key: gated.gates[f"{name}.{key}"].astype(float) for key in WORDS[kind]}
            if kind == "lstm":
                assert g["c"] == pytest.approx(g["f"] * before[f"{name}.c"] + g["i"] * g["g"], abs=2e-7)
                assert g["h"] == pytest.approx(g["o"] * np.tanh(g["c"]), abs=5e-7)
            elif kind == "gru":
                assert g["h"] == pytest.approx((1 - g["z"]) * g["n"] + g["z"] * before[f"{name}.h"], abs=5e-7)
            assert (g["h"] == gated.state[f"{name}.h"]).all()


def test_an_lstm_is_made_of_its_gates():
    """c' = f c + i g and h' = o tanh(c'), each gate from weights, input and h by the book, with the layer's own h."""
    model = nets.network("lstm", units=13, layers=2)
    stream = model.stream(gates=True)
    ops = [op for op in model.program.operations if op.kind == "lstm"]
    for x in XS:
        before = stream.state
        stream.step(x)
        gates = stream.gates
        for number, op in enumerate(ops):
            i, f, g, o, c, h = (gates[f"lstm{number}.{k}"].astype(float) for k in "ifgoch")
            assert c == pytest.approx(f * before[f"lstm{number}.c"] + i * g, abs=2e-7)
            assert h == pytest.approx(o * np.tanh(c), abs=5e-7)
            read = x if number == 0 else gates["lstm0.h"]
            W, R, b = (op.weights[k].astype(float) for k in "WRb")
            sums = W @ read + R @ before[f"lstm{number}.h"] + b
            rows = sums.reshape(4, 13)
            for gate, row in zip((i, f, o), rows[[0, 1, 3]], strict=True):
                assert gate == pytest.approx(1 / (1 + np.exp(-row)), abs=5e-7)
            assert g == pytest.approx(np.tanh(rows[2]), abs=5e-7)


def test_a_gru_is_made_of_its_gates():
    """h' = (1 - z) n + z h."""
    model = nets.network("gru", units=13)
    stream = model.stream(gates=True)
    for x in XS:
        before = stream.state["gru0.h"].astype(float)
        stream.step(x)
        r, z, n, h = (stream.gates[f"gru0.{k}"].astype(float) for k in "rznh")
        assert h == pytest.approx((1 - z) * n + z * before, abs=5e-7)
        assert ((r > 0) & (r < 1)).all()


def test_the_gates_of_a_log_are_those_of_its_steps():
    """run_gates gives, row by row, the bits that step gives."""
    model = follower("lstm")
    whole, single = model.stream(gates=True), model.stream(gates=True)
    xs = XS[:, :3]
    ys, gates = whole.run_gates(xs)
    for k, x in enumerate(xs):
        assert single.step(x).tobytes() == ys[k].tobytes()
        for name, values in single.gates.items():
            assert values.tobytes() == gates[name][k].tobytes()
    assert set(gates) == {f"lstm{n}.{g}" for n in (0, 1) for g in WORDS["lstm"]}
    assert whole.gates.keys() == gates.keys()
    assert single.forecast(4).outputs.tobytes() == _after(model, xs).forecast(4).outputs.tobytes()


def _after(model, xs):
    stream = model.stream()
    stream.run(xs)
    return stream


@pytest.mark.parametrize("kind", nets.CELLS)
def test_gates_have_the_same_bits_at_every_vector_width(kind: str):
    """4, 8 or 16 lanes: one arithmetic, gates included."""
    model = nets.network(kind, layers=2, units=21)
    found = [GateStream(model, Native(lanes)).run_gates(XS)[1] for lanes in (4, 8, 16)]
    for name in found[0]:
        assert found[0][name].tobytes() == found[1][name].tobytes() == found[2][name].tobytes()


def test_there_are_no_gates_before_the_first_output():
    """Empty at the beginning and after a reset; a network without recurrent layers says that it has none."""
    stream = nets.network().stream(gates=True)
    assert stream.gates == {}
    stream.step(XS[0])
    assert stream.gates["lstm0.f"].shape == (16,)
    assert stream.gates_in_words["lstm0.forgetting"].tobytes() == stream.gates["lstm0.f"].tobytes()
    stream.reset()
    assert stream.gates == {}
    with pytest.raises(UnknownNameError, match=r"no gate 'lstm0\.f': there has been no output yet"):
        _ = stream.gates["lstm0.f"]
    with pytest.raises(StateError, match="no recurrent layer"):
        nets.one_map("tanh", 3).stream(gates=True)


def test_a_wrong_name_is_answered_with_the_right_one():
    """Of gates, in letters and in words, and of states, of one stream and of several: the nearest, or all. It is a
    KeyError, too, so `get` and `in` are as of any mapping."""
    model = nets.network()
    stream, several = model.stream(gates=True), model.streams(2)
    stream.step(XS[0])
    with pytest.raises(UnknownNameError, match=r"^there is no gate 'lstm.f'; did you mean 'lstm0.f'\?$"):
        _ = stream.gates["lstm.f"]
    with pytest.raises(KeyError, match=r"did you mean 'lstm0.forgetting'"):
        _ = stream.gates_in_words["lstm.forgetting"]
    for state in (stream.state, several.state):
        with pytest.raises(UnknownNameError, match=r"^there is no state 'x'; valid: 'lstm0.h', 'lstm0.c'$"):
            _ = state["x"]
        assert state.get("x") is None
        assert "x" not in state
    with pytest.raises(UnknownNameError, match="remembers nothing"):
        _ = nets.one_map("tanh", 3).stream().state["h"]
