"""Where the GTCRN kernel finds its weights and keeps its numbers. Needs no numba."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..gtcrn_weights import CHANNELS, F32, FREQUENCIES, HALF, PLAIN, Block, Dual, Gru, Weights
from .layout import TILES

BANDS = 64
"""Bands in which the higher bins are gathered."""
AREA = CHANNELS * FREQUENCIES
"""Floats of a map whose rows are channels, one for each frequency."""
LEAD, PITCH = 8, 56
"""Floats of a row of frequencies before the first, the last of them zero; and of the whole row,
with room for three registers of 16 floats."""
MAP = CHANNELS * PITCH
"""Floats of a map whose rows are frequencies, one for each channel."""
PAST = 16 * FREQUENCIES
"""In the memory, from one channel to the next of the past frames."""
STATES = 2 * CHANNELS * PAST + 6 * CHANNELS
"""In the memory, where the states over time begin."""

_LINE = 16
"""Floats of a line of the processor's cache, where every array begins."""
_GATES = 3 * CHANNELS

_DUAL = {
    "{}.along": (2, HALF, 24),
    "{}.along_bias": (2, 24),
    "{}.recurrent": (2, 3, 4, HALF),
    "{}.recurrent_bias": (2, 24),
    "{}.along_layer": (CHANNELS, CHANNELS),
    "{}.along_layer_bias": (CHANNELS,),
    "{}.along_scale": (AREA,),
    "{}.along_shift": (AREA,),
    "{}.over": (2, HALF, 24),
    "{}.over_bias": (2, 24),
    "{}.past": (2, HALF, 24),
    "{}.past_bias": (2, 24),
    "{}.over_layer": (CHANNELS, CHANNELS),
    "{}.over_layer_bias": (CHANNELS,),
    "{}.over_scale": (AREA,),
    "{}.over_shift": (AREA,),
}
_BLOCK = {
    "{}.first": (CHANNELS, 24),
    "{}.first_bias": (CHANNELS,),
    "{}.first_slope": (1,),
    "{}.depth": (CHANNELS, 9),
    "{}.depth_bias": (CHANNELS,),
    "{}.depth_slope": (1,),
    "{}.last": (HALF, CHANNELS),
    "{}.last_bias": (HALF,),
    "{}.inward": (HALF, _GATES),
    "{}.inward_bias": (_GATES,),
    "{}.recurrent": (CHANNELS, _GATES),
    "{}.recurrent_bias": (_GATES,),
    "{}.gain": (CHANNELS, HALF),
    "{}.gain_bias": (HALF,),
}
SHAPES: dict[str, tuple[int, ...]] = {
    "zeros": (64,),
    "ones": (1,),
    "gather": (64, 192),
    "gather_from": (64,),
    "gather_count": (64,),
    "spread_band": (192,),
    "spread": (2, 192),
    "down_0": (3, 21, CHANNELS),
    "down_0_bias": (CHANNELS,),
    "down_0_slope": (1,),
    "down_1": (2, 40, HALF),
    "down_1_bias": (CHANNELS,),
    "down_1_slope": (1,),
    **{name.format(f"block{i}"): shape for i in range(6) for name, shape in _BLOCK.items()},
    **{name.format(f"dual{i}"): shape for i in range(2) for name, shape in _DUAL.items()},
    "up_0_even": (2, 24, HALF),
    "up_0_odd": (2, 16, HALF),
    "up_0_bias": (CHANNELS,),
    "up_0_slope": (1,),
    "up_1": (48, 4),
    "up_1_bias": (4,),
}
"""Name of every array -> its shape; the last axis is what goes into a register, or is alone."""


def _offsets() -> dict[str, int]:
    offsets, at = {}, 0
    for name, shape in SHAPES.items():
        offsets[name] = at
        at += -(-int(np.prod(shape)) // _LINE) * _LINE
    return {**offsets, "": at}


AT = _offsets()
"""Name of every array -> index of its first float."""
FLOATS = AT.pop("")
"""Length of all."""
BLOCK, DUAL = AT["block1.first"] - AT["block0.first"], AT["dual1.along"] - AT["dual0.along"]
"""From the arrays of one block to those of the next."""


def places(prefix: str) -> Any:  # noqa: ANN401
    """Return the indices of the arrays whose names begin so, as a tuple with the rest as names."""
    names = [name for name in AT if name.startswith(prefix) and "." not in name[len(prefix) :]]
    return _named({name[len(prefix) :]: AT[name] for name in names})


def _named(values: dict[str, int]) -> Any:  # noqa: ANN401
    """Return a named tuple, which numba takes for constants."""
    kind: Any = namedtuple("Places", values)  # type: ignore[misc]
    return kind(**values)


def _scratch() -> Any:  # noqa: ANN401
    """Return where in the scratch each intermediate result is, and its ``size``."""
    sizes = {
        "margin": 16,
        "features": 3 * (PLAIN + BANDS + 3) + 4,
        "high": 4 * 192,
        "mask": 272,
        "wide": (PLAIN + 4) * CHANNELS,
        "halved": AREA,
        "outputs": 3 * MAP,
        "given": MAP,
        "frames": 3 * MAP,
        "deep": MAP,
        "last": HALF * PITCH,
        "energy": 16,
        "inward": _GATES,
        "recurrent": _GATES,
        "gain": 16,
        "flat": AREA,
        "kept": AREA,
        "below": 3 * AREA,
        "beside": 3 * AREA,
        "passed": AREA,
        "layer": AREA + 64,
    }
    ends = np.cumsum([*sizes.values()])
    starts = [0, *map(int, ends)]
    return _named(dict(zip([*sizes, "size"], starts, strict=True)))


SCRATCH = _scratch()
"""Indices into the scratch."""


class Registers(NamedTuple):
    """The registers of a processor, and the tiles that fit into them."""

    number: int
    vector: int
    """Floats of one."""
    pair: int
    """Floats of those that hold eight channels."""
    across: int
    """Floats of those that hold a row of frequencies, together."""

    @classmethod
    def of(cls, level: str) -> Registers:
        """Return those of a level of the instruction set."""
        vector = TILES[level].vector
        across = -(-FREQUENCIES // vector) * vector
        return cls(16 if level == "x86-64-v3" else 32, vector, min(vector, HALF), across)

    def fitting(self, rows: Sequence[int], width: int) -> int:
        """Return the first number of rows whose sums leave some registers, else the last."""
        fits = (n for n in rows if n * width // self.vector <= self.number - 6)
        return next(fits, rows[-1])


def contiguous(count: int, width: int) -> list[tuple[int, int]]:
    """Return the taps of a product with numbers that follow each other, and rows of a matrix."""
    return [(i, i * width) for i in range(count)]


def pack(weights: Weights) -> F32:
    """Return the weights as the kernel reads them, float32[FLOATS]."""
    floats = np.zeros(FLOATS, np.float32)
    for name, values in _arrays(weights):
        values = np.broadcast_to(values, SHAPES[name])
        floats[AT[name] : AT[name] + values.size] = values.ravel()
    return floats


def _arrays(weights: Weights) -> Iterator[tuple[str, npt.ArrayLike]]:
    yield "ones", 1
    yield from _gathering(weights.gather)
    yield from _spreading(weights.spread)
    (taps, bias, slope), (taps_1, bias_1, slope_1) = weights.down
    yield "down_0", np.stack([_merged(taps, ks) for ks in (range(5), range(2, 5), range(3))])
    yield from (("down_0_bias", bias), ("down_0_slope", slope))
    by_group = taps_1.reshape(2, HALF, HALF, 5)  # group, out, in, tap
    yield "down_1", by_group.transpose(0, 3, 2, 1).reshape(2, 40, HALF)
    yield from (("down_1_bias", bias_1), ("down_1_slope", slope_1))
    for i, block in enumerate(weights.blocks):
        yield from ((f"block{i}.{name}", values) for name, values in _block(block))
    for i, dual in enumerate(weights.duals):
        yield from ((f"dual{i}.{name}", values) for name, values in _dual(dual))
    (taps, bias), (taps_1, bias_1) = weights.up
    by_group = taps.reshape(2, HALF, HALF, 5)  # group, in, out, tap
    yield "up_0_even", by_group[..., [4, 2, 0]].transpose(0, 3, 1, 2).reshape(2, 24, HALF)
    yield "up_0_odd", by_group[..., [3, 1]].transpose(0, 3, 1, 2).reshape(2, 16, HALF)
    yield from (("up_0_bias", bias), ("up_0_slope", weights.up_slope))
    both = np.zeros((3, CHANNELS, 2, 2), np.float32)  # neighbour, in, even or odd, out
    both[:, :, 0] = taps_1[..., [4, 2, 0]].transpose(2, 0, 1)
    both[1:, :, 1] = taps_1[..., [3, 1]].transpose(2, 0, 1)
    yield from (("up_1", both.reshape(48, 4)), ("up_1_bias", np.tile(bias_1, 2)))


def _merged(taps: F32, used: range) -> F32:
    """Return the taps that see seven frequencies, where ``taps`` see five times three: [21, 16].

    At either end of the frequencies those beyond are not there, so not all of the five are used.
    """
    merged = np.zeros((7, 3, CHANNELS), np.float32)
    for k in used:
        for neighbour in range(3):
            merged[k + neighbour] += taps.reshape(CHANNELS, 3, 3, 5)[:, :, neighbour, k].T
    return merged.reshape(21, CHANNELS)


def _gathering(matrix: F32) -> Iterator[tuple[str, npt.ArrayLike]]:
    met = [np.flatnonzero(band) for band in matrix.T]
    first = np.array([m[0] if len(m) else 0 for m in met])
    last = np.array([m[-1] if len(m) else 0 for m in met])
    yield from (("gather", matrix.T), ("gather_from", first), ("gather_count", last - first + 1))


def _spreading(matrix: F32) -> Iterator[tuple[str, npt.ArrayLike]]:
    band = np.minimum(np.argmax(matrix != 0, axis=0), len(matrix) - 2)
    bins = np.arange(len(band))
    yield from (("spread_band", band), ("spread", [matrix[band, bins], matrix[band + 1, bins]]))


def _halved(gru: Gru) -> Gru:
    """Return a network whose update and reset gates need only a tanh to be a sigmoid.

    sigmoid(x) is tanh(x / 2) / 2 + 1 / 2.
    """
    half = np.repeat(np.array([0.5, 0.5, 1], np.float32), len(gru.recurrent))
    return Gru(*(values * half for values in gru))


def _block(block: Block) -> Iterator[tuple[str, npt.ArrayLike]]:
    for name in ("first", "depth", "last"):
        matrix = getattr(block, name)
        yield name, matrix.reshape(len(matrix), -1)
        yield f"{name}_bias", getattr(block, f"{name}_bias")
    yield from (("first_slope", block.first_slope), ("depth_slope", block.depth_slope))
    yield from _halved(block.attention)._asdict().items()
    yield from (("gain", block.gain), ("gain_bias", block.gain_bias))


def _dual(dual: Dual) -> Iterator[tuple[str, npt.ArrayLike]]:
    along, over = _halved(dual.along), _halved(dual.over)
    square = along.recurrent.reshape(2, 2, 4, 3, 2, 2, 4)  # group, way, from; gate, group, way, to
    own = np.einsum("gwikgwj->gkiwj", square)
    yield "recurrent", own.reshape(2, 3, 4, HALF)
    # the first two gates are sums, so their biases may be joined
    later = along.recurrent_bias.copy()
    later[: 2 * CHANNELS] = 0
    yield "recurrent_bias", _by_group(later)
    yield "along", _groups(along.inward)
    yield "along_bias", _by_group(along.inward_bias + along.recurrent_bias - later)
    yield from (("over", _groups(over.inward)), ("over_bias", _by_group(over.inward_bias)))
    yield from (("past", _groups(over.recurrent)), ("past_bias", _by_group(over.recurrent_bias)))
    for name in ("along", "over"):
        yield f"{name}_layer", getattr(dual, f"{name}_layer")
        yield f"{name}_layer_bias", getattr(dual, f"{name}_bias")
        for part in ("scale", "shift"):
            yield f"{name}_{part}", getattr(dual, f"{name}_{part}").ravel()


def _groups(matrix: F32) -> F32:
    """Return what two groups do not share with each other, [2, 8, 24], of [16, 48]."""
    by_group = matrix.reshape(2, HALF, 3, 2, HALF)
    return np.stack([by_group[g, :, :, g].reshape(HALF, 24) for g in (0, 1)])


def _by_group(bias: F32) -> F32:
    """Return the bias of two groups, [2, 24], of [48]."""
    return bias.reshape(3, 2, HALF).transpose(1, 0, 2).reshape(2, 24)
