"""Tensors as the bytes of a safetensors file: the same tensors and metadata are always the same bytes."""

from __future__ import annotations

import json

from safetensors.torch import save
from torch import Tensor


def tensor_file(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """The content of a file; tensors may lie on any device.

    `safetensors` itself writes metadata in another order each time, so that no hash of a file could be repeated.

    Format: https://huggingface.co/docs/safetensors - length of the header (8 bytes), header (JSON), tensors
    """
    content = save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, metadata=metadata)
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors begin at a multiple of 8
    return len(header).to_bytes(8, "little") + header + content[end:]
