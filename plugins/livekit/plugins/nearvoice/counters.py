"""What happened, for whoever watches a worker: Prometheus counters, and the span that is active.

The counters are in the default registry of ``prometheus_client``, where LiveKit's own are, and come
out where those do: ``AgentServer(prometheus_port=..., prometheus_multiproc_dir=...)`` adds up what
happens in job processes.
"""

from __future__ import annotations

from opentelemetry import trace
from prometheus_client import Counter, Histogram

TURNS = Counter(
    "nearvoice_turn_predictions",
    "Questions to the turn detector, by what became of them",
    ["model", "outcome"],
)
"""Outcomes: predicted; late and failed, of which the turn was released; cancelled."""
TURN_SECONDS = Histogram(
    "nearvoice_turn_prediction_seconds",
    "From the session's question to the answer",
    ["model"],
    buckets=(0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
)
FORCED_ENDS = Counter("nearvoice_vad_forced_ends", "Ends of speech that max_speech_duration forced")
DRIFT_RESETS = Counter(
    "nearvoice_vad_drift_resets", "Quiet stretches in which the network's memory faded"
)
DEGRADED_FRAMES = Counter(
    "nearvoice_noise_degraded_frames",
    "Frames that passed with their noise, as noise suppression had failed",
    ["model"],
)


def mark_span(**attributes: str | float | bool | None) -> None:
    """Give the active span attributes, as ``nearvoice.NAME``; does nothing where none is traced."""
    span = trace.get_current_span()
    if span.is_recording():
        known = {name: value for name, value in attributes.items() if value is not None}
        span.set_attributes({f"nearvoice.{name}": value for name, value in known.items()})
