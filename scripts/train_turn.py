"""Train a turn detector on dialogues, from the beginning or on from a Qwen2 checkpoint.

    python -m scripts.train_turn train.jsonl.xz OUT --dev eval_dev.jsonl.xz --minutes 30
    python -m scripts.train_turn mine.jsonl OUT --from QWEN2_FOLDER --minutes 30

OUT becomes a checkpoint that ``scripts.export_turn`` makes a bundle of. A run that is stopped goes
on when the same command is given again. The rows of a dialogue file: ``{"lang": "en", "turns":
[["user", "..."], ["assistant", "..."]]}``. Runs on a CPU, and on a GPU where there is one.

``--teacher`` is a larger checkpoint with the same tokenizer, whose probabilities are learned beside
the labels.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from scripts import turn_corpus, turn_noise, turn_talk
from scripts.turn_corpus import SPECIAL, Dialogue, Stream
from scripts.turn_dev import Dev
from scripts.turn_network import Config, TurnQwen2, read_weights
from scripts.turn_recipe import Recipe
from scripts.turn_rows import Batch, Layers, Marks, Rows

CHECK = 300.0
"""Seconds between checkpoints."""
DEV = 200
"""Pairs of a language that the dev scores are of."""
EVERY = 4
"""One position in so many is asked for the next token."""
_WARM = 5
"""Steps that compile, and are not counted."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    options = _options(arguments)
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("high")
    recipe = prepare(options)
    if not options.prepare:
        Run(options, recipe).train()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="dialogues, JSON lines, perhaps .xz")
    parser.add_argument("out", type=Path, help="folder of the checkpoint")
    parser.add_argument("--from", dest="start", type=Path, help="a Qwen2ForCausalLM folder")
    parser.add_argument("--first", type=int, metavar="N", help="only so many layers of --from")
    parser.add_argument("--dev", type=Path, help="pairs of complete and cut turns, .xz")
    parser.add_argument("--minutes", type=float, default=30.0, help="of work, all runs together")
    parser.add_argument("--tokens", type=float, help="millions to train on at most")
    parser.add_argument("--without", nargs="*", default=[], metavar="SRC", help="sources left out")
    parser.add_argument("--languages", nargs="*", help="these only")
    parser.add_argument("--most", type=float, help="MB of text of a language, at most")
    parser.add_argument("--talk", type=int, default=0, metavar="N", help="of our own dialogues")
    parser.add_argument("--noise", type=float, default=0.0, help="share that a recogniser mishears")
    parser.add_argument("--vocabulary", type=int, default=16_384)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--inner", type=int, default=768)
    parser.add_argument("--rows", type=int, default=16, help="in a batch")
    parser.add_argument("--length", type=int, default=128, help="tokens in a row")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate at its highest")
    parser.add_argument("--lm", type=float, default=0.5, help="weight of the next token, at first")
    parser.add_argument("--decay", type=float, default=0.05, help="of the weights")
    parser.add_argument("--dropout", type=float, default=0.0, help="in the network")
    parser.add_argument("--word-drop", type=float, default=0.0, help="share of tokens not shown")
    parser.add_argument("--uniform", action="store_true", help="each boundary weighs the same")
    parser.add_argument("--teacher", type=Path, help="a larger checkpoint")
    parser.add_argument("--trust", type=float, default=0.5, help="weight of the teacher")
    parser.add_argument("--prepare", action="store_true", help="tokenise, and train nothing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--eager", action="store_true", help="slower, without a C++ compiler")
    return parser.parse_args(arguments)


def prepare(options: argparse.Namespace) -> Recipe:
    """Make the tokenizer and the token stream, unless an earlier run did."""
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    if (out / "stream.npz").exists() and (out / "prompt.json").exists():
        recipe = Recipe.read(out)
    else:
        recipe = _encode(options, _dialogues(options))
    if options.start is not None:
        config = Config.read(options.start)
        if options.first is not None:
            config = replace(config, num_hidden_layers=options.first)
        (out / "config.json").write_text(json.dumps(config.as_dict(), indent=2), "utf-8")
    elif not (out / "config.json").exists():
        config = _config(options, recipe.tokenizer.get_vocab_size())
        (out / "config.json").write_text(json.dumps(config.as_dict(), indent=2), "utf-8")
    return recipe


def _dialogues(options: argparse.Namespace) -> list[Dialogue]:
    """Return what it is trained on, in random order."""
    wanted = options.languages
    found = [
        dialogue
        for dialogue in turn_corpus.read(options.data)
        if dialogue.src not in options.without and (wanted is None or dialogue.lang in wanted)
    ]
    print(f"{len(found)} dialogues", flush=True)
    found = turn_corpus.balanced(found, options.seed)
    if options.most is not None:
        found = turn_corpus.first(found, int(options.most * 1e6))
    if options.talk:
        own = turn_talk.dialogues(options.seed, options.talk)
        found += [dialogue for dialogue in own if wanted is None or dialogue.lang in wanted]
    chance = random.Random(options.seed)
    chance.shuffle(found)
    return [
        turn_noise.noisy(dialogue, chance) if chance.random() < options.noise else dialogue
        for dialogue in found
    ]


def _encode(options: argparse.Namespace, dialogues: list[Dialogue]) -> Recipe:
    out: Path = options.out
    if options.start is None:
        tokenizer = turn_corpus.train_tokenizer(dialogues, options.vocabulary, 2_500_000)
        recipe = Recipe(tokenizer, turn_corpus.TEMPLATE, "<|im_end|>", {})
    else:
        recipe = Recipe.of_checkpoint(options.start)
    recipe.write(out)
    stream = turn_corpus.encode(dialogues, recipe.tokenizer, recipe.as_template())
    small = np.uint16 if recipe.tokenizer.get_vocab_size() <= 2**16 else np.int32
    np.savez(out / "stream.tmp.npz", ids=stream.ids.astype(small), labels=stream.labels)
    (out / "stream.tmp.npz").replace(out / "stream.npz")
    return recipe


def _config(options: argparse.Namespace, vocabulary: int) -> Config:
    heads = options.heads
    shared = max(1, heads // (3 if heads % 3 == 0 else 2))
    if heads % shared:
        raise SystemExit(f"{heads} heads make no groups: take 1, an even number or a multiple of 3")
    return Config(
        vocab_size=vocabulary,
        hidden_size=options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        intermediate_size=options.inner,
    )


def read_stream(folder: Path) -> Stream:
    """Read the token stream that :func:`prepare` wrote."""
    with np.load(folder / "stream.npz") as kept:
        return Stream(kept["ids"].astype(np.int32), kept["labels"])


class Run:
    """A training run, which may have been stopped and goes on."""

    def __init__(self, options: argparse.Namespace, recipe: Recipe) -> None:
        self.options = options
        self.out: Path = options.out
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if options.word_drop:
            _check_ours(recipe)
        self.rows = self._rows(recipe)
        self.network = TurnQwen2(Config.read(self.out)).to(self.device)
        for layer in self.network.model.layers:
            layer.dropout.p = options.dropout
        self.optimizer = _optimizer(self.network, options, fused=self.device == "cuda")
        self.step, self.seconds = 0, 0.0
        self.clock = clock(self.device)
        self._resume()
        self.layers = self._compiled(self.network)
        self.dev = None if options.dev is None else Dev(options.dev, recipe, options.languages, DEV)

    def _rows(self, recipe: Recipe) -> Rows:
        options, stream = self.options, read_stream(self.out)
        marks = Marks.of(recipe.tokenizer)
        if options.teacher is None:
            return Rows(stream, marks, self.device, uniform=options.uniform)
        kept = self.out / "teacher.npy"
        if not kept.exists():
            teacher = self._teacher().to(self.device).eval()
            layers = self._compiled(teacher)
            whole = self.out / "teacher.tmp.npy"
            np.save(whole, Rows(stream, marks, self.device).logits(teacher, layers))
            whole.replace(kept)
        return Rows(stream, marks, self.device, uniform=options.uniform, teacher=np.load(kept))

    def _teacher(self) -> TurnQwen2:
        folder: Path = self.options.teacher
        theirs, ours = ((at / "tokenizer.json").read_bytes() for at in (folder, self.out))
        if theirs != ours:
            raise SystemExit(f"the teacher {folder} has another tokenizer.json than {self.out}")
        teacher = TurnQwen2(Config.read(folder))
        if not teacher.take(read_weights(folder)):
            raise SystemExit(f"the teacher {folder} has no head eou: scripts.train_turn trains one")
        return teacher

    def _compiled(self, network: TurnQwen2) -> Layers:
        layers: Layers = list(network.model.layers)
        return layers if self.options.eager else [torch.compile(layer) for layer in layers]

    def _resume(self) -> None:
        weights, state = self.out / "model.safetensors", self.out / "training.pt"
        if weights.exists() and state.exists():
            self.network.take(read_weights(self.out))
            kept = torch.load(state, self.device, weights_only=True)
            self.optimizer.load_state_dict(kept["optimizer"])
            self.step, self.seconds = kept["step"], kept["seconds"]
        elif self.options.start is not None:
            self.network.take(_first(read_weights(self.options.start), self.options.first))

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
        options = self.options
        saved = noted = self.seconds
        losses: list[Tensor] = []
        began = self.clock()
        for batch in self.rows.batches((options.seed, self.step), options.rows, options.length):
            if (done := self._done()) >= 1:
                break
            self._set_rate(done)
            losses.append(self._train_on(batch, self.options.lm * (1 - done)))
            self.step += 1
            began, passed = self._passed(began)
            if self.step > _WARM:
                self.seconds += passed
            if self.seconds - noted >= 60:
                noted = self.seconds
                print(self._note(losses), flush=True)
                losses.clear()
            if self.seconds - saved >= CHECK:
                saved = self.seconds
                self.save()
                self._score()
                began = self.clock()
        print(self._note(losses), flush=True)
        self.save()
        self._score()

    def _passed(self, began: float) -> tuple[float, float]:
        """Return now, and the seconds since ``began``; now and then wait for the GPU."""
        if self.device == "cuda" and (self.step % 20 == 0 or self.step <= _WARM):
            torch.cuda.synchronize()
        now = self.clock()
        return now, now - began

    def _set_rate(self, done: float) -> None:
        warm = min(1.0, (self.step + 1) / 100)
        rate = self.options.rate * warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _train_on(self, batch: Batch, lm: float) -> Tensor:
        network = self.network
        seen = batch.ids[:, :-1]
        if self.options.word_drop:
            seen = self._dropped(seen)
        with torch.autocast(self.device, torch.bfloat16):
            hidden = network.model.rows(seen, batch.conversations, self.layers)
            logits = network.eou(hidden)[..., 0].float()
        turn = _turn_loss(logits, batch, self.options.trust)
        (turn + lm * self._word_loss(hidden, batch) if lm else turn).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return turn.detach()

    def _word_loss(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Return the loss of the next token, at one position in ``EVERY``."""
        first = self.step % EVERY
        with torch.autocast(self.device, torch.bfloat16):
            words = self.network.lm_head(hidden[:, first::EVERY])
        following = batch.ids[:, 1:][:, first::EVERY].reshape(-1)
        return functional.cross_entropy(words.float().flatten(0, 1), following)

    def _dropped(self, ids: Tensor) -> Tensor:
        """Return the ids with some not shown, in half of the rows; all that a template has are."""
        heard = torch.rand(ids.shape, device=ids.device) >= self.options.word_drop
        heard |= torch.rand(len(ids), 1, device=ids.device) < 0.5
        return torch.where(heard | (ids < len(SPECIAL)), ids, 0)

    def _note(self, losses: list[Tensor]) -> str:
        loss = float(torch.stack(losses).mean()) if losses else math.nan
        return (
            f"{self.seconds / 60:.1f} min, {self._tokens():.2f} M tokens of "
            f"{self.rows.count / 1e6:.1f}, loss {loss:.4f}"
        )

    def _done(self) -> float:
        """Return which part is done, of the minutes or of the tokens."""
        minutes, tokens = self.options.minutes, self.options.tokens or math.inf
        return max(self.seconds / 60 / minutes if minutes else 1.0, self._tokens() / tokens)

    def _tokens(self) -> float:
        """Return the millions that it was trained on."""
        read: int = self.step * self.options.rows * self.options.length
        return read / 1e6

    def _score(self) -> None:
        if self.dev is not None:
            print(self.dev.scores(self.network, self.device), flush=True)


def _check_ours(recipe: Recipe) -> None:
    ids = [recipe.tokenizer.token_to_id(token) for token in SPECIAL]
    if ids != list(range(len(SPECIAL))):
        raise SystemExit(f"--word-drop needs a tokenizer that begins with {' '.join(SPECIAL)}")


def _turn_loss(logits: Tensor, batch: Batch, trust: float) -> Tensor:
    wanted = batch.ended
    if batch.teacher is not None:
        wanted = (1 - trust) * wanted + trust * torch.sigmoid(batch.teacher)
    each = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (each * batch.weight).sum() / batch.weight.sum().clamp(min=1)


def _first(weights: dict[str, Tensor], layers: int | None) -> dict[str, Tensor]:
    """Return the weights without those of later layers."""
    if layers is None:
        return weights
    return {
        name: weight
        for name, weight in weights.items()
        if not name.startswith("model.layers.") or int(name.split(".")[2]) < layers
    }


def clock(device: str) -> Callable[[], float]:
    """Return what counts seconds of work: on a CPU this thread's, whatever else goes on there."""
    return time.thread_time if device == "cpu" else time.perf_counter


def _optimizer(
    network: TurnQwen2, options: argparse.Namespace, *, fused: bool
) -> torch.optim.Optimizer:
    matrices = [p for p in network.parameters() if p.dim() >= 2]
    others = [p for p in network.parameters() if p.dim() < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": options.decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.rate, betas=(0.9, 0.95), fused=fused)


if __name__ == "__main__":
    main()
