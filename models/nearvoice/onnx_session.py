"""onnxruntime, and what every session of it is opened with here."""

from __future__ import annotations

import os
from typing import Any


def runtime() -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Return onnxruntime, which tells nobody what it runs.

    From 1.29 on (microsoft/onnxruntime#27379) its builds send events to Microsoft, from a thread
    that starts as it is imported. ``ORT_DISABLE_TELEMETRY=0``, set by whoever wants that, keeps it;
    so does importing onnxruntime before.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def options() -> Any:  # noqa: ANN401
    """Return new ``SessionOptions``: one thread, which does not spin, as many streams share it."""
    options = runtime().SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    for pool in ("intra", "inter"):
        options.add_session_config_entry(f"session.{pool}_op.allow_spinning", "0")
    return options
