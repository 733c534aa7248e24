"""The network of a turn detector in torch: Qwen2's, with P(end of turn) in place of a next token.

The names of the weights are those of ``Qwen2ForCausalLM`` in transformers, so either reads the
other's; ``eou`` is the head that only ours have. Attention is written out: on a CPU its backward
pass is a third faster than the fused one's, and ONNX has no other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Config:
    """The sizes of a network, named as in ``config.json``."""

    vocab_size: int
    hidden_size: int = 256
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    intermediate_size: int = 768
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = True

    @property
    def head_size(self) -> int:
        """Of one head."""
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def read(cls, folder: Path) -> Config:
        """Read ``config.json`` of a Qwen2 checkpoint; the head is tied only where it says so.

        Raises:
            ValueError: It is of another architecture, or has what is not known here.
        """
        found = json.loads((folder / "config.json").read_text("utf-8"))
        if found.get("model_type") != "qwen2":
            raise ValueError(f"{folder} is a {found.get('model_type')} checkpoint, not qwen2")
        rope = found.get("rope_parameters") or {}
        scaled = found.get("rope_scaling") or rope.get("rope_type", "default") != "default"
        sliding = "sliding_attention" in (found.get("layer_types") or ())
        head = found.get("head_dim") or found["hidden_size"] // found["num_attention_heads"]
        if scaled or sliding or found.get("hidden_act", "silu") != "silu":
            raise ValueError(f"{folder} scales its positions, slides its attention, or has no SiLU")
        if head * found["num_attention_heads"] != found["hidden_size"]:
            raise ValueError(f"the heads of {folder} are not as wide as its layers")
        known = {name: found[name] for name in cls.__dataclass_fields__ if name in found}
        known.setdefault("tie_word_embeddings", False)
        if "rope_theta" in rope:
            known["rope_theta"] = rope["rope_theta"]
        return cls(**known)

    def as_dict(self) -> dict[str, object]:
        """Return what ``config.json`` has."""
        return {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", **vars(self)}


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint: of one file, or of several where there is not that one."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists() or not index.exists():
        return dict(load_file(whole))
    parts = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    return {name: w for part in sorted(parts) for name, w in load_file(folder / part).items()}


_FAR = 80.0
"""Below the largest score: exp(-80) is the least of which float32 and its products are normal."""


class Norm(nn.Module):
    """RMSNorm."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # as onnxruntime knows it, and makes one operation of it
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class Attention(nn.Module):
    """Causal attention whose heads share keys and values in groups."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads, self.shared = config.num_attention_heads, config.num_key_value_heads
        self.size = config.head_size
        width, narrow = config.hidden_size, self.shared * self.size
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, narrow)
        self.v_proj = nn.Linear(width, narrow)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, past: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take x [B, T, width] and past keys and values [2, B, shared, P, size]; return all on."""
        q = self._split(self.q_proj(x), self.heads)
        k = self._split(self.k_proj(x), self.shared)
        v = self._split(self.v_proj(x), self.shared)
        turned = _rotate(torch.cat((q, k), 1), cos, sin).to(v.dtype)
        q, k = turned.split((self.heads, self.shared), 1)
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        mixed = (_fused if x.is_cuda else _mixed)(q, k, v, mask).transpose(1, 2)
        return self.o_proj(mixed.reshape(x.shape[0], -1, self.heads * self.size)), k, v

    def _split(self, x: Tensor, heads: int) -> Tensor:
        return x.view(x.shape[0], -1, heads, self.size).transpose(1, 2)


def _mixed(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Return values [B, heads, T, size] mixed as queries and keys say, masked by [B or 1, T, P]."""
    batch, heads, _, size = q.shape
    shared = k.shape[1]
    # the heads of a group as one, or each product would be made for them one by one
    scores = (q.reshape(batch, shared, -1, size) @ k.transpose(-1, -2)).float() * size**-0.5
    scores = scores.view(batch, shared, heads // shared, -1, k.shape[2]) + mask[:, None, None]
    # nothing so small that a CPU takes ten times as long for it
    scores = torch.maximum(scores, scores.amax(-1, keepdim=True) - _FAR)
    weights = torch.softmax(scores, -1).to(v.dtype).flatten(2, 3)
    return (weights @ v).reshape(batch, heads, -1, size)


def _fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Do the same on a GPU."""
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    bias = mask[:, None].to(q.dtype).expand(q.shape[0], q.shape[1], -1, -1)
    return functional.scaled_dot_product_attention(q, k, v, bias)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


class MLP(nn.Module):
    """SwiGLU."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """Attention and MLP, each on the normalised sum of what came before."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.input_layernorm = Norm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = Norm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(0.0)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, past: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        mixed, k, v = self.self_attn(self.input_layernorm(x), cos, sin, mask, past)
        x = x + self.dropout(mixed)
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x))), k, v


class Body(nn.Module):
    """Ids [B, T] in, hidden states [B, T, width] out; ``model`` of ``Qwen2ForCausalLM``."""

    def __init__(self, config: Config, longest: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = Norm(config.hidden_size, config.rms_norm_eps)
        steps = torch.arange(0, config.head_size, 2).float() / config.head_size
        angles = torch.arange(longest).float()[:, None] / config.rope_theta**steps
        self.register_buffer("cos", torch.cat((angles, angles), -1).cos(), persistent=False)
        self.register_buffer("sin", torch.cat((angles, angles), -1).sin(), persistent=False)

    def forward(self, ids: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return hidden states, and keys and values [layers, 2, B, shared, P + T, size]."""
        before = 0 if past is None else past.shape[4]
        places = torch.arange(ids.shape[1] + before, device=ids.device)
        at = places[before:]
        mask = torch.where(places > at[:, None], -1e9, 0.0)[None]
        x, present = self.embed_tokens(ids), []
        for number, layer in enumerate(self.layers):
            own = None if past is None else past[number]
            x, k, v = layer(x, self.cos[at], self.sin[at], mask, own)
            present.append(torch.stack((k, v)))
        return self.norm(x), torch.stack(present)

    def rows(
        self, ids: Tensor, conversations: Tensor, layers: Iterable[Callable[..., Any]] | None = None
    ) -> Tensor:
        """Return the hidden states of rows in which conversations follow one another.

        Args:
            ids: int64[B, T].
            conversations: int64[B, T], a number for each: none reads another.
            layers: Its layers, compiled perhaps; None for these as they are.
        """
        at = torch.arange(ids.shape[1], device=ids.device)
        own = conversations[:, :, None] == conversations[:, None]
        mask = torch.where(own & (at <= at[:, None]), 0.0, -1e9)
        x = self.embed_tokens(ids)
        for layer in self.layers if layers is None else layers:
            x, _, _ = layer(x, self.cos[at], self.sin[at], mask, None)
        out: Tensor = self.norm(x)
        return out


class TurnQwen2(nn.Module):
    """A body, the head ``eou``, and the next-token head that is trained with it.

    Args:
        config: Its sizes.
        longest: Tokens of a prompt, at most.
    """

    def __init__(self, config: Config, longest: int = 512) -> None:
        super().__init__()
        self.config = config
        self.model = Body(config, longest)
        self.eou = nn.Linear(config.hidden_size, 1)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.apply(_initialise)
        deep = (2 * config.num_hidden_layers) ** -0.5
        for name, parameter in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.normal_(parameter, 0.0, 0.02 * deep)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def take(self, weights: Mapping[str, Tensor]) -> bool:
        """Take the weights of a checkpoint; return whether it has the head ``eou``.

        Biases of queries, keys and values that a checkpoint lacks are 0.

        Raises:
            ValueError: Weights are missing, unknown, or of another size, or a head that should be
                tied to the embedding differs from it.
        """
        own = self.state_dict()
        tied = {"lm_head.weight"} if self.config.tie_word_embeddings else set()
        absent = own.keys() - weights.keys() - tied
        trained = "eou.weight" in weights
        allowed = {name for name in absent if name.endswith("_proj.bias")}
        if not trained:
            allowed |= {"eou.weight", "eou.bias"}
        unknown = {n for n in weights.keys() - own.keys() if not n.endswith("inv_freq")}
        if absent - allowed or unknown:
            raise ValueError(f"missing {sorted(absent - allowed)}, unknown {sorted(unknown)}")
        zeros = {name: torch.zeros_like(own[name]) for name in allowed}
        given = {name: weight.float() for name, weight in weights.items() if name in own}
        if tied:
            embedding = given["model.embed_tokens.weight"]
            if not torch.equal(given.setdefault("lm_head.weight", embedding), embedding):
                raise ValueError("lm_head.weight is tied to the embedding, and differs from it")
        try:
            self.load_state_dict({**zeros, **given})
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        return trained


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, 0.0, 0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
