"""Random weights of GTCRN for whoever compares its kernels, so that none need be downloaded."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..gtcrn_weights import F32, File, arranged


def random_constants(seed: int) -> dict[str, F32]:
    """Return what the ONNX file holds, by name, with random values of about the scale of its own.

    Nothing grows or fades on its way through the layers, and states do not saturate.
    """
    file = _RandomFile(np.random.default_rng(seed))
    arranged(file)
    return file.made


class _RandomFile(File):
    """A file that has whatever it is asked for."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__({})
        self._rng = rng
        self.made: dict[str, F32] = {}

    def find(self, name: str, *shape: int) -> F32:
        if name not in self.made:
            self.made[name] = self._make(name, shape).astype(np.float32)
        return self.made[name]

    def _make(self, name: str, shape: tuple[int, ...]) -> Any:  # noqa: ANN401
        if {*shape} == {64, 192}:
            bands = _triangles()
            return bands if shape == bands.shape else bands.T
        normal = self._rng.standard_normal(shape)
        if name.endswith(("bn.weight", "bn1.weight", "bn2.weight", "ln.weight")):
            return 1 + 0.2 * normal
        if name.endswith("running_var"):
            return 1 + 0.5 * self._rng.random(shape)
        if len(shape) < 2 or {*shape} == {1} or shape[-1] in (24, 48, 96):
            return 0.2 * normal
        inputs = shape[0] if "MatMul" in name or "de_convs" in name else shape[1]
        return normal / np.sqrt(inputs * np.prod(shape[2:]))


def _triangles() -> Any:  # noqa: ANN401
    """Return bands like GTCRN's, wider towards the top, each bin in two of them: [192, 64]."""
    place = 63 * (np.arange(192) / 191) ** 0.6
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(64)))
