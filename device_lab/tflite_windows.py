"""Where the windows of a convolution or pooling lie: PyTorch's padding numbers against TFLite's padding modes."""

from __future__ import annotations

from dataclasses import dataclass

from ai_edge_litert import schema_py_generated as schema

SAME, VALID = schema.Padding.SAME, schema.Padding.VALID


@dataclass(frozen=True)
class Window:
    """How a kernel moves along one image axis, as PyTorch means it.

    Args:
        size: Pixels along the axis.
        kernel: Pixels that the kernel spans, dilation counted.
        stride: Pixels between two windows.
        pad: Zeros on either side.
        ceil: Whether a last window may reach beyond the padding.
    """

    size: int
    kernel: int
    stride: int
    pad: int
    ceil: bool = False

    @property
    def out(self) -> int:
        """Number of windows."""
        span = self.size + 2 * self.pad - self.kernel
        out = (-(-span // self.stride) if self.ceil else span // self.stride) + 1
        if self.ceil and (out - 1) * self.stride >= self.size + self.pad:
            out -= 1  # the last window must start inside the image or its left padding
        return out

    @property
    def is_same(self) -> bool:
        """Whether TFLite's SAME puts every window where PyTorch does."""
        out = -(-self.size // self.stride)
        total = max((out - 1) * self.stride + self.kernel - self.size, 0)
        return out == self.out and total // 2 == self.pad

    @property
    def is_valid(self) -> bool:
        """Whether TFLite's VALID does."""
        return self.pad == 0 and self.out == (self.size - self.kernel) // self.stride + 1
