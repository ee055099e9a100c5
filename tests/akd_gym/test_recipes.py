import pytest

from akd_gym.errors import InvalidSettingError
from akd_gym.recipes import FULL_RECIPES, RECIPES, Recipe, default_recipe, full_recipe, with_overrides


def test_the_papers_proxy():
    """Section 3.2: 5 epochs, one of warm-up, temperature 1, alpha 0.9, 50K images in mini-val."""
    paper = RECIPES["paper"]
    assert (paper.epochs, paper.warmup_epochs, paper.temperature, paper.alpha) == (5, 1.0, 1.0, 0.9)
    assert paper.val_size == 50_000
    assert FULL_RECIPES["paper"].epochs == 400


def test_learning_rate_warms_up_and_falls_as_a_half_cosine():
    recipe = Recipe(epochs=5, warmup_epochs=1, learning_rate=0.2)
    assert recipe.learning_rate_at(0) == 0
    assert recipe.learning_rate_at(0.5) == pytest.approx(0.1)
    assert recipe.learning_rate_at(1) == pytest.approx(0.2)
    assert recipe.learning_rate_at(3) == pytest.approx(0.1)
    assert recipe.learning_rate_at(5) == pytest.approx(0)


def test_identity_holds_what_matters():
    recipe = RECIPES["fashion"]
    assert recipe.identity(distilled=True)["alpha"] == 0.9
    plain = recipe.identity(distilled=False)
    assert "alpha" not in plain
    assert "time_limit_s" not in plain
    assert plain["views"] == recipe.epochs
    assert with_overrides(recipe, {"alpha": 0.5, "epochs": None}).identity(distilled=False) == plain


def test_defaults_by_data():
    assert default_recipe("fashion") is RECIPES["fashion"]
    assert default_recipe("imagenet:/data") is RECIPES["paper"]
    assert default_recipe("cifar10:/data") == Recipe()
    assert full_recipe("imagenet:/data") is FULL_RECIPES["paper"]
    assert full_recipe("fashion") == FULL_RECIPES["fashion"]
    assert full_recipe("imagefolder:/data").val_size is None  # a folder may hold fewer images than Fashion-MNIST


def test_no_more_views_are_kept_than_are_seen():
    assert Recipe(epochs=60, views=10).kept_views == 10
    assert Recipe(epochs=5).kept_views == 5
    assert Recipe(epochs=2, warmup_epochs=0.5, views=10).kept_views == 2


@pytest.mark.parametrize(("field", "value"), [
    ("epochs", 0), ("batch_size", 0), ("train_size", -1), ("learning_rate", 0.0), ("learning_rate", float("inf")),
    ("temperature", -1.0), ("alpha", 1.5), ("alpha", -0.1), ("warmup_epochs", 5), ("time_limit_s", 0),
])  # fmt: skip
def test_bad_values_are_refused(field, value):
    with pytest.raises(InvalidSettingError, match=f"`{field}`"):
        Recipe(**{field: value})


def test_unknown_fields_are_refused():
    with pytest.raises(InvalidSettingError, match="epoch"):
        with_overrides(Recipe(), {"epoch": 3})
