"""Sums of small integers beside the vectors of `simd.py`: int8 weights times int8, int16 or float32 values.

A sum is one tuple of vectors per reading of an operand: one vector of lanes for each of the sums that stand side by
side (the gates of a block of units), and those once more for each partial sum that is under way to keep the CPU busy.

    begin       zero, or what a sum starts from
    products    + one pass of groups of inputs: a group is what fills 32 bits, 4 int8 or 2 int16 (or one float32)
    finish      base + (the sum as float32, rounded to nearest) * (scale * what one integer is worth), fused

Its rule: which instructions do it depends on the CPU; what is computed does not. Sums of integers are exact, so partial
sums may be taken in any order; sums of float32 have no partial sums, and their order is the inputs'.

    vnni512, vnni256   vpdpbusd wants one factor unsigned: values are stored with 128 added, and a sum starts from -128
                       times the sum of its weights (`packing.py`), so 32-bit arithmetic ends at the same integer
    avx2               vpmaddubsw of |value| and the weight with the value's sign: 2 * 127 * 127 fits into int16
    dotprod            sdot, on Arm
    neon               smull, saddlp, addp, on Arm
    plain              shifts and multiplications, anywhere
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_constant
from numba.extending import intrinsic, models, overload_attribute, register_model, typeof_impl

from edge_lstm.engines.native.kernels.abi import GROUPS, together
from edge_lstm.engines.native.kernels.simd import (
    VectorType,
    _call,
    _constant,
    _join,
    _load,
    _place,
    _splat,
    known_number,
)

_I8, _I16, _I32, _I64, _F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
FAMILIES = {"vnni512": 16, "vnni256": 8, "avx2": 8, "dotprod": 4, "neon": 4, "plain": 16}  # lanes of an instruction


@dataclass(frozen=True)
class Scheme:
    """What values are in a sum (abi.GROUPS), by which instructions."""

    name: str
    family: str


class SchemeType(types.Type):
    """The Numba type of a Scheme: known when a kernel is compiled."""

    def __init__(self, name: str, family: str) -> None:
        self.scheme, self.family = name, family
        self.group = GROUPS[name]
        # Vectors per sum before the weights: the scales, and what a sum of unsigned values starts from.
        self.heads = 2 if name == "int8" else 1
        self.units = 0 if name == "int8-weights" else 1  # float32 before the integers: what one of them is worth
        super().__init__(name=f"Scheme({name}, {family})")


register_model(SchemeType)(models.OpaqueModel)


@typeof_impl.register(Scheme)
def _typeof_scheme(value: Scheme, context: Any) -> SchemeType:
    return SchemeType(value.name, value.family)


@lower_constant(SchemeType)
def _constant_scheme(context, builder, kind, value):
    return context.get_dummy_value()


known_number(SchemeType, "group")
known_number(SchemeType, "heads")
known_number(SchemeType, "units")


@dataclass(frozen=True)
class Integers:
    """The schemes by one family's instructions: int8, int16, weights."""

    family: str


class IntegersType(types.Type):
    """The Numba type of Integers."""

    def __init__(self, family: str) -> None:
        self.family = family
        super().__init__(name=f"Integers({family})")


register_model(IntegersType)(models.OpaqueModel)
lower_constant(IntegersType)(_constant_scheme)


@typeof_impl.register(Integers)
def _typeof_integers(value: Integers, context: Any) -> IntegersType:
    return IntegersType(value.family)


def _scheme(attribute: str, name: str) -> None:
    @overload_attribute(IntegersType, attribute)
    def choose(integers):
        scheme = Scheme(name, integers.family)
        return lambda integers: scheme


for _attribute, _name in (("int8", "int8"), ("int16", "int16"), ("weights", "int8-weights")):
    _scheme(_attribute, _name)


def _width(species, scheme) -> int:
    """float32 that one vector of weights takes in memory."""
    return int(species.lanes * scheme.group // 4)


@intrinsic
def width(typingctx, species, scheme):
    """float32 that one vector of weights takes in memory."""

    def codegen(context, builder, signature, args):
        return _I64(_width(species, scheme))

    return types.int64(species, scheme), codegen


@intrinsic
def passes(typingctx, scheme, bases):
    """Groups of inputs that one call of `products` takes, for so many sums side by side."""

    def codegen(context, builder, signature, args):
        return _I64(together(scheme.scheme, bases.count))

    return types.int64(scheme, bases), codegen


# --- values become integers
# -------------------------------------------------------------------------------------------


@intrinsic
def first(typingctx, species, value, count):
    """The first `count` lanes, the others zero."""

    def codegen(context, builder, signature, args):
        lanes = species.lanes
        numbers = ir.Constant(ir.VectorType(_I64, lanes), list(range(lanes)))
        within = builder.icmp_signed("<", numbers, _splat(builder, args[2], lanes))
        return builder.select(within, args[1], _constant(_F32, lanes, 0.0))

    return value(species, value, types.int64), codegen


@intrinsic
def keep_integers(typingctx, species, scheme, arena, start, number, value):
    """Integers, one per lane, as number, number + 1, ... of those that begin at arena[start]."""
    element = _I8 if scheme.group == 4 else _I16

    def codegen(context, builder, signature, args):
        lanes = species.lanes
        whole = builder.fptosi(args[5], ir.VectorType(_I32, lanes))
        small = builder.trunc(whole, ir.VectorType(element, lanes))
        if scheme.group == 4 and scheme.family.startswith("vnni"):
            small = builder.xor(small, ir.Constant(small.type, [-128] * lanes))
        place = builder.bitcast(_place(context, builder, arena, args[2], 0, args[3]), element.as_pointer())
        place = builder.bitcast(builder.gep(place, [args[4]]), small.type.as_pointer())
        builder.store(small, place, align=1)
        return context.get_dummy_value()

    return types.void(species, scheme, arena, types.int64, types.int64, value), codegen


# --- sums
# -------------------------------------------------------------------------------------------------------------


@intrinsic
def biases(typingctx, species, pointer, index, like):
    """As many vectors of float32, one after the other, as the tuple `like` has."""
    made = types.UniTuple(species.vector, like.count)

    def codegen(context, builder, signature, args):
        places = [builder.gep(args[1], [builder.add(args[2], _I64(k * species.lanes))]) for k in range(like.count)]
        return context.make_tuple(builder, made, [_load(builder, place, species.lanes) for place in places])

    return made(species, pointer, types.int64, like), codegen


def _totals(species, scheme, count: int) -> types.UniTuple:
    kind = "f" if scheme.group == 1 else "i"
    return types.UniTuple(VectorType(species.lanes, kind), count * together(scheme.scheme, count))


@intrinsic
def begin(typingctx, species, scheme, pointer, index, bases):
    """What the sums start from; what that is for unsigned values stands at `index`."""
    totals = _totals(species, scheme, bases.count)

    def codegen(context, builder, signature, args):
        values = [ir.Constant(totals.dtype.llvm, None)] * totals.count
        if scheme.scheme == "int8" and scheme.family.startswith("vnni"):
            for k in range(bases.count):
                place = builder.gep(args[2], [builder.add(args[3], _I64(k * species.lanes))])
                values[k] = builder.bitcast(_load(builder, place, species.lanes), totals.dtype.llvm)
        return context.make_tuple(builder, totals, values)

    return totals(species, scheme, pointer, types.int64, bases), codegen


@intrinsic
def products(typingctx, species, scheme, totals, bases, pointer, index, arena, start):
    """The sums after one more pass: its weights are at pointer[index], its groups of values at arena[start]."""
    count = bases.count
    pass_groups = together(scheme.scheme, count)

    def codegen(context, builder, signature, args):
        _, _, packed, _, weights, at, values, begins = args
        sums = cgutils.unpack_tuple(builder, packed, totals.count)
        for group in range(pass_groups):
            place = _place(context, builder, arena, values, 0, builder.add(begins, _I64(group)))
            value = _value(builder, scheme, species.lanes, place)
            for k in range(count):
                number = group * count + k
                step = builder.add(at, _I64(number * _width(species, scheme)))
                vector = _weights(builder, scheme, species.lanes, builder.gep(weights, [step]))
                partial = number if scheme.group > 1 else k
                sums[partial] = _product(builder, scheme, sums[partial], vector, value)
        return context.make_tuple(builder, totals, sums)

    return totals(species, scheme, totals, bases, pointer, types.int64, arena, types.int64), codegen


@intrinsic
def finish(typingctx, species, scheme, totals, pointer, index, unit, bases):
    """bases + sums * (scales * unit), the scales at pointer[index]."""
    count = bases.count

    def codegen(context, builder, signature, args):
        sums = cgutils.unpack_tuple(builder, args[2], totals.count)
        results = []
        for k, base in enumerate(cgutils.unpack_tuple(builder, args[6], count)):
            total = sums[k]
            for partial in sums[k + count :: count]:
                total = builder.add(total, partial)
            if scheme.group > 1:
                total = builder.sitofp(total, species.vector.llvm)
            place = builder.gep(args[3], [builder.add(args[4], _I64(k * species.lanes))])
            scale = builder.fmul(_load(builder, place, species.lanes), args[5])
            results.append(_call(builder, "fma", species.vector, [total, scale, base]))
        return context.make_tuple(builder, bases, results)

    return bases(species, scheme, totals, pointer, types.int64, unit, bases), codegen


# --- one product, by each family
# --------------------------------------------------------------------------------------


def _value(builder, scheme, lanes: int, place):
    """A group of values, the same in every lane: float32, or 32 bits of integers."""
    if scheme.group == 1:
        return _splat(builder, builder.load(place), lanes)
    return _splat(builder, builder.load(builder.bitcast(place, _I32.as_pointer())), lanes)


def _weights(builder, scheme, lanes: int, place):
    """A vector of weights: float32, or for each lane 32 bits of int8 or of int16."""
    stored = ir.VectorType(_I8, lanes * scheme.group)
    value = builder.load(builder.bitcast(place, stored.as_pointer()))
    value.align = 4
    if scheme.group == 1:
        return builder.sitofp(value, ir.VectorType(_F32, lanes))
    if scheme.group == 2:
        value = builder.sext(value, ir.VectorType(_I16, 2 * lanes))
    return builder.bitcast(value, ir.VectorType(_I32, lanes))


def _product(builder, scheme, total, weights, values):
    lanes = total.type.count
    if scheme.group == 1:
        return _call(builder, "fma", VectorType(lanes), [values, weights, total])
    dot: Callable[..., Any] = {
        (4, "vnni512"): _vpdpbusd,
        (4, "vnni256"): _vpdpbusd,
        (4, "avx2"): _vpmaddubsw,
        (4, "dotprod"): _sdot,
        (4, "neon"): _smull_bytes,
        (2, "vnni512"): _vpmaddwd,
        (2, "vnni256"): _vpmaddwd,
        (2, "avx2"): _vpmaddwd,
        (2, "dotprod"): _smull_shorts,
        (2, "neon"): _smull_shorts,
    }.get((scheme.group, scheme.family), _by_shifts(8 * 4 // scheme.group))
    whole = FAMILIES[scheme.family]
    if lanes <= whole:
        return dot(builder, total, weights, values)
    orders = [ir.Constant(ir.VectorType(_I32, whole), list(range(k, k + whole))) for k in range(0, lanes, whole)]
    pieces = [[builder.shuffle_vector(v, v, order) for v in (total, weights, values)] for order in orders]
    return _join(builder, [dot(builder, *piece) for piece in pieces])


def _intrinsic(builder, name: str, result, *operands):
    kind = ir.FunctionType(result, [operand.type for operand in operands])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), operands)


def _as(builder, vector, element):
    """The same bits as a vector of other integers."""
    return builder.bitcast(vector, ir.VectorType(element, 32 * vector.type.count // element.width))


def _vpdpbusd(builder, total, weights, values):
    return _intrinsic(builder, f"llvm.x86.avx512.vpdpbusd.{32 * total.type.count}", total.type, total, values, weights)


def _vpmaddwd(builder, total, weights, values):
    """LLVM makes one vpdpwssd of this and the addition where the CPU has it."""
    name = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd", 16: "avx512.pmaddw.d.512"}[total.type.count]
    pair = _intrinsic(builder, f"llvm.x86.{name}", total.type, _as(builder, weights, _I16), _as(builder, values, _I16))
    return builder.add(total, pair)


def _vpmaddubsw(builder, total, weights, values):
    lanes = total.type.count
    wide, shorts = {4: (".128", "ssse3"), 8: ("", "avx2")}[lanes], ir.VectorType(_I16, 2 * lanes)
    suffix, prefix = wide
    w, v = _as(builder, weights, _I8), _as(builder, values, _I8)
    magnitude = _intrinsic(builder, f"llvm.abs.v{4 * lanes}i8", v.type, v, ir.Constant(ir.IntType(1), 0))
    signed = _intrinsic(builder, f"llvm.x86.{prefix}.psign.b{suffix}", v.type, w, v)
    pairs = _intrinsic(builder, f"llvm.x86.{prefix}.pmadd.ub.sw{suffix}", shorts, magnitude, signed)
    ones = _constant(_I16, 2 * lanes, 1)
    name = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd"}[lanes]
    return builder.add(total, _intrinsic(builder, f"llvm.x86.{name}", total.type, pairs, ones))


def _sdot(builder, total, weights, values):
    w, v = _as(builder, weights, _I8), _as(builder, values, _I8)
    return _intrinsic(builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", total.type, total, w, v)


def _halves(builder, vector):
    half = vector.type.count // 2
    orders = [ir.Constant(ir.VectorType(_I32, half), list(range(k, k + half))) for k in (0, half)]
    return [builder.shuffle_vector(vector, vector, order) for order in orders]


def _smull_bytes(builder, total, weights, values):
    """Products in int16, neighbours added into int32, and those neighbours added."""
    halves = zip(_halves(builder, _as(builder, weights, _I8)), _halves(builder, _as(builder, values, _I8)), strict=True)
    wide = ir.VectorType(_I16, 8)
    pairs = [
        _intrinsic(
            builder,
            "llvm.aarch64.neon.saddlp.v4i32.v8i16",
            total.type,
            builder.mul(builder.sext(w, wide), builder.sext(v, wide)),
        )
        for w, v in halves
    ]
    return builder.add(total, _intrinsic(builder, "llvm.aarch64.neon.addp.v4i32", total.type, *pairs))


def _smull_shorts(builder, total, weights, values):
    halves = zip(
        _halves(builder, _as(builder, weights, _I16)), _halves(builder, _as(builder, values, _I16)), strict=True
    )
    pairs = [builder.mul(builder.sext(w, total.type), builder.sext(v, total.type)) for w, v in halves]
    return builder.add(total, _intrinsic(builder, "llvm.aarch64.neon.addp.v4i32", total.type, *pairs))


def _by_shifts(bits: int) -> Callable[..., Any]:
    def dot(builder, total, weights, values):
        lanes = total.type.count
        down = _constant(_I32, lanes, 32 - bits)
        for number in range(32 // bits):
            up = _constant(_I32, lanes, 32 - bits * (number + 1))
            w, v = (builder.ashr(builder.shl(vector, up), down) for vector in (weights, values))
            total = builder.add(total, builder.mul(w, v))
        return total

    return dot


if numba.config.DISABLE_JIT:  # as in simd.py
    from edge_lstm.engines.native.kernels.plain import (  # type: ignore[assignment]  # noqa: F401
        Integers,
        Scheme,
        begin,
        biases,
        finish,
        first,
        keep_integers,
        passes,
        products,
        width,
    )
