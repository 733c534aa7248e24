"""Complete and cut turns in, how well a network in torch tells them apart out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from nearvoice.turn_rates import auc, tnr_at
from scripts import turn_corpus
from scripts.turn_corpus import conversation
from scripts.turn_network import TurnQwen2
from scripts.turn_recipe import Recipe

READ = 128
"""Tokens of a prompt, at most."""


class Dev:
    """Complete and cut turns that the network was not trained on.

    Args:
        path: Of :func:`scripts.turn_corpus.pairs`.
        recipe: How they become prompts.
        languages: These only; None for all.
        each: Pairs of a language, at most.
    """

    def __init__(self, path: Path, recipe: Recipe, languages: list[str] | None, each: int) -> None:
        records = turn_corpus.pairs(path, each, languages)
        window = recipe.window(READ)
        self.languages = [str(record["lang"]) for record in records]
        self.complete = [window.ids(conversation(record, "text")) for record in records]
        self.unfinished = [window.ids(conversation(record, "cut")) for record in records]

    def scores(self, network: TurnQwen2, device: str) -> str:
        """Return the line that says how well the network tells them apart: means of languages."""
        complete = logits(network, self.complete, device)
        unfinished = logits(network, self.unfinished, device)
        each, tnrs = [], []
        for language in sorted(set(self.languages)):
            own = np.array([other == language for other in self.languages])
            each.append((language, auc(complete[own], unfinished[own])))
            tnrs.append([tnr_at(complete[own], unfinished[own], at) for at in (0.993, 0.95)])
        at_most, at_95 = np.mean(tnrs, 0)
        listed = " ".join(f"{language} {value:.3f}" for language, value in each)
        return (
            f"dev AUC {np.mean([value for _, value in each]):.4f}, TNR {at_most:.3f} at TPR .993, "
            f"{at_95:.3f} at .95; {listed}"
        )


@torch.no_grad()
def logits(
    network: TurnQwen2, prompts: list[list[int]], device: str, batch: int = 64
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the logit of P(end of turn) after each prompt."""
    out = np.empty(len(prompts))
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    network.eval()
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        lengths = torch.tensor([len(prompts[i]) for i in rows])
        ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
        for row, i in enumerate(rows):
            ids[row, : len(prompts[i])] = torch.tensor(prompts[i])
        hidden, _ = network.model(ids.to(device))
        last = hidden[torch.arange(len(rows)), lengths - 1]
        with torch.autocast(device, enabled=False):  # or many would be alike
            out[rows] = network.eou(last.float())[:, 0].cpu().numpy()
    network.train()
    return out
