"""The model file: one .npz (a zip of NumPy arrays), without pickle, written whole or not at all.

    edge_lstm.json    uint8: JSON, the program, channels, rate, timing, name, provenance, digest; arrays by number
    0, 1, 2, …        the arrays: weights (float32), index tables (int32), reset values, constants

Its rule: a file is either exactly what was saved, or ModelFileError names what is wrong with it and what to do.
Everything read is checked before it is believed: sizes before memory is taken, program and timing by themselves, all
that decides what is computed by the digest. Format 1, of edge-lstm 0.1, is read as well (`FILE.md`).
"""

from __future__ import annotations

import io
import json
import os
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import Channel
from edge_lstm.core.description import Arrays, describe_program, program_of
from edge_lstm.core.feedback import Feedback, Policy
from edge_lstm.core.model import Model
from edge_lstm.core.operations.graph import takes_logs
from edge_lstm.core.timing import Timing
from edge_lstm.errors import EdgeLstmError, ModelFileError, nearest_file

FORMAT = 2
MAX_BYTES = 1 << 30  # of arrays in one file; 250 million weights are no stream on a robot
_MAX_ARRAYS = 1 << 16
_MAX_HEADER = 1 << 25  # bytes of JSON: as Python objects they take twenty times as many
_HEADER = "edge_lstm.json"
_KEYS = ("format", "name", "rate_hz", "timing", "inputs", "outputs", "program", "provenance", "digest")
_DECLARED = ("feedback", "policy")  # only where there is something to say

# What NumPy, zipfile and json raise on damaged content, and what reading a damaged header does.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    RecursionError,
    RuntimeError,  # an encrypted archive
    TokenError,  # of NumPy's reader of array headers
    TypeError,
    ValueError,
)


def describe(model: Model) -> tuple[dict[str, Any], Arrays]:
    """A model as JSON and arrays."""
    program, arrays = describe_program(model.program)
    header = {
        "format": FORMAT,
        "name": model.name,
        "rate_hz": model.rate_hz,
        "timing": model.timing.as_dict(),
        "inputs": [c.as_dict() for c in model.inputs],
        "outputs": [c.as_dict() for c in model.outputs],
        "program": program,
        "provenance": dict(model.provenance),
        **model.declared(),
    }
    return header, arrays


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut. What is there and is no ordinary
    file (a pipe, /dev/stdout) is written to, not replaced. Raises OSError."""
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    path = path.resolve()
    file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False)  # noqa: SIM115
    try:
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(file.name).chmod(0o666 & ~umask)
        Path(file.name).replace(path)
    except BaseException:
        Path(file.name).unlink(missing_ok=True)
        raise


def content(model: Model) -> bytes:
    """A model file as bytes."""
    header, arrays = describe(model)
    header["digest"] = model.digest
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    file = io.BytesIO()
    np.savez(file, **{_HEADER: text, **{str(k): a for k, a in enumerate(arrays)}})  # type: ignore[arg-type]
    return file.getvalue()


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model file, whole or not at all. Raises ModelFileError where the file cannot be written."""
    try:
        write_whole(Path(path), content(model))
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror}") from error


def load(path: str | os.PathLike[str]) -> Model:
    """Read a model file. Raises ModelFileError where it is missing, damaged, truncated, foreign or newer."""
    try:
        with Path(path).open("rb") as file:
            return load_file(file, os.fspath(path))
    except OSError as error:
        other = nearest_file(path) if isinstance(error, FileNotFoundError) else ""
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}{other}") from error


def load_file(file: BinaryIO, name: str) -> Model:
    """The same from a file that is open, or from bytes in memory; `name` is what errors call it. Raises OSError."""
    try:
        header, arrays = _read(file, name)
        model = _model(header, arrays)
    except ModelFileError as error:
        raise ModelFileError(f"{name}: {error}") from error
    except EdgeLstmError as error:
        raise ModelFileError(f"{name}: its program is broken: {error}") from error
    except DAMAGE as error:
        raise ModelFileError(
            f"{name}: damaged or truncated ({type(error).__name__}: {error}); export or copy it again"
        ) from error
    if header.get("digest") != model.digest:
        raise ModelFileError(f"{name}: damaged: its content does not match its digest; export or copy it again")
    return model


def _read(file: BinaryIO, name: str) -> tuple[dict[str, Any], Arrays]:
    start = file.read(4)
    if not start:
        raise ModelFileError("the file is empty")
    if start != b"PK\x03\x04":
        hint = " (an ONNX model? then run: edge-lstm import)" if name.endswith(".onnx") else ""
        raise ModelFileError(f"not a model file of edge-lstm{hint}")
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        if f"{_HEADER}.npy" not in entries:
            raise ModelFileError(
                "a NumPy archive, but not a model file of edge-lstm; "
                "weights saved from PyTorch or Keras are imported by: edge-lstm import"
            )
        size = sum(info.file_size for info in entries.values())
        if size > MAX_BYTES or len(entries) > _MAX_ARRAYS:
            raise ModelFileError(
                f"it declares {len(entries)} arrays of {size} bytes in all;"
                f" at most {_MAX_ARRAYS} arrays of {MAX_BYTES} bytes are read"
            )
        if entries[f"{_HEADER}.npy"].file_size > _MAX_HEADER:
            raise ModelFileError(f"its header has more than {_MAX_HEADER} bytes")
        header = json.loads(_array(archive, f"{_HEADER}.npy").tobytes())
        if not isinstance(header, dict) or type(header.get("format")) is not int or header["format"] < 1:
            raise ModelFileError("its header is damaged; export or copy it again")
        if header["format"] > FORMAT:
            raise ModelFileError(
                f"written by a newer edge-lstm (format {header['format']}, this one reads {FORMAT}): upgrade edge-lstm"
            )
        count = len(entries) - 1
        if set(entries) != {f"{_HEADER}.npy", *(f"{k}.npy" for k in range(count))}:
            raise ModelFileError("an array is missing, or one does not belong to the file")
        return header, [_array(archive, f"{k}.npy") for k in range(count)]


def _array(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:
        raise ModelFileError(f"array {name} is compressed, which edge-lstm never writes")
    content = archive.read(info)
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read_header(stream)
    if dtype.hasobject or dtype.kind not in "fiu":
        raise ModelFileError(f"array {name} holds {dtype}, not numbers")
    if int(np.prod(shape, dtype=object)) * dtype.itemsize != len(content) - stream.tell():
        raise ModelFileError(f"array {name} is damaged: its size does not match its shape {shape}")
    values: npt.NDArray[Any] = np.frombuffer(content, dtype, offset=stream.tell())  # bytes: nobody can change it
    return values.reshape(shape, order="F" if by_columns else "C")


def _model(header: dict[str, Any], arrays: Arrays) -> Model:
    program = program_of(header["program"], arrays)
    if not isinstance(header["provenance"], dict):
        raise ModelFileError("its provenance is no table")
    if header["format"] == 1:
        timing = Timing.of_format_1(header, takes_logs=takes_logs(program.onnx))
    else:
        if unknown := set(header) - {*_KEYS, *_DECLARED}:
            raise ModelFileError(f"its header has a key that this edge-lstm does not know: {min(unknown)!r}")
        timing = Timing.from_dict(header["timing"])
    return Model(
        program,
        tuple(map(_channel, header["inputs"])),
        tuple(map(_channel, header["outputs"])),
        header["rate_hz"],
        timing,
        dict(header["provenance"]),
        str(header["name"]),
        tuple(Feedback(str(f["output"]), str(f["input"]), f["choose"], f["seed"]) for f in header.get("feedback", ())),
        Policy(**header.get("policy", {})),
    )


def _channel(c: dict[str, Any]) -> Channel:
    return Channel(str(c["name"]), str(c["unit"]), c["scale"], c["offset"], tuple(map(str, c["vocabulary"])))
