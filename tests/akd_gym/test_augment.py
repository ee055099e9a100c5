"""Replayable augmentation: what one image gets depends on (seed, view, index) alone."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from akd_gym.augment import AugmentRecipe
from akd_gym.errors import InvalidSettingError


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (40, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def naive_view(recipe: AugmentRecipe, image: torch.Tensor, index: int, view: int) -> torch.Tensor:
    """One image at a time, as one would write it down from the definition."""
    philox = np.random.Philox(key=np.array([recipe.seed, view], np.uint64), counter=[index, 0, 0, 0])
    top, left, mirror, _ = np.random.Generator(philox).random(4)
    reach = round(recipe.shift * image.shape[-1] / 28)
    rows, columns = (int(value * (2 * reach + 1)) for value in (top, left))
    padded = functional.pad(image, (reach,) * 4)
    crop = padded[:, rows : rows + image.shape[1], columns : columns + image.shape[2]]
    return crop.flip(-1) if recipe.flip and mirror < 0.5 else crop


@pytest.mark.parametrize("recipe", [AugmentRecipe(), AugmentRecipe(7, 4, False), AugmentRecipe(1, 0, True)])
def test_batches_equal_one_image_at_a_time(images: torch.Tensor, recipe: AugmentRecipe) -> None:
    indices = torch.arange(1000, 1040)
    for view in (0, 3):
        expected = torch.stack(
            [naive_view(recipe, image, int(i), view) for image, i in zip(images, indices, strict=True)]
        )
        assert torch.equal(recipe.view(images, indices, view), expected)


def test_any_subset_in_any_order_gets_the_same_pictures(images: torch.Tensor) -> None:
    recipe, indices = AugmentRecipe(seed=3), torch.arange(0, 400, 10)
    whole = recipe.view(images, indices, 2)
    some = torch.randperm(40, generator=torch.Generator().manual_seed(1))[:13]
    assert torch.equal(recipe.view(images[some], indices[some], 2), whole[some])


def test_views_seeds_and_images_differ(images: torch.Tensor) -> None:
    same = images[:1].expand(40, -1, -1, -1)
    indices = torch.arange(40)
    view = AugmentRecipe().view(same, indices, 0)
    assert len(torch.unique(view.flatten(1), dim=0)) > 10  # 3 x 3 shifts at 20 px, mirrored or not: 18 pictures
    assert not torch.equal(view, AugmentRecipe().view(same, indices, 1))
    assert not torch.equal(view, AugmentRecipe(seed=1).view(same, indices, 0))


def test_shifts_and_flips_are_uniform() -> None:
    draws = AugmentRecipe(seed=5).draws(np.arange(20_000), 0)
    assert draws.shape == (20_000, 4)
    assert abs(draws.mean(0) - 0.5).max() < 0.01
    assert np.corrcoef(draws.T)[np.triu_indices(4, 1)] == pytest.approx(0, abs=0.03)


def test_shift_scales_with_resolution() -> None:
    bright = torch.full((200, 1, 56, 56), 255, dtype=torch.uint8)
    dark_rows = (AugmentRecipe(shift=2).view(bright, torch.arange(200), 0) == 0).all(3).sum(2)
    assert dark_rows.max() == 4


def test_no_shift_and_no_flip_changes_nothing(images: torch.Tensor) -> None:
    assert torch.equal(AugmentRecipe(shift=0, flip=False).view(images, torch.arange(40), 9), images)


def test_the_global_generators_are_left_alone(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    AugmentRecipe().view(images, torch.arange(40), 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_images(images: torch.Tensor) -> None:
    assert AugmentRecipe().view(images[:0], torch.arange(0), 0).shape == (0, 3, 20, 20)


def test_bad_settings(images: torch.Tensor) -> None:
    with pytest.raises(InvalidSettingError, match="`seed` must be between 0"):
        AugmentRecipe(seed=-1)
    with pytest.raises(InvalidSettingError, match="`shift` must be between 0 and 27"):
        AugmentRecipe(shift=28)
    with pytest.raises(InvalidSettingError, match="`view` must be 0 or more, but got -1"):
        AugmentRecipe().view(images, torch.arange(40), -1)
    with pytest.raises(InvalidSettingError, match="40 images, but 39 indices"):
        AugmentRecipe().view(images, torch.arange(39), 0)
