"""A network in, the same network out, whose matrices lose less when they become int8.

What comes into ``down_proj`` has a few channels that are far larger than the rest, so that one
scale for all of them leaves little of the others. They are made smaller where they arise, in
``up_proj``, and larger again in ``down_proj``: the product is the same. SmoothQuant (Xiao and
others, 2023), equation 4 with alpha 0.5. The inputs of the other matrices have no such channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from scripts.turn_network import TurnQwen2

_LEAST = 1e-5


@torch.no_grad()
def smooth(network: TurnQwen2, prompts: Sequence[Sequence[int]]) -> None:
    """Change the weights in place.

    Args:
        network: In float32.
        prompts: Token ids that are typical of what it reads.
    """
    for layer, activation in zip(network.model.layers, _largest(network, prompts), strict=True):
        up, down = layer.mlp.up_proj.weight, layer.mlp.down_proj.weight
        weight = down.abs().amax(0)
        scale = (activation.clamp(min=_LEAST) / weight.clamp(min=_LEAST)).sqrt()
        up /= scale[:, None]
        down *= scale


def _largest(network: TurnQwen2, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    """Return the largest magnitude of each channel that comes into the layers' ``down_proj``."""
    found = [torch.zeros(network.config.intermediate_size) for _ in network.model.layers]

    def note(number: int, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        found[number] = torch.maximum(found[number], given[0].abs().flatten(0, -2).amax(0))

    hooks = [
        layer.mlp.down_proj.register_forward_pre_hook(partial(note, number))
        for number, layer in enumerate(network.model.layers)
    ]
    for ids in prompts:
        network.model(torch.tensor([list(ids)]))
    for hook in hooks:
        hook.remove()
    return found
