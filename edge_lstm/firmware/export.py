"""A model as a C header for `firmware_bridge/c/edge_lstm.c`: table, weights, sizes, digest, and a vector to test it.

Its rule: the C runtime computes the bits that the native engine computes, so what it cannot do is refused here, by
name, and never approximated. `table.py` lays the model out, this file writes it as C and estimates what it costs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import Channel
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Floats, Operation, Slot
from edge_lstm.core.operations.record import in_float16
from edge_lstm.core.program import Program
from edge_lstm.core.storage import describe
from edge_lstm.engines.native.layout import lay_out
from edge_lstm.errors import ProgramError, ReadingError, StateError
from edge_lstm.firmware import quantized as firmware_quantized
from edge_lstm.firmware.table import BORDERS, FUNCTIONS, INSTRUCTIONS, Table

# What a model file has today; whatever is added to it is refused until C has it. Feedback and
# policy are for forecasts and for missing readings, which the board's step refuses: `Firmware.notes` lists them.
_ON_HOST = ("feedback", "policy")
_MODEL_KEYS = {
    *("format", "name", "rate_hz", "timing", "inputs", "outputs", "program", "provenance"),
    *_ON_HOST,
}
_PROGRAM_KEYS = {"arena_size", "inputs", "outputs", "states", "constants", "operations"}
TEST_STEPS = 32  # of the self-test, after a window is full

# An estimate, not a measurement: on a Cortex-M4F one multiply-add is a load (2 cycles), a VFMA (3) and its share of
# loop and input (2); widening a float16 is a shift with a mask, a move to the other registers and a multiplication (3);
# one tanh or sigmoid 10 VFMA, a division (14) and comparisons.
CYCLES_PER_MULTIPLY_ADD, CYCLES_PER_WIDENING, CYCLES_PER_ACTIVATION = 7, 3, 80
_ACTIVATIONS = {"lstm": 5, "gru": 3, "rnn": 1, "map": 1, "softmax": 1}  # per unit or value

_FNV_START, _FNV_PRIME = np.uint64(2166136261), np.uint64(16777619)
_NAN_BITS = np.uint32(0x7FC00000)


@dataclass(frozen=True)
class Firmware:
    """A header and what it costs. Bytes of constants in flash and of arena in RAM; code and stack come on top."""

    name: str
    text: str
    flash_bytes: int
    arena_bytes: int
    multiply_adds: int
    cycles: int  # of a Cortex-M4F for one reading, flash without wait states: an estimate
    notes: tuple[str, ...] = ()

    def seconds(self, clock_hz: float) -> float:
        """Estimated time of a step on a Cortex-M4F with this clock."""
        return self.cycles / clock_hz


def identifier(name: str) -> str:
    """A name as C writes constants: "slip-stall v2" becomes SLIP_STALL_V2."""
    found = re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_").upper()
    return found if found and not found[0].isdigit() else f"MODEL_{found}".rstrip("_")


def firmware(model: Model, name: str | None = None, remarks: Sequence[str] = ()) -> Firmware:
    """The header of a model; `name` prefixes its constants (default: the model's); remarks: what whoever compiles it
    must know, in its comment and in `Firmware.notes`. Raises ProgramError naming an operation that C lacks."""
    on_host = [f"the model's {key} stays on the host: the board refuses an incomplete reading" for key in _check(model)]
    name = identifier(name or model.name)
    table = Table(lay_out(model, 1), model.program)
    copies = model.timing.under_way
    text = "\n".join(_header(model, name, table, copies, remarks))
    return Firmware(
        name,
        text,
        table.flash_bytes + 4 * 2 * model.program.input_size,  # of the self-test's vector
        4 * (table.arena_size * copies + table.scratch),
        model.program.multiply_adds * copies,
        round(sum(map(_cycles, model.program.operations)) * copies),
        (*remarks, *on_host),
    )


def _cycles(op: Operation) -> float:
    """Estimated for one reading of one copy."""
    quantized = op.kind in firmware_quantized.QUANTIZED
    each = CYCLES_PER_MULTIPLY_ADD + (CYCLES_PER_WIDENING if op.multiply_adds and in_float16(op) else 0)
    sums = firmware_quantized.cycles(op) if quantized else each * op.multiply_adds
    activations = _ACTIVATIONS.get(op.kind.removeprefix("quantized_"), 0) * op.outputs[0].size
    return sums + CYCLES_PER_ACTIVATION * activations


def _check(model: Model) -> list[str]:
    """Refuse what C lacks; the keys of the model that a board does not use."""
    if model.program.onnx is not None:
        raise ProgramError(
            f"model {model.name!r} cannot go on a microcontroller: ONNX Runtime runs it as a whole, so none of its"
            " operations is in the C runtime"
        )
    if model.timing.before_window != "wait":
        raise ProgramError(f"model {model.name!r} has zeros before its first window, which the C runtime does not know")
    header, _ = describe(model)
    for known, keys in ((_MODEL_KEYS, header), (_PROGRAM_KEYS, header["program"])):
        for key in keys:
            if key not in known:
                raise ProgramError(f"model {model.name!r} has {key}, which the C runtime does not know")
    for number, op in enumerate(model.program.operations):
        what = op.called(number)
        if op.kind.upper() not in INSTRUCTIONS or op.kind.upper() in BORDERS:
            kinds = ", ".join(kind.lower() for kind in INSTRUCTIONS if kind not in BORDERS)
            raise ProgramError(f"{what} is not in the C runtime, which has {kinds}")
        function = op.attributes.get("function")
        if op.kind in FUNCTIONS and function not in (names := FUNCTIONS[op.kind][1]):
            raise ProgramError(f"{what}: {function!r} is not in the C runtime, which has {', '.join(names)}")
    return [key for key in _ON_HOST if key in header]


# --- the self-test's vector


def vector_readings(model: Model, steps: int) -> Floats:
    """(steps, inputs): what `edge_lstm_fingerprint` feeds from seed 1, spread over the range the network works in."""
    centre, spread = _range(model)
    seed, values = 1, []
    for _ in range(steps * centre.size):
        seed = (seed * 1664525 + 1013904223) & 0xFFFFFFFF
        values.append((seed >> 16) - 32768)
    u = (np.array(values, np.float32) / np.float32(32768)).reshape(steps, -1)
    readings: Floats = centre + spread * u
    return readings


def fingerprint(outputs: npt.NDArray[np.float32]) -> int:
    """FNV-1a (32 bits) over the bits of all values in order, every NaN being the same NaN."""
    bits = np.where(np.isnan(outputs), _NAN_BITS, outputs.view(np.uint32))
    value = int(_FNV_START)
    for byte in bits.astype("<u4").tobytes():
        value = (value ^ byte) * int(_FNV_PRIME) & 0xFFFFFFFF
    return value


def _range(model: Model) -> tuple[Floats, Floats]:
    """Centre and spread (inputs,) of what the network takes, so that the self-test does not only saturate it: from the
    channels, or from a subtraction and division that the network begins with."""
    widths = [c.width for c in model.inputs]
    centre = np.repeat(np.array([c.offset for c in model.inputs], np.float32), widths)
    spread = np.repeat(np.array([abs(c.scale) for c in model.inputs], np.float32), widths)
    start = 0
    for named in model.program.inputs:
        part = slice(start, start + named.slot.size)
        start += named.slot.size
        mean, after = _constant_operand(model.program, named.slot, "sub")
        deviation, _ = _constant_operand(model.program, after, "div")
        centre[part] += spread[part] * mean
        spread[part] *= np.abs(deviation) if deviation.any() else 1
    return centre, np.float32(2) * spread


def _constant_operand(program: Program, x: Slot, function: str) -> tuple[Floats, Slot]:
    """The constant that the first such operation takes x with, and its result; (zeros, x) where there is none."""
    constants = {c.slot: c.values for c in program.constants}

    def fits(op: Operation) -> bool:
        return op.kind == "binary" and op.attributes["function"] == function and op.inputs[0] == x

    for op in filter(fits, program.operations):
        if op.inputs[1] in constants:
            values = np.broadcast_to(constants[op.inputs[1]], (x.size,))
            return values.astype(np.float32), op.outputs[0]
    return np.zeros(x.size, np.float32), x


def vector_outputs(model: Model, steps: int) -> Floats:
    """(outputs that come, n_outputs) of those readings, computed by the native engine. Readings that the network
    refuses have no output, on the board either. Raises ProgramError where none comes."""
    stream, outputs = model.stream(), []
    for x in vector_readings(model, steps):
        try:
            y = stream.step(x)
        except (ReadingError, StateError):
            continue
        if y is not None:
            outputs.append(y.copy())
    if not outputs:
        raise ProgramError("the network refuses every reading of the self-test, so the header would prove nothing")
    return np.array(outputs)


# --- C


def _float(value: float) -> str:
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    mantissa, exponent = value.hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{exponent}f"


def _array(kind: str, name: str, values: Sequence[str], per_line: int = 7) -> Iterator[str]:
    yield f"static const {kind} {name}[] = {{"
    for at in range(0, len(values), per_line):
        yield "    " + ", ".join(values[at : at + per_line]) + ","
    yield "};"


def _floats(name: str, values: Floats) -> Iterator[str]:
    return _array("float", name, [_float(value) for value in values.tolist()])


def _channels(what: str, channels: tuple[Channel, ...]) -> Iterator[str]:
    yield f" * {what}:"
    at = 0
    for c in channels:
        unit = f" ({c.unit})" if c.unit else ""
        one_hot = f", one-hot: {' '.join(c.vocabulary)}" if c.vocabulary else ""
        yield f" *   [{at}] {c.name}{unit}{one_hot}".replace("*/", "* /")
        at += c.width


def _text(value: str) -> str:
    """A C string; whatever is not plain ASCII as octal bytes."""
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\?' else f"\\{b:03o}" for b in value.encode()) + '"'


def _header(model: Model, name: str, table: Table, copies: int, remarks: Sequence[str]) -> Iterator[str]:
    low = name.lower()
    steps = model.timing.first_output - 1 + TEST_STEPS * model.timing.stride
    expected = fingerprint(vector_outputs(model, steps))
    centre, spread = _range(model)
    program = model.program
    yield f"/* {model.name}, for firmware_bridge/c/edge_lstm.c. Made by `edge-lstm firmware`; do not edit.".replace(
        "*/", "* /"
    )
    yield f" * digest {model.digest}"
    yield from _channels("x, physical values", model.inputs)
    yield from _channels("y, physical values", model.outputs)
    for remark in remarks:
        yield f" * {remark}".replace("*/", "* /")
    yield " * Include it in one source file: its constants are static. */"
    yield f"#ifndef {name}_H"
    yield f"#define {name}_H"
    yield '#include "edge_lstm.h"'
    yield "#include <math.h>"
    yield f"#define {name}_ARENA {table.arena_size * copies + table.scratch} /* floats */"
    yield f"#define {name}_INPUTS {program.input_size}"
    yield f"#define {name}_OUTPUTS {program.output_size}"
    yield from _floats(f"{low}_weights", table.weights)
    yield from _array("uint32_t", f"{low}_indices", [f"{index}u" for index in table.indices], 12)
    yield from _array("int8_t", f"{low}_integers", [str(value) for value in table.integers.tolist()], 28)
    yield from _array("uint16_t", f"{low}_halves", [f"{value}u" for value in table.halves.tolist()], 16)
    rows = ["{" + ", ".join(f"{field}u" for field in row) + "}" for row in table.rows]
    yield from _array("edge_lstm_row", f"{low}_rows", rows, 1)
    for number, (_, values) in enumerate(table.resets):
        yield from _floats(f"{low}_reset_{number}", values)
    resets = [f"{{{offset}u, {len(values)}u, {low}_reset_{k}}}" for k, (offset, values) in enumerate(table.resets)]
    yield from _array("edge_lstm_reset_value", f"{low}_resets", resets or ["{0u, 0u, 0}"], 1)
    yield from _floats(f"{low}_centre", centre)
    yield from _floats(f"{low}_spread", spread)
    yield f"static const edge_lstm_model {name} = {{"
    yield f"    {_text(model.name)}, {_text(model.digest)},"
    yield f"    {low}_rows, {table.step_rows}u, {table.commit_rows}u, {table.output_rows}u,"
    yield f"    {low}_weights, {low}_indices, {low}_integers, {low}_halves, {low}_resets, {len(table.resets)}u,"
    windowed = model.timing.mode == "window"
    yield f"    {table.arena_size}u, {copies}u, {str(windowed).lower()}, {model.timing.ready}u, {model.timing.stride}u,"
    yield f"    {program.input_size}u, {program.output_size}u,"
    yield f"    {{{low}_centre, {low}_spread, {steps}u, {expected}u}},"
    yield "};"
    yield "#ifdef BRIDGE_H /* the outputs as fields of a reading */"
    yield f"static const bridge_field {name}_FIELDS[] = {{"
    for c in model.outputs:
        for word in c.vocabulary or ("",):
            field = f"{c.name}={word}" if word else c.name
            yield f"    BRIDGE_FIELD({_text(field)}, BRIDGE_F32, {_text(c.unit)}),"
    yield "};"
    yield "#endif"
    yield "#endif"
    yield ""
