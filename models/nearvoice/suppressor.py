"""Noise suppression of one stream at a rate that its network's window fits: hop in, hop out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from . import networks
from .audio import Samples
from .level import Level
from .listen import Listener, decibels
from .networks import Network
from .sleep import Sleep
from .spectrum import Transform

_DEEPEST = 60.0
"""Decibels that strength is a part of, where there is no attenuation limit."""
_FADE = 0.1
"""Seconds in which suppression comes back after sound that was passed on as it is."""
_LATELY = 2.0
"""Seconds over which what the network leaves is compared with what it heard."""
LOUDEST = 1e3
"""What no sound reaches, where full scale is 1.0."""
_LEAST = 1e-12
"""Power of silence, so that it can be divided by."""
_HIGHEST = 8_000.0
"""Hertz that the networks hear at most."""


@dataclass(frozen=True)
class Options:
    """What to suppress."""

    attenuation_limit: float | None = None
    """Most that is taken from a bin, in dB; None for no limit."""
    level: bool = True
    """Whether quiet callers are brought to the level that the network knows, and back."""
    bypass: bool = True
    """Whether the network sleeps on digital silence and on long clean stretches."""
    band: float | None = None
    """Hertz up to which the network hears; what is above follows the bins below it."""


class Suppressor:
    """One stream: hops of float32 in, the same hops, one later, out.

    Args:
        network: What changes spectra.
        rate: Of the sound, in Hz; :func:`nearvoice.spectrum.fits` must hold.
        options: What to suppress.
    """

    def __init__(self, network: Network, rate: int, options: Options) -> None:
        shape = network.model.shape
        self._network = network
        self._options = options
        self._transform = Transform(shape, rate)
        self.hop = self._transform.hop
        """Samples of a hop."""
        self._shown = _shown(self._transform, rate, min(options.band or _HIGHEST, _HIGHEST))
        self._open_bank(network.kernel)
        self._memory = network.model.initial_memory()
        self._frame = np.zeros(2 * self.hop, np.float32)
        self._tail = np.zeros(self.hop, np.float32)
        self._was_dry = True
        duration = self.hop / rate
        self._listener = Listener(rate) if options.level or options.bypass else None
        self._level, self._sleep = Level(duration), Sleep(duration)
        self._gain = 1.0
        self._fade, self._fade_step = 0.0, duration / _FADE
        self._power_in = self._power_out = 0.0
        self._forgotten = math.exp(-duration / _LATELY)
        self.strength = 1.0
        """In [0, 1], of the attenuation in dB; may change between hops."""

    def step(self, hop: Samples) -> Samples:
        """Take float32[hop]; return the hop before it, float32[hop], suppressed.

        A hop that holds NaN or infinity, or is far beyond full scale, is silence.
        """
        if not np.abs(hop).max() < LOUDEST:  # NaN is not, either
            hop = np.zeros_like(hop)
        size, frame = self.hop, self._frame
        frame[:size] = frame[size:]
        frame[size:] = hop
        asleep = self._listen(hop)
        if self.strength == 0 or (asleep and not self._sleep.silent):
            self._fade = 1.0  # when it comes back, its memory is of another time
        dry = asleep or self.strength == 0
        piece = frame * self._transform.power if dry else self._suppress(frame)
        # two frames that were left alone add to what went in, but for rounding
        output = frame[:size].copy() if dry and self._was_dry else self._tail + piece[:size]
        self._tail = piece[size:]
        self._was_dry = dry
        return output

    def _listen(self, hop: Samples) -> bool:
        """Learn how loud the caller is; return whether to sleep."""
        if self._listener is None:
            return False
        probability = self._listener.push(hop)
        power = decibels(hop)
        gain = self._level.step(power, probability)
        if self._options.level and gain != self._gain:
            # what it remembers of another level it would not get rid of for a minute
            self._memory = self._network.model.initial_memory()
            self._gain = gain
        if not self._options.bypass:
            return False
        kept = 10 * math.log10((self._power_out + _LEAST) / (self._power_in + _LEAST))
        return self._sleep.step(power, probability, self._level.speech, kept)

    def _open_bank(self, kernel: str) -> None:
        bins = self._network.model.shape.bins
        self._bank = networks.filterbank(kernel, bins, self._transform, self._shown)
        self._bank_kernel = kernel

    def _suppress(self, frame: Samples) -> Samples:
        if self._bank_kernel != self._network.kernel:  # it has been compiled meanwhile
            self._open_bank(self._network.kernel)
        heard = self._bank.analyse(frame, self._gain)
        enhanced = self._network.run(heard, self._memory)
        piece, powers = self._bank.synthesise(enhanced, self._gain, self._dryness())
        self._power_in = self._forgotten * self._power_in + powers.heard
        self._power_out = self._forgotten * self._power_out + powers.left
        return piece

    def _dryness(self) -> float:
        """Return how much of the sound as it came is in the output, in [0, 1]."""
        limit = self._options.attenuation_limit
        strongest = self.strength == 1 and limit is None
        deepest = _DEEPEST if limit is None else limit
        dry = 0.0 if strongest else 10 ** (-deepest * self.strength / 20)
        dry += (1 - dry) * self._fade
        self._fade = max(0.0, self._fade - self._fade_step)
        return dry


def _shown(transform: Transform, rate: int, band: float) -> int:
    """Return how many bins of the transform the network hears."""
    spacing = rate / transform.size
    return min(int(band / spacing + 1e-6) + 1, transform.hop + 1)
