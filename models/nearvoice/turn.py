"""End of turn: what was said in, the probability that the caller has finished out.

A bundle has the network, its tokenizer, and the rules of its prompt (:mod:`nearvoice.turn_bundle`).
"""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from . import turn_bundle, turn_livekit
from .turn_bundle import Bundle, BundleError
from .turn_network import Ids, NetworkError, Prefix, Stop, TurnNetwork
from .turn_prompt import Reader, Template, TemplateError
from .turn_text import Chat, Turn, turns

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Bundle", "BundleError", "Stop", "TurnDetector", "locate"]

WEIGHTS = Path(__file__).with_name("weights") / "turn"
"""The bundle that comes with nearvoice."""
LIVEKIT = {"livekit": "multilingual", "livekit-en": "en"}
"""Name of a model -> LiveKit's, which whoever wants them downloads."""

_KEPT = 0.75
"""Part of the tokens that are kept when turns are dropped, so that it is not done each time."""
_BLOCK = 32
"""Turns that a long conversation is left behind by, at a time."""


class TurnDetector:
    """Says how likely it is that the user has finished, from what was said.

    Made by :meth:`load`. The network is shared by all detectors of a process; a detector remembers
    what the network made of its conversations, so that a prediction reads only new words. It may be
    used from several threads.
    """

    def __init__(self, model: _Model, conversations: int) -> None:
        self._model = model
        self._conversations = conversations
        self._known: list[Prefix] = []
        """The one used last comes last."""
        self._lock = threading.Lock()

    @classmethod
    def load(cls, model: str | Path = "nearvoice", *, conversations: int = 4) -> TurnDetector:
        """Return a detector; the network is loaded once in a process.

        Args:
            model: As :func:`locate` takes it.
            conversations: How many of them, at once, are remembered.

        Raises:
            nearvoice.turn_bundle.BundleError: It is damaged, incomplete, or of another version; a
                ValueError, and when a file is missing also a FileNotFoundError.
        """
        return cls(_load(locate(model)), conversations)

    @property
    def bundle(self) -> Bundle:
        """The bundle it was loaded from."""
        return self._model.bundle

    def predict(
        self, messages: Chat, language: str | None = None, *, stop: Stop | None = None
    ) -> float:
        """Return the probability that the last turn has ended, from 0 to 1.

        Args:
            messages: The conversation, oldest first: each has ``role`` and ``content``. Roles other
                than ``user`` and ``assistant`` are left out.
            language: Spoken by the user; for the calibration, if the bundle has one.
            stop: Stops the prediction from another thread.

        Raises:
            ValueError: Nothing was said.
            nearvoice.turn_network.StoppedError: It was stopped.
        """
        return self._calibrated(self._read(self.ids(messages), stop), language)

    def ids(self, messages: Chat) -> list[int]:
        """Return the token ids that the network reads.

        Raises:
            ValueError: Nothing was said.
        """
        return self._model.ids(messages)

    def prompt(self, messages: Chat) -> str:
        """Return the text that the network reads, before it is cut to the newest tokens.

        Raises:
            ValueError: Nothing was said.
        """
        return self._model.template.prompt(self._model.turns(messages))

    def reset(self) -> None:
        """Forget every conversation."""
        with self._lock:
            self._known.clear()

    def _read(self, ids: Sequence[int], stop: Stop | None) -> float:
        wanted: Ids = tuple(ids)
        with self._lock:
            known = max(self._known, key=lambda prefix: prefix.common(wanted), default=None)
        now = self._model.network.read(wanted, known, stop)
        with self._lock:
            # The conversation goes on from `known`, or is another that begins alike.
            if known in self._known and known.common(wanted) * 2 >= len(known.ids):
                self._known.remove(known)
            self._known = [*self._known, now][-self._conversations :]
        return now.probability

    def _calibrated(self, probability: float, language: str | None) -> float:
        calibration = self.bundle.calibration
        found = turn_bundle.of_language(calibration, language) or calibration.get("*")
        if found is None:
            return probability
        scale, shift = found
        p = min(max(probability, 1e-7), 1 - 1e-7)
        return 1 / (1 + math.exp(-(scale * math.log(p / (1 - p)) + shift)))


class _Model:
    """What all detectors of a bundle share."""

    def __init__(self, bundle: Bundle) -> None:
        from tokenizers import Tokenizer

        self.bundle = bundle
        folder = bundle.tokenizer.parent
        try:
            tokenizer = Tokenizer.from_file(str(bundle.tokenizer))
        except Exception as error:  # tokenizers raises nothing narrower
            raise BundleError(
                f"turn detector {folder}: the tokenizer does not load: {error}"
            ) from error
        size = tokenizer.get_vocab_size()
        if bundle.vocabulary not in (None, size):
            raise BundleError(
                f"turn detector {folder}: the tokenizer has {size} tokens and the network was made "
                f"for {bundle.vocabulary}; copy the tokenizer.json that belongs to it"
            )
        try:
            self.template = Template(bundle.template, bundle.end, bundle.variables)
            self.reader = Reader(tokenizer, self.template)
            self.network = TurnNetwork(bundle.model)
        except (TemplateError, NetworkError, ValueError) as error:
            raise BundleError(f"turn detector {folder}: {error}") from error

    def turns(self, messages: Chat) -> list[Turn]:
        """Return the turns of a conversation."""
        if len(messages) > 2 * _BLOCK and self.bundle.max_messages is None:
            # always from a multiple on, or each new message would move everything
            messages = messages[(len(messages) // _BLOCK - 1) * _BLOCK :]
        found = turns(messages, self.bundle.normalisation, self.bundle.max_messages)
        if not found:
            raise ValueError("nothing was said: there is no message of the user or the assistant")
        return found

    def ids(self, messages: Chat) -> list[int]:
        """Return the token ids of a conversation, not more than the network reads."""
        said, most = self.turns(messages), self.bundle.max_tokens
        if self.bundle.truncation == "tokens":
            return self.reader.ids(said)[-most:]
        ids = self.reader.ids(said[_dropped([self.reader.count(turn) for turn in said], most) :])
        over = len(ids) - most
        if over <= 0:
            return ids
        step = max(1, int(most * (1 - _KEPT)))  # a turn that is too long by itself
        return ids[-(-over // step) * step :]


def _dropped(counts: Sequence[int], most: int) -> int:
    """Return how many of the oldest turns are dropped, as if the conversation were heard anew.

    When it becomes longer than ``most`` tokens it is cut to a part of that, so that its beginning
    stays what it is for a while. The newest turn is never dropped.
    """
    first = total = 0
    for last, count in enumerate(counts):
        total += count
        if total > most:
            while first < last and total > most * _KEPT:
                total -= counts[first]
                first += 1
    return first


def locate(model: str | Path) -> Bundle:
    """Return a bundle, checked and not loaded.

    Args:
        model: ``"nearvoice"``, the weights that come with it; the folder of a bundle; or
            ``"livekit"`` and ``"livekit-en"``, LiveKit's own, to be used with LiveKit Agents only and
            fetched by ``nearvoice download-files --livekit``.

    Raises:
        nearvoice.turn_bundle.BundleError: As :meth:`TurnDetector.load`.
    """
    if model == "nearvoice":
        return turn_bundle.read(WEIGHTS)
    if isinstance(model, str) and model in LIVEKIT:
        return turn_livekit.read(LIVEKIT[model])
    return turn_bundle.read(Path(model).expanduser())


_models: dict[tuple[object, ...], _Model] = {}
_loading = threading.Lock()


def _load(bundle: Bundle) -> _Model:
    """Return the model of a bundle; the same one for all who ask while its files are the same."""
    stats = [path.stat() for path in (bundle.model, bundle.tokenizer)]
    key = (repr(bundle), *((stat.st_mtime_ns, stat.st_size) for stat in stats))
    with _loading:
        if key not in _models:
            _models[key] = _Model(bundle)
        return _models[key]
