import dataclasses

import numpy as np
import pytest

from akd_gym.architecture import NetworkSpec
from akd_gym.bench.evaluator import BenchEvaluator
from akd_gym.bench.plan import SIGNALS
from akd_gym.bench.surrogate import load_surrogate
from akd_gym.cost import count_cost
from akd_gym.errors import InvalidArchitectureError, InvalidSettingError, UnknownNameError


def accuracies(evaluator, choices):
    return np.array([one.accuracy for one in evaluator.evaluate(choices)])


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_fast_way_and_the_plain_one_agree(draw, bent, signal):
    choices = draw(200, seed=5)
    evaluator = BenchEvaluator(signal, noise=False, surrogate=bent)
    features = bent.features(choices)
    plain = bent.accuracies(features)[:, SIGNALS.index(signal)]
    np.testing.assert_allclose(accuracies(evaluator, choices), plain, atol=2e-6)
    np.testing.assert_allclose([one.latency_ms for one in evaluator.truth(choices)], np.exp(features[:, -1]))


def test_everything_is_said_of_a_network():
    evaluator = BenchEvaluator()
    space = evaluator.space
    [one] = evaluator.evaluate([space.reference])
    network = space.network(space.reference)
    assert NetworkSpec.parse(one.architecture) == network
    assert (one.madds, one.params) == count_cost(network, 28, 1, 10)
    assert one.status == "ok"
    assert one.cost == one.latency_ms == evaluator.reference_cost() > 0
    assert (one.cost_unit, one.latency_kind, one.from_ledger) == ("ms", "predicted", False)
    assert 0 < one.seconds < 1000
    assert evaluator.hash == load_surrogate().hash
    evaluator.close()
    evaluator.close()


def test_a_network_has_one_answer_under_a_seed(draw):
    choices = draw(50, seed=1)
    first, again = BenchEvaluator(seed=3), BenchEvaluator(seed=3)
    in_order = accuracies(first, choices)
    assert in_order.tolist() == accuracies(first, choices).tolist()
    assert in_order.tolist() == accuracies(again, choices[::-1])[::-1].tolist()
    assert in_order.tolist() == [first.evaluate([one])[0].accuracy for one in choices]
    assert (accuracies(BenchEvaluator(seed=4), choices) != in_order).mean() > 0.8


def test_spellings_of_a_network_have_one_answer():
    evaluator = BenchEvaluator()
    other = list(evaluator.space.reference)
    other[6] = 0  # an identity that cannot act
    assert evaluator.evaluate([tuple(other)]) == evaluator.evaluate([evaluator.space.reference])


def test_truth_has_no_noise_and_noise_none_on_average(draw, bent):
    choices = draw(4000, seed=2)
    truth = BenchEvaluator(noise=False, surrogate=bent)
    noisy = BenchEvaluator(surrogate=bent)
    assert accuracies(truth, choices).tolist() == [one.accuracy for one in noisy.truth(choices)]
    errors = np.array([accuracies(BenchEvaluator(signal, surrogate=bent), choices) for signal in SIGNALS]) - np.array(
        [accuracies(BenchEvaluator(signal, noise=False, surrogate=bent), choices) for signal in SIGNALS]
    )
    scaled = errors / bent.noise(bent.components(bent.features(choices))[:, 0])
    assert abs(scaled.mean()) < 0.06
    np.testing.assert_allclose(scaled.std(1), bent.residuals.std(0), rtol=0.06)
    np.testing.assert_allclose(np.corrcoef(scaled), np.corrcoef(bent.residuals.T), atol=0.06)


def test_noise_of_neighbours_and_of_seeds_is_unrelated(draw, bent):
    space = BenchEvaluator().space
    choices = draw(400, seed=3)
    rng = np.random.default_rng(0)
    mutants = [space.mutate(one, rng) for one in choices]

    def noise(seed, of):
        noisy = BenchEvaluator(seed=seed, surrogate=bent)
        return accuracies(noisy, of) - np.array([one.accuracy for one in noisy.truth(of)])

    assert abs(np.corrcoef(noise(0, choices), noise(0, mutants))[0, 1]) < 0.15
    assert abs(np.corrcoef(noise(0, choices), noise(1, choices))[0, 1]) < 0.15


def test_accuracies_are_fractions(draw, bent):
    wild = dataclasses.replace(bent, residuals=bent.residuals * 1000)
    found = accuracies(BenchEvaluator(surrogate=wild), draw(200, seed=4))
    assert found.min() == 0
    assert found.max() == 1


def test_bad_settings_are_refused():
    with pytest.raises(UnknownNameError, match=r"teacher of AKDBench 'shipped:inception'.*shipped:mixer"):
        BenchEvaluator("shipped:inception")
    with pytest.raises(InvalidSettingError, match="`seed` must not be negative, but got -1"):
        BenchEvaluator(seed=-1)
    with pytest.raises(InvalidArchitectureError, match="takes 35 choices"):
        BenchEvaluator().evaluate([(0, 1)])


def test_none_is_hard_labels():
    evaluator = BenchEvaluator(None)
    assert evaluator.teacher == "none"
    assert evaluator.evaluate([evaluator.space.reference]) == BenchEvaluator("none").evaluate(
        [evaluator.space.reference]
    )
