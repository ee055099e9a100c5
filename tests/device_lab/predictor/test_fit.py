from __future__ import annotations

import numpy as np
import pytest

from akd_gym.device_lab.predictor import Form, Operator, fit_latency, fit_madds
from akd_gym.errors import InvalidSettingError, UnknownNameError

COSTS = {  # ms
    "conv_1x1.count": 1e-3,
    "conv_1x1.madds": 1e-8,
    "conv_kxk.madds": 2e-8,
    "conv_kxk.weights": 1e-7,
    "depthwise.madds": 5e-8,
    "depthwise.count": 2e-3,
    "add.elements": 3e-8,
    "spill.outputs": 2e-7,
    "constant": 5e-3,
}


def latencies_of(form: Form, models) -> list[float]:
    return [sum(COSTS.get(name, 0.0) * value for name, value in form.features(model).items()) for model in models]


@pytest.mark.parametrize("form", [Form(1), Form(8), Form(16), Form(32), Form(16, 2**16)], ids=str)
def test_a_known_table_is_found_again(form, random_models) -> None:
    models = random_models(80)
    model = fit_latency(models, latencies_of(form, models))
    assert model.form == form
    unseen = random_models(40, seed=1)
    predicted = [model.predict_known(one) for one in unseen]
    np.testing.assert_allclose(predicted, latencies_of(form, unseen), rtol=1e-3)
    assert all(cost >= 0 for cost in model.coefficients.values())


def test_disturbed_measurements_do_not_move_the_fit(random_models) -> None:
    models = random_models(80)
    latencies = latencies_of(Form(16), models)
    for disturbed in range(0, 80, 10):
        latencies[disturbed] *= 1.5
    model = fit_latency(models, latencies)
    unseen = random_models(40, seed=1)
    predicted = np.array([model.predict(one) for one in unseen])
    assert np.abs(predicted / latencies_of(Form(16), unseen) - 1).mean() < 0.015  # plain least squares: 0.03


def test_relative_errors_are_what_counts(random_models) -> None:
    models = random_models(60)
    small, large = models[:30], [tuple(one._replace(madds=one.madds * 1000) for one in model) for model in models[30:]]
    latencies = latencies_of(Form(), [*small, *large])
    noise = 1 + 0.01 * np.random.default_rng(0).standard_normal(60)
    model = fit_latency([*small, *large], latencies * noise)
    predicted = np.array([model.predict(one) for one in small])
    assert np.abs(predicted / latencies[:30] - 1).mean() < 0.02


def test_multiply_adds_alone_are_a_line_through_them() -> None:
    models = [(Operator("conv_1x1", madds, 8, 8, 8, 8),) for madds in (10, 20, 40)]
    model = fit_madds(models, [1.0, 1.5, 2.5])
    assert model.a_madd_ms == pytest.approx(0.05)
    assert model.constant_ms == pytest.approx(0.5)
    assert model.predict((Operator("conv_1x1", 100, 8, 8, 8, 8), Operator("add", 0, 8, 8, 8, 0))) == pytest.approx(5.5)


def test_a_kind_of_operator_that_was_not_measured_is_named(random_models) -> None:
    models = random_models(30)
    model = fit_latency(models, latencies_of(Form(), models))
    strange = (*models[0], Operator("max_pool", 9, 8, 8, 8, 0))
    with pytest.raises(UnknownNameError, match=r"operator of this latency table 'max_pool'.*add, conv_1x1"):
        model.predict(strange)
    assert model.predict_known(strange) == pytest.approx(model.predict(models[0]))


def test_what_lies_far_beyond_the_measured_is_doubted(random_models) -> None:
    models = random_models(30)
    model = fit_latency(models, latencies_of(Form(), models))
    assert not any(model.doubts(one) for one in models)
    far = tuple(one._replace(madds=one.madds * 50) for one in models[0])
    doubts = model.doubts(far)
    assert len(doubts) == 2
    assert "madds" in doubts[0]
    assert "the largest among them" in doubts[0]
    assert "that were measured" in doubts[1]


@pytest.mark.parametrize(
    ("latencies", "message"),
    [
        ([1.0], "at least 2 networks and a latency each"),
        ([1.0, 0.0, 1.0], "positive and finite"),
        ([1.0, float("nan"), 1.0], "positive and finite"),
    ],
)
def test_what_cannot_be_fitted_says_so(latencies, message, random_models) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        fit_latency(random_models(3), latencies)
