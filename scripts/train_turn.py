"""Train a turn detector on dialogues, from the beginning or on from a Qwen2 checkpoint.

    python -m scripts.train_turn train.jsonl.xz OUT --dev eval_dev.jsonl.xz --minutes 30
    python -m scripts.train_turn mine.jsonl OUT --from QWEN2_FOLDER --minutes 30

OUT becomes a checkpoint that ``scripts.export_turn`` makes a bundle of. A run that is stopped goes
on when the same command is given again. The rows of a dialogue file: ``{"lang": "en", "turns":
[["user", "..."], ["assistant", "..."]]}``. Runs on a CPU, and on a GPU where there is one.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from nearvoice.turn_rates import auc, tnr_at
from scripts import turn_corpus
from scripts.turn_corpus import ENDED, IGNORED, Stream, conversation
from scripts.turn_network import Config, TurnQwen2, read_weights
from scripts.turn_recipe import Recipe

CHECK = 300.0
"""Seconds between checkpoints."""
DEV = 150
"""Pairs of a language that the dev scores are of."""
READ = 128
"""Tokens of a dev prompt, at most."""
EVERY = 4
"""One position in so many is asked for the next token."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    options = _options(arguments)
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    recipe = _prepare(options)
    run = Run(options, recipe)
    run.train()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="dialogues, JSON lines, perhaps .xz")
    parser.add_argument("out", type=Path, help="folder of the checkpoint")
    parser.add_argument("--from", dest="start", type=Path, help="a Qwen2ForCausalLM folder")
    parser.add_argument("--dev", type=Path, help="pairs of complete and cut turns, .xz")
    parser.add_argument("--minutes", type=float, default=30.0, help="of work, all runs together")
    parser.add_argument("--without", nargs="*", default=[], metavar="SRC", help="sources left out")
    parser.add_argument("--languages", nargs="*", help="these only")
    parser.add_argument("--vocabulary", type=int, default=16_384)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--inner", type=int, default=768)
    parser.add_argument("--rows", type=int, default=16, help="in a batch")
    parser.add_argument("--length", type=int, default=128, help="tokens in a row")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate at its highest")
    parser.add_argument("--lm", type=float, default=0.5, help="weight of next-token prediction")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--eager", action="store_true", help="slower, without a C++ compiler")
    return parser.parse_args(arguments)


def _prepare(options: argparse.Namespace) -> Recipe:
    """Make the tokenizer and the token stream, unless an earlier run did."""
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    if (out / "stream.npz").exists():
        return Recipe.read(out)
    dialogues = [
        dialogue
        for dialogue in turn_corpus.read(options.data)
        if dialogue.src not in options.without
        and (options.languages is None or dialogue.lang in options.languages)
    ]
    print(f"{len(dialogues)} dialogues", flush=True)
    if options.start is None:
        tokenizer = turn_corpus.train_tokenizer(dialogues, options.vocabulary, 2_500_000)
        recipe = Recipe(tokenizer, turn_corpus.TEMPLATE, "<|im_end|>", {})
        config = _config(options, tokenizer.get_vocab_size())
        (out / "config.json").write_text(json.dumps(config.as_dict(), indent=2), "utf-8")
    else:
        recipe = Recipe.of_checkpoint(options.start)
        (out / "config.json").write_bytes((options.start / "config.json").read_bytes())
    recipe.write(out)
    stream = turn_corpus.encode(
        turn_corpus.balanced(dialogues, options.seed), recipe.tokenizer, recipe.as_template()
    )
    np.savez(out / "stream.tmp.npz", ids=stream.ids, labels=stream.labels)
    (out / "stream.tmp.npz").replace(out / "stream.npz")
    return recipe


def _config(options: argparse.Namespace, vocabulary: int) -> Config:
    return Config(
        vocab_size=vocabulary,
        hidden_size=options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=max(1, options.heads // 2),
        intermediate_size=options.inner,
    )


class Run:
    """A training run, which may have been stopped and goes on."""

    def __init__(self, options: argparse.Namespace, recipe: Recipe) -> None:
        self.options = options
        self.out: Path = options.out
        with np.load(self.out / "stream.npz") as stream:
            self.stream = Stream(stream["ids"], stream["labels"])
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.network = TurnQwen2(Config.read(self.out)).to(self.device)
        self.optimizer = _optimizer(self.network, options.rate)
        self.step, self.seconds = 0, 0.0
        self.clock = clock(self.device)
        self._resume()
        self.body = self.network.model if options.eager else torch.compile(self.network.model)
        self.dev = None if options.dev is None else Dev(options.dev, recipe, options.languages)

    def _resume(self) -> None:
        weights, state = self.out / "model.safetensors", self.out / "training.pt"
        if weights.exists() and state.exists():
            self.network.take(read_weights(self.out))
            kept = torch.load(state, self.device, weights_only=True)
            self.optimizer.load_state_dict(kept["optimizer"])
            self.step, self.seconds = kept["step"], kept["seconds"]
        elif self.options.start is not None:
            self.network.take(read_weights(self.options.start))

    def save(self) -> None:
        """Write the checkpoint; the state of training last, so that one without it starts anew."""
        tensors = dict(self.network.state_dict())
        if self.network.config.tie_word_embeddings:
            del tensors["lm_head.weight"]
        save_file(tensors, self.out / "model.tmp", {"format": "pt"})
        state = {"optimizer": self.optimizer.state_dict(), "step": self.step}
        torch.save({**state, "seconds": self.seconds}, self.out / "training.tmp")
        (self.out / "model.tmp").replace(self.out / "model.safetensors")
        (self.out / "training.tmp").replace(self.out / "training.pt")

    def train(self) -> None:
        """Train until the minutes are over."""
        limit, saved, noted = 60 * self.options.minutes, self.seconds, self.seconds
        losses: list[float] = []
        for ids, labels in self._batches():
            began = self.clock()
            if self.seconds >= limit:
                break
            self._set_rate(self.seconds / limit)
            losses.append(self._train_on(ids, labels))
            self.step += 1
            if self.step > 5:  # the first steps compile
                self.seconds += self.clock() - began
            if self.seconds - noted >= 60:
                noted = self.seconds
                print(self._note(losses), flush=True)
                losses.clear()
            if self.seconds - saved >= CHECK:
                saved = self.seconds
                self.save()
                self._score()
        self.save()
        self._score()

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        rows, length = self.options.rows, self.options.length
        random = np.random.default_rng((self.options.seed, self.step))
        count = len(self.stream.ids)
        while True:
            offset = random.integers(0, length)
            starts = np.arange(offset, count - length - 1, length)
            random.shuffle(starts)
            for i in range(0, len(starts) - rows + 1, rows):
                places = starts[i : i + rows, None] + np.arange(length + 1)
                ids = torch.from_numpy(self.stream.ids[places].astype(np.int64))
                labels = torch.from_numpy(self.stream.labels[places[:, :-1]].astype(np.int64))
                yield ids.to(self.device), labels.to(self.device)

    def _set_rate(self, done: float) -> None:
        warm = min(1.0, (self.step + 1) / 100)
        rate = self.options.rate * warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _train_on(self, ids: Tensor, labels: Tensor) -> float:
        network = self.network
        with torch.autocast(self.device, torch.bfloat16):
            hidden, _ = self.body(ids[:, :-1])
            logits = network.eou(hidden)[..., 0].float()
            first = self.step % EVERY
            words = network.lm_head(hidden[:, first::EVERY])
        asked = (labels != IGNORED).float()
        each = functional.binary_cross_entropy_with_logits(
            logits, (labels == ENDED).float(), reduction="none"
        )
        turn = (each * asked).sum() / asked.sum().clamp(min=1)
        following = ids[:, 1:][:, first::EVERY].reshape(-1)
        word = functional.cross_entropy(words.float().flatten(0, 1), following)
        (turn + self.options.lm * word).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(turn.detach())

    def _note(self, losses: list[float]) -> str:
        tokens = self.step * self.options.rows * self.options.length
        return (
            f"{self.seconds / 60:.1f} min, {tokens / 1e6:.2f} M tokens of "
            f"{len(self.stream.ids) / 1e6:.1f}, loss {np.mean(losses):.4f}"
        )

    def _score(self) -> None:
        if self.dev is not None:
            print(self.dev.scores(self.network, self.device), flush=True)


def clock(device: str) -> Callable[[], float]:
    """Return what counts seconds of work: on a CPU this thread's, whatever else goes on there."""
    return time.thread_time if device == "cpu" else time.perf_counter


def _optimizer(network: TurnQwen2, rate: float) -> torch.optim.Optimizer:
    matrices = [p for p in network.parameters() if p.dim() >= 2]
    others = [p for p in network.parameters() if p.dim() < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": 0.05},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95))


class Dev:
    """Complete and cut turns that the network was not trained on."""

    def __init__(self, path: Path, recipe: Recipe, languages: list[str] | None) -> None:
        records = turn_corpus.pairs(path, DEV, languages)
        window = recipe.window(READ)
        self.languages = [str(record["lang"]) for record in records]
        self.complete = [window.ids(conversation(record, "text")) for record in records]
        self.unfinished = [window.ids(conversation(record, "cut")) for record in records]

    def scores(self, network: TurnQwen2, device: str) -> str:
        """Return the line that says how well the network tells them apart."""
        complete = logits(network, self.complete, device)
        unfinished = logits(network, self.unfinished, device)
        each = []
        for language in sorted(set(self.languages)):
            own = np.array([other == language for other in self.languages])
            each.append(f"{language} {auc(complete[own], unfinished[own]):.3f}")
        tnrs = [tnr_at(complete, unfinished, at) for at in (0.993, 0.95)]
        return (
            f"dev AUC {auc(complete, unfinished):.4f}, TNR {tnrs[0]:.3f} at TPR .993, "
            f"{tnrs[1]:.3f} at .95; {' '.join(each)}"
        )


@torch.no_grad()
def logits(
    network: TurnQwen2, prompts: list[list[int]], device: str, batch: int = 32
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the logit of P(end of turn) after each prompt."""
    out = np.empty(len(prompts))
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        lengths = torch.tensor([len(prompts[i]) for i in rows])
        ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
        for row, i in enumerate(rows):
            ids[row, : len(prompts[i])] = torch.tensor(prompts[i])
        hidden, _ = network.model(ids.to(device))
        last = hidden[torch.arange(len(rows)), lengths - 1]
        out[rows] = network.eou(last)[:, 0].float().cpu().numpy()
    return out


if __name__ == "__main__":
    main()
