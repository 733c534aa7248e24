"""Bundles whose network is a few nodes, known exactly, in float32."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from nearvoice import turn_bundle
from nearvoice.turn import TurnDetector

TEMPLATE = (
    "<|bos|>{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "<|im_end|>{% endfor %}"
)
"""As the shipped bundle's."""
SPECIAL = ("<|bos|>", "<|user|>", "<|assistant|>", "<|im_end|>", "<|unknown|>")
ENDLESS = "endless"
"""A word that the network never stops reading."""
WORDS = tuple(f"w{number}" for number in range(50))
VOCABULARY = (*SPECIAL, ENDLESS, *WORDS)
SIZE = len(VOCABULARY)

_TABLE = np.random.default_rng(7).uniform(-2, 2, (SIZE, 4)).astype(np.float32)
_FOREVER = 10**12


def chat(*contents: str) -> list[dict[str, str]]:
    """Return a conversation that the user begins, each in turn."""
    return [
        {"role": ("user", "assistant")[at % 2], "content": content}
        for at, content in enumerate(contents)
    ]


def probability(ids: list[int]) -> float:
    """Return in float64 what the network computes of ids."""
    read = _TABLE[ids].astype(float) * np.arange(1, len(ids) + 1)[:, None]
    return float(1 / (1 + np.exp(-4 * np.sin(read).mean())))


def toy(
    folder: Path,
    graph: onnx.GraphProto | None = None,
    words: tuple[str, ...] = VOCABULARY,
    **fields: object,
) -> Path:
    """Write a bundle and return its folder.

    Args:
        folder: Made if it is not there.
        graph: Its network; None for :func:`network`.
        words: Of its tokenizer.
        fields: Of ``turn.json``, in place of the plainest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer(words).save(str(folder / turn_bundle.TOKENIZER))
    save(network() if graph is None else graph, folder / turn_bundle.MODEL)
    plainest = {
        "name": "toy",
        "version": "1",
        "licence": "Apache-2.0",
        "template": TEMPLATE,
        "end": "<|im_end|>",
        "vocabulary": SIZE,
        "max_tokens": 128,
        "threshold": 0.5,
    }
    turn_bundle.write(folder, {**plainest, **fields})
    return folder


def tokenizer(words: tuple[str, ...]) -> Tokenizer:
    """Return a tokenizer that makes one token of each word."""
    numbers = {word: number for number, word in enumerate(words)}
    made = Tokenizer(models.WordLevel(numbers, unk_token="<|unknown|>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(list(SPECIAL))
    return made


def save(graph: onnx.GraphProto, path: Path) -> None:
    """Write a network that any supported onnxruntime reads."""
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))


def network(
    past: tuple[object, ...] = (1, 2, 1, 1, "n", 4),
    ids: str = "input_ids",
    ids_type: int = TensorProto.INT64,
    outputs: tuple[str, str] = ("probability", "present"),
) -> onnx.GraphProto:
    """Return the graph: P = sigmoid(4 mean(sin(position x table[id]))), the position from 1.

    What it keeps of an id is its row of the table and, in place of a value, that row times the
    position. Both are computed by id, so that a conversation read in parts gives the same numbers,
    to the last bit, as one read at once.
    """
    nodes = [
        helper.make_node("Cast", [ids], ["ids"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "ids"], ["rows"]),  # [1, n, 4]
        helper.make_node("Shape", ["past"], ["read"], start=4, end=5),
        helper.make_node("Shape", [ids], ["new"], start=1, end=2),
        helper.make_node("Add", ["read", "new"], ["all"]),
        helper.make_node("Squeeze", ["read"], ["first"]),
        helper.make_node("Squeeze", ["all"], ["last"]),
        helper.make_node("Range", ["first", "last", "one"], ["from_0"]),
        helper.make_node("Add", ["from_0", "one"], ["from_1"]),
        helper.make_node("Cast", ["from_1"], ["positions"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["positions", "axis_1"], ["column"]),  # [n, 1]
        helper.make_node("Mul", ["rows", "column"], ["values"]),
        helper.make_node("Concat", ["rows", "values"], ["both"], axis=0),  # [2, n, 4]
        helper.make_node("Unsqueeze", ["both", "axes"], ["kept"]),  # [1, 2, 1, 1, n, 4]
        helper.make_node("Concat", ["past", "kept"], [outputs[1]], axis=4),
        helper.make_node("Gather", [outputs[1], "value"], ["all_values"], axis=1),
        helper.make_node("Sin", ["all_values"], ["waves"]),
        helper.make_node("ReduceMean", ["waves"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "four"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["sigmoid"]),
        helper.make_node("Equal", ["ids", "endless"], ["never"]),
        helper.make_node("Cast", ["never"], ["turns"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["turns"], ["trips"], keepdims=0),
        helper.make_node("Mul", ["trips", "forever"], ["count"]),
        helper.make_node("Loop", ["count", "", "sigmoid"], [outputs[0]], body=_nothing()),
    ]
    constants = {
        "table": _TABLE,
        "one": np.array(1),
        "axis_1": np.array([1]),
        "axes": np.array([0, 2, 3]),
        "value": np.array(1),
        "four": np.array(4, np.float32),
        "endless": np.array([[VOCABULARY.index(ENDLESS)]]),
        "forever": np.array(_FOREVER),
    }
    return helper.make_graph(
        nodes,
        "toy",
        [
            helper.make_tensor_value_info(ids, ids_type, [1, "new"]),
            helper.make_tensor_value_info("past", TensorProto.FLOAT, past),
        ],
        [
            helper.make_tensor_value_info(outputs[0], TensorProto.FLOAT, []),
            helper.make_tensor_value_info(outputs[1], TensorProto.FLOAT, None),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )


def taking_past(past: tuple[object, ...]) -> onnx.GraphProto:
    """Return a graph that takes a past of any shape, and does nothing with it."""
    return helper.make_graph(
        [
            helper.make_node("Identity", ["past"], ["present"]),
            helper.make_node("Cast", ["input_ids"], ["probability"], to=TensorProto.FLOAT),
        ],
        "taking_past",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "n"]),
            helper.make_tensor_value_info("past", TensorProto.FLOAT, past),
        ],
        [
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("present", TensorProto.FLOAT, None),
        ],
    )


def whole_network() -> onnx.GraphProto:
    """Return a graph that keeps nothing, as LiveKit's: its last number is last id / SIZE."""
    return helper.make_graph(
        [
            helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["ids", "size"], ["prob"]),
        ],
        "whole",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "n"])],
        [helper.make_tensor_value_info("prob", TensorProto.FLOAT, [1, "n"])],
        [numpy_helper.from_array(np.array(SIZE, np.float32), "size")],
    )


def _nothing() -> onnx.GraphProto:
    """Return the body of a loop that hands on what it is given."""
    return helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
            helper.make_node("Identity", ["given"], ["handed"]),
        ],
        "nothing",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("given", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("handed", TensorProto.FLOAT, []),
        ],
    )


class Runs:
    """Counts what a detector's network is fed, in place of its session."""

    def __init__(self, detector: TurnDetector) -> None:
        network = detector._model.network
        self._session = network._session
        self.fed: list[list[int]] = []
        """The ids of each run."""
        network._session = self

    def run(self, names: object, fed: dict[str, np.ndarray], options: object) -> object:
        self.fed.append(fed["input_ids"][0].tolist())
        return self._session.run(names, fed, options)
