"""Token ids in, P(end of turn) out, on onnxruntime; what was computed before is not computed again.

One network in the process serves every conversation. What a conversation owns is a
:class:`Prefix`, a plain value.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import onnx_session

Ids = tuple[int, ...]


class NetworkError(ValueError):
    """An ONNX file is not a network that is known here, or fails; the message says why."""


class StoppedError(RuntimeError):
    """A prediction was stopped while it ran: nobody waits for it any more."""


class Prefix(NamedTuple):
    """Token ids that a network has read, and what it made of them."""

    ids: Ids
    past: npt.NDArray[np.float32] | None
    """Keys and values, float32[layers, 2, 1, heads, len(ids), size]; None if it keeps none."""
    probability: float
    """That the turn ends after the last of them, as the network has it."""

    def common(self, ids: Sequence[int]) -> int:
        """Return how many ids both begin with."""
        for at, (own, other) in enumerate(zip(self.ids, ids, strict=False)):
            if own != other:
                return at
        return min(len(self.ids), len(ids))


class Stop:
    """Stops a prediction that runs in another thread, at its next operation."""

    def __init__(self) -> None:
        self.options = onnx_session.runtime().RunOptions()
        self.options.log_severity_level = 4  # or stopping it prints an error

    def stop(self) -> None:
        """Stop it now, or when it begins."""
        self.options.terminate = True

    @property
    def stopped(self) -> bool:
        """Whether it was stopped."""
        return bool(self.options.terminate)


_INPUTS = {"input_ids": "tensor(int64)", "past": "tensor(float)"}


class TurnNetwork:
    """A network whose input is ``input_ids`` int64[1, n], for any number of threads at once.

    One that also takes ``past`` gives ``probability`` and ``present``, and reads only new ids. Any
    other, such as LiveKit's, gives P(end of turn) as the last number of its first output.

    Args:
        path: The ONNX file.
        trusted: Whether it may keep weights in files beside it, as those over 2 GB do.

    Raises:
        NetworkError: It is not ONNX, has other inputs or outputs, or keeps weights in other files,
            which nothing vouches for.
    """

    def __init__(self, path: Path, *, trusted: bool = False) -> None:
        try:
            # by its path it finds other files, by its bytes none
            model = str(path) if trusted else path.read_bytes()
            self._session: Any = onnx_session.runtime().InferenceSession(
                model, onnx_session.options(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own classes share no other base
            raise NetworkError(f"{path} does not load: {error}") from error
        self._session._model_bytes = None  # kept to begin anew with other providers: never here
        inputs = {value.name: value for value in self._session.get_inputs()}
        types = {name: value.type for name, value in inputs.items()}
        if "input_ids" not in types or types.items() - _INPUTS.items():
            raise NetworkError(f"{path} has the inputs {types}; known are {_INPUTS}, past or not")
        outputs = {value.name for value in self._session.get_outputs()}
        if "past" in inputs and not {"probability", "present"} <= outputs:
            raise NetworkError(f"{path} takes a past, and gives no probability and present")
        self._empty = _empty(path, inputs["past"].shape) if "past" in inputs else None

    def read(self, ids: Ids, known: Prefix | None = None, stop: Stop | None = None) -> Prefix:
        """Read ids to the last, but for those that ``known`` begins with.

        Args:
            ids: At least one.
            known: What was read before.
            stop: Stops it from another thread.

        Raises:
            StoppedError: It was stopped.
            NetworkError: It cannot read them.
        """
        common = 0 if known is None else known.common(ids)
        if known is not None and common == len(ids) == len(known.ids):
            return known
        options = None if stop is None else stop.options
        try:
            if self._empty is None:
                return Prefix(ids, None, self._whole(ids, options))
            return self._on(ids, known, min(common, len(ids) - 1), options)
        except Exception as error:  # onnxruntime's own
            if stop is not None and stop.stopped:
                raise StoppedError("the prediction was stopped") from error
            raise NetworkError(f"the network fails: {error}") from error

    def _whole(self, ids: Ids, options: object) -> float:
        [first, *_] = self._session.run(None, {"input_ids": np.array([ids])}, options)
        return float(first.flatten()[-1])

    def _on(self, ids: Ids, known: Prefix | None, common: int, options: object) -> Prefix:
        past = self._empty
        if known is not None and known.past is not None and common:
            past = np.ascontiguousarray(known.past[..., :common, :])
        fed = {"input_ids": np.array([ids[common:]]), "past": past}
        probability, present = self._session.run(["probability", "present"], fed, options)
        return Prefix(ids, present, float(probability.flatten()[-1]))


def _empty(path: Path, shape: Sequence[Any]) -> npt.NDArray[np.float32]:
    """Return the past of a conversation that has not begun."""
    sizes = [0 if axis == 4 else size for axis, size in enumerate(shape)]
    if sizes[1:3] != [2, 1] or len(sizes) != 6 or not all(isinstance(n, int) for n in sizes):
        raise NetworkError(
            f"{path} has a past of shape {shape}, not [layers, 2, 1, heads, n, size]"
        )
    return np.zeros(sizes, np.float32)
