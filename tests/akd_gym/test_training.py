import math
from dataclasses import replace

import pytest
import torch

from akd_gym.augment import AugmentRecipe
from akd_gym.distill import KD, HardLabels
from akd_gym.errors import InfeasibleCandidateError
from akd_gym.executors import load_task_data
from akd_gym.soft_labels import soft_labels
from akd_gym.space import make_space
from akd_gym.student_answers import Normalise, evaluate
from akd_gym.teachers import load_teacher
from akd_gym.torch_settings import infeasible_on_failure
from akd_gym.training import build_student, train, train_student

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


def test_students_see_in_each_epoch_what_the_teacher_saw(data, tiny_recipe, tmp_path):
    """The classic silent bug of cached soft labels: they must be the live teacher's for the student's own pictures."""
    recipe = replace(tiny_recipe, epochs=3, views=2, augment_seed=5)
    teacher = load_teacher("shipped:resnet", data)
    augment = AugmentRecipe(recipe.augment_seed, recipe.shift, recipe.flip)
    labels = soft_labels(teacher, data.train, data.fingerprint, augment, recipe.kept_views, tmp_path)
    network = build_student(REFERENCE, data, 0, torch.device("cpu"))
    seen = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    class Compared(KD):
        def loss(self, answer, batch):
            rows = batch.rows
            assert torch.equal(batch.labels, data.train.labels[rows])
            with torch.no_grad():  # the teacher scales pixels as the student does
                live = teacher.module(seen[-1]).log_softmax(1)
            assert torch.allclose(self._teacher[rows].log_softmax(1), live, atol=1e-2)  # float16 on the disk
            return super().loss(answer, batch)

    assert (teacher.mean, teacher.std) == (data.mean, data.std)
    train(network, data, recipe, Compared(labels), seed=0)
    steps = len(data.train) // recipe.batch_size
    assert len(seen) == 3 * steps
    assert not torch.equal(seen[0], seen[steps])


def test_resumed_training_ends_where_an_unbroken_one_does(data, tiny_recipe):
    recipe = replace(tiny_recipe, epochs=3)
    states = []

    def keep(state, loss):
        copy = {name: tensor.clone() for name, tensor in state.network.items()}
        momentum = [buffer.contiguous().clone() for buffer in state.momentum]  # as read from a file
        states.append(replace(state, network=copy, momentum=momentum))

    unbroken = build_student(REFERENCE, data, 0, torch.device("cpu"))
    loss = train(unbroken, data, recipe, HardLabels(), seed=0, on_epoch=keep)
    resumed = build_student(REFERENCE, data, 5, torch.device("cpu"))
    assert train(resumed, data, recipe, HardLabels(), seed=0, resume=states[0]) == loss
    for a, b in zip(unbroken.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def build_in_double_precision(spec, data, memory_format):
    """At single precision rounding errors grow into other networks within ten steps."""
    network = build_student(spec, data, 0, torch.device("cpu")).double().to(memory_format=memory_format)
    network.register_forward_pre_hook(lambda _, images: images[0].double())
    return network.train()


@pytest.mark.parametrize("choices", [(0, 3, 1, 1, 2), (1, 2, 1, 1, 1), (3, 3, 0, 2, 0)])
def test_what_makes_training_fast_changes_no_weight(choices, data, tiny_recipe):
    """Channels-last and the fused optimizer against the loop as one would write it down."""
    recipe = replace(tiny_recipe, weight_decay=0.01)
    spec = SPACE.network(choices * 7)
    fast = build_in_double_precision(spec, data, torch.channels_last)
    train(fast, data, recipe, HardLabels(), seed=0)

    plain = build_in_double_precision(spec, data, torch.contiguous_format)
    optimizer = torch.optim.SGD(
        plain.parameters(), lr=0.0, momentum=0.9, weight_decay=0.01, nesterov=True, foreach=False, fused=False
    )
    normalise = Normalise(data, torch.device("cpu"))
    for epoch in range(2):
        pictures = AugmentRecipe().view(data.train.images, data.train.indices, epoch)
        order = torch.randperm(128, generator=torch.Generator().manual_seed(epoch))
        for step, rows in enumerate(order.split(32)):
            optimizer.param_groups[0]["lr"] = recipe.learning_rate_at(epoch + (step + 1) / 4)
            logits = plain(normalise(pictures[rows]).contiguous()).float()
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, data.train.labels[rows]).backward()
            optimizer.step()
    for ours, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


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


def test_mixed_precision_is_nearly_the_same_training(data, tiny_recipe):
    """The default on a GPU; here it is switched on for the CPU."""
    plain, mixed = (
        train_student(REFERENCE, data, replace(tiny_recipe, precision=precision)) for precision in (None, "bfloat16")
    )
    assert mixed.loss != plain.loss
    assert mixed.loss == pytest.approx(plain.loss, rel=0.05)
    assert train_student(REFERENCE, data, replace(tiny_recipe, precision="float32")).loss == plain.loss
