"""What the images of a data set are like, found without reading them."""

from __future__ import annotations

from akd_gym.errors import InvalidSettingError
from akd_gym.recipes import default_recipe

IMAGENET_IMAGES = 1_281_167


def describe_images(data: str, resolution: int | None) -> tuple[int, int, int, int]:
    """Channels, resolution, classes and images of a data set; ImageNet's are known without having it.

    Raises:
        DataError: If the data set is not there.
    """
    if data.startswith("imagenet:"):
        return 3, resolution or 224, 1000, IMAGENET_IMAGES
    from akd_gym.data import open_pools

    pool, _ = open_pools(data, None, with_test=False)
    return pool.channels, resolution or pool.resolution, len(pool.class_names), len(pool.labels)


def input_of(
    data: str, channels: int | None, resolution: int | None, classes: int | None
) -> tuple[tuple[int, int, int], int]:
    """Input shape and classes of networks; the data set is only opened for what was not given.

    Raises:
        InvalidSettingError: If a number is below 1.
        DataError: If the data set is needed and not there.
    """
    for name, value in (("resolution", resolution), ("channels", channels), ("classes", classes)):
        if value is not None and value < 1:
            raise InvalidSettingError(f"`{name}` must be at least 1, but got {value}.")
    if channels is None or resolution is None or classes is None:
        found = describe_images(data, resolution or default_recipe(data).resolution)
        channels, resolution, classes = channels or found[0], resolution or found[1], classes or found[2]
    return (channels, resolution, resolution), classes
