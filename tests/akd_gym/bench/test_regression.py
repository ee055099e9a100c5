import numpy as np
import pytest
from scipy.optimize import approx_fprime

from akd_gym.bench.noise import fit_noise
from akd_gym.bench.regression import _Model, fit_process, fit_ridge

WEIGHTS = np.array([1.0, -2.0, 0.5, 0.0, 0.0])


def linear(count=120, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(3, 2, size=(count, 5))
    return features, features @ WEIGHTS + 7 + rng.normal(0, noise, count)


@pytest.mark.parametrize("bend", [False, True])
def test_a_line_is_recovered(bend):
    features, targets = linear()
    found = fit_process(features, targets, [np.eye(5)], bend=bend)
    unseen, truth = linear(noise=0, seed=1)
    assert np.abs(found.predict(unseen) - truth).std() < 0.05
    if not bend:
        np.testing.assert_allclose(found.weights, WEIGHTS, atol=0.03)
        assert found.constant == pytest.approx(7, abs=0.2)


def test_a_bend_is_found_where_there_is_one():
    rng = np.random.default_rng(0)
    features, unseen = rng.uniform(-3, 3, (150, 2)), rng.uniform(-2.5, 2.5, (100, 2))

    def truth(x):
        return np.sin(2 * x[:, 0]) + 0.3 * x[:, 1]

    targets = truth(features) + rng.normal(0, 0.05, 150)
    errors = {
        bend: np.std(fit_process(features, targets, [np.eye(2)], bend=bend).predict(unseen) - truth(unseen))
        for bend in (False, True)
    }
    assert errors[True] < 0.15 < 0.5 < errors[False]


def test_outliers_pull_little():
    features, targets = linear()
    targets[::10] -= 30
    found = fit_process(features, targets, [np.eye(5)], bend=False)
    np.testing.assert_allclose(found.weights, WEIGHTS, atol=0.3)
    plain = np.linalg.lstsq(np.column_stack([features, np.ones(120)]), targets, rcond=None)[0][:5]
    assert np.abs(found.weights - WEIGHTS).max() < 0.5 * np.abs(plain - WEIGHTS).max()


def test_left_out_predictions_are_those_of_fits_without_the_point():
    features, targets = linear(count=30, noise=1.0)
    model = _Model(features, targets, [np.eye(5)], True)
    variances = np.linspace(1, 2, 30)
    errors, granted = model.left_out(model.start, variances)
    covariance, _ = model._covariance(model.start)
    noise = np.exp(model.start[-1]) * variances
    rest = np.arange(30) != 4
    inverse = np.linalg.inv(covariance[np.ix_(rest, rest)] + np.diag(noise[rest]))
    assert errors[4] == pytest.approx(model.targets[4] - covariance[4, rest] @ inverse @ model.targets[rest])
    assert granted[4] ** 2 == pytest.approx(
        covariance[4, 4] + noise[4] - covariance[4, rest] @ inverse @ covariance[rest, 4]
    )


@pytest.mark.parametrize("bend", [False, True])
def test_the_gradient_is_that_of_the_loss(bend):
    features, targets = linear(count=25, noise=1.0)
    model = _Model(features, targets, [np.eye(5)[:2], np.eye(5)[2:]], bend)
    theta = model.start + 0.3 * np.arange(len(model.start))
    variances = np.linspace(1, 3, 25)
    numeric = approx_fprime(theta, lambda at: model.loss(at, variances)[0], 1e-6)
    np.testing.assert_allclose(model.loss(theta, variances)[1], numeric, rtol=1e-3, atol=1e-4)


def test_ridge_recovers_what_is_there_and_nothing_else():
    features, targets = linear(count=300)
    found = fit_ridge(features, targets)
    np.testing.assert_allclose(found.weights, WEIGHTS, atol=0.03)
    assert found.predict(features).mean() == pytest.approx(targets.mean())
    rng = np.random.default_rng(1)
    nothing = fit_ridge(features, 0.3 + rng.normal(size=300))
    assert nothing.predict(features).std() < 0.15
    assert fit_ridge(features, np.full(300, 2.0)).predict(features) == pytest.approx(np.full(300, 2.0))


def test_noise_is_recovered():
    rng = np.random.default_rng(0)
    means = rng.uniform(0.65, 0.78, 300)
    scales = 0.01 * np.exp(-15 * (means - 0.72))
    mixing = np.linalg.cholesky([[1, 0.6, 0.6], [0.6, 1, 0.8], [0.6, 0.8, 1]])
    runs = [m + s * (rng.normal(size=(3, 3)) @ mixing.T) for m, s in zip(means, scales, strict=True)]
    found = fit_noise(runs, means)
    intercept, slope, low, high = found.scale
    assert slope == pytest.approx(-15, abs=2)
    assert np.exp(intercept + slope * 0.72) == pytest.approx(0.01, rel=0.08)
    assert 0.65 < low < 0.66 < 0.77 < high < 0.78
    np.testing.assert_allclose((found.residuals**2).mean(0), 1, atol=0.12)
    np.testing.assert_allclose(np.corrcoef(found.residuals.T)[0, 1], 0.6, atol=0.06)
    assert abs(found.residuals.mean()) < 1e-9
    assert found.residuals.shape == (900, 3)
