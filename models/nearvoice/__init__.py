"""Streaming speech models on numpy arrays; nothing here knows about LiveKit."""

from .audio import Framer, Resampler
from .silero import SileroState, SileroVAD
from .speech import SpeechDetector, SpeechOptions

__version__ = "0.1.0"
__all__ = [
    "Framer",
    "Resampler",
    "SileroState",
    "SileroVAD",
    "SpeechDetector",
    "SpeechOptions",
    "__version__",
]
