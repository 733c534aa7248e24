"""Products and recurrent cells in registers, in LLVM IR; what :mod:`.tile` is too plain for.

Needs numba, so only kernels import it. Every function here makes one for numba code, whose
arguments are float32 arrays each followed by the index it starts at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .registers import FLOAT, INDEX, Code, Value


class Product(NamedTuple):
    """What is fixed when a product is compiled."""

    rows: int
    """Rows of y that are computed together."""
    width: int
    """Columns of y that are computed together."""
    vector: int
    """Floats of a register."""
    x_pitch: int
    """Floats from one row of x to the next."""
    y_pitch: int
    taps: Sequence[tuple[int, int]]
    """Where the numbers of one step are, in x and in m."""
    x_step: int = 0
    """Floats from the x of one step to that of the next."""
    m_step: int = 0
    start: str = "column"
    """What the sums start from: a number a "column", a number a "row", or "all" like y."""
    bends: bool = False
    """Whether a PReLU follows."""


def product(shape: Product) -> Callable[..., None]:
    """Return ``y[r, c] = start + sum over steps and taps of x[r, step, tap] m[step, tap, c]``.

    Its arguments are ``(m, at, x, at, start, at, slope, at, y, at, steps)``.
    """

    def write(
        code: Code, m: Value, x: Value, start: Value, slope: Value, y: Value, steps: Value
    ) -> None:
        columns = range(0, shape.width, shape.vector)
        rows = range(shape.rows)
        if shape.start == "row":
            sums = [code.broadcast(start, r) for r in rows for _ in columns]
        else:
            pitch = shape.y_pitch if shape.start == "all" else 0
            sums = [code.load(start, r * pitch + c) for r in rows for c in columns]

        def step(i: Value, *sums: Value) -> list[Value]:
            new = list(sums)
            x_at = code.at(x, code.builder.mul(i, INDEX(shape.x_step)))
            m_at = code.at(m, code.builder.mul(i, INDEX(shape.m_step)))
            for x_tap, m_tap in shape.taps:
                loaded = [code.load(m_at, m_tap + c) for c in columns]
                for r in rows:
                    value = code.broadcast(x_at, r * shape.x_pitch + x_tap)
                    for j, matrix in enumerate(loaded, r * len(columns)):
                        new[j] = code.fused(value, matrix, new[j])
            return new

        sums = code.loop(steps, step, *sums)
        bend = code.broadcast(slope, 0) if shape.bends else None
        for r in rows:
            for j, c in enumerate(columns, r * len(columns)):
                value = sums[j] if bend is None else code.bent(sums[j], bend)
                code.store(value, y, r * shape.y_pitch + c)

    return _function(shape.vector, write)


def along(frequencies: int) -> Callable[..., None]:
    """Return two groups of networks of four units, half upwards and half downwards in frequency.

    Its arguments are ``(gates, at, matrices, at, bias, at, y, at, y, at, 0)``: gates [frequencies,
    2, 24] from below, matrices [2, 3, 4, 8] and bias [2, 24] of the recurrence, of which only the
    last eight are used; y is [frequencies, 16].
    """

    def write(code: Code, gates: Value, matrices: Value, bias: Value, y: Value, *_: Value) -> None:
        upwards = (*range(4), *range(12, 16))
        builder = code.builder

        def recur(gate: int, group: int, hidden: Value, start: Value) -> Value:
            spread = [code.shuffle(hidden, hidden, [j] * 4 + [4 + j] * 4) for j in range(4)]
            m = [code.load(matrices, ((group * 3 + gate) * 4 + j) * 8) for j in range(4)]
            a = code.fused(m[2], spread[2], code.fused(m[0], spread[0], start))
            return code.add(a, code.fused(m[3], spread[3], code.multiply(m[1], spread[1])))

        def step(t: Value, *hidden: Value) -> list[Value]:
            mirror = builder.sub(INDEX(frequencies - 1), t)
            up, down = (code.at(gates, builder.mul(i, INDEX(48))) for i in (t, mirror))
            to_up, to_down = (code.at(y, builder.mul(i, INDEX(16))) for i in (t, mirror))
            new = []
            for g, old in enumerate(hidden):
                inward = [
                    code.shuffle(code.load(up, at), code.load(down, at), upwards)
                    for at in range(g * 24, g * 24 + 24, 8)
                ]
                last = recur(2, g, old, code.load(bias, g * 24 + 16))
                first = [recur(gate, g, old, inward[gate]) for gate in (0, 1)]
                h = code.cell(first[0], first[1], inward[2], last, old)
                code.store(code.shuffle(h, h, range(4)), to_up, g * 8)
                code.store(code.shuffle(h, h, range(4, 8)), to_down, g * 8 + 4)
                new.append(h)
            return new

        code.loop(frequencies, step, code.number(0), code.number(0))

    return _function(8, write)


def over(groups: int, width: int, slow: bool = False) -> Callable[..., None]:
    """Return one step of ``groups`` networks of ``width`` units.

    Its arguments are ``(inward, at, recurrent, at, hidden, at, hidden, at, hidden, at, 0)``: gates
    [groups, 3, width] of both sides; hidden [groups, width] is changed. For ``slow`` see
    :meth:`.registers.Code.cell`.
    """

    def write(code: Code, inward: Value, recurrent: Value, hidden: Value, *_: Value) -> None:
        def step(i: Value) -> list[Value]:
            gates = code.builder.mul(i, INDEX(3 * width))
            x, h = code.at(inward, gates), code.at(recurrent, gates)
            units = code.at(hidden, code.builder.mul(i, INDEX(width)))
            for c in range(0, width, 8):
                below, beside = ([code.load(p, k * width + c) for k in range(3)] for p in (x, h))
                sums = [code.add(a, b) for a, b in zip(below[:2], beside[:2], strict=True)]
                old = code.load(units, c)
                new = code.cell(sums[0], sums[1], below[2], beside[2], old, slow)
                code.store(new, units, c)
            return []

        code.loop(groups, step)

    return _function(8, write)


def move(vector: int) -> Callable[..., None]:
    """Return what copies registers upwards, so that they may overlap those it copies to.

    Its arguments are ``(x, at, y, at, y, at, y, at, y, at, registers)``.
    """

    def write(code: Code, x: Value, y: Value, *rest: Value) -> None:
        def step(i: Value) -> list[Value]:
            at = code.builder.mul(i, INDEX(vector))
            # volatile, or LLVM would call memmove, which is not there
            code.store(code.load(x, at, volatile=True), y, at)
            return []

        code.loop(rest[-1], step)

    return _function(vector, write)


def room(count: int) -> Callable[[], Any]:
    """Return a function for numba code that gives a pointer to float32[count] on the stack.

    Unlike that of :func:`.tile.stack`, which numba fills with zeros, it holds whatever was there:
    for 70 kB, zeros take 2 us a call, and LLVM ten seconds to compile.
    """

    @intrinsic
    def function(_context: Value) -> Value:
        def generate(_: Value, builder: Value, __: Value, ___: Value) -> Value:
            with builder.goto_entry_block():
                floats = builder.alloca(ir.ArrayType(FLOAT, count))
            floats.align = 64
            return builder.bitcast(floats, FLOAT.as_pointer())

        return types.CPointer(types.float32)(), generate

    return function  # type: ignore[no-any-return]


def _function(vector: int, write: Callable[..., None]) -> Callable[..., None]:
    """Return a function for numba code that is what ``write`` writes."""

    @intrinsic
    def function(
        _context: Value,
        a: Value,
        _a_at: Value,
        b: Value,
        _b_at: Value,
        c: Value,
        _c_at: Value,
        d: Value,
        _d_at: Value,
        e: Value,
        _e_at: Value,
        _count: Value,
    ) -> Value:
        index = types.int64
        signature = types.void(a, index, b, index, c, index, d, index, e, index, index)

        def generate(context: Value, builder: Value, signature: Value, args: Value) -> Value:
            def pointer(i: int) -> Value:
                array = context.make_array(signature.args[i])(context, builder, args[i])
                return builder.gep(array.data, [args[i + 1]])

            write(Code(builder, vector), *(pointer(i) for i in range(0, 10, 2)), args[10])
            return context.get_dummy_value()

        return signature, generate

    return function  # type: ignore[no-any-return]
