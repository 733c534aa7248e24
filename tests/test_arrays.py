from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nearvoice import arrays
from tests.stores import field_bytes, onnx_bytes, varint

HASH = "a" * 64
names = st.sampled_from(["file", "allow_pickle"]) | st.text(
    "abcdefghijklmnopqrstuvwxyz_./:0123456789", min_size=1, max_size=12
).filter(lambda name: name != "source_sha256")
tensors = hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
weights = st.dictionaries(names, tensors, min_size=1, max_size=4)
in_a_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values, strict=True)


@in_a_folder
@given(weights)
def test_saved_arrays_are_loaded_as_they_were(tmp_path, content):
    arrays.save(tmp_path / "w.npz", content, HASH)
    same(arrays.load(tmp_path / "w.npz", HASH), content)
    assert [file.name for file in tmp_path.iterdir()] == ["w.npz"]


@in_a_folder
@given(weights)
def test_the_weights_of_an_onnx_file_are_read(tmp_path, content):
    (tmp_path / "n.onnx").write_bytes(onnx_bytes(content))
    same(arrays.read_onnx(tmp_path / "n.onnx"), content)


def test_constants_inside_branches_and_float_data_are_read(tmp_path):
    raw = _tensor(b"", [1.0, 2.0], as_raw=True)
    listed = _tensor(b"listed", [3.0], as_raw=False)
    constant = field_bytes(
        1,
        field_bytes(2, b"inner")
        + field_bytes(4, b"Constant")
        + field_bytes(5, field_bytes(5, raw)),
    )
    branch = field_bytes(6, constant + field_bytes(5, listed))
    node = field_bytes(1, field_bytes(4, b"If") + field_bytes(5, branch))
    (tmp_path / "n.onnx").write_bytes(field_bytes(7, node))
    expected = {"inner": np.array([1, 2], np.float32), "listed": np.array([3], np.float32)}
    same(arrays.read_onnx(tmp_path / "n.onnx"), expected)


def _tensor(name, values, *, as_raw):
    content = np.array(values, "<f4").tobytes()
    header = varint(1 << 3) + varint(len(values)) + varint(2 << 3) + varint(1)
    return header + field_bytes(8, name) + field_bytes(9 if as_raw else 4, content)


@in_a_folder
@given(st.binary(max_size=200))
def test_what_is_not_onnx_is_refused_by_name(tmp_path, content):
    (tmp_path / "n.onnx").write_bytes(content)
    with pytest.raises(arrays.WeightsError, match=r"n\.onnx is not an ONNX file"):
        arrays.read_onnx(tmp_path / "n.onnx")


def test_a_wrong_byte_in_an_onnx_file_is_refused_or_read_but_never_another_error(tmp_path):
    path = tmp_path / "n.onnx"
    for damaged in _damaged(onnx_bytes(CONTENT)):
        path.write_bytes(damaged)
        with suppress(arrays.WeightsError):
            arrays.read_onnx(path)


CONTENT = {"w": np.arange(3, dtype=np.float32), "b": np.ones((1, 1), np.float32)}


@pytest.mark.filterwarnings("ignore::UserWarning")  # zipfile: two members of one name
def test_a_wrong_byte_in_an_array_file_is_refused_or_changes_nothing(tmp_path):
    path = tmp_path / "w.npz"
    arrays.save(path, CONTENT, HASH)
    for damaged in _damaged(path.read_bytes()):
        path.write_bytes(damaged)
        with suppress(arrays.WeightsError):
            same(arrays.load(path, HASH), CONTENT)


def _damaged(content):
    for position in range(len(content)):
        for change in (1 << position % 8, 255):
            yield bytes([*content[:position], content[position] ^ change, *content[position + 1 :]])


@in_a_folder
@given(st.data())
def test_a_truncated_file_is_refused(tmp_path, data):
    path = tmp_path / "w.npz"
    arrays.save(path, CONTENT, HASH)
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(arrays.WeightsError, match=r"w\.npz"):
        arrays.load(path, HASH)


def test_arrays_of_another_file_are_refused(tmp_path):
    arrays.save(tmp_path / "w.npz", CONTENT, HASH)
    with pytest.raises(arrays.WeightsError, match=r"another model file: .*download-files"):
        arrays.load(tmp_path / "w.npz", "b" * 64)


def test_a_rewired_file_takes_other_values_in_and_keeps_what_is_not_known_of_it(tmp_path):
    names = [field_bytes(1, name) for name in (b"padded", b"weights")]
    node = b"".join([*names, field_bytes(4, b"Conv"), field_bytes(7, b"a domain, unknown here")])
    model = field_bytes(1, b"an unknown field") + field_bytes(7, field_bytes(1, node))
    path = tmp_path / "n.onnx"
    path.write_bytes(model)
    rewired = arrays.rewired(path, {"padded": "input"})
    assert b"padded" not in rewired
    assert rewired.count(b"input") == rewired.count(b"weights") == 1
    path.write_bytes(rewired)
    assert arrays.rewired(path, {"input": "padded"}).count(b"unknown") == 2
    assert len(arrays.rewired(path, {"input": "padded"})) == len(model)
    path.write_bytes(b"?")
    with pytest.raises(arrays.WeightsError, match=r"n\.onnx is not an ONNX file"):
        arrays.rewired(path, {})


def test_missing_files_are_file_not_found_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        arrays.load(tmp_path / "w.npz", HASH)
    with pytest.raises(FileNotFoundError):
        arrays.read_onnx(tmp_path / "n.onnx")


def test_a_save_that_fails_leaves_what_was_there(tmp_path):
    arrays.save(tmp_path / "w.npz", CONTENT, HASH)
    with pytest.raises(ValueError, match="Object arrays"):
        arrays.save(tmp_path / "w.npz", {"w": np.array([object()])}, HASH)
    same(arrays.load(tmp_path / "w.npz", HASH), CONTENT)
    assert [file.name for file in tmp_path.iterdir()] == ["w.npz"]
