"""Weights as plain arrays: an ONNX file in, named numpy arrays out, and a file to keep them in.

A network that we run ourselves needs the constants of its ONNX file and nothing else of it. They
are read once, when the file is downloaded, and kept in an ``.npz`` that carries the sha256 of the
ONNX file they came from; at run time only that array file is opened, without pickle.
"""

from __future__ import annotations

import uuid
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]

_SOURCE = "source_sha256"
"""The array that says which file the others came from, and their names."""
_DTYPES = {1: np.float32, 10: np.float16, 11: np.float64}
"""ONNX ``TensorProto.DataType`` -> numpy dtype; what is no floating-point number is no weight."""


class WeightsError(ValueError):
    """A weights file is not what it should be; the message names the file and what to do."""


def read_onnx(path: Path) -> Arrays:
    """Return the named floating-point constants of an ONNX file, also those in ``If`` branches.

    Raises:
        FileNotFoundError: There is no such file.
        WeightsError: The file is not ONNX, or holds no weights.
    """
    model = _parsed(path)
    try:
        arrays = dict(_constants(model.graph))
    except ValueError as error:
        raise WeightsError(f"{path} is not an ONNX file: {error}") from error
    if not arrays:
        raise WeightsError(f"{path} is not an ONNX file, or holds no weights")
    return arrays


def rewired(path: Path, inputs: Mapping[str, str]) -> bytes:
    """Return an ONNX file in which nodes take other values in.

    Args:
        path: Of the file, which is not changed.
        inputs: Name of a value -> name of the value that nodes take instead.

    Raises:
        FileNotFoundError: There is no such file.
        WeightsError: The file is not ONNX.
    """
    model = _parsed(path)
    for node in model.graph.node:
        node.input[:] = [inputs.get(name, name) for name in node.input]
    content: bytes = model.SerializeToString()  # with the fields that are not listed here
    return content


def save(path: Path, arrays: Mapping[str, npt.NDArray[Any]], source: str) -> None:
    """Write ``arrays`` to ``path``, whole or not at all.

    Args:
        path: Of the array file.
        arrays: By name.
        source: What they came from: the sha256 of a file, and what was done with it, if anything.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    content: Arrays = {_SOURCE: np.array([source, *arrays]), **arrays}
    try:
        # np.savez would do, but takes no allow_pickle before numpy 2.1, nor an array called "file".
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, values in content.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.asanyarray(values), allow_pickle=False)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path, source: str) -> Arrays:
    """Return the arrays that :func:`save` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        WeightsError: The file is damaged, or its arrays came from another source file.
    """
    remedy = "delete it and run `nearvoice download-files`"
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays: Arrays = {name: file[name] for name in file.files}
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # of damage, numpy and zipfile raise nothing narrower
        raise WeightsError(f"{path} is damaged ({error}): {remedy}") from error
    made_from, *names = np.atleast_1d(arrays.pop(_SOURCE, np.array(""))).astype(str)
    if made_from != source:
        raise WeightsError(f"{path} was made from another model file: {remedy}")
    if set(names) != arrays.keys():
        raise WeightsError(f"{path} is damaged (arrays are missing): {remedy}")
    return arrays


def _parsed(path: Path) -> Any:  # noqa: ANN401
    from google.protobuf.message import DecodeError

    model = _model_proto()
    try:
        model.ParseFromString(path.read_bytes())
    except (DecodeError, ValueError) as error:
        raise WeightsError(f"{path} is not an ONNX file: {error}") from error
    return model


def _constants(graph: Any) -> Iterator[tuple[str, npt.NDArray[Any]]]:  # noqa: ANN401
    for tensor in graph.initializer:
        if tensor.data_type in _DTYPES:
            yield tensor.name, _array(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.t.data_type in _DTYPES:
                yield node.output[0], _array(attribute.t)
            yield from _constants(attribute.g)


def _array(tensor: Any) -> npt.NDArray[Any]:  # noqa: ANN401
    dtype = _DTYPES[tensor.data_type]
    if tensor.raw_data:
        values = np.frombuffer(tensor.raw_data, np.dtype(dtype).newbyteorder("<")).astype(dtype)
    else:
        values = np.array(tensor.float_data, dtype)
    return values.reshape(tuple(tensor.dims))


def _model_proto() -> Any:  # noqa: ANN401
    """Return an empty ``onnx.ModelProto`` that knows the fields weights are kept in.

    Field names and numbers are those of onnx/onnx.proto (ONNX IR version 8); protobuf skips the
    fields that are not listed.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kind = descriptor_pb2.FieldDescriptorProto
    scalars = {
        "bytes": kind.TYPE_BYTES,
        "float": kind.TYPE_FLOAT,
        "int32": kind.TYPE_INT32,
        "int64": kind.TYPE_INT64,
        "string": kind.TYPE_STRING,
    }
    file = descriptor_pb2.FileDescriptorProto(name="nearvoice/onnx.proto", package="nearvoice.onnx")
    for message, fields in _FIELDS.items():
        descriptor = file.message_type.add(name=message)
        for number, (field, type_name, repeated) in fields.items():
            descriptor.field.add(
                name=field,
                number=number,
                label=kind.LABEL_REPEATED if repeated else kind.LABEL_OPTIONAL,
                type=scalars.get(type_name, kind.TYPE_MESSAGE),
                type_name=None if type_name in scalars else f".{file.package}.{type_name}",
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.Model"))()


_FIELDS: dict[str, dict[int, tuple[str, str, bool]]] = {
    "Model": {7: ("graph", "Graph", False)},
    "Graph": {1: ("node", "Node", True), 5: ("initializer", "Tensor", True)},
    "Node": {
        1: ("input", "string", True),
        2: ("output", "string", True),
        4: ("op_type", "string", False),
        5: ("attribute", "Attribute", True),
    },
    "Attribute": {5: ("t", "Tensor", False), 6: ("g", "Graph", False)},
    "Tensor": {
        1: ("dims", "int64", True),
        2: ("data_type", "int32", False),
        4: ("float_data", "float", True),
        8: ("name", "string", False),
        9: ("raw_data", "bytes", False),
    },
}
"""Message -> field number -> (name, type, repeated)."""
