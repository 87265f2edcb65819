"""Files of named arrays: .npz, .safetensors and .json, and what such a file says of its network beside the weights.

    .npz           numpy.savez(path, **arrays)
    .safetensors   the format of Hugging Face's library of that name, which the extra `safetensors` brings
    .json          {"NAME": nested lists, …}, alone or as "state_dict" of an object
                   {"model_data": {…}, "state_dict": {…}}: amplifier models of Automated-GuitarAmpModelling (GuitarML)
                   {"in_shape": …, "layers": [{"type", "activation", "weights"}, …]}: what RTNeural reads (AIDA-X)

Its rule: whatever a file says of its network is taken or refused, never passed over. Files of others are never run
(no pickle), and no more of one is read than the limits here.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.storage import DAMAGE
from edge_lstm.errors import ImportModelError
from edge_lstm.importers.arrays.named import Array, Arrays
from firmware_bridge.installing import not_importable

SUFFIXES = (".npz", ".safetensors", ".json")
MAX_BYTES = 1 << 30
MAX_JSON = 1 << 28  # a number as text takes some 20 bytes, and ten times that while it is read
_RTNEURAL = {"lstm": 3, "gru": 3, "dense": 2, "time-distributed-dense": 2}  # type → arrays
_PARTS = ("kernel", "recurrent_kernel", "bias")  # of a recurrent layer, in this order
_PLAIN = ("", "linear", None)


@dataclass(frozen=True)
class Written:
    """The arrays of a file and what it says of their network; None where it says nothing.

    skip: so many of the first inputs are added to the outputs. gains: by what the inputs are multiplied before the
    network, and the outputs after it.
    """

    arrays: Arrays
    order: tuple[str, ...] | None = None
    activations: tuple[str, ...] | None = None
    skip: int = 0
    gains: tuple[float, float] = (1.0, 1.0)
    rate_hz: float | None = None


def read_arrays(source: Mapping[str, npt.ArrayLike] | str | Path) -> Written:
    """What a mapping or a file holds. Raises ImportModelError."""
    if not isinstance(source, str | Path):
        return _named("arrays", {str(key): np.asarray(value) for key, value in source.items()})
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return _named(path.name, _safetensors(path), by_name=True)
    if suffix == ".json":
        return _json(path)
    return _named(path.name, _npz(path))


def _named(text: str, arrays: dict[str, Array], by_name: bool = False) -> Written:
    if not arrays:
        raise ImportModelError(f"{text}: holds no arrays")
    if all(re.fullmatch(r"arr_\d+", key) for key in arrays):
        raise ImportModelError(
            f"{text}: its arrays have no names (arr_0, …). Save them with names:"
            " numpy.savez(path, **{w.path: w.numpy() for w in model.weights}) for Keras"
        )
    return Written(Arrays(text, arrays, dict.fromkeys(arrays), sorted=by_name))


def _npz(path: Path) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > MAX_BYTES:
                raise ImportModelError(f"{path}: {size} bytes of arrays; more than {MAX_BYTES} are not read")
        with np.load(path, allow_pickle=False) as file:
            return {key: np.asarray(file[key]) for key in file.files}
    except (*DAMAGE, OSError, MemoryError) as error:
        raise ImportModelError(
            f"{path}: cannot be read as arrays saved with numpy.savez ({error}). For PyTorch:"
            " numpy.savez(path, **{k: v.numpy() for k, v in model.state_dict().items()})"
        ) from None


def _bytes(path: Path, most: int) -> bytes:
    try:
        if (size := path.stat().st_size) > most:
            raise ImportModelError(f"{path}: {size} bytes; more than {most} are not read")
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        raise ImportModelError(f"{path}: cannot be read: {error}") from None


# --- safetensors ------------------------------------------------------------------------------------------------------

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"}


def _safetensors(path: Path) -> dict[str, Array]:
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError as error:
        raise ImportModelError(f"{path}: to be read, needs {not_importable('safetensors', error)}") from error
    data = _bytes(path, MAX_BYTES)
    try:
        found = deserialize(data)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise ImportModelError(f"{path}: is damaged, or no .safetensors file ({error})") from None
    arrays: dict[str, Array] = {}
    for name, tensor in sorted(found):
        kind, raw = tensor["dtype"], bytes(tensor["data"])
        if kind == "BF16":  # the upper half of a float32
            values: Array = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        elif kind in _DTYPES:
            values = np.frombuffer(raw, _DTYPES[kind])
        else:
            raise ImportModelError(f"{path}: array {name!r} holds {kind}; floating-point numbers or integers are meant")
        arrays[name] = values.reshape(tensor["shape"])
    return arrays


# --- JSON -------------------------------------------------------------------------------------------------------------


def _json(path: Path) -> Written:
    try:
        tree = json.loads(_bytes(path, MAX_JSON))
    except (ValueError, RecursionError, MemoryError) as error:
        raise ImportModelError(f"{path}: is damaged, or no JSON ({error})") from None
    if isinstance(tree, dict) and isinstance(tree.get("layers"), list):
        return _rtneural(path, tree)
    if isinstance(tree, dict) and isinstance(tree.get("state_dict"), dict):
        return _amplifier(path, tree)
    if not isinstance(tree, dict) or not all(isinstance(value, list) for value in tree.values()):
        raise ImportModelError(
            f'{path}: holds no weights by name: an object of nested lists is meant, or one with a "state_dict" or with'
            ' "layers"'
        )
    return _named(path.name, {name: _array(path, name, value) for name, value in tree.items()})


def _array(path: Path, name: str, value: Any) -> Array:
    """Nested lists of numbers as an array; whole numbers are weights all the same."""
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ImportModelError(f"{path}: {name!r} is no array of numbers, each row as long as the others") from None


def _amplifier(path: Path, tree: dict[str, Any]) -> Written:
    """A state_dict beside what it is of: {"model": "SimpleRNN", "unit_type": "LSTM", "skip": 1, …}."""
    arrays = {name: _array(path, name, value) for name, value in tree["state_dict"].items()}
    said = tree.get("model_data", {})
    if not isinstance(said, dict) or said.get("model", "SimpleRNN") != "SimpleRNN":
        what = said.get("model") if isinstance(said, dict) else said
        raise ImportModelError(f"{path}: is a {what!r:.60}; of these files only SimpleRNN is understood")
    skip = said.get("skip", 0)
    if not isinstance(skip, int) or skip < 0:
        raise ImportModelError(f"{path}: model_data: skip is {skip!r:.60}; it must be a whole number")
    named = _named(path.name, arrays)
    return Written(named.arrays, skip=int(skip))


def _rtneural(path: Path, tree: dict[str, Any]) -> Written:
    """Layers with Keras' weights, in order; "in_skip", "in_gain", "out_gain" (dB) and "samplerate" as AIDA-X has
    them."""
    arrays: dict[str, Array] = {}
    order: list[str] = []
    activations: list[str] = []
    for number, layer in enumerate(tree["layers"]):
        where = f"{path}: layer {number}"
        kind = layer.get("type") if isinstance(layer, dict) else None
        if kind not in _RTNEURAL or not isinstance(layer.get("weights"), list):
            raise ImportModelError(
                f"{where} is {kind!r:.60}; understood are {', '.join(_RTNEURAL)}, each with its weights. Export the"
                " network to ONNX"
            )
        weights, activation = layer["weights"], layer.get("activation")
        most = _RTNEURAL[kind]
        if not most - 1 <= len(weights) <= most:
            raise ImportModelError(f"{where} ({kind}) has {len(weights)} arrays; {most} are meant")
        name = f"{kind.rpartition('-')[2]}_{number}"
        order.append(name)
        if most == 3:
            if activation not in (*_PLAIN[::2], "tanh"):
                raise ImportModelError(f"{where} ({kind}): its activation {activation!r:.60} is not tanh")
            parts: tuple[str, ...] = _PARTS
        else:
            activations.append("identity" if activation in _PLAIN else str(activation))
            parts = _PARTS[::2]
        for part, value in zip(parts, weights, strict=False):
            arrays[f"{name}/{part}"] = _array(path, f"{part} of layer {number}", value)
    said = {key: tree.get(key, 0) for key in ("in_skip", "in_gain", "out_gain")} | {
        "samplerate": tree.get("samplerate")
    }
    for key, value in said.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ImportModelError(f"{path}: {key} is {value!r:.60}; it must be a number")
    gains = tuple(10 ** (float(said[key]) / 20) for key in ("in_gain", "out_gain"))
    rate = said["samplerate"]
    return Written(
        _named(path.name, arrays).arrays,
        tuple(order),
        tuple(activations),
        int(said["in_skip"]),
        (gains[0], gains[1]),
        None if rate is None else float(rate),
    )
