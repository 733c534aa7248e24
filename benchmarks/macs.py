"""Multiplications of an ONNX graph, counted as it runs."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearvoice import onnx_session

Shape = Sequence[int]
_GATES = {"GRU": 3, "LSTM": 4}
Feeds = Mapping[str, npt.NDArray[Any]]


def count(path: Path, feeds: Feeds | None = None) -> int:
    """Return the multiply-adds of products, convolutions and recurrent layers of one run.

    onnxruntime's profile says which nodes ran, and the shapes of what went in and out, with no
    graph optimised. Padding counts, as if it were sound.

    Args:
        path: The ONNX file.
        feeds: Inputs; zeros for any other, with 1 where their shape is open.
    """
    runtime, options = onnx_session.runtime(), onnx_session.options()
    options.enable_profiling = True
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        zeros = {value.name: _zeros(value) for value in session.get_inputs()}
        session.run(None, zeros | dict(feeds or {}))
        events = json.loads(Path(session.end_profiling()).read_text())
    nodes = [event["args"] for event in events if "op_name" in event.get("args", {})]
    return sum(
        of_node(
            node["op_name"], _shapes(node["input_type_shape"]), _shapes(node["output_type_shape"])
        )
        for node in nodes
    )


def of_node(op: str, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Return the multiply-adds of a node: 0 of one that multiplies no matrix."""
    if op.startswith("MatMul") or op in ("Gemm", "FusedMatMul"):
        return math.prod(outputs[0]) * inputs[0][-1]
    if op in ("Conv", "ConvInteger"):
        return math.prod(outputs[0]) * math.prod(inputs[1][1:])
    if op == "ConvTranspose":
        return math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if op == "Einsum":  # of one frame, and weights
        return math.prod(inputs[1])
    if op in _GATES:  # weights that were packed are not in the profile
        steps, batch, size = inputs[0]
        *_, hidden = outputs[0]
        directions = outputs[0][-3]
        return steps * batch * directions * _GATES[op] * hidden * (size + hidden)
    return 0


def _shapes(listed: Sequence[Mapping[str, Shape]]) -> list[Shape]:
    return [next(iter(one.values()), ()) for one in listed]


_TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


def _zeros(value: Any) -> npt.NDArray[Any]:  # noqa: ANN401 - onnxruntime has no types
    shape = [size if isinstance(size, int) else 1 for size in value.shape]
    return np.zeros(shape, _TYPES[value.type])
