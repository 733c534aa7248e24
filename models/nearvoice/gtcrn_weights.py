"""The weights of GTCRN: out of an ONNX file by name, arranged as matrices for :mod:`.gtcrn`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import arrays

F32 = npt.NDArray[np.float32]

PLAIN = 65
"""Lowest bins, which are bands of their own; the others are gathered in 64."""
FREQUENCIES = 33
"""Left after the strided convolutions."""
CHANNELS = 16
HALF = 8
"""Channels that a block transforms; the others it passes on. Also those of one group."""


class Gru(NamedTuple):
    """Gated recurrent units, ``3 n`` columns: n update gates, n reset gates, n candidates."""

    inward: F32
    """[inputs, 3 n]"""
    recurrent: F32
    """[n, 3 n]"""
    inward_bias: F32
    recurrent_bias: F32


class Block(NamedTuple):
    """What transforms eight of sixteen channels."""

    first: F32
    """[16, 24], columns are three neighbouring frequencies of each of eight channels."""
    first_bias: F32
    first_slope: F32
    """Of the PReLU after it, float32[1]."""
    depth: F32
    """[16, 3, 3]: channel, time from old to new, frequency."""
    depth_bias: F32
    depth_slope: F32
    last: F32
    """[8, 16]"""
    last_bias: F32
    attention: Gru
    """Of energies [8], with 16 units."""
    gain: F32
    """[16, 8]"""
    gain_bias: F32


class Dual(NamedTuple):
    """Recurrent layers along frequency, then along time; each has two groups of eight channels."""

    along: Gru
    """Units are those of four networks of four: the first group upwards in frequency and downwards,
    then the second group. Matrices are zero where networks do not meet."""
    along_layer: F32
    """[16, 16]"""
    along_bias: F32
    along_scale: F32
    """[33, 16], like the next."""
    along_shift: F32
    over: Gru
    """Units are those of the first group, then of the second."""
    over_layer: F32
    over_bias: F32
    over_scale: F32
    over_shift: F32


class Weights(NamedTuple):
    """The weights as matrices, with every normalisation by batch folded in."""

    gather: F32
    """[192, 64], from bins to bands."""
    spread: F32
    """[64, 192], from bands to bins."""
    down: tuple[tuple[F32, F32, F32], ...]
    """Two strided convolutions: [16, channels in, 5], bias, slope; the second has two groups."""
    blocks: tuple[Block, ...]
    duals: tuple[Dual, ...]
    up: tuple[tuple[F32, F32], ...]
    """Two transposed convolutions: [channels in, channels out, 5], bias; two groups, then one."""
    up_slope: F32


_ENCODERS = ((3386, 3431, 3451), (3395, 3472, 3492), (3404, 3513, 3533))
"""Blocks before the recurrent layers: the numbers of the first of six convolution arrays, of the
two slopes, and of the attention's three arrays and layer. The exporter of ONNX gave these names;
they are fixed, as the file is."""
_DECODERS = ((3834, 3854), (3867, 3887), (3900, 3920))
"""Blocks after them: numbers of the slopes and of the attention. The others have names."""
_DUALS = ((3594, 3637, 3640, 3661, 3681, 3684), (3732, 3775, 3778, 3799, 3819, 3822))
"""Bias of the first group along frequency (its matrices follow), of the second; the layer; the
first group over time (bias last), the second; the layer."""
_EPSILON = np.float32(1e-5)
"""Of the normalisation by batch."""


def arrange(constants: Mapping[str, npt.NDArray[Any]]) -> Weights:
    """Find and arrange the network among the constants of the ONNX file.

    Raises:
        WeightsError: An array is missing or has another shape or dtype, or bins and bands are not
            as in GTCRN.
    """
    return arranged(File(constants))


def arranged(file: File) -> Weights:
    """Return the network that a file holds."""
    return Weights(
        file.bands("onnx::MatMul_3414", (192, 64)),
        file.bands("onnx::MatMul_3932", (64, 192)),
        (
            (*file.convolution(3380, (CHANNELS, 9, 1, 5)), file.slope(3422)),
            (*file.convolution(3383, (CHANNELS, HALF, 1, 5)), file.slope(3423)),
        ),
        (
            *(file.encoder(i, *numbers) for i, numbers in enumerate(_ENCODERS)),
            *(file.decoder(i, *numbers) for i, numbers in enumerate(_DECODERS)),
        ),
        tuple(file.dual(f"dpgrnn{i + 1}", *numbers) for i, numbers in enumerate(_DUALS)),
        (
            file.transposed("decoder.de_convs.3.", (CHANNELS, HALF, 1, 5), groups=2),
            file.transposed("decoder.de_convs.4.", (CHANNELS, 2, 1, 5), groups=1),
        ),
        file.slope(3927),
    )


class File:
    """Finds arrays by name and puts them together."""

    def __init__(self, constants: Mapping[str, npt.NDArray[Any]]) -> None:
        self._constants = constants

    def find(self, name: str, *shape: int) -> F32:
        """Return the array of this name, which must have this shape and be float32."""
        array = self._constants.get(name)
        if array is None or array.shape != shape or array.dtype != np.float32:
            raise arrays.WeightsError(f"{name} {list(shape)} is missing from the GTCRN file")
        return array

    def bands(self, name: str, shape: tuple[int, int]) -> F32:
        """Return a matrix between bins and bands; each bin meets at most two adjacent bands."""
        matrix = self.find(name, *shape)
        for bin_row in matrix if shape[0] > shape[1] else matrix.T:
            met = np.flatnonzero(bin_row)
            if len(met) and met[-1] - met[0] > 1:
                raise arrays.WeightsError(f"{name}: a bin is in bands that are not adjacent")
        return matrix

    def convolution(self, number: int, shape: tuple[int, ...]) -> tuple[F32, F32]:
        """Return taps, without axes of one that are not the first two, and bias."""
        taps = self.find(f"onnx::Conv_{number}", *shape)
        bias = self.find(f"onnx::Conv_{number + 1}", shape[0])
        return taps.reshape(*shape[:2], *(n for n in shape[2:] if n > 1)), bias

    def slope(self, number: int) -> F32:
        """Return the slope of a PReLU below zero, float32[1]."""
        return self.find(f"onnx::PRelu_{number}", 1, 1, 1).reshape(1)

    def encoder(self, i: int, convolution: int, slope: int, attention: int) -> Block:
        """Return a block before the recurrent layers."""
        first, first_bias = self.convolution(convolution, (CHANNELS, 24, 1, 1))
        depth, depth_bias = self.convolution(convolution + 3, (CHANNELS, 1, 3, 3))
        last, last_bias = self.convolution(convolution + 6, (HALF, CHANNELS, 1, 1))
        return Block(
            first, first_bias, self.slope(slope),
            depth[:, 0], depth_bias, self.slope(slope + 1),
            last, last_bias,
            *self.attention(attention, f"encoder.en_convs.{i + 2}."),
        )  # fmt: skip

    def decoder(self, i: int, slope: int, attention: int) -> Block:
        """Return a block whose convolutions are transposed, which turns their taps around."""
        name = f"decoder.de_convs.{i}."
        point_1, depth, point_2 = (
            self.find(f"{name}{layer}.weight", *shape)
            for layer, shape in (
                ("point_conv1", (24, CHANNELS, 1, 1)),
                ("depth_conv.ConvTranspose2d", (CHANNELS, 1, 3, 3)),
                ("point_conv2", (CHANNELS, HALF, 1, 1)),
            )
        )
        first, first_bias = self.folded(point_1[:, :, 0, 0].T, name, "point_conv1", "point_bn1")
        depth, depth_bias = self.folded(
            depth[:, 0, ::-1, ::-1], name, "depth_conv.ConvTranspose2d", "depth_bn"
        )
        last, last_bias = self.folded(point_2[:, :, 0, 0].T, name, "point_conv2", "point_bn2")
        return Block(
            first, first_bias, self.slope(slope),
            depth, depth_bias, self.slope(slope + 1),
            last, last_bias,
            *self.attention(attention, name),
        )  # fmt: skip

    def folded(self, taps: F32, name: str, layer: str, norm: str) -> tuple[F32, F32]:
        """Fold a normalisation by batch into taps [channels out, ...] and the bias of the layer."""
        bias = self.find(f"{name}{layer}.bias", len(taps))
        scale, shift, mean, variance = (
            self.find(f"{name}{norm}.{part}", len(taps))
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = scale / np.sqrt(variance + _EPSILON)
        each = gain.reshape(-1, *[1] * (taps.ndim - 1))
        return np.ascontiguousarray(taps * each), (bias - mean) * gain + shift

    def transposed(self, name: str, shape: tuple[int, ...], groups: int) -> tuple[F32, F32]:
        """Return taps [channels in, channels out of the group, 5] and bias."""
        count = shape[1] * groups
        taps = self.find(f"{name}conv.weight", *shape)[:, :, 0]
        by_output = taps.reshape(groups, -1, shape[1], 5).transpose(0, 2, 1, 3)
        folded, bias = self.folded(by_output.reshape(count, -1, 5), name, "conv", "bn")
        back = folded.reshape(groups, shape[1], -1, 5).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(back.reshape(-1, shape[1], 5)), bias

    def attention(self, number: int, name: str) -> tuple[Gru, F32, F32]:
        """Return what weighs the channels of a block: network, layer, bias."""
        gru = self.gru(number, number + 1, number + 2, 0, (1, HALF, CHANNELS))
        gain = self.find(f"onnx::MatMul_{number + 3}", CHANNELS, HALF)
        return gru, gain, self.find(f"{name}tra.att_fc.bias", HALF)

    def gru(
        self, inward: int, recurrent: int, bias: int, direction: int, sizes: tuple[int, int, int]
    ) -> Gru:
        """Return one network of the arrays with these numbers; sizes: directions, inputs, units."""
        directions, inputs, units = sizes
        w = self.find(f"onnx::GRU_{inward}", directions, 3 * units, inputs)
        r = self.find(f"onnx::GRU_{recurrent}", directions, 3 * units, units)
        both = self.find(f"onnx::GRU_{bias}", directions, 6 * units)[direction]
        return Gru(w[direction].T, r[direction].T, *np.split(both, 2))

    def dual(
        self, name: str, up: int, up_2: int, layer: int, over: int, over_2: int, over_layer: int
    ) -> Dual:
        """Return two recurrent layers; the numbers are those of ``_DUALS``."""
        along = [
            self.gru(number + 1, number + 2, number, direction, (2, HALF, 4))
            for number in (up, up_2)
            for direction in (0, 1)
        ]
        times = [
            self.gru(number, number + 1, number + 2, 0, (1, HALF, HALF))
            for number in (over, over_2)
        ]
        return Dual(
            beside(along, (0, 0, HALF, HALF)),
            *self.layer(f"{name}.intra_", layer),
            beside(times, (0, HALF)),
            *self.layer(f"{name}.inter_", over_layer),
        )

    def layer(self, name: str, number: int) -> tuple[F32, F32, F32, F32]:
        """Return matrix and bias of a layer, scale and shift of the normalisation after it."""
        return (
            self.find(f"onnx::MatMul_{number}", CHANNELS, CHANNELS),
            self.find(f"{name}fc.bias", CHANNELS),
            self.find(f"{name}ln.weight", FREQUENCIES, CHANNELS),
            self.find(f"{name}ln.bias", FREQUENCIES, CHANNELS),
        )


def beside(networks: list[Gru], starts: tuple[int, ...]) -> Gru:
    """Return one network of 16 units and inputs that does what all of ``networks`` do.

    Args:
        networks: In the order of their units.
        starts: The first input of each.
    """
    inward, recurrent = np.zeros((2, CHANNELS, 3, CHANNELS), np.float32)
    inward_bias, recurrent_bias = np.zeros((2, 3, CHANNELS), np.float32)
    unit = 0
    for network, start in zip(networks, starts, strict=True):
        inputs, units = len(network.inward), len(network.recurrent)
        own = slice(unit, unit + units)
        inward[start : start + inputs, :, own] = network.inward.reshape(-1, 3, units)
        recurrent[own, :, own] = network.recurrent.reshape(-1, 3, units)
        inward_bias[:, own] = network.inward_bias.reshape(3, units)
        recurrent_bias[:, own] = network.recurrent_bias.reshape(3, units)
        unit += units
    width = 3 * CHANNELS
    return Gru(
        inward.reshape(-1, width), recurrent.reshape(-1, width),
        inward_bias.reshape(-1), recurrent_bias.reshape(-1),
    )  # fmt: skip
