"""SIMD registers as values: what a kernel computes on when it must decide itself what stays in registers.

A vector holds as many consecutive numbers of a row as a register of the target: 8 of float64 with
AVX-512, 4 with AVX2, 2 with NEON. Compiled, it is an LLVM vector; interpreted, a short NumPy array, so
kernels written with it still run under NUMBA_DISABLE_JIT=1. Vectors have + - * with each other and
with scalars, and are never changed in place.

LLVM's own vectoriser works on the innermost loop only: it cannot keep sums over features in registers
while the lanes are points, and on many AVX-512 machines it stops at 256 bits.
"""

import operator

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

_WIDTHS = (("avx512f", 64), ("avx2", 32))
_FAST = ("contract", "nsz", "reassoc", "arcp")
_I32 = ir.IntType(32)


def target_features():
    """Instruction sets: of the host, unless NUMBA_CPU_NAME or NUMBA_CPU_FEATURES name others."""
    config = numba.config
    if config.CPU_FEATURES is not None:
        return {flag[1:] for flag in config.CPU_FEATURES.split(",") if flag.startswith("+")}
    if config.CPU_NAME is not None and config.CPU_NAME != llvmlite.binding.get_host_cpu_name():
        return set()
    return {flag for flag, present in llvmlite.binding.get_host_cpu_features().items() if present}


# AVX2 and SSE have 16 vector registers; AVX-512 and NEON have 32.
REGISTERS = 32 if {"avx512f", "neon"} & target_features() else 16
VECTOR_BYTES = next((width for flag, width in _WIDTHS if flag in target_features()), 16)


class Vector(types.Type):
    """The numba type of a vector."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.lanes = VECTOR_BYTES // (dtype.bitwidth // 8)
        super().__init__(name=f"Vector({dtype}, {self.lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        scalar = ir.DoubleType() if fe_type.dtype == types.float64 else ir.FloatType()
        super().__init__(dmm, fe_type, ir.VectorType(scalar, fe_type.lanes))


def _shuffle(builder, one, other, lanes):
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(_I32, len(lanes)), lanes))


def _broadcast(builder, scalar, vector_type):
    first = builder.insert_element(ir.Constant(vector_type, ir.Undefined), scalar, _I32(0))
    return _shuffle(builder, first, first, [0] * vector_type.count)


def _address(context, builder, signature, arguments):
    """Pointer to array[i, b] of a call whose first arguments are those, as one to a vector."""
    array_type = signature.args[0]
    array = context.make_array(array_type)(context, builder, arguments[0])
    indices = [
        context.cast(builder, value, kind, types.intp)
        for value, kind in zip(arguments[1:3], signature.args[1:3], strict=True)
    ]
    scalar = cgutils.get_item_pointer(context, builder, array_type, array, indices, wraparound=False)
    return builder.bitcast(scalar, context.get_value_type(Vector(array_type.dtype)).as_pointer())


@intrinsic
def _load(typingctx, array, i, b):
    def codegen(context, builder, signature, arguments):
        address = _address(context, builder, signature, arguments)
        return builder.load(address, align=array.dtype.bitwidth // 8)

    return Vector(array.dtype)(array, i, b), codegen


@intrinsic
def _store(typingctx, array, i, b, vector):
    def codegen(context, builder, signature, arguments):
        address = _address(context, builder, signature, arguments)
        builder.store(arguments[3], address, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, i, b, vector), codegen


@intrinsic
def _splat(typingctx, scalar):
    def codegen(context, builder, signature, arguments):
        return _broadcast(builder, arguments[0], context.get_value_type(signature.return_type))

    return Vector(scalar)(scalar), codegen


@intrinsic
def _sum4(typingctx, a, b, c, d):
    def codegen(context, builder, signature, arguments):
        lanes = a.lanes

        def add_neighbours(one, other, width):
            """Sums of neighbouring groups of `width` lanes, those of `one` and `other` in turn."""
            left = [i + j for i in range(0, lanes, 2 * width) for j in range(width)]
            both = [g for i in range(0, len(left), width) for g in (left[i : i + width], left[i : i + width])]
            low = [v + (lanes if turn % 2 else 0) for turn, group in enumerate(both) for v in group]
            halves = (
                _shuffle(builder, one, other, low),
                _shuffle(builder, one, other, [v + width for v in low]),
            )
            return builder.fadd(*halves, flags=_FAST)

        ab = add_neighbours(arguments[0], arguments[1], 1)
        cd = add_neighbours(arguments[2], arguments[3], 1)
        if lanes == 2:
            sums = _shuffle(builder, ab, cd, [0, 1, 2, 3])
        else:
            sums = add_neighbours(ab, cd, 2)
            while lanes > 4:
                lanes //= 2
                low, high = list(range(lanes)), list(range(lanes, 2 * lanes))
                halves = _shuffle(builder, sums, sums, low), _shuffle(builder, sums, sums, high)
                sums = builder.fadd(*halves, flags=_FAST)
        scalars = [builder.extract_element(sums, _I32(i)) for i in range(4)]
        return context.make_tuple(builder, signature.return_type, scalars)

    return types.UniTuple(a.dtype, 4)(a, b, c, d), codegen


@intrinsic
def _maximum(typingctx, a, b):
    def codegen(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return a(a, b), codegen


@intrinsic
def _minimum(typingctx, a, b):
    def codegen(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered("<", *arguments), *arguments)

    return a(a, b), codegen


@intrinsic
def _lane_minimum(typingctx, a):
    def codegen(context, builder, signature, arguments):
        lanes = [builder.extract_element(arguments[0], _I32(i)) for i in range(a.lanes)]
        while len(lanes) > 1:
            pairs = zip(lanes[::2], lanes[1::2], strict=True)
            lanes = [builder.select(builder.fcmp_ordered("<", x, y), x, y) for x, y in pairs]
        return lanes[0]

    return a.dtype(a), codegen


@intrinsic
def _round_split(typingctx, x, magic):
    """(x + magic, x less its nearest integer). For ordered kernels: (x + m) - m must not become x."""

    def codegen(context, builder, signature, arguments):
        vector_type = context.get_value_type(x)
        vector, scalar = arguments
        spread = _broadcast(builder, scalar, vector_type)
        shifted = builder.fadd(vector, spread)
        return context.make_tuple(
            builder, signature.return_type, [shifted, builder.fsub(vector, builder.fsub(shifted, spread))]
        )

    return types.UniTuple(x, 2)(x, magic), codegen


@intrinsic
def _scale_by_power(typingctx, p, shifted, x, least):
    """p times 2 to the integer in the low bits of `shifted`; 0 where x < least."""

    def codegen(context, builder, signature, arguments):
        vector_type = context.get_value_type(p)
        bits = ir.VectorType(ir.IntType(p.dtype.bitwidth), p.lanes)
        mantissa_bits = 52 if p.dtype == types.float64 else 23
        amount = ir.Constant(bits, [mantissa_bits] * p.lanes)
        exponent = builder.shl(builder.bitcast(arguments[1], bits), amount)
        power = builder.bitcast(builder.add(builder.bitcast(arguments[0], bits), exponent), vector_type)
        bound = _broadcast(builder, arguments[3], vector_type)
        zero = ir.Constant(vector_type, [0.0] * p.lanes)
        return builder.select(builder.fcmp_ordered(">=", arguments[2], bound), power, zero)

    return p(p, shifted, x, least), codegen


def _define(operation, instruction):
    """+, - or * where one side at least is a vector; a scalar is spread over all lanes."""

    @infer_global(operation)
    class _Template(AbstractTemplate):
        def generic(self, args, kws):
            vectors = [kind for kind in args if isinstance(kind, Vector)]
            if len(args) == 2 and vectors:
                sides = [kind if isinstance(kind, Vector) else vectors[0].dtype for kind in args]
                return signature(vectors[0], *sides)
            return None

    def lower(context, builder, sig, arguments):
        vector_type = context.get_value_type(sig.return_type)
        sides = [
            value if isinstance(kind, Vector) else _broadcast(builder, value, vector_type)
            for value, kind in zip(arguments, sig.args, strict=True)
        ]
        return getattr(builder, instruction)(*sides, flags=_FAST)

    for sides in ((Vector, Vector), (Vector, types.Float), (types.Float, Vector)):
        lower_builtin(operation, *sides)(lower)


_define(operator.add, "fadd")
_define(operator.sub, "fsub")
_define(operator.mul, "fmul")


def _python_load(array, i, b):
    return array[i, b : b + VECTOR_BYTES // array.itemsize].copy()


def _python_store(array, i, b, vector):
    array[i, b : b + len(vector)] = vector


def _python_splat(scalar):
    return np.full(VECTOR_BYTES // scalar.itemsize, scalar)


def _python_sum4(a, b, c, d):
    return a.sum(), b.sum(), c.sum(), d.sum()


def _python_round_split(x, magic):
    shifted = x + magic
    return shifted, x - (shifted - magic)


def _python_scale_by_power(p, shifted, x, least):
    integer, mantissa_bits = (np.int64, 52) if p.dtype == np.float64 else (np.int32, 23)
    power = (p.view(integer) + (shifted.view(integer) << integer(mantissa_bits))).view(p.dtype)
    return np.where(x >= least, power, p.dtype.type(0))


_INTERPRETED = bool(numba.config.DISABLE_JIT)
# load(array, i, b): the vector array[i, b : b + lanes]; store(array, i, b, vector) writes one there.
load = _python_load if _INTERPRETED else _load
store = _python_store if _INTERPRETED else _store
# splat(scalar): the vector of equal numbers.
splat = _python_splat if _INTERPRETED else _splat
# sum4(a, b, c, d): the four sums over lanes, in a third of the shuffles of four single ones.
sum4 = _python_sum4 if _INTERPRETED else _sum4
# maximum(a, b), minimum(a, b): lane by lane; where a is NaN, b. lane_minimum(a): a scalar.
maximum = np.fmax if _INTERPRETED else _maximum
minimum = np.fmin if _INTERPRETED else _minimum
lane_minimum = np.min if _INTERPRETED else _lane_minimum
# The two halves of a power of two, see _math.exp2_vector.
round_split = _python_round_split if _INTERPRETED else _round_split
scale_by_power = _python_scale_by_power if _INTERPRETED else _scale_by_power
