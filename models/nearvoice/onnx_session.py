"""What every session of onnxruntime is opened with here."""

from __future__ import annotations

from typing import Any


def options() -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Return new ``SessionOptions``: one thread, which does not spin, as many streams share it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    for pool in ("intra", "inter"):
        options.add_session_config_entry(f"session.{pool}_op.allow_spinning", "0")
    return options
