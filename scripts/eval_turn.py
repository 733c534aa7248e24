"""Say how well a checkpoint tells complete turns from cut ones, before a bundle is made of it.

    python -m scripts.eval_turn CHECKPOINT eval_test.jsonl.xz

A line for each language: pairs, AUC, and TNR at a TPR of .993 and .95; with the table of last words
too where the checkpoint has one, which counts as much as is likeliest for these pairs. The bundle
is measured by ``python -m benchmarks run turn turn-hard``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from nearvoice import turn_bundle
from nearvoice.turn_network import Ids, Prefix
from nearvoice.turn_rates import auc, tnr_at
from scripts import turn_corpus, turn_dev, turn_tune
from scripts.turn_network import Config, TurnQwen2, read_weights
from scripts.turn_recipe import Recipe
from scripts.turn_tune import Labelled, Scores


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("pairs", type=Path, help="of complete and cut turns, perhaps .xz")
    parser.add_argument("--each", type=int, default=100_000, help="pairs of a language, at most")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    folder: Path = options.checkpoint
    window = Recipe.of_checkpoint(folder).window(turn_dev.READ)
    labelled = Labelled(turn_corpus.pairs(options.pairs, options.each), window)
    scores = Scores(labelled, Answers(_network(folder), labelled.prompts))
    print(table(scores))
    if (folder / turn_bundle.MEMORY).exists():
        shares = scores.remember(labelled, turn_tune.table_of(folder, labelled)[0])
        print(f"\nwith the table of last words, {shares}:\n{table(scores)}")


def _network(folder: Path) -> TurnQwen2:
    network = TurnQwen2(Config.read(folder)).eval()
    if not network.take(read_weights(folder)):
        raise SystemExit(f"{folder} has no head for the end of a turn: train it first")
    return network.to("cuda" if torch.cuda.is_available() else "cpu")


class Answers:
    """A network in torch that was asked about prompts all at once.

    Args:
        network: In torch.
        prompts: Of complete turns and cuts.
    """

    def __init__(self, network: TurnQwen2, prompts: Sequence[tuple[Ids, Ids]]) -> None:
        ids = [prompt for pair in prompts for prompt in pair]
        device = next(network.parameters()).device.type
        with torch.autocast(device, torch.bfloat16):
            logits = turn_dev.logits(network, [list(prompt) for prompt in ids], device)
        self._known = dict(zip(ids, 1 / (1 + np.exp(-logits)), strict=True))

    def read(self, ids: Ids, _: Prefix | None = None) -> Prefix:
        """Return the answer, as :class:`nearvoice.turn_network.TurnNetwork` has it."""
        return Prefix(ids, None, float(self._known[ids]))


def table(scores: Scores) -> str:
    """Return the lines that say how well they are told apart."""
    rows = []
    for language in sorted(set(scores.languages.tolist())):
        both = scores.of(language)
        rows.append(
            (language, len(both[0]), auc(*both), *(tnr_at(*both, t) for t in (0.993, 0.95)))
        )
    mean = ("mean", sum(row[1] for row in rows), *np.mean([row[2:] for row in rows], 0))
    return "\n".join("{:5}{:7}{:8.4f}{:7.3f}{:7.3f}".format(*row) for row in [*rows, mean])


if __name__ == "__main__":
    main()
