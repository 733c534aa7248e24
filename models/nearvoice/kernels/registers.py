"""Arithmetic on the processor's registers, written in LLVM IR: what :mod:`.lanes` is made of.

Needs numba, so only kernels import it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

Value = Any
"""A value of LLVM, or what builds one; llvmlite has no types for either."""

INDEX, FLOAT = ir.IntType(64), ir.FloatType()
_LANE = ir.IntType(32)
_FAST = ("contract", "reassoc", "nsz", "arcp")  # not nnan: NaN must come out as NaN

_NUMERATOR = (1.0, 0.13406859, 0.003526383, 2.1122058e-05, 1.4081981e-08)
_DENOMINATOR = (1.0, 0.4674018, 0.02599383, 0.0003336239, 8.0704455e-07)
_SATURATED = 8.6
"""The approximation of tanh in :func:`.silero.tanh`."""


class Code:
    """Writes instructions on registers where ``builder`` stands."""

    def __init__(self, builder: Value, vector: int) -> None:
        self.builder = builder
        self.vector = vector
        self.kind = ir.VectorType(FLOAT, vector)

    def number(self, value: float) -> Value:
        """Return a register full of one constant."""
        return ir.Constant(self.kind, [ir.Constant(FLOAT, value)] * self.vector)

    def at(self, base: Value, offset: Value) -> Value:
        """Return the pointer to a float, at an index that may be a constant."""
        index = INDEX(offset) if isinstance(offset, int) else offset
        return self.builder.gep(base, [index])

    def load(self, base: Value, offset: Value, volatile: bool = False) -> Value:
        """Load a register."""
        pointer = self.builder.bitcast(self.at(base, offset), self.kind.as_pointer())
        loaded = self.builder.load(pointer, align=4)
        if volatile:
            loaded.volatile = True
        return loaded

    def store(self, value: Value, base: Value, offset: Value) -> None:
        """Store a register, or a part of one."""
        pointer = self.builder.bitcast(self.at(base, offset), value.type.as_pointer())
        self.builder.store(value, pointer, align=4)

    def broadcast(self, base: Value, offset: Value) -> Value:
        """Load one float into all lanes."""
        value = self.builder.load(self.at(base, offset))
        undefined = ir.Constant(self.kind, ir.Undefined)
        one = self.builder.insert_element(undefined, value, _LANE(0))
        return self.shuffle(one, undefined, [0] * self.vector)

    def shuffle(self, a: Value, b: Value, lanes: Sequence[int]) -> Value:
        """Return lanes of a, counted from 0, and of b, after those."""
        mask = ir.Constant(ir.VectorType(_LANE, len(lanes)), [_LANE(lane) for lane in lanes])
        return self.builder.shuffle_vector(a, b, mask)

    def add(self, a: Value, b: Value) -> Value:
        """Return a + b."""
        return self.builder.fadd(a, b, flags=_FAST)

    def subtract(self, a: Value, b: Value) -> Value:
        """Return a - b."""
        return self.builder.fsub(a, b, flags=_FAST)

    def multiply(self, a: Value, b: Value) -> Value:
        """Return a b."""
        return self.builder.fmul(a, b, flags=_FAST)

    def fused(self, a: Value, b: Value, c: Value) -> Value:
        """Return a b + c."""
        return self.add(self.multiply(a, b), c)

    def bent(self, x: Value, slope: Value) -> Value:
        """Return the PReLU of x."""
        below = self.builder.fcmp_ordered("<", x, self.number(0))
        return self.builder.select(below, self.multiply(x, slope), x)

    def tanh(self, x: Value) -> Value:
        """Return the rational approximation of tanh."""
        for sign, limit in (("<", -_SATURATED), (">", _SATURATED)):
            beyond = self.builder.fcmp_ordered(sign, x, self.number(limit))
            x = self.builder.select(beyond, self.number(limit), x)
        u = self.multiply(x, x)
        p, q = (self._polynomial(u, c) for c in (_NUMERATOR, _DENOMINATOR))
        return self.builder.fdiv(self.multiply(x, p), q, flags=_FAST)

    def _polynomial(self, u: Value, coefficients: Sequence[float]) -> Value:
        value = self.number(coefficients[-1])
        for c in coefficients[-2::-1]:
            value = self.fused(value, u, self.number(c))
        return value

    def taken(self, x: Value) -> Value:
        """Return 1 / (1 + exp(2 x)), also where it is small right to the last bits."""
        builder = self.builder
        for sign, limit in (("<", -40), (">", 40)):
            beyond = builder.fcmp_ordered(sign, x, self.number(limit))
            x = builder.select(beyond, self.number(limit), x)
        # exp(2 x) is 2^n exp(r); NaN, which no integer is, goes around it
        known = builder.select(builder.fcmp_ordered("==", x, x), x, self.number(0))
        scaled = self.fused(known, self.number(2 * math.log2(math.e)), self.number(128.5))
        integers = ir.VectorType(ir.IntType(32), self.vector)
        places, bias = (
            ir.Constant(integers, [ir.IntType(32)(value)] * self.vector) for value in (23, 128)
        )
        exponent = builder.sub(builder.fptosi(scaled, integers), bias)
        n = builder.sitofp(exponent, self.kind)
        r = self.fused(n, self.number(-0.693359375), self.multiply(known, self.number(2)))
        r = self.fused(n, self.number(0.693359375 - math.log(2)), r)
        power = self.number(1 / math.factorial(7))
        for k in range(6, -1, -1):
            power = self.fused(power, r, self.number(1 / math.factorial(k)))
        raised = builder.add(builder.bitcast(power, integers), builder.shl(exponent, places))
        one = self.number(1)
        taken = builder.fdiv(one, self.add(one, builder.bitcast(raised, self.kind)), flags=_FAST)
        return self.fused(x, self.number(0), taken)

    def cell(
        self,
        update: Value,
        reset: Value,
        inward: Value,
        recurrent: Value,
        hidden: Value,
        slow: bool = False,
    ) -> Value:
        """Return gated units after a step: update and reset before their sigmoid, and halved.

        Units that are ``slow`` may hardly move for minutes: how much they take of the new is right
        to the last bits, at a cost.
        """
        half, one = self.number(0.5), self.number(1)
        candidate = self.multiply(half, recurrent)
        inward = self.add(inward, candidate)
        candidate = self.tanh(self.fused(self.tanh(reset), candidate, inward))
        if slow:
            return self.fused(self.taken(update), self.subtract(candidate, hidden), hidden)
        kept = self.fused(self.tanh(update), half, half)
        return self.fused(self.subtract(one, kept), candidate, self.multiply(kept, hidden))

    def loop(
        self, count: Value, body: Callable[..., Sequence[Value]], *carried: Value
    ) -> list[Value]:
        """Run ``body(i, *carried)`` for i below count, once at least; return what it carries on."""
        builder = self.builder
        before, block = builder.basic_block, builder.append_basic_block()
        builder.branch(block)
        builder.position_at_end(block)
        i = builder.phi(INDEX)
        kept = [builder.phi(value.type) for value in carried]
        new = body(i, *kept)
        following = builder.add(i, INDEX(1))
        last, after = builder.basic_block, builder.append_basic_block()
        end = INDEX(count) if isinstance(count, int) else count
        builder.cbranch(builder.icmp_signed("<", following, end), block, after)
        for phi, first, then in zip(
            (i, *kept), (INDEX(0), *carried), (following, *new), strict=True
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(then, last)
        builder.position_at_end(after)
        return list(new)
