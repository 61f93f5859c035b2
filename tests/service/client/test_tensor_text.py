from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interlock.client.models import TensorMetadata
from interlock.client.tensor_text import (
    RawTensor,
    TensorText,
    TensorTextError,
    build,
    parse,
    shape_for,
)


def tensor(datatype: str, *shape: int) -> TensorMetadata:
    return TensorMetadata("x", datatype, shape)


def built(text: str, metadata: TensorMetadata) -> RawTensor:
    return build(parse(text), metadata)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("x=1,2", TensorText("x", None, "1,2"), id="elements"),
        pytest.param("x[1,64]=@f", TensorText("x", (1, 64), "@f"), id="shape"),
        pytest.param("x[]=1", TensorText("x", (), "1"), id="scalar"),
        pytest.param("in/x:0=a=b", TensorText("in/x:0", None, "a=b"), id="equal sign within"),
        pytest.param("x=a\nb", TensorText("x", None, "a\nb"), id="line break within"),
    ],
)
def test_takes_an_input_apart(text: str, expected: TensorText) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["x", "=1", "x[a]=1", "x[1=1"])
def test_says_how_an_input_is_written(text: str) -> None:
    with pytest.raises(TensorTextError, match=r"is no input: write NAME=1,2,3, NAME=@file\.npy"):
        parse(text)


@pytest.mark.parametrize(
    ("declared", "count", "shape"),
    [
        pytest.param((4,), 4, (4,), id="fixed"),
        pytest.param((-1, 4), 8, (2, 4), id="as many rows as there are"),
        pytest.param((-1, -1), 5, (1, 5), id="one row of any length"),
        pytest.param((-1, 3, -1), 6, (1, 3, 2), id="one row, the other size filled"),
        pytest.param((2, -1), 6, (2, 3), id="open at the end"),
        pytest.param((-1,), 0, (0,), id="empty"),
        pytest.param((), 1, (), id="scalar"),
    ],
)
def test_finds_the_shape(declared: tuple[int, ...], count: int, shape: tuple[int, ...]) -> None:
    assert shape_for(tensor("FP32", *declared), count) == shape


@pytest.mark.parametrize(
    ("declared", "count", "text"),
    [
        pytest.param((4,), 3, "'x' of shape [4] cannot hold 3 elements", id="too few"),
        pytest.param((-1, 4), 6, "'x' of shape [-1,4] cannot hold 6 elements", id="half a row"),
        pytest.param(
            (-1, -1, -1),
            6,
            "the shape of 'x' is [-1,-1,-1]: say which one it is, as in x[1,2,3]=...",
            id="more than one way",
        ),
        pytest.param((2, -1, -1), 6, "the shape of 'x' is [2,-1,-1]", id="no batch to be 1"),
    ],
)
def test_says_what_is_wrong_with_the_shape(
    declared: tuple[int, ...], count: int, text: str
) -> None:
    with pytest.raises(TensorTextError) as refused:
        shape_for(tensor("FP32", *declared), count)

    assert str(refused.value).startswith(text)


@pytest.mark.parametrize(
    ("datatype", "text", "expected"),
    [
        pytest.param("FP32", "1,2.5", np.array([1, 2.5], "<f4"), id="FP32"),
        pytest.param("FP16", "nan", np.array(["nan"], "<f2"), id="FP16"),
        pytest.param("INT8", "-128, 127", np.array([-128, 127], "i1"), id="INT8"),
        pytest.param("UINT64", str(2**64 - 1), np.array([2**64 - 1], "<u8"), id="UINT64"),
        pytest.param("BOOL", "true,0,False", np.array([1, 0, 0], "?"), id="BOOL"),
        # 1.00390625 lies in the middle of two values, and goes to the even one.
        pytest.param("BF16", "1,1.00390625,-2", np.array([0x3F80, 0x3F80, 0xC000]), id="BF16"),
    ],
)
def test_writes_elements_in_their_raw_form(
    datatype: str, text: str, expected: np.ndarray[Any, Any]
) -> None:
    sent = built(f"x={text}", tensor(datatype, -1))
    raw = expected.astype("<u2") if datatype == "BF16" else expected

    assert (sent.name, sent.datatype, sent.shape) == ("x", datatype, expected.shape)
    assert sent.data == raw.tobytes()


def test_a_list_of_texts() -> None:
    sent = built("x=a,bc", tensor("BYTES", -1))

    assert (sent.shape, sent.data) == ((2,), b"\x01\x00\x00\x00a\x02\x00\x00\x00bc")


def test_a_shape_of_one_keeps_the_commas() -> None:
    sent = built("x[1,1]=a,b", tensor("BYTES", -1, 1))

    assert (sent.shape, sent.data) == ((1, 1), b"\x03\x00\x00\x00a,b")


def test_a_scalar() -> None:
    sent = built("x[]=3", tensor("INT32", -1))

    assert (sent.shape, sent.data) == ((), b"\x03\x00\x00\x00")


@pytest.mark.parametrize(
    ("datatype", "text"),
    [
        pytest.param("INT8", "300", id="too large"),
        pytest.param("UINT8", "-1", id="negative"),
        pytest.param("INT32", "1.5", id="no integer"),
        pytest.param("FP32", "one", id="no number"),
        pytest.param("BOOL", "2", id="no boolean"),
    ],
)
def test_an_element_that_does_not_fit_is_refused(datatype: str, text: str) -> None:
    with pytest.raises(TensorTextError, match=f"^'x' takes {datatype}: "):
        built(f"x={text}", tensor(datatype, -1))


def test_a_numpy_file_brings_its_shape(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.save(tmp_path / "x.npy", array)
    sent = built(f"x=@{tmp_path}/x.npy", tensor("FP32", -1, 3))

    assert (sent.shape, sent.data) == ((2, 3), array.tobytes())


def test_a_numpy_file_of_one_row_becomes_a_batch(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3, np.float32))

    assert built(f"x=@{tmp_path}/x.npy", tensor("FP32", -1, 3)).shape == (1, 3)


def test_a_numpy_file_may_be_given_another_shape(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(6, np.float32))

    assert built(f"x[2,3]=@{tmp_path}/x.npy", tensor("FP32", -1, 3)).shape == (2, 3)


@pytest.mark.parametrize(
    ("dtype", "datatype", "raw"),
    [
        pytest.param("<f8", "FP32", np.array([1], "<f4"), id="precision is lost"),
        pytest.param("u1", "FP32", np.array([1], "<f4"), id="pixels"),
        pytest.param(">i4", "INT32", np.array([1], "<i4"), id="byte order"),
        pytest.param("<f4", "BF16", np.array([0x3F80], "<u2"), id="BF16"),
    ],
)
def test_a_numpy_file_is_converted(
    tmp_path: Path, dtype: str, datatype: str, raw: np.ndarray[Any, Any]
) -> None:
    np.save(tmp_path / "x.npy", np.array([1], dtype))

    assert built(f"x=@{tmp_path}/x.npy", tensor(datatype, 1)).data == raw.tobytes()


def test_texts_in_a_numpy_file(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array(["a", "é"]))
    sent = built(f"x=@{tmp_path}/x.npy", tensor("BYTES", 2))

    assert sent.data == b"\x01\x00\x00\x00a\x02\x00\x00\x00\xc3\xa9"


def test_a_numpy_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([1.5]))

    with pytest.raises(TensorTextError, match="'x' takes INT32, the file has float64"):
        built(f"x=@{tmp_path}/x.npy", tensor("INT32", 1))


def test_a_numpy_file_is_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([object()]), allow_pickle=True)

    with pytest.raises(TensorTextError, match="is no array of plain values"):
        built(f"x=@{tmp_path}/x.npy", tensor("BYTES", 1))


def test_any_other_file_is_the_raw_form(tmp_path: Path) -> None:
    (tmp_path / "x.f32").write_bytes(bytes(24))
    sent = built(f"x=@{tmp_path}/x.f32", tensor("FP32", -1, 3))

    assert (sent.shape, sent.data) == ((2, 3), bytes(24))


def test_the_raw_form_has_whole_elements(tmp_path: Path) -> None:
    (tmp_path / "x.f32").write_bytes(bytes(7))

    with pytest.raises(TensorTextError, match="has 7 bytes, not a multiple of the 4 of FP32"):
        built(f"x=@{tmp_path}/x.f32", tensor("FP32", -1))


def test_a_file_is_one_element_of_bytes(tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8,")
    sent = built(f"x=@{tmp_path}/cat.jpg", tensor("BYTES", -1, 1))

    assert (sent.shape, sent.data) == ((1, 1), b"\x03\x00\x00\x00\xff\xd8,")


@pytest.mark.parametrize("name", ["x.npy", "x.f32"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(TensorTextError, match=f"cannot read .*/{name}: No such file"):
        built(f"x=@{tmp_path}/{name}", tensor("FP32", -1))


def test_an_unknown_datatype_is_named() -> None:
    with pytest.raises(TensorTextError, match="'x' has the unknown datatype FP8"):
        built("x=1", tensor("FP8", -1))
