"""SIMD registers as values: the numba type of a vector and its arithmetic.

A vector holds as many consecutive numbers of a row as a register of the target: 8 of float64 with
AVX-512, 4 with AVX2, 2 with NEON. Compiled, it is an LLVM vector; interpreted, a short NumPy array, so
kernels written with it still run under NUMBA_DISABLE_JIT=1. Vectors have + - * / with each other and
with scalars, and are never changed in place.

LLVM's own vectoriser works on the innermost loop only: it cannot keep sums over features in registers
while the lanes are points, and on many AVX-512 machines it stops at 256 bits.
"""

import operator
from types import MappingProxyType

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

from fastem._kernels._layout import VECTOR_BYTES

FAST = ("contract", "nsz", "reassoc", "arcp")
I32 = ir.IntType(32)


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


def shuffle(builder, one, other, lanes):
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


def broadcast(builder, scalar, vector_type):
    first = builder.insert_element(ir.Constant(vector_type, ir.Undefined), scalar, I32(0))
    return shuffle(builder, first, first, [0] * vector_type.count)


def _define(operation, instruction):
    """+, -, * or / where one side at least is a vector; a scalar is spread over all lanes."""

    @infer_global(operation)
    class _Template(AbstractTemplate):
        # More specific than "generic": asked before the many templates of an operator that do not match.
        metadata = MappingProxyType({"target": "cpu"})

        def generic(self, args, kws):
            vectors = [kind for kind in args if isinstance(kind, Vector)]
            if len(args) == 2 and vectors:
                sides = [kind if isinstance(kind, Vector) else vectors[0].dtype for kind in args]
                return signature(vectors[0], *sides)
            return None

    def lower(context, builder, sig, arguments):
        vector_type = context.get_value_type(sig.return_type)
        sides = [
            value if isinstance(kind, Vector) else broadcast(builder, value, vector_type)
            for value, kind in zip(arguments, sig.args, strict=True)
        ]
        return getattr(builder, instruction)(*sides, flags=FAST)

    for sides in ((Vector, Vector), (Vector, types.Float), (types.Float, Vector)):
        lower_builtin(operation, *sides)(lower)


_define(operator.add, "fadd")
_define(operator.sub, "fsub")
_define(operator.mul, "fmul")
_define(operator.truediv, "fdiv")
