"""Portable vectors as Numba types: `<N x float>` in LLVM, so the same kernel becomes AVX-512, AVX2 or NEON code.

    weight(V, p, i)  load(V, a, i)  broadcast(V, a, i)  fill(V, 0.5)  store(V, a, i, v)
    a + b   a - b   a * b   a / b   fma(a, b, c)   minimum   maximum   select(less(a, b), x, y)   absolute   sqrt   ...

`V` is a species: how many lanes, and how many copies of the arena a kernel works on at once. Kernels take it as their
first argument and are compiled once for each species that is used. With copies, a vector holds the lanes of each copy
one after the other, and a weight that is read once serves them all; one lane and one copy is the scalar case.

Its rule: every function here rounds exactly as IEEE 754 says, on every CPU and at every width; no fast-math flag, no
contraction, no reassociation. So lanes may hold different units, and copies different streams, never parts of one sum.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_constant
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import (
    intrinsic,
    lower_builtin,
    lower_getattr,
    make_attribute_wrapper,
    models,
    register_model,
    type_callable,
    typeof_impl,
)

_I32 = ir.IntType(32)
_F32 = ir.FloatType()

# Kernels never raise: division by zero gives infinity, indices are not checked (the program was, when it was made). And
# Python never calls them: without the wrappers for that the interpreter is compiled in two thirds of the time.
OPTIONS = {"error_model": "numpy", "boundscheck": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
kernel = numba.njit(**OPTIONS)


@dataclass(frozen=True)
class Species:
    """How many units a vector holds, of how many arenas, and how many blocks of packed weights these units are; neon:
    the instructions of 64-bit Arm are there."""

    lanes: int
    copies: int = 1
    blocks: int = 1
    neon: bool = False

    @property
    def block(self) -> int:
        """Units of one block."""
        return self.lanes // self.blocks

    @property
    def by_four(self) -> int:
        """Whether a sum takes its inputs by four (`four_values`)."""
        return int(self.neon and self.block == 4)


class SpeciesType(types.Type):
    """The Numba type of a Species: its numbers are known when a kernel is compiled."""

    def __init__(self, lanes: int, copies: int, blocks: int, neon: bool) -> None:
        species = Species(lanes, copies, blocks, neon)
        self.lanes, self.copies, self.blocks, self.neon = lanes, copies, blocks, neon
        self.block, self.by_four = species.block, species.by_four
        self.vector = VectorType(lanes * copies)
        more = f"{f', {blocks}' if blocks > 1 else ''}{', neon' if neon else ''}"
        super().__init__(name=f"Species({lanes}, {copies}{more})")


class VectorType(types.Type):
    """`<lanes x float>` (kind "f"), `<lanes x i32>` ("i") or `<lanes x i1>` ("b")."""

    def __init__(self, lanes: int, kind: str = "f") -> None:
        self.lanes, self.kind = lanes, kind
        super().__init__(name=f"Vector({lanes}, {kind})")

    @property
    def llvm(self) -> ir.VectorType:
        """The LLVM type."""
        return ir.VectorType({"f": _F32, "i": _I32, "b": ir.IntType(1)}[self.kind], self.lanes)


register_model(SpeciesType)(models.OpaqueModel)


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type: VectorType) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm)


@typeof_impl.register(Species)
def _typeof_species(value: Species, context) -> SpeciesType:
    return SpeciesType(value.lanes, value.copies, value.blocks, value.neon)


@lower_constant(SpeciesType)
def _constant_species(context, builder, kind, value):
    return context.get_dummy_value()


def known_number(kind: type[types.Type], name: str) -> None:
    """Kernels may ask things of this Numba type for this attribute, an int known when they are compiled."""

    @infer_getattr
    class Attribute(AttributeTemplate):
        key = kind

        def generic_resolve(self, value, asked):
            return types.int64 if asked == name else None

    @lower_getattr(kind, name)
    def lower(context, builder, value_type, value):
        return context.get_constant(types.int64, getattr(value_type, name))


known_number(SpeciesType, "lanes")
known_number(SpeciesType, "copies")
known_number(SpeciesType, "block")
known_number(SpeciesType, "by_four")


class ArenasType(types.Type):
    """Equal float32 arrays in memory: the address of the first, and the number of floats from one to the next."""

    def __init__(self) -> None:
        super().__init__(name="Arenas")


_arenas_type = ArenasType()


@register_model(ArenasType)
class _ArenasModel(models.StructModel):
    def __init__(self, dmm: Any, fe_type: ArenasType) -> None:
        super().__init__(dmm, fe_type, [("address", types.int64), ("stride", types.int64)])


make_attribute_wrapper(ArenasType, "address", "address")
make_attribute_wrapper(ArenasType, "stride", "stride")


@intrinsic
def arenas(typingctx, address, stride):
    """Arrays from this address on, `stride` floats apart."""

    def codegen(context, builder, signature, args):
        made = cgutils.create_struct_proxy(_arenas_type)(context, builder)
        made.address, made.stride = args
        return made._getvalue()

    return _arenas_type(types.int64, types.int64), codegen


def _splat(builder, scalar, lanes: int):
    vector = ir.VectorType(scalar.type, lanes)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_I32, 0))
    zeros = ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)


def _constant(kind: ir.Type, lanes: int, value: float):
    return ir.Constant(ir.VectorType(kind, lanes), [value] * lanes)


def _call(builder, name: str, v: VectorType, args: list[Any]):
    """Call an LLVM intrinsic on vectors of type v."""
    kind = {"f": "f32", "i": "i32"}[v.kind]
    function_type = ir.FunctionType(v.llvm, [v.llvm] * len(args))
    function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.{name}.v{v.lanes}{kind}")
    return builder.call(function, args)


# --- memory
# -------------------------------------------------------------------------------------------------------------


def _pointer(kind):
    @intrinsic
    def convert(typingctx, address):
        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), codegen

    return convert


floats = _pointer(types.float32)  # an address as a pointer to float32 ...
integers = _pointer(types.int64)  # ... to int64 ...
indices = _pointer(types.int32)  # ... to int32


class HalvesType(types.Type):
    """An address of float16, each of which is widened where it is loaded: by the CPU's instruction, or without it."""

    def __init__(self, by_instruction: bool) -> None:
        self.by_instruction = by_instruction
        super().__init__(name=f"Halves({'by instruction' if by_instruction else 'by shifts'})")


@register_model(HalvesType)
class _HalvesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type: HalvesType) -> None:
        super().__init__(dmm, fe_type, ir.IntType(16).as_pointer())


@intrinsic
def halves(typingctx, integers, address):
    """An address as one of float16, on CPUs of a family (`integers.py`). All but the plain one widen with one
    instruction: AVX2 comes with F16C, 64-bit Arm with fcvtl."""
    kind = HalvesType(integers.family != "plain")

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[1], context.get_value_type(kind))

    return kind(integers, types.int64), codegen


def _widened(builder, values, by_instruction: bool):
    """Finite float16, given as integers of 16 bits, as float32: exactly, zeros with their sign. Without an instruction
    the exponent, which counts from another zero, is made good by one multiplication, which rounds nothing."""
    lanes = values.type.count
    wide = ir.VectorType(_F32, lanes)
    if by_instruction:
        return builder.fpext(builder.bitcast(values, ir.VectorType(ir.HalfType(), lanes)), wide)
    bits = builder.shl(builder.sext(values, ir.VectorType(_I32, lanes)), _constant(_I32, lanes, 13))
    bits = builder.and_(bits, _constant(_I32, lanes, 0x8FFFE000))
    return builder.fmul(builder.bitcast(bits, wide), _constant(_F32, lanes, 2.0**112))


@intrinsic
def per_float(typingctx, weights):
    """Elements of these weights that take the room of one float32."""
    count = 2 if isinstance(weights, HalvesType) else 1

    def codegen(context, builder, signature, args):
        return ir.IntType(64)(count)

    return types.int64(weights), codegen


@intrinsic
def read(typingctx, pointer, index):
    """pointer[index], one value."""

    def codegen(context, builder, signature, args):
        return builder.load(builder.gep(args[0], [args[1]]))

    return pointer.dtype(pointer, types.int64), codegen


@intrinsic
def write(typingctx, pointer, index, value):
    """pointer[index] = value, one value."""

    def codegen(context, builder, signature, args):
        builder.store(args[2], builder.gep(args[0], [args[1]]))
        return context.get_dummy_value()

    return types.void(pointer, types.int64, pointer.dtype), codegen


def _place(context, builder, kind, array, copy: int, index):
    """The address of element `index` of copy `copy`: of arenas, or of a pointer, which is one array only."""
    if isinstance(kind, types.CPointer):
        return builder.gep(array, [index])
    found = cgutils.create_struct_proxy(kind)(context, builder, value=array)
    offset = builder.mul(found.stride, found.stride.type(copy)) if copy else found.stride.type(0)
    base = builder.inttoptr(found.address, _F32.as_pointer())
    return builder.gep(base, [builder.add(offset, index)])


def _join(builder, parts):
    """Vectors one after the other, as one."""
    while len(parts) > 1:
        width = 2 * parts[0].type.count
        order = ir.Constant(ir.VectorType(_I32, width), list(range(width)))
        parts = [builder.shuffle_vector(a, b, order) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _load(builder, address, lanes: int):
    value = builder.load(builder.bitcast(address, ir.VectorType(_F32, lanes).as_pointer()))
    value.align = 4
    return value


def _blocks(builder, species, args, load):
    """What `load` makes of each block's address and size, the blocks one after the other, the same in all copies."""
    start, index, apart = args[1:]
    parts = []
    for _ in range(species.blocks):
        parts.append(load(builder.gep(start, [index]), species.block))
        index = builder.add(index, apart)
    return _join(builder, [_join(builder, parts)] * species.copies)


def _load_weights(builder, kind, address, lanes: int):
    """So many weights, of float32 or of float16, as float32."""
    if not isinstance(kind, HalvesType):
        return _load(builder, address, lanes)
    values = builder.load(builder.bitcast(address, ir.VectorType(ir.IntType(16), lanes).as_pointer()))
    values.align = 2
    return _widened(builder, values, kind.by_instruction)


@intrinsic
def weight(typingctx, species, pointer, index):
    """pointer[index : index + lanes], the same for every copy."""

    def codegen(context, builder, signature, args):
        part = _load_weights(builder, pointer, builder.gep(args[1], [args[2]]), species.lanes)
        return _join(builder, [part] * species.copies)

    return species.vector(species, pointer, types.int64), codegen


@intrinsic
def block_weights(typingctx, species, pointer, index, apart):
    """pointer[index : index + block], and so for each block, `apart` from one to the next; the same in all copies."""

    def codegen(context, builder, signature, args):
        return _blocks(builder, species, args, lambda at, lanes: _load_weights(builder, pointer, at, lanes))

    return species.vector(species, pointer, types.int64, types.int64), codegen


@intrinsic
def block_biases(typingctx, species, pointer, index, apart):
    """As `block_weights`, of float32, which stand among weights of any kind."""

    def codegen(context, builder, signature, args):
        return _blocks(builder, species, args, lambda at, lanes: _load(builder, at, lanes))

    return species.vector(species, pointer, types.int64, types.int64), codegen


@intrinsic
def load(typingctx, species, array, index):
    """array[index : index + lanes] of each copy; no alignment needed."""

    def codegen(context, builder, signature, args):
        places = [_place(context, builder, array, args[1], c, args[2]) for c in range(species.copies)]
        return _join(builder, [_load(builder, place, species.lanes) for place in places])

    return species.vector(species, array, types.int64), codegen


@intrinsic
def broadcast(typingctx, species, array, index):
    """array[index] of each copy, in all its lanes."""

    def codegen(context, builder, signature, args):
        places = [_place(context, builder, array, args[1], c, args[2]) for c in range(species.copies)]
        return _join(builder, [_splat(builder, builder.load(place), species.lanes) for place in places])

    return species.vector(species, array, types.int64), codegen


# --- inputs by four, where V.by_four: on Arm each value of a vector can meet a vector of weights where it is, and one
# instruction loads four vectors. Without: 16 instructions in place of 11 for each input of two blocks of an LSTM
# -------------------------------------------------------------------------------------------------------------


@intrinsic
def four_values(typingctx, species, array, index):
    """broadcast(V, array, index), and so the three values behind it, which are read at once."""
    result = types.UniTuple(species.vector, 4)

    def codegen(context, builder, signature, args):
        places = [_place(context, builder, array, args[1], c, args[2]) for c in range(species.copies)]
        read = [_load(builder, place, 4) for place in places]
        made = []
        for k in range(4):
            order = ir.Constant(ir.VectorType(_I32, species.lanes), [k] * species.lanes)
            made.append(_join(builder, [builder.shuffle_vector(one, one, order) for one in read]))
        return context.make_tuple(builder, result, made)

    return result(species, array, types.int64), codegen


@intrinsic
def block_places(typingctx, species, pointer, index, apart):
    """Where the weights of each block begin: pointers."""
    result = types.UniTuple(pointer, species.blocks)

    def codegen(context, builder, signature, args):
        start, at, apart = args[1:]
        made = []
        for _ in range(species.blocks):
            made.append(builder.gep(start, [at]))
            at = builder.add(at, apart)
        return context.make_tuple(builder, result, made)

    return result(species, pointer, types.int64, types.int64), codegen


def _next_vectors(builder, kind, address, count: int):
    """So many vectors of four weights side by side in memory, and what lies behind them."""
    behind = builder.gep(address, [_I32(4 * count)])
    if isinstance(kind, HalvesType):
        places = [builder.gep(address, [_I32(4 * k)]) for k in range(count)]
        return [_load_weights(builder, kind, place, 4) for place in places], behind
    function_type = ir.FunctionType(ir.LiteralStructType([ir.VectorType(_F32, 4)] * count), [address.type])
    name = f"llvm.aarch64.neon.ld1x{count}.v4f32.p0"
    read = builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), [address])
    # The load leaves this address for the next one. LLVM would add to the first of all addresses again and again; what
    # it cannot look through it takes as it comes.
    behind = builder.asm(ir.FunctionType(behind.type, [behind.type]), "", "=r,0", [behind], False)
    return [builder.extract_value(read, k) for k in range(count)], behind


def _weights_by_four(gates: int):
    @intrinsic
    def read(typingctx, species, places):
        found, pointer = types.UniTuple(species.vector, 4 * gates), places.dtype
        result = types.Tuple((found, places))

        def codegen(context, builder, signature, args):
            if not species.by_four:  # compiled too, but never reached
                return ir.Constant(context.get_value_type(result), ir.Undefined)
            rows, behind = [], []
            for address in cgutils.unpack_tuple(builder, args[1]):
                row = []
                for _ in range(4):
                    vectors, address = _next_vectors(builder, pointer, address, gates)
                    row += vectors
                rows.append(row)
                behind.append(address)
            made = [_join(builder, [_join(builder, list(parts))] * species.copies) for parts in zip(*rows, strict=True)]
            parts = [context.make_tuple(builder, found, made), context.make_tuple(builder, places, behind)]
            return context.make_tuple(builder, result, parts)

        return result(species, places), codegen

    return read


# From block_places: block_weights of four inputs, those of all gates for the first input, for the second, ...; and the
# places behind them.
weights_of_three, weights_of_four = _weights_by_four(3), _weights_by_four(4)


@intrinsic
def lane(typingctx, species, single, value, number):
    """One lane of each copy, as a vector of the species `single` (one lane, as many copies)."""

    def codegen(context, builder, signature, args):
        result = ir.Constant(single.vector.llvm, ir.Undefined)
        for c in range(species.copies):
            place = builder.add(args[3], args[3].type(c * species.lanes))
            result = builder.insert_element(result, builder.extract_element(args[2], place), _I32(c))
        return result

    return single.vector(species, single, value, types.int64), codegen


@intrinsic
def largest_lane(typingctx, species, value):
    """The largest lane of each copy, in all its lanes; of numbers, since NaN is neither larger nor smaller."""
    lanes = species.lanes

    def codegen(context, builder, signature, args):
        result, half = args[1], lanes // 2
        while half:
            order = [c * lanes + (k + half) % lanes for c in range(species.copies) for k in range(lanes)]
            turned = ir.Constant(ir.VectorType(_I32, lanes * species.copies), order)
            other = builder.shuffle_vector(result, result, turned)
            result = builder.select(builder.fcmp_ordered(">", result, other), result, other)
            half //= 2
        return result

    return value(species, value), codegen


@intrinsic
def store(typingctx, species, array, index, value):
    """array[index : index + lanes] = value, for each copy; no alignment needed."""

    def codegen(context, builder, signature, args):
        lanes = species.lanes
        for c in range(species.copies):
            order = ir.Constant(ir.VectorType(_I32, lanes), list(range(c * lanes, (c + 1) * lanes)))
            part = builder.shuffle_vector(args[3], args[3], order)
            place = _place(context, builder, array, args[1], c, args[2])
            builder.store(part, builder.bitcast(place, part.type.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(species, array, types.int64, value), codegen


def _first(builder, count, lanes: int, copies: int = 1):
    """A mask of the first `count` lanes of each copy."""
    numbers = ir.Constant(ir.VectorType(_I32, lanes * copies), list(range(lanes)) * copies)
    return builder.icmp_signed("<", numbers, _splat(builder, builder.trunc(count, _I32), lanes * copies))


@intrinsic
def load_first(typingctx, species, array, index, count):
    """array[index : index + count] of each copy, and zero in the lanes behind; nothing beyond `count` is touched."""
    lanes = species.lanes

    def codegen(context, builder, signature, args):
        kind = ir.VectorType(_F32, lanes)
        mask, zeros = _first(builder, args[3], lanes), _constant(_F32, lanes, 0.0)
        parts = []
        for c in range(species.copies):
            place = builder.bitcast(_place(context, builder, array, args[1], c, args[2]), kind.as_pointer())
            arguments = [place, ir.Constant(_I32, 4), mask, zeros]
            function_type = ir.FunctionType(kind, [a.type for a in arguments])
            name = f"llvm.masked.load.v{lanes}f32.p0"
            parts.append(builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), arguments))
        return _join(builder, parts)

    return species.vector(species, array, types.int64, types.int64), codegen


def _store_some(builder, part, place, count):
    """The first `count` lanes, fewer than there are, by halves. A masked store of AVX2 takes an AMD as long as a whole
    division, and a CPU without one goes lane by lane."""
    size = part.type.count // 2
    while size:
        taken = builder.icmp_unsigned("!=", builder.and_(count, count.type(size)), count.type(0))
        order = ir.Constant(ir.VectorType(_I32, size), list(range(size)))
        with builder.if_then(taken):
            some = builder.shuffle_vector(part, part, order)
            builder.store(some, builder.bitcast(place, some.type.as_pointer()), align=4)
        lanes = part.type.count
        rest = ir.Constant(ir.VectorType(_I32, lanes), [(k + size) % lanes for k in range(lanes)])
        part = builder.select(taken, builder.shuffle_vector(part, part, rest), part)
        place = builder.select(taken, builder.gep(place, [_I32(size)]), place)
        size //= 2


@intrinsic
def store_first(typingctx, species, array, index, value, count):
    """array[index : index + count] = value, for each copy; nothing beyond `count` is touched."""
    lanes = species.lanes

    def codegen(context, builder, signature, args):
        for c in range(species.copies):
            order = ir.Constant(ir.VectorType(_I32, lanes), list(range(c * lanes, (c + 1) * lanes)))
            part = builder.shuffle_vector(args[3], args[3], order)
            place = _place(context, builder, array, args[1], c, args[2])
            with builder.if_else(builder.icmp_signed(">=", args[4], args[4].type(lanes))) as (all_of_them, some):
                with all_of_them:
                    builder.store(part, builder.bitcast(place, part.type.as_pointer()), align=4)
                with some:
                    _store_some(builder, part, place, args[4])
        return context.get_dummy_value()

    return types.void(species, array, types.int64, value, types.int64), codegen


@intrinsic
def store_mended(typingctx, species, array, index, value, mended):
    """array[index : index + lanes] = mended, for each copy, where that is hardly ever anything else than `value`: what
    is read from there soon after need not wait until `mended` is known."""
    lanes = species.lanes

    def codegen(context, builder, signature, args):
        kind = VectorType(lanes * species.copies, "i").llvm

        def put(whole):
            for c in range(species.copies):
                order = ir.Constant(ir.VectorType(_I32, lanes), list(range(c * lanes, (c + 1) * lanes)))
                part = builder.shuffle_vector(whole, whole, order)
                place = _place(context, builder, array, args[1], c, args[2])
                builder.store(part, builder.bitcast(place, part.type.as_pointer()), align=4)

        put(args[3])
        differ = builder.icmp_unsigned("!=", builder.bitcast(args[3], kind), builder.bitcast(args[4], kind))
        bits = ir.IntType(kind.count)
        with builder.if_then(builder.icmp_unsigned("!=", builder.bitcast(differ, bits), bits(0)), likely=False):
            put(args[4])
        return context.get_dummy_value()

    return types.void(species, array, types.int64, value, value), codegen


@intrinsic
def fill(typingctx, species, value):
    """A number in every lane, rounded to float32 once."""

    def codegen(context, builder, signature, args):
        return _splat(builder, args[1], species.vector.lanes)

    return species.vector(species, types.float32), codegen


# --- arithmetic
# ---------------------------------------------------------------------------------------------------------


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c, rounded once (IEEE 754 fusedMultiplyAdd)."""

    def codegen(context, builder, signature, args):
        return _call(builder, "fma", a, list(args))

    return a(a, a, a), codegen


def _arithmetic(operation, instruction: str):
    @type_callable(operation)
    def choose(context):
        def same(a, b):
            return a if isinstance(a, VectorType) and a == b and a.kind == "f" else None

        return same

    @lower_builtin(operation, VectorType, VectorType)
    def lower(context, builder, signature, args):
        return getattr(builder, instruction)(*args)


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
_arithmetic(operator.truediv, "fdiv")


@intrinsic
def less(typingctx, a, b):
    """a < b lane by lane; false where either is NaN."""
    mask = VectorType(a.lanes, "b")

    def codegen(context, builder, signature, args):
        return builder.fcmp_ordered("<", *args)

    return mask(a, a), codegen


@intrinsic
def equal(typingctx, a, b):
    """a == b lane by lane; false where either is NaN."""
    mask = VectorType(a.lanes, "b")

    def codegen(context, builder, signature, args):
        return builder.fcmp_ordered("==", *args)

    return mask(a, a), codegen


@intrinsic
def select(typingctx, mask, a, b):
    """a where the mask is set, else b."""

    def codegen(context, builder, signature, args):
        return builder.select(*args)

    return a(mask, a, a), codegen


@intrinsic
def minimum(typingctx, a, b):
    """a where a < b, else b (so b where either is NaN, and b of two zeros): a bound goes first, so NaN stays."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return a(a, a), codegen


@intrinsic
def maximum(typingctx, a, b):
    """a where a > b, else b (so b where either is NaN, and b of two zeros): a bound goes first, so NaN stays."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return a(a, a), codegen


@kernel
def smaller(a, b):
    """The smaller of two values; NaN where either is."""
    return select(equal(a, a), minimum(a, b), a)


@kernel
def larger(a, b):
    """The larger of two values; NaN where either is."""
    return select(equal(a, a), maximum(a, b), a)


def _unary(name: str):
    @intrinsic
    def apply(typingctx, a):
        def codegen(context, builder, signature, args):
            return _call(builder, name, a, list(args))

        return a(a), codegen

    return apply


@intrinsic
def with_sign(typingctx, a, b):
    """|a| with the sign of b."""

    def codegen(context, builder, signature, args):
        return _call(builder, "copysign", a, list(args))

    return a(a, a), codegen


absolute = _unary("fabs")
sqrt = _unary("sqrt")  # IEEE 754 squareRoot, correctly rounded
to_nearest = _unary("rint")  # to an integral value, ties to even
floor = _unary("floor")
ceil = _unary("ceil")
truncate = _unary("trunc")


# --- the bits of a float32, for exp and log
# ----------------------------------------------------------------------------


@intrinsic
def power_of_two(typingctx, n):
    """2^n for integral n in -126 ... 127, by writing the exponent."""

    def codegen(context, builder, signature, args):
        integers = VectorType(n.lanes, "i").llvm
        exponent = builder.add(builder.fptosi(args[0], integers), _constant(_I32, n.lanes, 127))
        return builder.bitcast(builder.shl(exponent, _constant(_I32, n.lanes, 23)), n.llvm)

    return n(n), codegen


@intrinsic
def exponent_above(typingctx, a, bits):
    """e of a = m * 2^e, with m in [s, 2 s) where `bits` are the bits of s; for positive normal a."""

    def codegen(context, builder, signature, args):
        integers = VectorType(a.lanes, "i").llvm
        base = _splat(builder, builder.trunc(args[1], _I32), a.lanes)
        shifted = builder.ashr(builder.sub(builder.bitcast(args[0], integers), base), _constant(_I32, a.lanes, 23))
        return builder.sitofp(shifted, a.llvm)

    return a(a, types.int64), codegen


@intrinsic
def all_finite(typingctx, species, a, count):
    """Whether the first `count` lanes of each copy are neither NaN nor infinite."""

    def codegen(context, builder, signature, args):
        width = a.lanes
        bits = builder.and_(builder.bitcast(args[1], VectorType(width, "i").llvm), _constant(_I32, width, 0x7F800000))
        wrong = builder.icmp_unsigned("==", bits, _constant(_I32, width, 0x7F800000))
        wrong = builder.and_(wrong, _first(builder, args[2], species.lanes, species.copies))
        whole = builder.bitcast(wrong, ir.IntType(width))
        return builder.icmp_unsigned("==", whole, ir.Constant(ir.IntType(width), 0))

    return types.boolean(species, a, types.int64), codegen


if numba.config.DISABLE_JIT:  # kernels are ordinary Python then, and so is what they call
    from edge_lstm.engines.native.kernels.plain import (  # noqa: F401
        absolute,
        all_finite,
        arenas,
        block_biases,
        block_places,
        block_weights,
        broadcast,
        ceil,
        equal,
        exponent_above,
        fill,
        floats,
        floor,
        fma,
        four_values,
        halves,
        indices,
        integers,
        lane,
        largest_lane,
        less,
        load,
        load_first,
        maximum,
        minimum,
        per_float,
        power_of_two,
        read,
        select,
        sqrt,
        store,
        store_first,
        store_mended,
        to_nearest,
        truncate,
        weight,
        weights_of_four,
        weights_of_three,
        with_sign,
        write,
    )
