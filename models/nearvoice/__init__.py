"""Streaming speech models on numpy arrays; nothing here knows about LiveKit.

The names below are imported when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .audio import Framer
    from .denoise import Denoiser
    from .resample import Resampler
    from .silero import SileroState, SileroVAD
    from .speech import SpeechDetector, SpeechOptions
    from .turn import TurnDetector

__version__ = "0.1.0"
__all__ = [
    "Denoiser",
    "Framer",
    "Resampler",
    "SileroState",
    "SileroVAD",
    "SpeechDetector",
    "SpeechOptions",
    "TurnDetector",
    "__version__",
]

_MODULES = {
    "Denoiser": "denoise",
    "Framer": "audio",
    "Resampler": "resample",
    "SileroState": "silero",
    "SileroVAD": "silero",
    "SpeechDetector": "speech",
    "SpeechOptions": "speech",
    "TurnDetector": "turn",
}
"""Public name -> the module that has it."""


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
