"""The innermost loop of every layer: a register tile of a matrix product, written in LLVM IR.

numba vectorises loops over memory, but would not keep a block of sums in registers; this does. It
needs numba, so only :mod:`.compile` and the kernels themselves import it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_INDEX, _FLOAT, _HALF, _BYTE = ir.IntType(64), ir.FloatType(), ir.HalfType(), ir.IntType(8)
_FUSED = ("contract",)
"""Lets LLVM make one instruction of a product and a sum."""


class Tile(NamedTuple):
    """What is fixed when the tile is compiled."""

    rows: int
    """Rows of x, and of y, that are computed together."""
    width: int
    """Columns of y that are computed together; ``width / vector`` registers a row."""
    vector: int
    """Floats of a register."""
    x_pitch: int = 0
    """Floats from one row of x to the next."""
    y_pitch: int = 0
    start_pitch: int = 0
    """Floats from one row of what the sums start from to the next: 0 for a bias."""
    half: bool = True
    """Whether the matrix is float16 in memory; arithmetic is float32 in any case."""
    int8: bool = False
    """Whether it is int8; ``half`` does not matter then."""


def tile(shape: Tile) -> Callable[..., None]:
    """Return a function for numba code, ``y[r, c] = start[r, c] + sum over k of x[r, k] w[k, c]``.

    Its arguments are ``(w, w_at, x, x_at, start, start_at, y, y_at, depth)``: arrays, each with the
    index it starts at. ``w`` is uint16[depth, width] with the bits of float16, or int8, or float32;
    the other arrays are float32.
    """

    @intrinsic
    def function(
        _context: Any,  # noqa: ANN401
        w: Any,  # noqa: ANN401
        _w_at: Any,  # noqa: ANN401
        x: Any,  # noqa: ANN401
        _x_at: Any,  # noqa: ANN401
        start: Any,  # noqa: ANN401
        _start_at: Any,  # noqa: ANN401
        y: Any,  # noqa: ANN401
        _y_at: Any,  # noqa: ANN401
        _depth: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        index = types.int64
        signature = types.void(w, index, x, index, start, index, y, index, index)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
            def pointer(i: int, kind: ir.Type) -> Any:  # noqa: ANN401
                array = context.make_array(signature.args[i])(context, builder, args[i])
                return builder.gep(builder.bitcast(array.data, kind.as_pointer()), [args[i + 1]])

            code = _Code(shape, builder)
            pointers = pointer(0, code.weight), pointer(2, _FLOAT), pointer(4, _FLOAT)
            sums = code.sums(*pointers, args[8])
            code.store(sums, pointer(6, _FLOAT))
            return context.get_dummy_value()

        return signature, generate

    return function  # type: ignore[no-any-return]


class _Code:
    """Writes one tile where ``builder`` stands."""

    def __init__(self, shape: Tile, builder: Any) -> None:  # noqa: ANN401
        self.shape = shape
        self.builder = builder
        self.vector = ir.VectorType(_FLOAT, shape.vector)
        self.weight = _BYTE if shape.int8 else _HALF if shape.half else _FLOAT
        self.columns = range(0, shape.width, shape.vector)

    def sums(self, w: Any, x: Any, start: Any, depth: Any) -> list[list[Any]]:  # noqa: ANN401
        """Write the loop over k; return the sums, by row and register."""
        builder, shape = self.builder, self.shape
        first = [
            [self._load(start, r * shape.start_pitch + column) for column in self.columns]
            for r in range(shape.rows)
        ]
        before = builder.basic_block
        loop, after = builder.append_basic_block(), builder.append_basic_block()
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(_INDEX)
        sums = [[builder.phi(self.vector) for _ in self.columns] for _ in range(shape.rows)]
        row = builder.gep(w, [builder.mul(k, _INDEX(shape.width))])
        weights = [self._load_weights(row, column) for column in self.columns]
        added = [
            [
                builder.fadd(builder.fmul(weight, value, flags=_FUSED), old, flags=_FUSED)
                for weight, old in zip(weights, sums[r], strict=True)
            ]
            for r in range(shape.rows)
            for value in [self._broadcast(x, builder.add(k, _INDEX(r * shape.x_pitch)))]
        ]
        following = builder.add(k, _INDEX(1))
        builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
        self._join(k, _INDEX(0), before, following, loop)
        for r in range(shape.rows):
            for phi, value, new in zip(sums[r], first[r], added[r], strict=True):
                self._join(phi, value, before, new, loop)
        builder.position_at_end(after)
        return added

    def store(self, sums: list[list[Any]], y: Any) -> None:  # noqa: ANN401
        """Write the sums to memory."""
        for r, row in enumerate(sums):
            for column, value in zip(self.columns, row, strict=True):
                to = self._at(y, r * self.shape.y_pitch + column, self.vector)
                self.builder.store(value, to, align=4)

    @staticmethod
    def _join(phi: Any, value: Any, before: Any, new: Any, loop: Any) -> None:  # noqa: ANN401
        phi.add_incoming(value, before)
        phi.add_incoming(new, loop)

    def _at(self, base: Any, offset: int, kind: ir.Type) -> Any:  # noqa: ANN401
        return self.builder.bitcast(self.builder.gep(base, [_INDEX(offset)]), kind.as_pointer())

    def _load(self, base: Any, offset: int) -> Any:  # noqa: ANN401
        return self.builder.load(self._at(base, offset, self.vector), align=4)

    def _load_weights(self, base: Any, offset: int) -> Any:  # noqa: ANN401
        if self.weight == _FLOAT:
            return self._load(base, offset)
        kind = ir.VectorType(self.weight, self.shape.vector)
        packed = self.builder.load(self._at(base, offset, kind), align=1 if self.shape.int8 else 2)
        if not self.shape.int8:
            return self.builder.fpext(packed, self.vector)
        whole = self.builder.sext(packed, ir.VectorType(ir.IntType(32), self.shape.vector))
        return self.builder.sitofp(whole, self.vector)

    def _broadcast(self, base: Any, offset: Any) -> Any:  # noqa: ANN401
        value = self.builder.load(self.builder.gep(base, [offset]))
        undefined = ir.Constant(self.vector, ir.Undefined)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.shape.vector), None)
        one = self.builder.insert_element(undefined, value, ir.IntType(32)(0))
        return self.builder.shuffle_vector(one, undefined, lanes)


def stack(count: int) -> Callable[[], Any]:
    """Return a function for numba code that gives a pointer to float32[count] on the stack."""

    @intrinsic
    def function(_context: Any) -> Any:  # noqa: ANN401
        def generate(_: Any, builder: Any, __: Any, ___: Any) -> Any:  # noqa: ANN401
            room = cgutils.alloca_once(builder, ir.ArrayType(_FLOAT, count))
            room.align = 64
            return builder.bitcast(room, _FLOAT.as_pointer())

        return types.CPointer(types.float32)(), generate

    return function  # type: ignore[no-any-return]
