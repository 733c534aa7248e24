"""A network of the shape of Qwen2.5-0.5B with random weights, as LiveKit's turn detector is one.

    python -m benchmarks.turn_shape FOLDER VOCABULARY

writes it in int8 twice, of the same weights: with keys and values, for our runtime, and of ids
alone, for the official plugin's. Around them :func:`shape` puts what each of the two wants to find.
The tokenizer and the template are those of our bundle, so that all systems read the same tokens.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearvoice import turn_bundle
from nearvoice.turn import locate

if TYPE_CHECKING:
    from scripts.turn_network import Config

OUT = Path("out/turn-shape")
"""Folder that it is kept in: it takes minutes to make, and 0.8 GB."""
SIZES = {
    "hidden_size": 896,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "intermediate_size": 4864,
}
KEPT, WHOLE = "past.onnx", "whole.onnx"
COMMIT = "0" * 40
"""Under which the Hugging Face cache has it."""
REPOSITORY, REVISION = "models--livekit--turn-detector", "v0.4.1-intl"
"""What livekit-plugins-turn-detector 1.8.9 looks for."""
REMEDY = "pip install 'livekit-plugins-nearvoice[train]'"


def shape(out: Path | None = None, *, quick: bool = False) -> Path:
    """Return the folder with ``bundle``, for our runtime, and ``hf``, a HF_HOME for the plugin.

    The networks are made if they are not there.

    Args:
        out: Where; None for :data:`OUT`.
        quick: Whether there is no time to make them.

    Raises:
        ImportError: They are not there, and there is no time, or what makes them is not installed.
    """
    own = locate("nearvoice")
    folder = (out or OUT) / str(own.vocabulary)
    if not all((folder / name).exists() for name in (KEPT, WHOLE)):
        if quick:
            raise ImportError(f"no {folder}, which a run without --quick makes in two minutes")
        absent = [name for name in ("torch", "onnx") if find_spec(name) is None]
        if absent:
            raise ImportError(f"no {' and '.join(absent)}: {REMEDY}")
        folder.mkdir(parents=True, exist_ok=True)
        print(f"turn-shape: making {folder}, once", file=sys.stderr)
        command = [sys.executable, "-m", "benchmarks.turn_shape", str(folder), str(own.vocabulary)]
        subprocess.run(command, check=True, stdout=sys.stderr)
    dress(folder, own)
    return folder


def dress(folder: Path, own: turn_bundle.Bundle) -> None:
    """Put tokenizer, template and thresholds of a bundle beside the networks in ``folder``."""
    bundle = folder / "bundle"
    bundle.mkdir(exist_ok=True)
    _link(folder / KEPT, bundle / turn_bundle.MODEL)
    shutil.copyfile(own.tokenizer, bundle / turn_bundle.TOKENIZER)
    fields = {
        "name": "random",
        "version": "0",
        "licence": "none",
        "template": own.template,
        "end": own.end,
        "variables": dict(own.variables),
        "vocabulary": own.vocabulary,
        "max_tokens": own.max_tokens,
        "threshold": 0.5,
    }
    turn_bundle.write(bundle, fields)
    repository = folder / "hf" / "hub" / REPOSITORY
    files = snapshot(folder)
    (files / "onnx").mkdir(parents=True, exist_ok=True)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / REVISION).write_text(COMMIT)
    _link(folder / WHOLE, files / "onnx" / "model_q8.onnx")
    shutil.copyfile(own.tokenizer, files / "tokenizer.json")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": own.template,
        "eos_token": own.end,
        "model_max_length": own.max_tokens,
    }
    parts: dict[str, Any] = {
        "config.json": {},  # a model type would bring a tokenizer of its own
        "tokenizer_config.json": config,
        "languages.json": {"en": {"threshold": 0.5}},
    }
    for name, content in parts.items():
        (files / name).write_text(json.dumps(content))


def snapshot(folder: Path) -> Path:
    """Return where the Hugging Face cache in ``folder`` has the files of the plugin."""
    return folder / "hf" / "hub" / REPOSITORY / "snapshots" / COMMIT


def _link(file: Path, name: Path) -> None:
    name.unlink(missing_ok=True)
    name.symlink_to(file.resolve())


def make(folder: Path, config: Config) -> None:
    """Write both networks, of the same random weights."""
    import torch

    from scripts import export_turn
    from scripts.turn_network import TurnQwen2

    torch.manual_seed(0)
    network = TurnQwen2(config).eval()
    precise = folder / "float32.onnx"
    export_turn.write(export_turn.Exported(network, None).eval(), precise)
    export_turn.quantise(precise, folder / KEPT)
    _write_whole(network, precise)
    export_turn.quantise(precise, folder / WHOLE)
    precise.unlink()


def _write_whole(network: Any, path: Path) -> None:  # noqa: ANN401 - torch is imported late
    """Write the network of ids alone: ``input_ids`` [1, n] in, P(end of turn) [1] out."""
    import warnings

    import torch

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            hidden, _ = self.network.model(ids)
            return torch.sigmoid(self.network.eou(hidden[:, -1]))[:, 0]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about sizes that stay what they are
        torch.onnx.export(
            Whole().eval(),
            (torch.zeros(1, 16, dtype=torch.long),),
            str(path),
            input_names=["input_ids"],
            output_names=["prob"],
            dynamic_axes={"input_ids": {1: "n"}},
            opset_version=17,
            dynamo=False,
        )


def main() -> None:
    """Make the networks in a process of their own: torch stays out of the one that measures."""
    from scripts.turn_network import Config

    make(Path(sys.argv[1]), Config(vocab_size=int(sys.argv[2]), **SIZES))


if __name__ == "__main__":
    main()
