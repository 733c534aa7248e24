"""End of turn: what was said in, the probability that the caller has finished out.

A bundle has the network, its tokenizer, and the rules of its prompt (:mod:`nearvoice.turn_bundle`).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from . import turn_bundle, turn_livekit
from .turn_bundle import Bundle, BundleError
from .turn_memory import Memory
from .turn_network import Ids, NetworkError, Prefix, Stop, TurnNetwork
from .turn_prompt import Reader, Template, TemplateError
from .turn_rates import calibrated
from .turn_text import Chat, Turn
from .turn_window import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Bundle", "BundleError", "Stop", "TurnDetector", "locate"]

WEIGHTS = Path(__file__).with_name("weights") / "turn"
"""The bundle that comes with nearvoice."""
LIVEKIT = {"livekit": "multilingual", "livekit-en": "en"}
"""Name of a model -> LiveKit's, which whoever wants them downloads."""


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
    def load(
        cls, model: str | Path | Bundle = "nearvoice", *, conversations: int = 4
    ) -> TurnDetector:
        """Return a detector; the network is loaded once in a process.

        Args:
            model: As :func:`locate` takes it, or what it gave.
            conversations: How many of them, at once, are remembered; at least 1.

        Raises:
            ValueError: ``conversations`` is under 1.
            nearvoice.turn_bundle.BundleError: It is damaged, incomplete, or of another version; a
                ValueError, and when a file is missing also a FileNotFoundError.
        """
        if conversations < 1:
            raise ValueError(f"conversations must be at least 1, got {conversations}")
        bundle = model if isinstance(model, Bundle) else locate(model)
        return cls(_load(bundle), conversations)

    @property
    def bundle(self) -> Bundle:
        """The bundle it was loaded from."""
        return self._model.bundle

    def warm(self) -> None:
        """Have the network read as much as it ever does, or the first prediction is the slowest."""
        self._model.network.read((0,) * self.bundle.max_tokens)

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
        said = self._model.window.turns(messages)
        probability = self._read(self._model.window.fit(said), stop)
        return self._calibrated(self._remembered(probability, said, language), language)

    def ids(self, messages: Chat) -> list[int]:
        """Return the token ids that the network reads.

        Raises:
            ValueError: Nothing was said.
        """
        return self._model.window.ids(messages)

    def prompt(self, messages: Chat) -> str:
        """Return the text that the network reads, before it is cut to the newest tokens.

        Raises:
            ValueError: Nothing was said.
        """
        return self._model.template.prompt(self._model.window.turns(messages))

    def reset(self) -> None:
        """Forget every conversation."""
        with self._lock:
            self._known.clear()

    def _read(self, ids: Sequence[int], stop: Stop | None) -> float:
        wanted: Ids = tuple(ids)
        with self._lock:
            known = max(self._known, key=lambda prefix: prefix.common(wanted), default=None)
        now = self._model.network.read(wanted, known, stop)
        # The conversation goes on from `known`, or is another that begins alike.
        goes_on = known is not None and known.common(wanted) * 2 >= len(known.ids)
        with self._lock:
            others = [
                prefix
                for prefix in self._known
                if prefix.ids != wanted and not (goes_on and prefix is known)
            ]
            self._known = [*others, now][-self._conversations :]
        return now.probability

    def _remembered(self, probability: float, said: Sequence[Turn], language: str | None) -> float:
        """Return the probability when the table of last words is heard, too."""
        memory, turn = self._model.memory, said[-1]
        if memory is None or turn.role != "user":
            return probability
        before = said[-2].content if len(said) > 1 else ""
        return calibrated(probability, 1.0, memory.logit(turn.content, before, language))

    def _calibrated(self, probability: float, language: str | None) -> float:
        calibration = self.bundle.calibration
        found = turn_bundle.of_language(calibration, language) or calibration.get("*")
        if found is None:
            return probability
        return calibrated(probability, *found)


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
            self.window = Window(bundle, Reader(tokenizer, self.template))
            self.network = TurnNetwork(bundle.model)
            self.network.read((0,))  # or what it cannot do shows in a call
        except (TemplateError, NetworkError, ValueError) as error:
            raise BundleError(f"turn detector {folder}: {error}") from error
        self.memory = None if bundle.memory is None else _memory(bundle, bundle.memory)


def _memory(bundle: Bundle, path: Path) -> Memory:
    try:
        return Memory(path, bundle.memory_units)
    except (OSError, ValueError) as error:
        raise BundleError(
            f"turn detector {path.parent}: {path.name} cannot be read: {error}; export it again"
        ) from error


def locate(model: str | Path) -> Bundle:
    """Return a bundle, checked and not loaded.

    Args:
        model: ``"nearvoice"``, the weights that come with it; the folder of a bundle; or
            ``"livekit"`` and ``"livekit-en"``, LiveKit's own, to be used with LiveKit Agents only
            and fetched by ``nearvoice download-files --livekit``.

    Raises:
        nearvoice.turn_bundle.BundleError: As :meth:`TurnDetector.load`.
    """
    if model == "nearvoice":
        return turn_bundle.read(WEIGHTS)
    if isinstance(model, str) and model in LIVEKIT:
        return turn_livekit.read(LIVEKIT[model])
    return turn_bundle.read(Path(model).expanduser())


_models: WeakValueDictionary[tuple[object, ...], _Model] = WeakValueDictionary()
_loading = threading.Lock()


def _load(bundle: Bundle) -> _Model:
    """Return the model of a bundle: the same one while anyone has it and its files are the same."""
    files = [bundle.model, bundle.tokenizer] + ([bundle.memory] if bundle.memory else [])
    stats = [path.stat() for path in files]
    key = (repr(bundle), *((stat.st_mtime_ns, stat.st_size) for stat in stats))
    with _loading:
        model = _models.get(key)
        if model is None:
            model = _models[key] = _Model(bundle)
        return model
