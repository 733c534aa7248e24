"""The networks of noise suppression: what each was trained on, its weights, what runs it."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from . import arrays, files, gtcrn, hush
from .filterbank import Filterbank, NumpyFilterbank
from .kernels import build, filterbank_layout, fused, image
from .spectrum import Shape, Spectrum, Transform

KERNELS = ("auto", "numba", "numpy", "onnxruntime")
Kernel = Literal["auto", "numba", "numpy", "onnxruntime"]
Memory = npt.NDArray[np.float32]
Run = Callable[[Spectrum, Memory], Spectrum]
"""(complex64[bins], memory) -> complex64[bins]; the memory is changed in place."""

logger = logging.getLogger(__name__)


class Model(NamedTuple):
    """A network of noise suppression; all its kernels share one layout of the memory."""

    shape: Shape
    files: tuple[str, ...]
    """Names in the manifest."""
    attenuation_limit: float | None
    """By default, in dB."""
    initial_memory: Callable[[], Memory]
    load: Callable[[str], Run]
    """Kernel, not "auto" -> what runs the network."""


def _weights(names: tuple[str, ...]) -> list[arrays.Arrays]:
    return [files.weights(name) for name in names]


def _load_gtcrn(kernel: str) -> Run:
    if kernel == "onnxruntime":
        return gtcrn.onnx_network(files.path(_GTCRN[0]))
    weights = gtcrn.arrange(*_weights(_GTCRN))
    return fused.gtcrn(weights, image.find()) if kernel == "numba" else gtcrn.numpy_network(weights)


def _load_hush(kernel: str) -> Run:
    if kernel == "onnxruntime":
        return hush.onnx_network([files.path(name) for name in _HUSH])
    weights = hush.arrange(*_weights(_HUSH))
    return fused.hush(weights, image.find()) if kernel == "numba" else hush.numpy_network(weights)


_GTCRN = ("gtcrn.onnx",)
_HUSH = ("hush_enc.onnx", "hush_erb_dec.onnx", "hush_df_dec.onnx")

MODELS = {
    "gtcrn": Model(
        Shape(0.032, gtcrn.BINS, "hann", 512, 1.0),
        _GTCRN,
        24.0,
        gtcrn.initial_memory,
        _load_gtcrn,
    ),
    "hush": Model(
        Shape(0.020, hush.BINS, "vorbis", 320, 1 / 320),
        _HUSH,
        None,
        hush.initial_memory,
        _load_hush,
    ),
}
"""Name -> network."""


class Network:
    """A network with its weights; one in the process serves all streams. Made by :func:`load`."""

    def __init__(self, name: str, kernel: str) -> None:
        self.model = MODELS[name]
        self.kernel = _now(kernel)
        """What runs it now: "numba", "numpy" or "onnxruntime"."""
        self.run = self.model.load(self.kernel)
        if kernel == "numba" and self.kernel != kernel:
            threading.Thread(target=self._compile, args=(name,), daemon=True).start()

    def _compile(self, name: str) -> None:
        """Compile in another process, then take the compiled kernel; streams do not notice."""
        try:
            build.build(image.levels()[0])
            self.run = self.model.load("numba")
        except (OSError, arrays.WeightsError) as error:
            logger.warning("noise suppression (%s) goes on with %s, as %s", name, FALLBACK, error)
        else:
            self.kernel = "numba"


FALLBACK = "onnxruntime"
"""The kernel where nothing is compiled."""


def load(name: str, kernel: Kernel) -> Network:
    """Return a network; the same one for all who ask while the cache is the same.

    Raises:
        nearvoice.files.MissingFileError: Its files were not downloaded.
        nearvoice.arrays.WeightsError: They are damaged.
        nearvoice.kernels.image.ImageError: ``kernel="numba"`` cannot run on this machine.
    """
    wanted = choose_kernel()[0] if kernel == "auto" else kernel
    return _shared(name, wanted, files.settings(), _image_path())


@functools.lru_cache(maxsize=8)
def _shared(
    name: str, kernel: str, _settings: tuple[str | None, ...], _image: Path | None
) -> Network:
    return Network(name, kernel)


def _image_path() -> Path | None:
    try:
        return image.find().path
    except image.ImageError:
        return None


def filterbank(kernel: str, bins: int, transform: Transform, shown: int) -> Filterbank:
    """Return a new stream's filterbank: compiled where the network is, and the size can be.

    Args:
        kernel: What runs the network.
        bins: Of the network.
        transform: At the rate of the sound.
        shown: How many bins of the transform the network hears.
    """
    if kernel == "numba" and filterbank_layout.radices(transform.hop):
        return fused.Filterbank(transform, bins, shown, image.find())
    return NumpyFilterbank(transform, bins, shown)


def choose_kernel() -> tuple[str, str]:
    """Return the kernel that ``kernel="auto"`` means on this machine, and why."""
    try:
        kernels = image.find()
    except image.ImageError as error:
        return FALLBACK, str(error)
    return "numba", f"compiled for {kernels.level}, mapped from {kernels.path}"


def _now(kernel: str) -> str:
    """Return what can run now where ``kernel``, not "auto", is wanted."""
    if kernel != "numba":
        return kernel
    if (reason := image.unsupported()) is not None:
        raise image.ImageError(f'{reason}: use kernel="auto"')
    if not image.exists():
        return FALLBACK
    image.find()
    return kernel
