"""Damaged .npz files: model files with another header or arrays, state_dicts; the sums of the zip are right again."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tests.support.graphs.mutations import Mutation

NUMBERS = (-(1 << 63), -(1 << 31), -100, -2, -1, 0, 1, 2, 3, 7, 64, 1000, 1 << 20, (1 << 31) - 1, (1 << 63) - 1)
FLOATS = (0.0, -1.0, 1e-30, 0.3, 2.0, 1e30, float("inf"), float("nan"))
KINDS = ("float32", "float64", "float16", "int8", "int64", "uint8", "bool", "complex64", "S3")


def model_file(m: Mutation, data: bytes) -> bytes:
    """A model file with another header or arrays; the sums of the zip are right again."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    text = np.lib.format.read_array(io.BytesIO(entries["edge_lstm.json.npy"])).tobytes()
    header = json.loads(text)
    for _ in range(int(m.rng.integers(1, 4))):
        if m.chance(0.7):
            _change(m, header)
        else:
            name = m.pick([n for n in entries if n != "edge_lstm.json.npy"] or ["edge_lstm.json.npy"])
            entries[name] = _spoilt(m, entries[name])
            m.tell(f"array {name}")
    entries["edge_lstm.json.npy"] = _npy(np.frombuffer(json.dumps(header).encode(), np.uint8))
    entries = _redigested(m, entries) if m.chance(0.8) else entries
    return _zip(m, entries)


def _change(m: Mutation, header: Any) -> None:
    """Changes one value anywhere in the header."""
    at, path = header, []
    while isinstance(at, (dict, list)) and at:
        key = m.pick(list(at) if isinstance(at, dict) else range(len(at)))
        path.append(key)
        parent, at = at, at[key]
        if m.chance(0.1):
            break
    key = path[-1]
    if m.chance(0.1) and isinstance(parent, dict):
        parent.pop(key)
    elif m.chance(0.1) and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    elif isinstance(at, bool) or at is None:
        parent[key] = m.pick([True, None, 0, 1, "x", []])
    elif isinstance(at, int):
        parent[key] = m.number(at)
    elif isinstance(at, float):
        parent[key] = float(m.pick(FLOATS))
    else:
        parent[key] = m.pick(["", "tanh", "lstm", "sub", [], {}, 3, -1, 2.5, None, True, "a" * 1000])
    m.tell(f"header {path} = {str(parent)[:60]}")


def _redigested(m: Mutation, entries: dict[str, bytes]) -> dict[str, bytes]:
    """With the digest of the changed content, as an attacker would write it, where the content can be read."""
    from edge_lstm.core import storage

    try:
        loose = {n: np.lib.format.read_array(io.BytesIO(d)) for n, d in entries.items()}
        header = json.loads(loose.pop("edge_lstm.json.npy").tobytes())
        arrays = [loose[f"{k}.npy"] for k in range(len(loose))]
        for array in arrays:
            array.flags.writeable = False
        header["digest"] = storage._model(header, arrays).digest
    except Exception:  # refused already
        return entries
    m.tell("with its digest")
    return entries | {"edge_lstm.json.npy": _npy(np.frombuffer(json.dumps(header).encode(), np.uint8))}


def _spoilt(m: Mutation, data: bytes) -> bytes:
    """An array with another type, shape, order or content."""
    array = np.lib.format.read_array(io.BytesIO(data))
    how = int(m.rng.integers(6))
    if how == 0:
        return m.damaged(data)
    if how == 1:
        with np.errstate(all="ignore"):
            return _npy(array.astype(m.pick(KINDS)))
    if how == 2:
        return _npy(array.reshape(-1)[: max(array.size - 1, 0)])
    if how == 3:
        return _npy(np.asfortranarray(array.reshape(array.shape[::-1])))
    if how == 4 and array.dtype.kind == "f" and array.size:
        array = array.copy()
        array.reshape(-1)[int(m.rng.integers(array.size))] = m.pick(FLOATS)
        return _npy(array)
    huge = str((int(m.pick(NUMBERS)), *array.shape)).encode()
    return data.replace(str(array.shape).encode(), huge, 1)


def weights_file(m: Mutation) -> bytes:
    """A state_dict with arrays renamed, reshaped, retyped, missing."""
    units, width = int(m.rng.integers(1, 9)), int(m.rng.integers(1, 5))
    gates = int(m.pick([1, 3, 4]))
    arrays = {
        "rnn.weight_ih_l0": m.rng.normal(size=(gates * units, width)).astype(np.float32),
        "rnn.weight_hh_l0": m.rng.normal(size=(gates * units, units)).astype(np.float32),
        "rnn.bias_ih_l0": m.rng.normal(size=gates * units).astype(np.float32),
        "rnn.bias_hh_l0": m.rng.normal(size=gates * units).astype(np.float32),
        "head.weight": m.rng.normal(size=(2, units)).astype(np.float32),
        "head.bias": np.zeros(2, np.float32),
    }
    entries = {f"{name}.npy": _npy(array) for name, array in arrays.items()}
    for _ in range(int(m.rng.integers(1, 4))):
        name = m.pick(list(entries))
        how = int(m.rng.integers(4))
        m.tell(f"{name} {how}")
        if how == 0 and len(entries) > 1:
            entries.pop(name)
        elif how == 1:
            entries[name.replace("l0", "l1").replace("head", "rnn")] = entries.pop(name)
        else:
            entries[name] = _spoilt(m, entries[name])
    return _zip(m, entries)


def _zip(m: Mutation, entries: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if m.chance(0.1) else zipfile.ZIP_STORED
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name if not m.chance(0.01) else f"../{name}", data)
    return m.damaged(content.getvalue()) if m.chance(0.1) else content.getvalue()


def _npy(array: Any) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.asarray(array))
    return content.getvalue()
