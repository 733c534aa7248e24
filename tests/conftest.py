import platform
from importlib.metadata import version

from hypothesis import settings

# Machines are shared and slow at times: a deadline would fail tests that have nothing wrong.
settings.register_profile("nearvoice", deadline=None)
settings.load_profile("nearvoice")

PACKAGES = ("livekit-agents", "livekit-plugins-silero", "numpy", "onnxruntime", "soxr")


def pytest_report_header() -> str:
    """Say what is tested against, for whoever reads a failure."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{versions}, on {platform.platform()}"
