"""What all tests share: a cache of their own, and a proxy task small enough to train in a second."""

from dataclasses import replace

import pytest

from akd_gym.recipes import RECIPES, Recipe


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Soft labels of tests never touch the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AKD_GYM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def tiny_recipe() -> Recipe:
    """128 images, 2 epochs."""
    return replace(RECIPES["fashion"], epochs=2, train_size=128, val_size=200, batch_size=32)
