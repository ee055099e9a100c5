"""Augmentation that can be replayed: view v of image i is one picture for the teacher and every student.

A teacher's soft labels can only be cached if the picture that a student sees in epoch v is the very picture
that the teacher saw. So what is drawn for an image depends on nothing but (recipe seed, view, the image's
index in its pool): not on the batch, the order, the worker or the library's global generator.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from akd_gym.errors import InvalidSettingError

_SHIFT_RESOLUTION = 28
_DRAWS = 4  # a Philox block is four 64-bit words: row shift or top, column shift or left, flip, one to spare
_SPARSE = 64  # where fewer than one index in so many is asked for, blocks are drawn one by one
_ASPECT = (3 / 4, 4 / 3)
_CROP_ATTEMPTS = 10


class Crop(NamedTuple):
    """What a random-resized crop keeps of a picture, in pixels, and whether it is then mirrored."""

    top: int
    left: int
    height: int
    width: int
    flip: bool


@dataclass(frozen=True)
class AugmentRecipe:
    """Random shift with zero padding or a random-resized crop, then a random horizontal flip.

    Args:
        seed: Selects the whole family of views.
        shift: Largest shift in each direction, in pixels of a 28-pixel image; scaled with the resolution. 0:
            none.
        flip: Whether to mirror half of the pictures left to right.
        crop_area: Smallest share of a picture's area that a random-resized crop keeps, in place of the shift; the
            aspect ratio is between 3/4 and 4/3. None: no such crops.
            Paper: Going Deeper with Convolutions (section 6) - https://arxiv.org/abs/1409.4842
    """

    seed: int = 0
    shift: int = 2
    flip: bool = True
    crop_area: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise InvalidSettingError(f"`seed` must be between 0 and 2**63 - 1, but got {self.seed}.")
        if not 0 <= self.shift < _SHIFT_RESOLUTION:
            raise InvalidSettingError(f"`shift` must be between 0 and 27 pixels (of 28), but got {self.shift}.")
        if self.crop_area is not None and not 0 < self.crop_area <= 1:
            raise InvalidSettingError(f"`crop_area` must be above 0 and at most 1, but got {self.crop_area}.")

    def identity(self) -> dict[str, Any]:
        """What the views depend on, for keys; crops, which came later, are in it only where there are any."""
        own = asdict(self)
        if self.crop_area is None:
            del own["crop_area"]
        else:
            del own["shift"]
        return own

    def draws(self, indices: np.ndarray, view: int, block: int = 0) -> np.ndarray:
        """Return the random numbers of each image: (N, 4) float64 in [0, 1).

        Image i owns the i-th block of the Philox4x64 stream keyed by (seed, view), so any subset of images in
        any order gets the same numbers. Where the indices lie close, the stream is produced for their whole range
        at once.

        Args:
            indices: int64 (N,), each image's index in its pool.
            view: Which view.
            block: Further numbers of the same images, 1 and more.
        """
        if not len(indices):
            return np.empty((0, _DRAWS))
        key = np.array([self.seed, view], np.uint64)
        first, last = int(indices.min()), int(indices.max())
        if last - first < _SPARSE * len(indices):
            philox = np.random.Philox(key=key, counter=[first, block, 0, 0])
            words = philox.random_raw((last - first + 1) * _DRAWS).reshape(-1, _DRAWS)[indices - first]
        else:
            single = (np.random.Philox(key=key, counter=[index, block, 0, 0]) for index in indices.tolist())
            words = np.stack([philox.random_raw(_DRAWS) for philox in single])
        return (words >> np.uint64(11)) * 2.0**-53

    def crops(self, indices: np.ndarray, view: int, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """Draw what is kept of each picture: int64 (N, 4): top, left, height, width.

        The distribution is that of torchvision's `RandomResizedCrop`: the share of the area is uniform, the logarithm
        of the aspect ratio is uniform, what does not fit is drawn again up to ten times, and then the largest central
        part with an allowed ratio is taken.

        Args:
            indices: int64 (N,), each image's index in its pool.
            view: Which view.
            heights: int64 (N,), of the pictures, pixels.
            widths: int64 (N,).
        """
        assert self.crop_area is not None
        ratios = np.clip(widths / heights, *_ASPECT)
        kept_widths = np.minimum(widths, np.rint(heights * ratios).astype(np.int64))
        kept_heights = np.minimum(heights, np.rint(widths / ratios).astype(np.int64))
        top, left = (heights - kept_heights) // 2, (widths - kept_widths) // 2
        first = self.draws(indices, view)
        low, high = np.log(_ASPECT)
        waiting = np.arange(len(indices))
        for attempt in range(_CROP_ATTEMPTS):
            draws = self.draws(indices[waiting], view, 1 + attempt // 2)
            share, turn = (draws[:, 2 * (attempt % 2) + word] for word in (0, 1))
            area = heights[waiting] * widths[waiting] * (self.crop_area + (1 - self.crop_area) * share)
            ratio = np.exp(low + (high - low) * turn)
            width = np.rint(np.sqrt(area * ratio)).astype(np.int64)
            height = np.rint(np.sqrt(area / ratio)).astype(np.int64)
            fits = (width > 0) & (width <= widths[waiting]) & (height > 0) & (height <= heights[waiting])
            done = waiting[fits]
            kept_widths[done], kept_heights[done] = width[fits], height[fits]
            top[done] = (first[done, 0] * (heights[done] - height[fits] + 1)).astype(np.int64)
            left[done] = (first[done, 1] * (widths[done] - width[fits] + 1)).astype(np.int64)
            waiting = waiting[~fits]
            if not len(waiting):
                break
        return np.stack([top, left, kept_heights, kept_widths], axis=1)

    def crop(self, index: int, view: int, height: int, width: int) -> Crop:
        """Draw the crop of one picture of `height` x `width` pixels; see `crops`."""
        indices = np.array([index])
        boxes = self.crops(indices, view, np.array([height]), np.array([width]))
        top, left, kept_height, kept_width = boxes[0].tolist()
        flip = self.flip and bool(self.draws(indices, view)[0, 2] < 0.5)
        return Crop(top, left, kept_height, kept_width, flip)

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
        numbers = indices.cpu().numpy()
        draws = torch.from_numpy(self.draws(numbers, view)).to(images.device)
        if self.crop_area is not None:
            sizes = np.full((2, len(images)), [[height], [width]])
            images = _cut(images, torch.from_numpy(self.crops(numbers, view, *sizes)))
        elif self.shift:
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


def _cut(images: Tensor, boxes: Tensor) -> Tensor:
    """Scale a box (top, left, height, width) of each image up to the size of the image, bilinearly.

    A box is never larger than the image, so there is nothing to smooth.
    """
    height, width = images.shape[2:]
    top, left, box_height, box_width = boxes.to(images.device, torch.float32).unbind(1)

    def places(start: Tensor, extent: Tensor, size: int) -> Tensor:
        """Where the centres of `size` pixels lie, (N, size), counting the image from -1 to 1."""
        centres = (torch.arange(size, device=images.device) + 0.5) / size
        return (start[:, None] + extent[:, None] * centres) * (2 / size) - 1

    x, y = places(left, box_width, width), places(top, box_height, height)
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)
    cut = functional.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return cut.round().clamp(0, 255).to(torch.uint8)
