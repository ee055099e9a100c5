"""Images that are decoded as they are asked for: memory does not grow with their number."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from akd_gym.augment import AugmentRecipe, Crop
from akd_gym.errors import DataError
from akd_gym.images import Images, check_rows
from akd_gym.picture_files import PictureFiles, decode

READ_AHEAD = 2
"""Batches that are decoded while the one before them is used."""


@dataclass(frozen=True, eq=False)
class StreamedImageSet(Images):
    """Pictures in files, decoded by threads in the background, a few batches ahead of whoever uses them.

    At most `READ_AHEAD + 2` batches are in memory: those under way, the one just done and the one in use. A
    random-resized crop is cut from the picture as it is stored; everything else happens to its central square, as in an
    `ImageSet`.

    Args:
        files: The pool.
        labels: int64 (N,), class numbers.
        indices: int64 (N,), which of the files each image is.
        resolution: Height and width to scale to, pixels.
        threads: That decode. Beside a student that trains on one core, one is enough.
    """

    files: PictureFiles
    labels: Tensor
    indices: Tensor
    resolution: int
    threads: int = 1

    def __post_init__(self) -> None:
        check_rows(len(self.labels), labels=self.labels, indices=self.indices)

    @property
    def shape(self) -> tuple[int, int, int]:
        """See `Images.shape`."""
        return 3, self.resolution, self.resolution

    def batches(
        self, rows: Iterable[Tensor], device: torch.device, augment: AugmentRecipe | None = None, view: int = 0
    ) -> Iterator[Tensor]:
        """See `Images.batches`.

        Raises:
            DataError: A picture cannot be read, which could when the set was opened.
        """
        waiting = [own.cpu() for own in rows]  # now: later each copy from a GPU would wait for all that it has to do
        under_way: deque[tuple[Tensor, list[Future[None]]]] = deque()
        decoders = ThreadPoolExecutor(self.threads, thread_name_prefix="decode")
        try:
            for number, own in enumerate(waiting):
                for later in waiting[number + len(under_way) : number + 1 + READ_AHEAD]:
                    under_way.append(self._begin(decoders, self.indices[later], augment, view))
                pictures, parts = under_way.popleft()
                for part in parts:
                    part.result()
                if augment is not None and augment.crop_area is None:
                    pictures = augment.view(pictures, self.indices[own], view)
                yield pictures.to(device)
        finally:
            decoders.shutdown(cancel_futures=True)

    def _begin(
        self, decoders: ThreadPoolExecutor, positions: Tensor, augment: AugmentRecipe | None, view: int
    ) -> tuple[Tensor, list[Future[None]]]:
        """Have a batch decoded: uint8 (B, 3, R, R), filled when the futures are done."""
        pictures = torch.empty((len(positions), *self.shape), dtype=torch.uint8)
        crops = augment if augment is not None and augment.crop_area is not None else None
        places = zip(pictures.numpy(), positions.tolist(), strict=True)
        return pictures, [decoders.submit(self._decode, place, position, crops, view) for place, position in places]

    def _decode(self, place: np.ndarray, position: int, crops: AugmentRecipe | None, view: int) -> None:
        def crop(height: int, width: int) -> Crop:
            assert crops is not None
            return crops.crop(position, view, height, width)

        try:
            picture = decode(self.files.path(position), self.resolution, None if crops is None else crop)
        except DataError as error:
            raise DataError(
                f"Unreadable picture {error}: it could be read when the images were opened. Repair it, or start again."
            ) from error
        place[:] = picture.transpose(2, 0, 1)
