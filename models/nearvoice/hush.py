"""Hush: a spectrum in, the spectrum of the nearest voice out, hop by hop, without look-ahead.

The network is that of the wheel livekit-plugins-hush 0.3.3 (``livekit/plugins/hush/models/``,
Apache-2.0, re-exported there from weya-ai/hush), built like DeepFilterNet (Schröter et al. 2023,
arXiv 2305.08227): an encoder of convolutions and a GRU, one decoder for the gains of 32 bands, one
for filters of five hops for the lowest 64 bins. Its first convolutions see three hops; fed hop by
hop, the graphs see two of zeros instead, so here the two before are remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import arrays, onnx_session
from .hush_features import (
    BINS,
    C64,
    F32,
    HIDDEN,
    LOW,
    MEMORY,
    enhance,
    features,
    initial_memory,
    split,
)
from .hush_weights import CHANNELS, FILES, Layer, Weights, arrange

__all__ = [
    "BINS",
    "FILES",
    "MEMORY",
    "Network",
    "Weights",
    "arrange",
    "initial_memory",
    "numpy_network",
    "onnx_network",
]

Network = Callable[[C64, F32], C64]
"""(spectrum complex64[161], memory float32[MEMORY]) -> enhanced spectrum, a new array.
The memory is changed in place, the spectrum is not."""


class _Gru(NamedTuple):
    """A GRU in float32."""

    inward: F32
    recurrent: F32
    inward_bias: F32
    recurrent_bias: F32


def numpy_network(weights: Weights) -> Network:
    """Return the network as array arithmetic: the clear twin of the compiled kernel."""
    grus = [
        _Gru(gru.inward.dequantised(), gru.recurrent.dequantised(), *gru[2:])
        for gru in weights.grus
    ]
    inner, gain_inner = (
        [matrix.dequantised() for matrix in pair] for pair in (weights.inner, weights.gain_inner)
    )
    filter_out = weights.filter_out.dequantised()

    def around(x: F32, matrices: list[F32], gru: _Gru, state: F32) -> F32:
        """Run a GRU between two matrices."""
        x = _step(_rectified(x @ matrices[0]), state, gru)
        return _rectified(x @ matrices[1])

    def gains_of(embedding: F32, state: F32, encoded: list[F32]) -> F32:
        x = around(embedding, gain_inner, grus[1], state).reshape(-1, CHANNELS)
        for i, over in enumerate(reversed(encoded)):
            x = x + _layer(over, weights.across[i])
            if i < 3:
                x = _layer(_neighbours(x) if i == 0 else _pairs(x), weights.up[i])
                x = x.reshape(-1, CHANNELS)
        logits = _neighbours(x) @ weights.gain.matrix[:, 0] + weights.gain.bias
        gains: F32 = 0.5 * np.tanh(0.5 * logits) + 0.5
        return gains

    def filters_of(embedding: F32, states: F32, first: F32) -> F32:
        x = _rectified(np.matmul(embedding.reshape(8, 1, 16), weights.filter_in).reshape(-1))
        for gru, state in zip(grus[2:], states, strict=True):
            x = _step(x, state, gru)
        filters: F32 = np.tanh(x @ filter_out).reshape(LOW, -1)
        return filters + _layer(first, weights.filter_low)

    def network(spectrum: C64, memory: F32) -> C64:
        parts = split(memory)
        erb, low = features(spectrum, parts)
        x, encoded = erb.T, []
        for layer, stride in zip(weights.erb, (1, 2, 2, 1), strict=True):
            x = _layer(_neighbours(x, stride), layer)
            encoded.append(x)
        both = low.T.copy().view(np.float32)
        first = _layer(_neighbours(both), weights.low[0])
        second = _layer(_neighbours(first, 2), weights.low[1])
        joined = _rectified(np.matmul(second.reshape(16, 1, 32), weights.joined).reshape(-1))
        embedding = around(x.reshape(-1) + joined, inner, grus[0], parts.hidden[0])
        gains = gains_of(embedding, parts.hidden[1], encoded)
        filters = filters_of(embedding, parts.hidden[2:], first)
        return enhance(spectrum, gains, filters, parts)

    return network


def _rectified(x: F32) -> F32:
    return np.maximum(x, 0, out=x)


def _layer(x: F32, layer: Layer) -> F32:
    y: F32 = x @ layer.matrix
    y += layer.bias
    return _rectified(y)


def _neighbours(x: F32, stride: int = 1) -> F32:
    """Put every ``stride``-th row of ``x`` [bins, channels] between its neighbours, in a row.

    Beyond both ends the rows are zero.
    """
    count, channels = x.shape
    padded = np.zeros((count + 2, channels), np.float32)
    padded[1:-1] = x
    return np.concatenate([padded[i : count + i : stride] for i in (0, 1, 2)], axis=1)


def _pairs(x: F32) -> F32:
    """Put every row before the next one, in a row; after the last comes zero."""
    return np.concatenate((x, np.append(x[1:], np.zeros_like(x[:1]), axis=0)), axis=1)


def _step(x: F32, state: F32, gru: _Gru) -> F32:
    """Move the state of a GRU on, in place, and return it."""
    inward = x @ gru.inward + gru.inward_bias
    recurrent = state @ gru.recurrent + gru.recurrent_bias
    gates = np.tanh(inward[: 2 * HIDDEN] + recurrent[: 2 * HIDDEN]) * np.float32(0.5)
    gates += np.float32(0.5)
    keep, reset = np.split(gates, 2)
    new = np.tanh(inward[2 * HIDDEN :] + reset * recurrent[2 * HIDDEN :])
    state[:] = new + keep * (state - new)
    return state


def onnx_network(paths: Sequence[Path]) -> Network:
    """Return the network as onnxruntime runs the original graphs, all in float32: the reference.

    Args:
        paths: Of ``FILES``, in their order.

    Raises:
        FileNotFoundError: One is not there.
        WeightsError: One is not a graph of Hush.
    """
    encoder, gains_decoder, filters_decoder = _sessions(paths)

    def network(spectrum: C64, memory: F32) -> C64:
        parts = split(memory)
        erb, low = features(spectrum, parts)
        hidden = parts.hidden[:, None]
        feed = {
            "feat_erb": erb[None, None],
            "feat_spec": np.stack((low.real, low.imag))[None],
            "h_enc_in": hidden[:1],
        }
        e0, e1, e2, e3, embedding, c0, _, hidden[:1] = encoder(None, feed)
        feed = {"e0": e0, "e1": e1, "e2": e2, "e3": e3, "emb": embedding}
        gains, hidden[1:2] = gains_decoder(None, {**feed, "h_erb_dec_in": hidden[1:2]})
        feed = {"emb": embedding, "c0": c0, "h_df_dec_in": hidden[2:]}
        filters, hidden[2:] = filters_decoder(None, feed)
        return enhance(spectrum, gains.reshape(-1), filters[0, 0], parts)

    return network


_PADDED = {
    "/erb_conv0/erb_conv0.0/Pad_output_0": "feat_erb",
    "/df_conv0/df_conv0.0/Pad_output_0": "feat_spec",
}
"""In the encoder: what is padded with two hops of zeros, and what it is without."""


def _sessions(paths: Sequence[Path]) -> list[Callable[..., Any]]:
    onnxruntime = onnx_session.runtime()
    options = onnx_session.options()
    options.log_severity_level = 3
    sessions = []
    for path in paths:
        model = arrays.rewired(path, _PADDED)
        try:
            session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a dozen kinds of them, and no common base
            reason = str(error).splitlines()[0]
            raise arrays.WeightsError(f"{path} is no graph of Hush: {reason}") from error
        sessions.append(session.run)
    return sessions
