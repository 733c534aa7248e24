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

        Raises:
            nearvoice.files.DownloadError: A file could not be fetched from any of its sources.
        """
        from nearvoice.prepare import prepare
        from nearvoice.progress import Lines

        # Its lines go where LiveKit's own go, and are seen whatever the log level is.
        with Lines(stderr=True) as report:
            prepare(report=report)


Plugin.register_plugin(NearvoicePlugin())
