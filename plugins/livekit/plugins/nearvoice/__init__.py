"""Local, CPU-only speech models for LiveKit agents: importing this registers the plugin.

The models are submodules, imported by who uses them, so that a worker pays for no other:
``from livekit.plugins.nearvoice import silero``.
"""

import logging

from livekit.agents import Plugin

from nearvoice import __version__

__all__ = ["NearvoicePlugin", "__version__"]


class NearvoicePlugin(Plugin):
    """What ``python -m livekit.agents download-files`` finds and calls."""

    def __init__(self) -> None:
        # LiveKit's forkserver imports the package it is told here before it forks job processes.
        preload = f"{__name__}.preload"
        super().__init__(__name__, __version__, preload, logging.getLogger(__name__))

    def download_files(self) -> None:
        """Fetch every model file of the manifest that the cache lacks, and compile the kernels.

        LiveKit's turn detectors too, if the environment variable ``NEARVOICE_LIVEKIT_MODELS`` asks
        for them.

        Raises:
            nearvoice.files.DownloadError: A file could not be fetched from any of its sources.
        """
        from nearvoice import turn_livekit
        from nearvoice.prepare import prepare, prepare_livekit
        from nearvoice.progress import Lines

        # Its lines go where LiveKit's own go, and are seen whatever the log level is.
        with Lines(stderr=True) as report:
            prepare(report=report)
        if turn_livekit.enabled():
            prepare_livekit(report)


Plugin.register_plugin(NearvoicePlugin())
