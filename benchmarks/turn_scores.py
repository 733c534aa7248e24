"""Every system that reads a turn and says how likely it is over, and its answers to pairs."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import nearvoice
from nearvoice.turn import TurnDetector, locate
from nearvoice.turn_bundle import Bundle
from nearvoice.turn_memory import Memory
from nearvoice.turn_network import Ids, Prefix, TurnNetwork
from nearvoice.turn_rates import calibrated, threshold_for

from . import data, turn_pairs, turn_rule, turn_systems, turn_words
from .data import MissingDataError
from .store import Store
from .turn_pairs import Pair

OURS, ALONE, WORDS = "nearvoice", "nearvoice, without what was said before", "counting words"
NETWORK, TABLE = "nearvoice, network alone", "nearvoice, table of last words alone"
RULE, SILENCE = "punctuation and length", "silence only"
LIVEKIT = {"livekit": "livekit multilingual", "livekit-en": "livekit English"}
"""Name of a model for ``TurnDetector.load`` -> row."""
SMART = turn_systems.SMART
HEARS = {SMART: {"missing": "hears: needs sound, see turn-eot"}}
TPRS = (0.993, 0.95)
"""That thresholds are chosen for."""
LARGE = 100
"""Pairs of a language that LiveKit's are asked, whose networks take ten times as long and more."""

Scores = npt.NDArray[np.float64]
Thresholds = dict[str, float]
"""By language."""
Answers = dict[Ids, float]
"""What a network has read, to what it said."""


class Scored(NamedTuple):
    """P(end of turn) of pairs: float64[n] each."""

    complete: Scores
    cut: Scores


Score = Callable[[Sequence[Pair]], Scored]


class System(NamedTuple):
    """A system that may not be there."""

    version: Callable[[], str]
    """Another for whatever may change its answers; raises one of ``systems.MISSING`` where it
    cannot be had, with the remedy."""
    load: Callable[[Answers], Score]
    """Takes what its network has said already, and adds to it."""
    bundle: Callable[[], Bundle] | None = None
    """With the thresholds that it comes with, if it does."""
    languages: tuple[str, ...] | None = None
    """That it knows; None for all."""
    most: int | None = None
    """Pairs of an item that it is asked, the first; None for all."""

    def shipped(self, languages: Sequence[str]) -> Thresholds:
        """Return the thresholds that it comes with; none if it comes with none."""
        if self.bundle is None:
            return {}
        bundle = self.bundle()
        return {language: bundle.threshold_for(language) for language in languages}


def systems(folder: Path | None, kept: Store, examples: int) -> dict[str, System]:
    """Return every system.

    Args:
        folder: The data folder, which counting words learns from.
        kept: Has what it learned, or is given it.
        examples: That it learns from.
    """
    own = locate("nearvoice")
    network = replace(own, memory=None)
    return {
        OURS: System(lambda: of_bundle(own), lambda said: reading(own, said), lambda: own),
        ALONE: System(
            lambda: of_bundle(own),
            lambda said: reading(own, said, with_before=False),
            lambda: own,
        ),
        # the shipped thresholds are of network and table together
        NETWORK: System(lambda: of_bundle(network), lambda said: reading(network, said)),
        TABLE: System(lambda: _table_version(own), lambda _: table(own)),
        WORDS: System(
            lambda: words_version(folder, examples), lambda _: words(folder, kept, examples)
        ),
        RULE: System(lambda: _code("benchmarks", "turn_rule*.py"), lambda _: rule()),
        SILENCE: System(lambda: "1", lambda _: silence()),
        LIVEKIT["livekit"]: livekit("livekit"),
        LIVEKIT["livekit-en"]: livekit("livekit-en")._replace(languages=("en",)),
    }


def livekit(model: str) -> System:
    """Return one of LiveKit's, in our runtime."""
    return System(
        lambda: of_bundle(locate(model)),
        lambda said: reading(locate(model), said),
        lambda: locate(model),
        most=LARGE,
    )


def thresholds(complete: Mapping[str, Scores]) -> dict[str, Thresholds]:
    """Return, for each of ``TPRS``, the thresholds that give complete turns it.

    Args:
        complete: Language -> P(end of turn) of its complete turns.
    """
    return {
        f"dev {tpr}": {language: threshold_for(own, tpr) for language, own in complete.items()}
        for tpr in TPRS
    }


# ---- versions ---------------------------------------------------------------------------------


def of_bundle(bundle: Bundle) -> str:
    """Return the version of weights, of what is beside them, and of the code that reads them."""
    paths = [bundle.model, bundle.tokenizer, *([bundle.memory] if bundle.memory else [])]
    fields = repr(replace(bundle, model=Path(), tokenizer=Path(), memory=None))
    weights = hashlib.sha256((data.digest(paths) + fields).encode()).hexdigest()
    code = _code("nearvoice", "turn*.py")
    return f"{nearvoice.__version__}+{code} {bundle.version}+{weights[:8]}"


def _table_version(bundle: Bundle) -> str:
    if bundle.memory is None:
        raise MissingDataError("the weights that are shipped have no table of last words")
    return of_bundle(bundle)


def words_version(folder: Path | None, examples: int) -> str:
    """Return what counting words learns from, and with.

    Raises:
        ImportError: scikit-learn is not installed.
        benchmarks.data.MissingDataError: There is nothing to learn from.
    """
    own = version("scikit-learn")
    learned = data.digest([turn_pairs.path(data.data_folder(folder), turn_pairs.TRAIN)])[:8]
    code = _code("benchmarks", "turn_words.py")
    return f"scikit-learn {own}, {examples} of {learned}+{code}"


def _code(package: str, pattern: str) -> str:
    root = Path(str(nearvoice.__file__)).parent if package == "nearvoice" else _HERE
    return data.digest(sorted(root.glob(pattern)))[:8]


_HERE = Path(__file__).parent


# ---- systems ----------------------------------------------------------------------------------


class Once:
    """A network that reads the same ids once, for all detectors that share what it said.

    Args:
        network: Reads what is new.
        said: What was read; kept up to date.
    """

    def __init__(self, network: TurnNetwork, said: Answers) -> None:
        self._network, self._said = network, said

    def read(self, ids: Ids, known: Prefix | None = None, stop: object = None) -> Prefix:
        """Return the answer, as :meth:`nearvoice.turn_network.TurnNetwork.read` has it."""
        if ids in self._said:
            return Prefix(ids, None, self._said[ids])
        goes_on = known is not None and known.past is not None
        found = self._network.read(ids, known if goes_on else None)
        self._said[ids] = found.probability
        return found


def reading(bundle: Bundle, said: Answers, *, with_before: bool = True) -> Score:
    """Return the answers of a bundle as our detector reads it.

    Each pair is asked as if nothing had been before: an int8 network says slightly other things of
    the same words, by what it goes on from.

    Args:
        bundle: Of the detector.
        said: What its network has said already; kept up to date.
        with_before: Whether it is told what was said before.
    """
    model = copy.copy(TurnDetector.load(bundle)._model)  # others have the model too
    model.network = Once(model.network, said)  # type: ignore[assignment]
    detector = TurnDetector(model, 1)

    def ask(pair: Pair, text: str) -> float:
        before = pair.before if with_before else ()
        chat = [{"role": role, "content": what} for role, what in (*before, ("user", text))]
        return detector.predict(chat, pair.language)

    def score(pairs: Sequence[Pair]) -> Scored:
        complete, cut = np.empty(len(pairs)), np.empty(len(pairs))
        for at, pair in enumerate(pairs):
            detector.reset()
            cut[at] = ask(pair, pair.cut)  # what was read of it, the complete turn goes on from
            complete[at] = ask(pair, pair.complete)
        return Scored(complete, cut)

    return score


def table(bundle: Bundle) -> Score:
    """Return our table of last words by itself, with no network beside it."""
    assert bundle.memory is not None  # as its version says
    memory = Memory(bundle.memory, bundle.memory_units)

    def ask(pair: Pair, text: str) -> float:
        before = pair.before[-1][1] if pair.before else ""
        return calibrated(0.5, 1.0, memory.logit(text, before, pair.language))

    return lambda pairs: Scored(
        np.array([ask(pair, pair.complete) for pair in pairs]),
        np.array([ask(pair, pair.cut) for pair in pairs]),
    )


def words(folder: Path | None, kept: Store, examples: int) -> Score:
    """Return the counts of words, learned where they have not been."""
    learned = turn_words.Words(
        **kept.arrays(
            f"{WORDS}, {words_version(folder, examples)}",
            "learned",
            lambda: turn_words.learn(data.data_folder(folder), examples),
        )
    )
    return lambda pairs: Scored(
        learned.score(pairs, complete=True), learned.score(pairs, complete=False)
    )


def rule() -> Score:
    """Return the rule of punctuation, last word and length."""
    return lambda pairs: Scored(
        np.array([turn_rule.of_pair(pair, complete=True) for pair in pairs]),
        np.array([turn_rule.of_pair(pair, complete=False) for pair in pairs]),
    )


def silence() -> Score:
    """Return what knows no words, such as a delay that is always the same."""
    return lambda pairs: Scored(np.full(len(pairs), 0.5), np.full(len(pairs), 0.5))
