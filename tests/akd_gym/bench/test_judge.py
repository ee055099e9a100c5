import numpy as np
import pytest

from akd_gym.bench import judge
from akd_gym.bench.dataset import BenchData, make_data
from akd_gym.bench.fit import Features, fit_surface, fit_surface_noise, make_features
from akd_gym.bench.latencies import MeasuredRow
from akd_gym.bench.make import data_hash, first_look, make_surrogate
from akd_gym.bench.neighbourhood import neighbourhood
from akd_gym.bench.noise import NoiseModel
from akd_gym.bench.plan import SIGNALS, Training
from akd_gym.bench.surrogate import load_surrogate
from akd_gym.bench.trainings import TrainedRow
from akd_gym.errors import InvalidSettingError


@pytest.fixture(scope="module")
def features(known) -> Features:
    return make_features(load_surrogate().latency_ms, known.data)


def test_a_known_surface_is_recovered_on_networks_not_seen(known, features):
    held_out = judge.predict_held_out(features, known.data.components, "linear", (False, False), repeats=2)
    assert held_out.shape == (2, len(known.means), 3)
    score = judge.score(held_out[:, :, 0], known.means)
    assert score["kendall"].value > 0.75
    assert score["r2"].low < score["r2"].value < score["r2"].high
    assert score["r2"].value > 0.8
    assert held_out[:, :, 1].mean() == pytest.approx(0.01, abs=0.003)  # the gain
    gain = judge.score(held_out[:1, :, 1].mean(1, keepdims=True).repeat(len(known.means), 1), known.means)
    assert gain["kendall"].value is None  # a constant ranks nothing


def test_held_out_networks_are_not_seen(known, features):
    """A network whose accuracy is made absurd is not predicted to be absurd."""
    components = known.data.components.copy()
    components[7] -= 0.5
    held_out = judge.predict_held_out(features, components, "linear", (True, True), repeats=1)
    assert abs(held_out[0, 7, 0] - known.means[7]) < 0.05


def test_the_simplest_surface_within_noise_is_chosen():
    rng = np.random.default_rng(0)
    components = rng.normal(size=(200, 3))
    truth = components[:, 0]

    def predicted(noise, seed):
        own = truth + np.random.default_rng(seed).normal(0, noise, 200)
        return np.stack([own, own, own], axis=1)[None]

    same = predicted(0.5, 1)
    assert judge.choose_surface({"simple": same, "rich": same + 0.0001 * predicted(1, 2)}, components) == "simple"
    assert judge.choose_surface({"simple": predicted(1.5, 1), "rich": predicted(0.2, 2)}, components) == "rich"
    assert judge.choose_surface({"simple": predicted(0.2, 1), "rich": predicted(1.5, 2)}, components) == "simple"


def test_differences_that_are_there_are_found_and_others_not(make, monkeypatch):
    monkeypatch.setattr(judge, "PERMUTATIONS", 19)
    monkeypatch.setattr(judge, "FOLDS", 2)
    planted = make(100, taste=0.004, noise=0.005, seed=3).data
    features = make_features(load_surrogate().latency_ms, planted)
    mean = planted.components[:, 0]
    found = judge.difference_between(features, mean, planted.components[:, 2])
    assert found.p == 1 / 20
    assert found.r2 > 0.2
    assert found.varies
    rng = np.random.default_rng(0)
    chance = [judge.difference_between(features, mean, rng.normal(0.01, 0.01, len(mean)), seed=i).p for i in range(12)]
    assert 0.25 < np.mean(chance) < 0.85
    assert np.mean(np.array(chance) <= 0.05) <= 0.2


def test_the_ceiling_is_what_a_perfect_surface_reaches():
    rng = np.random.default_rng(0)
    truth = rng.normal(0.7, 0.02, 1000)
    measured = truth + rng.normal(0, 0.01, 1000)
    noise = NoiseModel(rng.normal(size=500), np.array([np.log(0.01), 0.0, 0.0, 1.0]))
    poor = 0.7 + 0.5 * (truth - 0.7)  # the surface explains half; the rest of the truth is found in its misfit
    found = judge.ceiling(np.stack([poor, poor]), measured, np.ones(1000), noise)
    assert found["r2"] == pytest.approx(0.8, abs=0.05)  # 0.02^2 / (0.02^2 + 0.01^2)
    assert found["noise_std"] == pytest.approx(0.01, rel=0.1)
    assert found["kendall"] == pytest.approx(0.70, abs=0.05)
    repeated = judge.ceiling(np.stack([poor, poor]), measured, np.full(1000, 4.0), noise)
    assert repeated["r2"] > found["r2"]


def test_variance_components_are_those_of_the_made_up_networks():
    rng = np.random.default_rng(0)
    runs = [rng.normal(0, 2) + rng.normal(0, 1, 3) for _ in range(400)]
    found = judge.variance_components(runs)
    assert found["network_std"] == pytest.approx(2, rel=0.1)
    assert found["seed_std"] == pytest.approx(1, rel=0.1)
    assert found["p"] < 1e-6
    alike = judge.variance_components([rng.normal(0, 1, 3) for _ in range(400)])
    assert alike["p"] > 0.01


@pytest.mark.slow
def test_all_is_made_of_a_table_and_made_again_the_same(known, monkeypatch):
    monkeypatch.setattr(judge, "PERMUTATIONS", 19)
    said = []
    second = known.data.architectures[:30]
    made = make_surrogate(
        known.data, second, default_recipe=dict(zip(second, known.means, strict=False)), announce=said.append
    )
    again = make_surrogate(known.data, second)
    assert made.surrogate.hash == again.surrogate.hash == made.card["hash"]
    assert made.card["data_hash"] == data_hash(known.data)
    assert made.card["counts"]["networks"] == len(known.means)
    assert made.card["counts"]["second_stage"] == 30
    assert said
    card = made.card
    for signal in SIGNALS:
        row = card["signals"][signal]
        assert row["madds_alone"]["kendall"]["value"] < row["kendall"]["value"] < row["ceiling"]["kendall"] + 0.1
        assert set(row["second_stage"]) == {"kendall", "r2"}
    gain = card["differences"]["gain"]
    assert abs(gain["mean"] - 0.01) < gain["high"] - gain["low"]
    for row in card["differences"].values():
        assert row["varies_in_surrogate"] == (row["held_out_r2"] > 0 and row["p"] <= judge.SIGNIFICANT)
        assert abs(row["held_out_r2"]) < 0.2
    assert card["default_recipe"]["kendall"] > 0.6
    assert card["latency"]["table"]["mean_error"] < 0.05
    means = made.surrogate.components(made.surrogate.features(known.data.choices))[:, 0]
    assert np.corrcoef(means, known.means)[0, 1] > 0.95


def test_the_hash_of_the_data_is_of_the_rows_whatever_their_order(known):
    data = known.data
    shuffled = make_data(data.trainings[::-1], data.measured[::-1])
    assert data_hash(shuffled) == data_hash(data)
    assert data_hash(make_data(data.trainings[1:], data.measured)) != data_hash(data)


def test_the_second_stage_is_about_the_best(known):
    surrogate = first_look(known.data)
    trained = set(known.data.architectures)
    names = neighbourhood(surrogate, trained, 24)
    assert len(set(names)) == 24
    assert not set(names) & trained
    assert neighbourhood(surrogate, trained, 12) == names[:12]
    space_features = [surrogate.features([choices])[0] for choices in known.data.choices]
    random_best = np.quantile(surrogate.accuracies(np.array(space_features))[:, 1], 0.9)
    from akd_gym.bench.evaluator import BenchEvaluator

    found = BenchEvaluator("shipped:resnet", noise=False, surrogate=surrogate)
    worth = [found.evaluate([found.space.choices(name)])[0] for name in names]
    assert np.median([one.accuracy for one in worth]) > random_best
    target = found.reference_cost()
    ratios = np.array([one.latency_ms / target for one in worth])
    assert (np.abs(ratios - 1) < 0.35).any()
    assert (np.abs(ratios - 0.5) < 0.25).any()


def rows(name, seeds):
    return [
        TrainedRow(Training(name, signal, seed), accuracy, 1.0, 2.0, None if accuracy else "diverged")
        for signal, runs in zip(SIGNALS, seeds, strict=True)
        for seed, accuracy in runs.items()
    ]


def test_only_seeds_that_all_signals_have_are_compared(known):
    first, second, third = known.data.architectures[:3]
    data: BenchData = make_data(
        [
            *rows(first, [{0: 0.6, 1: 0.7}, {0: 0.62, 1: None}, {0: 0.64, 1: 0.7}]),
            *rows(second, [{0: 0.5}, {}, {0: 0.5}]),
            *rows(third, [{0: 0.7, 1: 0.6}, {0: 0.72, 1: 0.62}, {0: 0.74, 1: 0.64}]),
        ],
        [MeasuredRow(first, 0.1, False)],
    )
    assert data.architectures == (first, third)
    np.testing.assert_allclose(data.accuracies, [[0.6, 0.62, 0.64], [0.65, 0.67, 0.69]])
    np.testing.assert_allclose(data.components, [[0.62, 0.03, -0.02], [0.67, 0.03, -0.02]])
    assert data.replicated.tolist() == [1]
    assert data.only([first]).architectures == (first,)
    with pytest.raises(InvalidSettingError, match=r"at least 20 networks trained by all of none.*has 2 and 1"):
        make_surrogate(data)


def test_noise_needs_networks_with_several_seeds(known):
    single = make_data([row for row in known.data.trainings if row.training.seed == 0], known.data.measured)
    with pytest.raises(InvalidSettingError, match="at least 2 networks with several seeds, but got 0"):
        fit_surface_noise(single, np.zeros(len(single.architectures)))


def test_differences_go_by_few_features(known, features):
    surface = fit_surface(features, known.data.components, "linear", (True, False))
    predicted = surface.predict(features)
    assert predicted[:, 2].std() == 0
    assert predicted[:, 1].mean() == pytest.approx(0.01, abs=0.003)
