"""Replayable augmentation: what one image gets depends on (seed, view, index) alone."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision.transforms import RandomResizedCrop

from akd_gym.augment import AugmentRecipe, _cut
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


def naive_crop(recipe: AugmentRecipe, index: int, view: int, height: int, width: int) -> list[int]:
    """What one picture is cropped to, as one would write it down from the definition."""

    def numbers(block: int) -> list[float]:
        philox = np.random.Philox(key=np.array([recipe.seed, view], np.uint64), counter=[index, block, 0, 0])
        return np.random.Generator(philox).random(4).tolist()

    down, right, _, _ = numbers(0)
    pairs = [pair for block in range(1, 6) for pair in (numbers(block)[:2], numbers(block)[2:])]
    for share, turn in pairs:
        area = height * width * (recipe.crop_area + (1 - recipe.crop_area) * share)
        ratio = math.exp(math.log(3 / 4) + math.log(16 / 9) * turn)
        kept_width, kept_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if kept_width <= width and kept_height <= height:
            top, left = int(down * (height - kept_height + 1)), int(right * (width - kept_width + 1))
            return [top, left, kept_height, kept_width]
    if width > height * 4 / 3:
        kept_width = round(height * 4 / 3)
        return [0, (width - kept_width) // 2, height, kept_width]
    if width >= height * 3 / 4:
        return [0, 0, height, width]
    kept_height = round(width * 4 / 3)
    return [(height - kept_height) // 2, 0, kept_height, width]


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


def test_numbers_drawn_one_by_one_are_those_of_the_range() -> None:
    recipe, indices = AugmentRecipe(seed=9), np.array([5, 100_000, 2_000_000_000_000])
    assert np.array_equal(recipe.draws(indices[:2], 4), recipe.draws(np.arange(100_001), 4)[indices[:2]])
    assert np.array_equal(recipe.draws(indices, 4)[2:], recipe.draws(indices[2:], 4))
    assert not np.array_equal(recipe.draws(indices, 4), recipe.draws(indices, 4, block=1))


@pytest.mark.parametrize("crop_area", [0.08, 0.6, 1.0])
@pytest.mark.parametrize(("height", "width"), [(375, 500), (20, 20), (50, 1000), (900, 40)])
def test_crops_equal_one_picture_at_a_time(height: int, width: int, crop_area: float) -> None:
    recipe, indices = AugmentRecipe(seed=4, crop_area=crop_area), np.arange(300, 400)
    boxes = recipe.crops(indices, 2, np.full(100, height), np.full(100, width))
    assert boxes.tolist() == [naive_crop(recipe, index, 2, height, width) for index in indices.tolist()]
    assert [list(recipe.crop(int(i), 2, height, width)[:4]) for i in indices[:5]] == boxes[:5].tolist()
    assert (boxes >= [0, 0, 1, 1]).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= [height, width]).all()


@pytest.mark.parametrize(("height", "width"), [(375, 500), (100, 300)])
def test_crops_are_distributed_as_torchvisions(height: int, width: int) -> None:
    recipe, count = AugmentRecipe(seed=1, crop_area=0.08), 4000
    ours = recipe.crops(np.arange(count), 0, np.full(count, height), np.full(count, width))
    torch.manual_seed(0)
    picture = torch.empty(3, height, width)
    theirs = np.array([RandomResizedCrop.get_params(picture, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(count)])
    for one, other in ((boxes[:, 2] * boxes[:, 3] for boxes in (ours, theirs)), (ours[:, 3], theirs[:, 3])):
        assert one.mean() == pytest.approx(other.mean(), rel=0.03)
        assert one.std() == pytest.approx(other.std(), rel=0.05)
    assert ours[:, 1].mean() == pytest.approx(theirs[:, 1].mean(), rel=0.06)


def test_a_crop_is_scaled_up_bilinearly() -> None:
    ramp = torch.tensor([0, 40, 80, 120], dtype=torch.uint8).expand(1, 1, 4, 4)
    assert _cut(ramp, torch.tensor([[0, 0, 4, 4]])).equal(ramp)
    # Two columns from the second on: centres at 0.75, 1.25, 1.75 and 2.25 of the original ones.
    assert _cut(ramp, torch.tensor([[2, 1, 2, 2]]))[0, 0].tolist() == [[30, 50, 70, 90]] * 4
    assert _cut(ramp.mT, torch.tensor([[1, 0, 2, 4]]))[0, 0].mT.tolist() == [[30, 50, 70, 90]] * 4


def test_crops_replace_the_shift_and_flips_stay(images: torch.Tensor) -> None:
    recipe, indices = AugmentRecipe(seed=3, crop_area=0.3), torch.arange(40)
    view = recipe.view(images, indices, 1)
    assert view.shape == images.shape
    assert torch.equal(view, replace(recipe, shift=0).view(images, indices, 1))
    unflipped = replace(recipe, flip=False).view(images, indices, 1)
    mirrored = torch.from_numpy(recipe.draws(indices.numpy(), 1)[:, 2] < 0.5)
    assert torch.equal(view[mirrored], unflipped[mirrored].flip(-1))
    assert torch.equal(view[~mirrored], unflipped[~mirrored])
    assert [recipe.crop(i, 1, 20, 20).flip for i in range(40)] == mirrored.tolist()
    some = torch.tensor([31, 7, 8])
    assert torch.equal(recipe.view(images[some], indices[some], 1), view[some])


def test_recipes_of_before_keep_their_identity() -> None:
    assert AugmentRecipe(seed=2).identity() == {"seed": 2, "shift": 2, "flip": True}
    assert AugmentRecipe(seed=2, crop_area=0.08).identity() == {"seed": 2, "flip": True, "crop_area": 0.08}


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
    with pytest.raises(InvalidSettingError, match="`crop_area` must be above 0 and at most 1, but got 0"):
        AugmentRecipe(crop_area=0.0)
    with pytest.raises(InvalidSettingError, match="`view` must be 0 or more, but got -1"):
        AugmentRecipe().view(images, torch.arange(40), -1)
    with pytest.raises(InvalidSettingError, match="40 images, but 39 indices"):
        AugmentRecipe().view(images, torch.arange(39), 0)
