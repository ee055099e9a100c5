from __future__ import annotations

import safetensors
import torch

from akd_gym.tensor_files import tensor_file


def test_the_same_content_is_the_same_bytes(tmp_path):
    tensors = {"a": torch.arange(6.0).view(2, 3).T, "ü": torch.tensor([1, 2]), "empty": torch.empty(0)}
    metadata = {name: name * 3 for name in "zyxwvutsrqponmlkjihgfedcba"}
    contents = {tensor_file(tensors, metadata) for _ in range(20)}
    contents.add(tensor_file(dict(reversed(tensors.items())), dict(reversed(metadata.items()))))
    assert len(contents) == 1
    path = tmp_path / "file.safetensors"
    path.write_bytes(contents.pop())
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == metadata
        read = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], own) for name, own in tensors.items())


def test_other_content_is_other_bytes():
    assert tensor_file({"a": torch.zeros(2)}, {}) != tensor_file({"a": torch.ones(2)}, {})
    assert tensor_file({"a": torch.zeros(2)}, {"x": "1"}) != tensor_file({"a": torch.zeros(2)}, {"x": "2"})
