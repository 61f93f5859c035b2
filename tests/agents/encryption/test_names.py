"""Encrypted files are known by their names, and none can be mistaken for a clear one."""

import pytest

from interlock_agents.encryption.errors import EncryptionError
from interlock_agents.encryption.names import clear_path, encrypted_path, pairs


@pytest.mark.parametrize(
    ("path", "clear"),
    [
        ("1/model.onnx.enc", "1/model.onnx"),
        ("config.pbtxt.enc", "config.pbtxt"),
        ("a.enc.enc", "a.enc"),
        ("1/model.onnx", None),
        ("1/model.enc/x", None),
        (".enc", None),
        ("1/.enc", None),
        ("1/x.ENC", None),
    ],
)
def test_the_ending_says_what_is_encrypted(path: str, clear: str | None) -> None:
    assert clear_path(path) == clear
    if clear is not None:
        assert encrypted_path(clear) == path


def test_pairs_are_by_their_clear_paths() -> None:
    paths = ["1/b.enc", "1/a.enc", "labels.txt", "config.pbtxt", "config.pbtxt.enc"]

    assert pairs(paths) == {
        "1/a": "1/a.enc",
        "1/b": "1/b.enc",
        "config.pbtxt": "config.pbtxt.enc",
    }


@pytest.mark.parametrize(
    "path", ["config.pbtxt", "configs/gpu.pbtxt", "manifest.json", "model.sig"]
)
def test_some_clear_files_speak_for_themselves(path: str) -> None:
    assert pairs([path, f"{path}.enc"]) == {path: f"{path}.enc"}


@pytest.mark.parametrize(
    "path", ["1/model.onnx", "1/config.pbtxt", "configs/gpu/x.pbtxt", "labels.txt", "x.enc"]
)
def test_no_other_clear_file_may_lie_beside_an_encrypted_one(path: str) -> None:
    with pytest.raises(EncryptionError) as raised:
        pairs([path, f"{path}.enc"])

    assert str(raised.value) == f"both '{path}' and '{path}.enc' are there; which of them counts?"
