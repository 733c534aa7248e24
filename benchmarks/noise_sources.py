"""Where the noise set comes from: public repositories of sounds, each at a commit, with a hash."""

from __future__ import annotations

from pathlib import Path

from .sources import Source

NEAR = ("1688-142285", "1998-15444", "2033-164914", "2414-128291", "3005-163389")
"""Speakers and chapters of those who are heard clean."""
FAR = ("367-130732", "533-1066", "2609-156975", "3080-5032", "3331-159605")
"""Those of the babble and of the other talker."""


def utterances(chapter: str) -> tuple[str, ...]:
    """Return the paths of a chapter's ten utterances."""
    folder = f"audio_data/librispeech_test-other/{chapter.partition('-')[0]}"
    return tuple(f"{folder}/{chapter}-{number:04d}.flac" for number in range(10))


SPEECH = Source(
    "resemble-ai/Resemblyzer",
    "15d828edebe06bc72b9cabc8ef8ca5ab2cb457ce",
    "LibriSpeech test-other (openslr.org/12)",
    "CC BY 4.0",
    tuple(path for chapter in NEAR + FAR for path in utterances(chapter)),
    "905879e7d6faaa9cffdfa73ebc937ed6f0535943af8646b7e8392c9805ab4c31",
)
COMMANDS = Source(
    "LCAV/pyroomacoustics",
    "6fe43fecb7c358ac9aaa054e7e73641189f1afff",
    "Google Speech Commands, background noise",
    "CC BY 4.0",
    ("examples/input_samples/doing_the_dishes.wav", "notebooks/exercise_bike.wav"),
    "2e39106facf6bd0c31c3f0051e9fab4f054aff9d5096e6907405e5556b7c65af",
)


def transcripts(folder: Path) -> dict[str, str]:
    """Return utterance -> words, in lower case, of every ``*.trans.txt`` in a folder."""
    lines = [
        line.partition(" ")
        for path in sorted(folder.rglob("*.trans.txt"))
        for line in path.read_text("utf-8").splitlines()
    ]
    return {name: words.lower() for name, _, words in lines}
