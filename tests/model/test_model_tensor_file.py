"""What a checkpoint file is, its bytes say; what cannot be weights is refused with one line."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from supir_model.errors import ModelFileError
from supir_model.tensor_file import MAPPED_BYTES, TensorFile

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def write_safetensors(path):
    save_file(WEIGHTS, path)


def write_zip(path):
    torch.save({"state_dict": WEIGHTS, "global_step": 5}, path)


def write_old_pickle(path):
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("name", ["a.ckpt", "a.safetensors", "a.SAFETENSORS", "a"])
@pytest.mark.parametrize("write", [write_safetensors, write_zip, write_old_pickle])
def test_a_file_opens_whatever_it_is_called(write, name, tmp_path):
    write(tmp_path / name)
    file = TensorFile(tmp_path / name)
    assert file.shapes == {"a.weight": (2, 3), "a.bias": (2,)}
    assert all(torch.equal(tensor, WEIGHTS[key]) for key, tensor in file.read_all())


def test_an_old_file_is_read_once_and_not_again_for_every_piece(tmp_path, monkeypatch):
    large = {str(number): torch.zeros(MAPPED_BYTES // 4 + 1) for number in range(3)}
    torch.save(large, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    file = TensorFile(tmp_path / "old.ckpt")
    calls = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **options: (calls.append(1), load(*args, **options))[1])
    assert sum(tensor.numel() for _, tensor in file.read_all()) == 3 * (MAPPED_BYTES // 4 + 1)
    assert len(calls) == 1


@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>", b"version https://git-lfs.github.com/spec/v1"]
)
def test_what_is_no_checkpoint_is_named(content, tmp_path):
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"a\.ckpt is no checkpoint: neither safetensors nor a file of"):
        TensorFile(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("tensor", "told"),
    [
        (torch.zeros(2, dtype=torch.int8), r"a as torch\.int8"),
        (torch.zeros(2, dtype=torch.complex64), r"a as torch\.complex64"),
        (torch.eye(2).to_sparse(), r"a as torch\.float32, torch\.sparse_coo"),
    ],
)
def test_what_is_no_weight_is_refused_when_it_is_read(tensor, told, tmp_path):
    torch.save({"a": tensor, "b": torch.ones(1)}, tmp_path / "a.ckpt")
    file = TensorFile(tmp_path / "a.ckpt")
    assert dict(file.read(["b"])) == {"b": torch.ones(1)}
    with pytest.raises(ModelFileError, match=rf"holds {told}.*; give dense floating-point weights"):
        list(file.read(["a"]))


def test_other_entries_than_named_tensors_are_passed_over(tmp_path):
    torch.save({1: torch.zeros(1), "step": 3, **WEIGHTS}, tmp_path / "a.ckpt")
    assert TensorFile(tmp_path / "a.ckpt").shapes.keys() == WEIGHTS.keys()
