"""What stands behind a dense layer, and in the gates of a recurrent one: a name and its numbers, as they can be typed.

    NAME[:ALPHA[:BETA]]    relu    elu    leaky_relu:0.3    hard_sigmoid:0.2    hard_sigmoid:1/6

Its rule: every activation that ONNX imports have, with PyTorch's numbers where none are given; what libraries disagree
about has no such default and must be said. Names count as PyTorch and Keras write them (LeakyReLU, leaky_relu).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from edge_lstm.core.builder import Builder
from edge_lstm.core.operation import Slot
from edge_lstm.core.operations.functions import MAP_FUNCTIONS
from edge_lstm.importers.arrays.named import Arrays

_SAME = {"linear": "identity", "none": "identity", "swish": "silu", "hard_silu": "hard_swish"}
_SELU = (1.6732632423543772, 1.0507009873554805)  # Klambauer et al. 2017, as both libraries have them
_SOURCE = Sequence[str]


@dataclass(frozen=True)
class Activation:
    """An activation and its numbers."""

    name: str
    numbers: tuple[float, ...] = ()

    def __str__(self) -> str:
        return ":".join([self.name, *(f"{n:.7g}" for n in self.numbers)])

    def apply(self, build: Builder, x: Slot, source: _SOURCE) -> Slot:
        """What it makes of x."""
        return _FORMS[self.name].apply(build, x, source, *self.numbers)


IDENTITY, SIGMOID = Activation("identity"), Activation("sigmoid")
_Apply = Callable[..., Slot]


@dataclass(frozen=True)
class _Form:
    """How an activation is computed; `numbers` its defaults, None where one must be said, and then `why`."""

    apply: _Apply
    numbers: tuple[float | None, ...] = ()
    why: str = ""


def _map(function: str) -> _Apply:
    def apply(build: Builder, x: Slot, source: _SOURCE, alpha: float = 0.0, beta: float = 0.0) -> Slot:
        return build.map(function, x, alpha=alpha, beta=beta, source=source)

    return apply


def _fixed(function: str, alpha: float, beta: float) -> _Apply:
    return lambda build, x, source: build.map(function, x, alpha=alpha, beta=beta, source=source)


def _times(build: Builder, x: Slot, by: Slot | float, source: _SOURCE) -> Slot:
    return build.binary("mul", x, by if isinstance(by, Slot) else build.constant([by]), source=source)


def _identity(build: Builder, x: Slot, source: _SOURCE) -> Slot:
    return x


def _softmax(log: bool) -> _Apply:
    return lambda build, x, source: build.softmax(x, log=log, source=source)


def _silu(build: Builder, x: Slot, source: _SOURCE) -> Slot:
    return _times(build, x, build.map("sigmoid", x, source=source), source)


def _hard_swish(build: Builder, x: Slot, source: _SOURCE) -> Slot:
    return _times(build, x, build.map("hard_sigmoid", x, alpha=1 / 6, beta=0.5, source=source), source)


def _mish(build: Builder, x: Slot, source: _SOURCE) -> Slot:
    return _times(build, x, build.map("tanh", build.map("softplus", x, source=source), source=source), source)


def _gelu(build: Builder, x: Slot, source: _SOURCE) -> Slot:
    wave = build.map("erf", _times(build, x, math.sqrt(0.5), source), source=source)
    return _half(build, x, wave, source)


def _gelu_tanh(build: Builder, x: Slot, source: _SOURCE) -> Slot:
    cube = _times(build, _times(build, x, x, source), x, source)
    inner = build.binary("add", x, _times(build, cube, 0.044715, source), source=source)
    wave = build.map("tanh", _times(build, inner, math.sqrt(2 / math.pi), source), source=source)
    return _half(build, x, wave, source)


def _half(build: Builder, x: Slot, wave: Slot, source: _SOURCE) -> Slot:
    """x (wave + 1) / 2."""
    return _times(
        build, _times(build, x, 0.5, source), build.map("affine", wave, alpha=1, beta=1, source=source), source
    )


def _celu(build: Builder, x: Slot, source: _SOURCE, alpha: float) -> Slot:
    below = _times(build, build.binary("min", x, build.constant([0.0]), source=source), 1 / alpha, source)
    above = build.map("relu", x, source=source)
    return build.binary("add", above, build.map("elu", below, alpha=alpha, source=source), source=source)


_FORMS: dict[str, _Form] = {
    **{name: _Form(_map(name)) for name, used in MAP_FUNCTIONS.items() if used == 0},
    "celu": _Form(_celu, (1.0,)),
    "clip": _Form(_map("clip"), (None, None), "its limits, clip:-1:1"),
    "elu": _Form(_map("elu"), (1.0,)),
    "gelu": _Form(_gelu),
    "gelu_tanh": _Form(_gelu_tanh),
    "hard_sigmoid": _Form(
        _map("hard_sigmoid"),
        (None, 0.5),
        "its slope, which libraries disagree about: hard_sigmoid:0.2 (Keras 2, TensorFlow 1) or hard_sigmoid:1/6"
        " (PyTorch, Keras 3)",
    ),
    "hard_swish": _Form(_hard_swish),
    "hard_tanh": _Form(_fixed("clip", -1.0, 1.0)),
    "identity": _Form(_identity),
    "leaky_relu": _Form(_map("leaky_relu"), (0.01,)),
    "log_softmax": _Form(_softmax(True)),
    "mish": _Form(_mish),
    "relu6": _Form(_fixed("clip", 0.0, 6.0)),
    "selu": _Form(_fixed("selu", *_SELU)),
    "silu": _Form(_silu),
    "softmax": _Form(_softmax(False)),
    "thresholded_relu": _Form(_map("thresholded_relu"), (None,), "its threshold, thresholded_relu:1"),
}
NAMES = tuple(sorted(_FORMS))
_PLAIN = {name.replace("_", ""): name for name in (*_FORMS, *_SAME)}


def read_activation(a: Arrays, text: str) -> Activation:
    """An activation as it was typed. Raises ImportModelError with what is known."""
    name, *given = text.strip().split(":")
    name = _PLAIN.get(name.lower().replace("_", "").replace("-", ""), name)
    name = _SAME.get(name, name)
    if name not in _FORMS:
        raise a.fail(f"activation {text!r} is unknown; known are {', '.join(NAMES)}")
    form = _FORMS[name]
    if len(given) > len(form.numbers):
        takes = f"takes {len(form.numbers)}" if form.numbers else "takes none"
        raise a.fail(f"activation {text!r} has {len(given)} numbers behind its name; {name} {takes}")
    try:
        numbers = [float(Fraction(g)) for g in given]
    except (ValueError, ZeroDivisionError, OverflowError):
        raise a.fail(f"activation {text!r}: NAME:NUMBER is meant, leaky_relu:0.3") from None
    both = [*numbers, *form.numbers[len(numbers) :]]
    if None in both:
        raise a.fail(f"activation {text!r} needs {form.why}")
    if name == "celu" and not both[0]:
        raise a.fail(f"activation {text!r}: its number must not be 0")
    return Activation(name, tuple(n for n in both if n is not None))
