from __future__ import annotations

import json

import numpy as np
import pytest

from akd_gym.device_lab.predictor import Accuracy, Operator, cross_validate, judge
from akd_gym.device_lab.predictor.accuracy import wilson_interval
from akd_gym.errors import InvalidSettingError


def test_errors_are_as_worked_out_by_hand() -> None:
    measured = [1.0, 2.0, 4.0, 8.0]
    accuracy = judge(np.array([[1.0, 2.1, 4.8, 8.0], [1.0, 2.0, 4.0, 4.0]]), measured)
    assert accuracy.networks == 4
    assert accuracy.repeats == 2
    assert accuracy.within_10 == pytest.approx(6 / 8)
    assert accuracy.mean_error == pytest.approx((0.05 + 0.2 + 0.5) / 8)
    assert accuracy.largest_error == pytest.approx(0.5)
    assert accuracy.spearman == pytest.approx(np.mean([1.0, 0.9486833]))  # 4, 4 tie
    low, high = accuracy.mean_error_interval
    assert low <= accuracy.mean_error <= high


def test_perfect_predictions() -> None:
    measured = np.arange(1.0, 21.0)
    accuracy = judge(measured[None], measured)
    assert (accuracy.within_10, accuracy.mean_error, accuracy.p95_error, accuracy.largest_error) == (1, 0, 0, 0)
    assert accuracy.spearman == accuracy.kendall == pytest.approx(1)
    assert accuracy.within_10_interval[0] == pytest.approx(0.8389, abs=1e-4)


def test_equal_predictions_have_no_rank_correlation() -> None:
    accuracy = judge(np.full((1, 5), 2.0), np.arange(1.0, 6.0))
    assert accuracy.spearman is accuracy.kendall is accuracy.spearman_interval is accuracy.kendall_interval is None


def test_it_survives_json() -> None:
    accuracy = judge(np.array([[1.0, 2.2, 3.0]]), [1.0, 2.0, 3.0])
    assert Accuracy.from_dict(json.loads(json.dumps(accuracy.to_dict()))) == accuracy


@pytest.mark.parametrize(
    ("share", "trials", "interval"),  # Wilson's score interval, as in published tables
    [(0.95, 100, (0.8882, 0.9785)), (0.5, 10, (0.2366, 0.7634)), (0.0, 20, (0.0, 0.1611))],
)
def test_intervals_of_a_share(share, trials, interval) -> None:
    assert wilson_interval(share, trials) == pytest.approx(interval, abs=1e-4)


def test_no_fit_sees_what_it_predicts_and_all_are_predicted() -> None:
    models = [(Operator("add", 0, 1, number, 1, 0),) for number in range(23)]
    sizes = []

    def fit(seen, latencies):
        numbers = {model[0].inputs for model in seen}
        assert [latency - 1 for latency in latencies] == [model[0].inputs for model in seen]
        sizes.append(len(seen))

        def predict(model) -> float:
            assert model[0].inputs not in numbers
            return model[0].inputs + 1

        return predict

    predicted = cross_validate(models, [float(n + 1) for n in range(23)], fit, held_out=0.25, repeats=3)
    assert (predicted == np.arange(1, 24)).all()
    assert predicted.shape == (3, 23)
    assert sizes == sorted(sizes[:4]) * 3
    assert set(sizes) == {17, 18}


def test_the_same_seed_divides_the_same_way(random_models) -> None:
    models, latencies = random_models(12), [float(n + 1) for n in range(12)]

    def fit(seen, seen_ms):
        return lambda model: float(np.mean(seen_ms))

    one, same, other = (cross_validate(models, latencies, fit, seed=seed) for seed in (0, 0, 1))
    assert (one == same).all()
    assert (one != other).any()


@pytest.mark.parametrize("held_out", [0.0, 0.6, float("nan")])
def test_a_share_out_of_range_says_so(held_out, random_models) -> None:
    with pytest.raises(InvalidSettingError, match=r"`held_out` must be above 0 and at most 0\.5"):
        cross_validate(random_models(10), [1.0] * 10, lambda seen, ms: lambda model: 1.0, held_out=held_out)


def test_too_few_networks_say_so(random_models) -> None:
    with pytest.raises(InvalidSettingError, match="needs at least 5 networks, but got 4"):
        cross_validate(random_models(4), [1.0] * 4, lambda seen, ms: lambda model: 1.0)
