"""Integer operations on the exponents and mantissas of vectors, from which `_math` builds exp2 and log2."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem._kernels._jit import INTERPRETED
from fastem._kernels._vector import broadcast, pack


@intrinsic
def _round_split(typingctx, x, magic):
    """Return (x + magic, x minus its nearest integer).

    Only for ordered kernels: elsewhere LLVM may simplify (x + magic) - magic to x.
    """

    def codegen(context, builder, signature, arguments):
        vector_type = context.get_value_type(x)
        vector, scalar = arguments
        spread = broadcast(builder, scalar, vector_type)
        shifted = builder.fadd(vector, spread)
        rest = builder.fsub(vector, builder.fsub(shifted, spread))
        return pack(context, builder, signature.return_type, [shifted, rest])

    return types.UniTuple(x, 2)(x, magic), codegen


@intrinsic
def _scale_by_power(typingctx, p, shifted, x, least):
    """Return p * 2 ** n, where n is the integer in the low bits of `shifted`, and 0 where x < least."""

    def codegen(context, builder, signature, arguments):
        vector_type = context.get_value_type(p)
        bits = ir.VectorType(ir.IntType(p.dtype.bitwidth), p.lanes)
        mantissa_bits = 52 if p.dtype == types.float64 else 23
        amount = ir.Constant(bits, [mantissa_bits] * p.lanes)
        exponent = builder.shl(builder.bitcast(arguments[1], bits), amount)
        power = builder.bitcast(builder.add(builder.bitcast(arguments[0], bits), exponent), vector_type)
        zero = ir.Constant(vector_type, [0.0] * p.lanes)
        return builder.select(builder.fcmp_ordered(">=", arguments[2], arguments[3]), power, zero)

    return p(p, shifted, x, least), codegen


@intrinsic
def _split_exponent(typingctx, x, half_root):
    """Return (e, m) with x = m 2**e and m in [sqrt(1/2), sqrt(2)). `half_root` has the bits of sqrt(1/2)."""

    def codegen(context, builder, signature, arguments):
        vector_type = context.get_value_type(x)
        integer = ir.IntType(x.dtype.bitwidth)
        bits_type = ir.VectorType(integer, x.lanes)
        double = x.dtype == types.float64
        amount = ir.Constant(bits_type, [52 if double else 23] * x.lanes)
        magic = 6755399441055744.0 if double else 12582912.0
        bits = builder.bitcast(arguments[0], bits_type)
        exponent = builder.ashr(builder.sub(bits, broadcast(builder, arguments[1], bits_type)), amount)
        mantissa = builder.bitcast(builder.sub(bits, builder.shl(exponent, amount)), vector_type)
        magics = ir.Constant(vector_type, [magic] * x.lanes)
        shifted = builder.bitcast(builder.add(builder.bitcast(magics, bits_type), exponent), vector_type)
        return pack(context, builder, signature.return_type, [builder.fsub(shifted, magics), mantissa])

    return types.UniTuple(x, 2)(x, half_root), codegen


def _python_round_split(x, magic):
    shifted = x + magic
    return shifted, x - (shifted - magic)


def _python_scale_by_power(p, shifted, x, least):
    integer, mantissa_bits = (np.int64, 52) if p.dtype == np.float64 else (np.int32, 23)
    power = (p.view(integer) + (shifted.view(integer) << integer(mantissa_bits))).view(p.dtype)
    return np.where(x >= least, power, p.dtype.type(0))


def _python_split_exponent(x, half_root):
    m, exponent = np.frexp(x)
    low = m.view(half_root.dtype) < half_root
    return (exponent - low).astype(x.dtype), np.where(low, 2 * m, m)


round_split = _python_round_split if INTERPRETED else _round_split
scale_by_power = _python_scale_by_power if INTERPRETED else _scale_by_power
split_exponent = _python_split_exponent if INTERPRETED else _split_exponent
