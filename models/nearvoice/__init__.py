"""Streaming speech models on numpy arrays; nothing here knows about LiveKit."""

__version__ = "0.1.0"
