"""Noise suppression of a stream: float32 of any rate in chunks of any size, the same out.

The networks hear spectra at the bins they were trained on, whatever the sample rate is, see
:mod:`.spectrum`; rates that their hop does not fit are resampled.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Literal

import numpy as np

from . import networks, spectrum
from .audio import Framer, Samples
from .networks import KERNELS, MODELS, Kernel, Network
from .resample import Resampler
from .suppressor import LOUDEST, Options, Suppressor

_RATES = (8_000, 16_000, 24_000, 32_000, 48_000)
"""Rates that both networks' windows fit, in Hz."""
_LOWEST_RATE, _HIGHEST_RATE = 8_000, 192_000
_LOWEST_BAND = 1_000
_DEEPEST = 120
_CHANGE = 0.02
"""Seconds in which resampled sound takes the place of what is not, and the other way round."""
_NOTHING: Samples = np.empty(0, np.float32)


class Denoiser:
    """Noise suppression of one mono stream.

    It works on hops of 10 ms ("hush") or 16 ms ("gtcrn"), and gives the same samples however the
    stream is cut. Weights are shared by all in the process.

    Args:
        model: "hush" removes noise and voices in the background; "gtcrn" removes noise, for a
            quarter of the time.
        sample_rate: Of the stream, in Hz; any from 8000 up. 8, 16, 24, 32 and 48 kHz, and others
            that a hop fits, are not resampled.
        kernel: What runs the network: "numba" (compiled, see :mod:`nearvoice.kernels`), "numpy",
            "onnxruntime" (the reference), or "auto" to choose: "numba" where it has been compiled,
            else "onnxruntime". "numba" before it has been compiled begins with that too, compiles
            in another process, and changes over between two hops when that is done.
        strength: How much to suppress, in [0, 1], a part of the attenuation in dB; 0 is the sound
            as it came, to the bit, and as late as ever.
        attenuation_limit: Most that is taken from any frequency, in dB above 0; None for no limit.
            By default 24 for "gtcrn", and no limit for "hush".
        level: Whether quiet callers are brought to the level that the network knows, and back.
        bypass: Whether to pass on digital silence and long clean stretches as they are.
        band: Hertz up to which the network hears, at most 8000; what is above follows the highest
            quarter of it.
        chunk: Samples that come at a time, when it is always a multiple of this: the delay of
            :meth:`process` is then shorter.

    Raises:
        ValueError: An argument is out of its range.
        nearvoice.files.MissingFileError: The model was not downloaded.
        nearvoice.arrays.WeightsError: Its files are damaged.
        nearvoice.kernels.image.ImageError: ``kernel="numba"`` cannot run on this machine.
    """

    def __init__(
        self,
        model: str = "hush",
        sample_rate: int = 16_000,
        *,
        kernel: Kernel = "auto",
        strength: float = 1.0,
        attenuation_limit: float | Literal["auto"] | None = "auto",
        level: bool = True,
        bypass: bool = True,
        band: float | None = None,
        chunk: int = 1,
    ) -> None:
        if not isinstance(model, str) or model not in MODELS:
            raise ValueError(f"model must be one of {', '.join(MODELS)}, got {model!r}")
        if kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {kernel!r}")
        if attenuation_limit == "auto":
            attenuation_limit = MODELS[model].attenuation_limit
        if attenuation_limit is not None:
            attenuation_limit = _number("attenuation_limit", attenuation_limit, 0, _DEEPEST)
        if band is not None:
            band = _number("band", band, _LOWEST_BAND, _HIGHEST_RATE)
        self.model = model
        """"hush" or "gtcrn"."""
        self.sample_rate = _whole("sample_rate", sample_rate, _LOWEST_RATE, _HIGHEST_RATE)
        """In Hz."""
        self.strength = strength
        self._chunk = _whole("chunk", chunk, 1, _HIGHEST_RATE)
        self._options = Options(attenuation_limit, level=level, bypass=bypass, band=band)
        self._network = networks.load(model, kernel)
        self.reset()

    @property
    def kernel(self) -> str:
        """What runs the network now: "numba", "numpy" or "onnxruntime"."""
        return self._network.kernel

    @property
    def strength(self) -> float:
        """How much to suppress, in [0, 1]; may be changed at any time, without a click."""
        return self._strength

    @strength.setter
    def strength(self, strength: float) -> None:
        self._strength = _number("strength", strength, 0, 1)

    @property
    def delay(self) -> float:
        """Seconds by which :meth:`process` delays the sound."""
        return self.delay_samples / self.sample_rate

    def reset(self) -> None:
        """Forget everything heard, as if the stream were new."""
        shape = self._network.model.shape
        fits = spectrum.fits(shape, self.sample_rate)
        stream = _Native if fits else _Resampled
        self._stream = stream(self._network, self.sample_rate, self._options)
        self.delay_samples = self._stream.delay(self._chunk)
        """Samples by which :meth:`process` delays the sound: the same until :meth:`reset`, but
        where chunks come that are no multiple of ``chunk``: then it grows, once."""
        self._queue = np.zeros(self.delay_samples, np.float32)
        self._taken = self._given = 0

    def process(self, samples: Samples) -> Samples:
        """Take float32[n], full scale at 1.0; return float32[n], :attr:`delay` later.

        A hop that holds NaN or infinity, or is far beyond full scale, is silence; of a stream that
        is resampled, the sample is. Not to be mixed with :meth:`push`.

        Raises:
            ValueError: The samples have another dtype or shape.
        """
        queue = np.concatenate((self._queue, self.push(samples)))
        if len(queue) < len(samples):
            missing = max(len(samples) - len(queue), self._stream.delay(1) - self.delay_samples)
            self.delay_samples += missing
            queue = np.concatenate((np.zeros(missing, np.float32), queue))
        self._queue = queue[len(samples) :]
        return queue[: len(samples)]

    def push(self, samples: Samples) -> Samples:
        """Take float32[n]; return the float32[m] that are ready, in time with the input.

        Raises:
            ValueError: The samples have another dtype or shape.
        """
        if samples.dtype != np.float32 or samples.ndim != 1:
            raise ValueError(f"samples are float32[n], got {samples.dtype}{list(samples.shape)}")
        self._taken += len(samples)
        ready = self._stream.push(samples, self._strength)
        self._given += len(ready)
        return ready

    def flush(self) -> Samples:
        """Return what :meth:`push` has not given yet, float32[m], and :meth:`reset`."""
        left = self._taken - self._given
        silence = np.zeros(self._stream.delay(1), np.float32)
        rest = self._stream.push(silence, self._strength)[:left]
        self.reset()
        return rest


class _Native:
    """A stream whose rate the hop fits."""

    def __init__(self, network: Network, rate: int, options: Options) -> None:
        self._suppressor = Suppressor(network, rate, options)
        self._framer = Framer(self._suppressor.hop)
        self._begun = False

    def delay(self, chunk: int) -> int:
        """Return for how many samples a chunk may have to wait for the rest of its window."""
        hop = self._suppressor.hop
        return 2 * hop - math.gcd(chunk, hop)

    def push(self, samples: Samples, strength: float) -> Samples:
        self._suppressor.strength = strength
        hops = [self._suppressor.step(hop) for hop in self._framer.push(samples)]
        if hops and not self._begun:  # the first is from before the stream
            self._begun = True
            del hops[0]
        return np.concatenate(hops) if hops else _NOTHING


class _Resampled:
    """A stream of another rate; without any strength it is passed on beside the resamplers."""

    def __init__(self, network: Network, rate: int, options: Options) -> None:
        inner = next((inner for inner in _RATES if inner >= rate), _RATES[-1])
        self._scale = rate / inner
        self._inner = _Native(network, inner, options)
        self._to, self._back = Resampler(rate, inner), Resampler(inner, rate)
        self._rate = rate
        self._dry = _NOTHING
        self._wet: float | None = None
        """Of the last sample, how much of it is resampled, in [0, 1]."""

    def delay(self, chunk: int) -> int:
        """Return for how many samples a chunk may have to wait; ``chunk`` makes no difference."""
        del chunk
        resampling = (self._to.delay + self._back.delay) * self._rate
        return math.ceil(self._inner.delay(1) * self._scale + resampling) + 2

    def push(self, samples: Samples, strength: float) -> Samples:
        good = np.abs(samples) < LOUDEST
        if not good.all():  # a resampler would remember
            samples = np.where(good, samples, np.float32(0))
        wet = self._back.push(self._inner.push(self._to.push(samples), strength))
        dry, self._dry = np.split(np.concatenate((self._dry, samples)), [len(wet)])
        if not len(wet):
            return wet
        target = float(strength > 0)
        if self._wet is None:
            self._wet = target
        if self._wet == target:
            return wet if target else dry
        steps = np.arange(1, len(wet) + 1) * (1 / (_CHANGE * self._rate))
        share = np.clip(self._wet + (steps if target else -steps), 0, 1)
        self._wet = float(share[-1])
        mixed: Samples = (share * wet + (1 - share) * dry).astype(np.float32)
        return mixed


def _number(name: str, value: float, lowest: float, highest: float) -> float:
    if not isinstance(value, Real) or not lowest <= value <= highest:
        raise ValueError(f"{name} must be from {lowest} to {highest}, got {value!r}")
    return float(value)


def _whole(name: str, value: int, lowest: int, highest: int) -> int:
    number = _number(name, value, lowest, highest)
    if number != int(number):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    return int(number)
