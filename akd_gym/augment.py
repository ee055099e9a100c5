"""Augmentation that can be replayed: view v of image i is one picture for the teacher and every student.

A teacher's soft labels can only be cached if the picture that a student sees in epoch v is the very picture
that the teacher saw. So what is drawn for an image depends on nothing but (recipe seed, view, the image's
index in its pool): not on the batch, the order, the worker or the library's global generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from akd_gym.errors import InvalidSettingError

_SHIFT_RESOLUTION = 28
_DRAWS = 4  # a Philox block is four 64-bit words: row shift, column shift, flip, one to spare


@dataclass(frozen=True)
class AugmentRecipe:
    """Random shift with zero padding, then a random horizontal flip.

    Args:
        seed: Selects the whole family of views.
        shift: Largest shift in each direction, in pixels of a 28-pixel image; scaled with the resolution. 0:
            none.
        flip: Whether to mirror half of the pictures left to right.
    """

    seed: int = 0
    shift: int = 2
    flip: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise InvalidSettingError(f"`seed` must be between 0 and 2**63 - 1, but got {self.seed}.")
        if not 0 <= self.shift < _SHIFT_RESOLUTION:
            raise InvalidSettingError(f"`shift` must be between 0 and 27 pixels (of 28), but got {self.shift}.")

    def draws(self, indices: np.ndarray, view: int) -> np.ndarray:
        """Return the random numbers of each image: (N, 4) float64 in [0, 1).

        Image i owns the i-th block of the Philox4x64 stream keyed by (seed, view), so any subset of images in
        any order gets the same numbers. The stream is produced for the range of `indices` at once.
        """
        first = int(indices.min()) if len(indices) else 0
        blocks = int(indices.max()) - first + 1 if len(indices) else 0
        philox = np.random.Philox(key=np.array([self.seed, view], np.uint64), counter=[first, 0, 0, 0])
        words = philox.random_raw(blocks * _DRAWS).reshape(blocks, _DRAWS)[indices - first]
        return (words >> np.uint64(11)) * 2.0**-53

    def view(self, images: Tensor, indices: Tensor, view: int) -> Tensor:
        """Draw one view of the images.

        Args:
            images: uint8 (N, C, H, W).
            indices: int64 (N,), each image's index in its pool.
            view: Which view, 0 or more; a student's epoch v trains on view v.

        Returns:
            uint8 (N, C, H, W) on the device of `images`.

        Raises:
            InvalidSettingError: `view` is negative, or images and indices differ in number.
        """
        if view < 0:
            raise InvalidSettingError(f"`view` must be 0 or more, but got {view}.")
        if len(images) != len(indices):
            raise InvalidSettingError(f"Got {len(images)} images, but {len(indices)} indices.")
        height, width = images.shape[2:]
        draws = torch.from_numpy(self.draws(indices.cpu().numpy(), view)).to(images.device)
        if self.shift:
            reach_y, reach_x = (round(self.shift * size / _SHIFT_RESOLUTION) for size in (height, width))
            top = (draws[:, 0] * (2 * reach_y + 1)).long()
            left = (draws[:, 1] * (2 * reach_x + 1)).long()
            padded = functional.pad(images, (reach_x, reach_x, reach_y, reach_y))
            windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view of every possible crop, no copy
            rows = torch.arange(len(images), device=images.device)
            images = windows[rows, :, top, left]
        if self.flip:
            mirrored = (draws[:, 2] < 0.5)[:, None, None, None]
            images = torch.where(mirrored, images.flip(-1), images)
        return images
