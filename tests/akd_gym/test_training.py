import math
from dataclasses import replace

import pytest
import torch

from akd_gym.augment import AugmentRecipe
from akd_gym.distill import HardLabels
from akd_gym.errors import InfeasibleCandidateError
from akd_gym.executors import load_task_data
from akd_gym.soft_labels import soft_labels
from akd_gym.space import make_space
from akd_gym.teachers import load_teacher
from akd_gym.training import Normalise, build_student, evaluate, infeasible_on_failure, train, train_student

SPACE = make_space("akd", "small")
REFERENCE = SPACE.network(SPACE.reference)


@pytest.fixture
def data(tiny_recipe):
    return load_task_data("fashion", tiny_recipe)


def test_same_seed_same_accuracy_and_global_random_state_untouched(data, tiny_recipe):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = train_student(REFERENCE, data, tiny_recipe, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    second = train_student(REFERENCE, data, tiny_recipe, seed=1)
    assert (first.accuracy, first.loss) == (second.accuracy, second.loss)
    assert train_student(REFERENCE, data, tiny_recipe, seed=2).loss != first.loss


def test_training_learns(data, tiny_recipe):
    recipe = replace(tiny_recipe, epochs=20, shift=0, flip=False)
    outcome = train_student(REFERENCE, data, recipe)
    assert outcome.accuracy > 0.3  # chance is 0.1
    assert outcome.epochs == 20
    assert outcome.loss < math.log(10) / 2


def test_a_teacher_changes_what_is_learned(data, tiny_recipe, tmp_path):
    teacher = load_teacher("shipped:resnet", data)
    labels = soft_labels(teacher, data.train, data.fingerprint, AugmentRecipe(), 2, tmp_path)
    kd = train_student(REFERENCE, data, tiny_recipe, labels)
    hard = train_student(REFERENCE, data, tiny_recipe)
    assert kd.loss != hard.loss
    assert kd == replace(train_student(REFERENCE, data, tiny_recipe, labels), seconds=kd.seconds)
    # With all the weight on the true labels the teacher says nothing.
    assert train_student(REFERENCE, data, replace(tiny_recipe, alpha=0.0), labels).loss == pytest.approx(hard.loss)


def test_resumed_training_ends_where_an_unbroken_one_does(data, tiny_recipe):
    recipe = replace(tiny_recipe, epochs=3)
    states = []

    def keep(state, loss):
        copy = {name: tensor.clone() for name, tensor in state.network.items()}
        momentum = {k: {"momentum_buffer": v["momentum_buffer"].clone()} for k, v in state.optimizer["state"].items()}
        states.append(replace(state, network=copy, optimizer=state.optimizer | {"state": momentum}))

    unbroken = build_student(REFERENCE, data, 0, torch.device("cpu"))
    loss = train(unbroken, data, recipe, HardLabels(), seed=0, on_epoch=keep)
    resumed = build_student(REFERENCE, data, 5, torch.device("cpu"))
    assert train(resumed, data, recipe, HardLabels(), seed=0, resume=states[0]) == loss
    for a, b in zip(unbroken.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_divergence_and_time_are_infeasible(data, tiny_recipe):
    with pytest.raises(InfeasibleCandidateError, match="diverged"):
        train_student(REFERENCE, data, replace(tiny_recipe, learning_rate=1e30))
    with pytest.raises(InfeasibleCandidateError, match="time_limit: after 0"):
        train_student(REFERENCE, data, replace(tiny_recipe, time_limit_s=1e-6))


def test_running_out_of_memory_is_infeasible():
    with pytest.raises(InfeasibleCandidateError, match="out_of_memory"), infeasible_on_failure():
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="shape"), infeasible_on_failure():
        torch.zeros(2, 3) @ torch.zeros(2, 3)  # a fault of ours is not hidden


def test_evaluation_counts_right_answers(data):
    class Oracle(torch.nn.Module):
        """Says class 3 whatever it sees."""

        def __init__(self):
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(10))

        def forward(self, x):
            return torch.nn.functional.one_hot(torch.full((len(x),), 3), 10) + self.bias

    assert evaluate(Oracle(), data.val, data) == pytest.approx((data.val.labels == 3).float().mean().item())


def test_normalised_images_have_zero_mean_and_unit_variance(data):
    x = Normalise(data, torch.device("cpu"))(data.train.images)
    assert abs(float(x.mean())) < 0.05
    assert abs(float(x.std()) - 1) < 0.05
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_the_gpu_path_runs_with_mixed_precision(data, tiny_recipe, monkeypatch):
    """What differs on CUDA is autocast to bfloat16; here it is switched on for the CPU."""
    import akd_gym.training as training

    monkeypatch.setattr(training, "mixed_precision", lambda device: torch.autocast("cpu", dtype=torch.bfloat16))
    outcome = training.train_student(REFERENCE, data, tiny_recipe)
    assert math.isfinite(outcome.loss)
