"""Make a checkpoint whose weights lie between those of two, of which one began as the other.

    python -m scripts.turn_average BEFORE AFTER OUT --share 0.35

What was learned last is kept in part, and what was forgotten for it comes back in part (Wortsman
and others, "Robust fine-tuning of zero-shot models", 2022).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file

from scripts.turn_network import Config, read_weights
from scripts.turn_recipe import Recipe


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path, help="trained on from there")
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of AFTER, 0 to 1")
    options = parser.parse_args(arguments)
    average(options.before, options.after, options.out, options.share)


def average(before: Path, after: Path, out: Path, share: float) -> None:
    """Write the checkpoint.

    Raises:
        SystemExit: The two are of other sizes.
    """
    config = Config.read(before)
    if config != Config.read(after):
        raise SystemExit(f"{before} and {after} are networks of other sizes")
    if Recipe.read(before).tokenizer.to_str() != Recipe.read(after).tokenizer.to_str():
        raise SystemExit(f"{before} and {after} have other tokenizers")
    first, second = read_weights(before), read_weights(after)
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.lerp(second[name], share) for name, weight in first.items()}
    save_file(weights, out / "model.safetensors", {"format": "pt"})
    (out / "config.json").write_text(json.dumps(config.as_dict(), indent=2), "utf-8")
    Recipe.read(before).write(out)


if __name__ == "__main__":
    main()
