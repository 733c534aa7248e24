"""Make a bundle of a Qwen2 checkpoint: an int8 network that keeps what it has read, and its rules.

    python -m scripts.export_turn CHECKPOINT BUNDLE --dev eval_dev.jsonl.xz --name mine --version 1

CHECKPOINT is a folder of ``Qwen2ForCausalLM`` of transformers, whose P(end of turn) is that of the
token ``<|im_end|>``, or one of ``scripts.train_turn``, which has a head of its own. With ``--dev``
the thresholds of each language, and the calibration that makes 0.5 mean 0.5, are chosen on it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from nearvoice import onnx_session, turn_bundle
from nearvoice.turn_network import Ids, TurnNetwork
from scripts import turn_corpus, turn_tune
from scripts.turn_network import Config, TurnQwen2, read_weights
from scripts.turn_recipe import Recipe
from scripts.turn_smooth import smooth
from scripts.turn_tune import Labelled, Scores

LARGEST = 1e-5
"""Most by which a probability in ONNX may differ from torch's."""
SPARSE = 40
"""One labelled turn in so many is read to see which channels are large."""
PARITY = 40
"""Prompts that the two are compared on."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    options = _options(arguments)
    recipe = Recipe.of_checkpoint(options.checkpoint)
    labelled = None if options.dev is None else _labelled(options, recipe)
    exported = _load(options, recipe)
    if labelled is not None:
        smooth(exported.network, [whole for whole, _ in labelled.prompts[::SPARSE]])
    options.bundle.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        precise, small = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        write(exported, precise)
        check(exported, precise, options.max_tokens)
        quantise(precise, small)
        fields = _fields(options, recipe)
        networks = TurnNetwork(precise, trusted=True), TurnNetwork(small)
        if labelled is None:
            read = prompts(exported.network.config.vocab_size, options.max_tokens)
            print(turn_tune.apart(*(probabilities(network, read) for network in networks)))
        else:
            before, after = (Scores(labelled, network) for network in networks)
            print(turn_tune.compare(before, after))
            fields |= _remembered(options, labelled, after)
            fields |= turn_tune.fields(after, options.tpr)
        shutil.copyfile(small, options.bundle / turn_bundle.MODEL)
    if "memory_units" not in fields:
        (options.bundle / turn_bundle.MEMORY).unlink(missing_ok=True)  # of another checkpoint
    recipe.tokenizer.save(str(options.bundle / turn_bundle.TOKENIZER))
    bundle = turn_bundle.write(options.bundle, fields)
    size = bundle.model.stat().st_size / 1e6
    print(f"{bundle.model}: {size:.1f} MB, {bundle.name} {bundle.version}")


def _remembered(options: argparse.Namespace, labelled: Labelled, scores: Scores) -> dict[str, Any]:
    """Put the checkpoint's table of last words into the bundle, if it has one."""
    table = options.checkpoint / turn_bundle.MEMORY
    if not table.exists():
        return {}
    memory, unit = turn_tune.table_of(options.checkpoint, labelled)
    alone, shares = scores.summary(), scores.remember(labelled, memory)
    print(f"with the table of last words, {shares}: {alone} to {scores.summary()}")
    copied = options.bundle / "memory.tmp"
    shutil.copyfile(table, copied)
    copied.replace(options.bundle / turn_bundle.MEMORY)  # a call may be reading the one before
    return {"memory_units": {language: unit * share for language, share in shares.items()}}


def _load(options: argparse.Namespace, recipe: Recipe) -> Exported:
    network = TurnQwen2(Config.read(options.checkpoint), options.max_tokens)
    trained = network.take(read_weights(options.checkpoint))
    end = recipe.tokenizer.token_to_id(recipe.end)
    if end is None:
        raise SystemExit(f"the tokenizer of {options.checkpoint} has no token {recipe.end}")
    return Exported(network, None if trained else end).eval()


def _labelled(options: argparse.Namespace, recipe: Recipe) -> Labelled:
    pairs = turn_corpus.pairs(options.dev, options.pairs)
    return Labelled(pairs, recipe.window(options.max_tokens))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("bundle", type=Path, help="the folder to fill")
    parser.add_argument("--name", default="own")
    parser.add_argument("--version", default="0")
    parser.add_argument("--licence", default="unstated", help="of the weights")
    parser.add_argument(
        "--dev", type=Path, help="pairs of complete and cut turns, .xz; a table of words needs it"
    )
    parser.add_argument("--pairs", type=int, default=10_000, help="of a language, at most")
    parser.add_argument("--tpr", type=float, default=0.993, help="that the thresholds give on dev")
    parser.add_argument("--max-tokens", type=int, default=128, help="of a prompt")
    return parser.parse_args(arguments)


def _fields(options: argparse.Namespace, recipe: Recipe) -> dict[str, Any]:
    return {
        "name": options.name,
        "version": options.version,
        "licence": options.licence,
        **recipe.fields(options.max_tokens),
        "threshold": 0.5,
    }


class Exported(nn.Module):
    """What the ONNX file computes: ids [1, T] and past in, P(end of turn) and present out.

    Args:
        network: With its weights.
        end: Token whose probability is P(end of turn); None for a network with a head of its own.
    """

    def __init__(self, network: TurnQwen2, end: int | None) -> None:
        super().__init__()
        self.network = network
        self.end = end

    def forward(self, ids: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        hidden, present = self.network.model(ids, past)
        last = hidden[:, -1]
        if self.end is None:
            return torch.sigmoid(self.network.eou(last)), present
        return torch.softmax(self.network.lm_head(last), -1)[:, self.end : self.end + 1], present


def empty(config: Config, length: int = 0) -> Tensor:
    """Return a past of so many tokens, all 0."""
    heads = config.num_key_value_heads
    return torch.zeros(config.num_hidden_layers, 2, 1, heads, length, config.head_size)


def write(exported: Exported, path: Path) -> None:
    """Write the ONNX file in float32."""
    example = torch.zeros(1, 16, dtype=torch.long), empty(exported.network.config, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about sizes that stay what they are
        torch.onnx.export(
            exported,
            example,
            str(path),
            input_names=["input_ids", "past"],
            output_names=["probability", "present"],
            dynamic_axes={"input_ids": {1: "new"}, "past": {4: "read"}, "present": {4: "all"}},
            opset_version=17,
            dynamo=False,
        )
    onnx.checker.check_model(str(path))


def quantise(precise: Path, small: Path) -> None:
    """Write the file with its matrices in int8, scaled by column; activations as they come.

    Operations are joined as onnxruntime would join them at each start, of which that is half.
    """
    apart = small.with_suffix(".apart.onnx")
    quantize_dynamic(
        precise,
        apart,
        weight_type=QuantType.QInt8,
        per_channel=True,
        extra_options={"MatMulConstBOnly": True},
    )
    onnxruntime = onnx_session.runtime()
    options = onnx_session.options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(small)
    onnxruntime.InferenceSession(str(apart), options, providers=["CPUExecutionProvider"])


def prompts(vocabulary: int, longest: int) -> list[Ids]:
    """Return random prompts, always the same, of 2 to ``longest`` tokens."""
    random = np.random.default_rng(0)
    sizes = random.integers(2, longest + 1, PARITY)
    return [tuple(random.integers(0, vocabulary, size).tolist()) for size in sizes]


def probabilities(network: TurnNetwork, of: Sequence[Ids]) -> npt.NDArray[np.float64]:
    """Return P(end of turn) of each prompt."""
    return np.array([network.read(ids).probability for ids in of])


@torch.no_grad()
def check(exported: Exported, path: Path, longest: int) -> None:
    """Print how far ONNX is from torch, read at once and in two parts.

    Raises:
        SystemExit: Further than ``LARGEST``.
    """
    onnx_network = TurnNetwork(path, trusted=True)
    config, worst = exported.network.config, 0.0
    for ids in prompts(config.vocab_size, longest):
        wanted, _ = exported(torch.tensor([ids]), empty(config))
        whole = onnx_network.read(ids)
        parts = onnx_network.read(ids, onnx_network.read(ids[: len(ids) // 2]))
        worst = max(worst, *(abs(p.probability - float(wanted)) for p in (whole, parts)))
    print(f"parity: {PARITY} prompts, at once and in two parts: ONNX within {worst:.1e} of torch")
    if worst > LARGEST:
        raise SystemExit(f"that is more than {LARGEST:.0e}: nothing was written")


if __name__ == "__main__":
    main()
