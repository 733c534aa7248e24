"""How good a sound is that a noise suppressor made, beside the clean speech that was in it.

All sounds are at 16 kHz. The measures that come as packages (``pip install -e '.[peers]'``) are
imported when they are first used.
"""

from __future__ import annotations

import functools
from importlib.resources import files
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nearvoice.audio import PCM, Samples, to_float32

from .data import RATE

F64 = npt.NDArray[np.float64]

SILENT = 1e-10
"""Power under which nothing is told apart from silence: -100 dB of full scale."""


MEASURES = ("pesq", "pystoi", "speechmos")


def check() -> None:
    """Make sure that the packages of the measures are there.

    Raises:
        ImportError: One is not.
    """
    for package in MEASURES:
        if find_spec(package) is None:
            raise ImportError(f"no package {package}: pip install -e '.[peers]'")


# ---- beside the clean speech ------------------------------------------------------------------


def pesq(clean: PCM, heard: PCM) -> float:
    """Return wideband PESQ (ITU-T P.862.2, package pesq): from 1.0 to 4.64, more is better.

    A sound in which PESQ finds no utterance, as when speech was removed, gets the worst.

    Raises:
        ImportError: The package is not installed.
    """
    from pesq import NoUtterancesError
    from pesq import pesq as measure

    if not heard.any():
        return 1.0
    try:
        return float(measure(RATE, clean, heard, "wb"))
    except NoUtterancesError:
        return 1.0


def stoi(clean: PCM, heard: PCM) -> float:
    """Return short-time objective intelligibility (package pystoi): up to 1, more is better.

    Raises:
        ImportError: The package is not installed.
    """
    from pystoi import stoi as measure

    return float(measure(to_float32(clean), to_float32(heard), RATE, extended=False))


def si_sdr(clean: PCM, heard: PCM) -> float:
    """Return the scale-invariant ratio of clean speech to everything else, in dB.

    Le Roux et al., "SDR - half-baked or well done?", 2019. Means are taken off first.
    """
    reference = clean - np.mean(clean, dtype=np.float64)
    estimate = heard - np.mean(heard, dtype=np.float64)
    target = (estimate @ reference) / max(float(reference @ reference), SILENT) * reference
    rest = estimate - target
    return decibels(float(target @ target), float(rest @ rest))


def decibels(power: float, reference: float) -> float:
    """Return a ratio of powers in dB, neither taken for less than :data:`SILENT`."""
    return float(10 * np.log10(max(power, SILENT) / max(reference, SILENT)))


def attenuation(before: PCM, after: PCM) -> float:
    """Return by how many dB a sound became quieter."""
    return decibels(_power(before), _power(after))


def _power(pcm: PCM) -> float:
    return float(np.mean(np.square(to_float32(pcm), dtype=np.float64)))


# ---- alone ------------------------------------------------------------------------------------


class Opinion(NamedTuple):
    """What DNSMOS P.835 says people would say, from 1 to 5."""

    speech: float
    background: float
    overall: float


_MOS = {
    "speech": (-0.08397278, 1.22083953, 0.0052439),
    "background": (-0.13166888, 1.60915514, -0.39604546),
    "overall": (-0.06766283, 1.11546468, 0.04602535),
}
"""Polynomials from what the network says to the scale of opinions: those published with it."""
_WINDOW = 144_160
"""Samples that the network hears at once: 9.01 s."""


def dnsmos(heard: PCM) -> Opinion:
    """Return DNSMOS P.835 (package speechmos, its ONNX only), the mean over windows 1 s apart.

    A sound shorter than a window goes round until it fills one, which is all that is heard of it:
    the authors' script goes on, and hears the same seconds three or four times.

    Raises:
        ImportError: The package is not installed.
    """
    session = _dnsmos_session()
    samples = to_float32(heard)
    if len(samples) < _WINDOW:
        samples = np.resize(samples, _WINDOW)
    starts = range(0, len(samples) - _WINDOW + 1, RATE)
    windows = np.stack([samples[start : start + _WINDOW] for start in starts])
    said = np.concatenate([session.run(None, {"input_1": one[None]})[0] for one in windows])
    opinions = zip(_MOS.values(), said.T, strict=True)
    return Opinion(*(float(np.polyval(scale, column).mean()) for scale, column in opinions))


@functools.cache
def _dnsmos_session() -> Any:  # noqa: ANN401 - it has no types
    import onnxruntime

    path = files("speechmos") / "dnsmos_models" / "sig_bak_ovr.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


# ---- by a voice activity detector -------------------------------------------------------------


class Detected(NamedTuple):
    """Windows of a detector held against those it finds in the clean speech."""

    miss: float | None
    """Share of speech windows that it does not find; None without any."""
    false_alarm: float | None
    """Share of the other windows that it takes for speech; None without any."""


def detected(labels: npt.NDArray[np.bool_], said: F64, threshold: float = 0.5) -> Detected:
    """Hold probabilities of windows against whether each is speech."""
    speech = said >= threshold
    return Detected(
        float(np.mean(~speech[labels])) if labels.any() else None,
        float(np.mean(speech[~labels])) if not labels.all() else None,
    )


# ---- in time ----------------------------------------------------------------------------------


def lag(reference: Samples, heard: Samples, longest: int) -> int:
    """Return by how many samples a sound is behind another: where their correlation peaks.

    Args:
        reference: float[n].
        heard: float[m].
        longest: Most samples that it can be behind; it is never ahead.
    """
    size = 1 << (len(reference) + len(heard)).bit_length()
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(reference, size))
    return int(np.argmax(np.fft.irfft(spectrum, size)[: longest + 1]))
