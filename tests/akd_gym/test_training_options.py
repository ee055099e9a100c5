"""What full training adds to the loop: parts of a batch, the average of the weights, methods that learn themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from akd_gym.data import TaskData
from akd_gym.distill import Answer, Batch, Distillation, HardLabels, Training
from akd_gym.errors import InvalidSettingError
from akd_gym.executors import load_task_data
from akd_gym.networks import StudentNetwork
from akd_gym.recipes import Recipe
from akd_gym.space import make_space
from akd_gym.training import TrainingState, build_student, images_a_part, train
from akd_gym.weight_average import WeightAverage

SPACE = make_space("akd", "small")
SPEC = SPACE.network((1, 1, 0, 0, 0) * 7)


class Projected(Distillation):
    """Cross-entropy of classes that the method reads from the student's features by weights of its own."""

    needs_features = True
    needs_teacher = False

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(SPEC.head_channels, 10)
        with torch.no_grad():
            self.project.weight.fill_(0.01)
            self.project.bias.zero_()

    @classmethod
    def prepare(cls, training: Training) -> Projected:
        return cls()

    def loss(self, answer: Answer, batch: Batch) -> Tensor:
        assert answer.features is not None
        return nn.functional.cross_entropy(self.project(answer.features), batch.labels)


@pytest.fixture
def data(tiny_recipe: Recipe) -> TaskData:
    return load_task_data("fashion", tiny_recipe)


def student(data: TaskData) -> StudentNetwork:
    return build_student(SPEC, data, 0, torch.device("cpu"))


def in_double_precision_without_norm(data: TaskData) -> StudentNetwork:
    """A student whose images do not depend on each other, trained without rounding errors that grow."""
    network = student(data)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
    network.register_forward_pre_hook(lambda _, images: images[0].double())
    return network.double()


@pytest.mark.parametrize("accumulate", [2, 4, 32 // 2])
def test_parts_of_a_batch_add_up_to_the_batch(accumulate: int, data: TaskData, tiny_recipe: Recipe) -> None:
    recipe = replace(tiny_recipe, learning_rate=0.01)
    whole, parts = (in_double_precision_without_norm(data) for _ in range(2))
    loss = train(whole, data, recipe, HardLabels(), seed=0)
    assert train(parts, data, replace(recipe, accumulate=accumulate), HardLabels(), seed=0) == pytest.approx(loss)
    for ours, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_batch_norm_sees_a_part(data: TaskData, tiny_recipe: Recipe) -> None:
    """So the result is another, by little, and the recipe says so."""
    losses = [
        train(student(data), data, replace(tiny_recipe, accumulate=parts), HardLabels(), seed=0) for parts in (1, 2)
    ]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_a_batch_in_parts() -> None:
    recipe = Recipe(batch_size=64, accumulate=4)
    assert images_a_part(recipe, 1000) == 16
    assert images_a_part(recipe, 1000, processes=2) == 8
    assert images_a_part(recipe, 49) == 12  # what there is, in equal parts
    assert images_a_part(Recipe(batch_size=64), 49) == 49
    with pytest.raises(InvalidSettingError, match=r"`batch_size` \(64\) must be divisible by .*but these are 12"):
        images_a_part(recipe, 1000, processes=3)
    with pytest.raises(InvalidSettingError, match=r"2 images or more for batch norm, but a batch of 64 .* 64 parts"):
        images_a_part(replace(recipe, accumulate=64), 1000)
    with pytest.raises(InvalidSettingError, match="a batch of 7 images makes 4 parts"):
        images_a_part(recipe, 7)


def test_the_network_ends_as_the_average_of_its_steps(data: TaskData, tiny_recipe: Recipe) -> None:
    recipe = replace(tiny_recipe, ema_decay=0.5)
    network = student(data)
    expected = WeightAverage(network, 0.5)
    last: dict[str, Tensor] = {}

    def on_step(done: float, loss: Tensor) -> None:
        expected.update()

    def on_epoch(state: TrainingState, loss: float) -> None:
        torch.testing.assert_close(state.average, expected.state_dict(), rtol=0, atol=0)
        assert state.judged is state.average
        last.update({name: tensor.clone() for name, tensor in state.network.items()})

    train(network, data, recipe, HardLabels(), seed=0, on_step=on_step, on_epoch=on_epoch)
    torch.testing.assert_close(dict(network.state_dict()), expected.state_dict(), rtol=0, atol=0)
    plain = student(data)
    train(plain, data, tiny_recipe, HardLabels(), seed=0)
    torch.testing.assert_close(dict(plain.state_dict()), last, rtol=0, atol=0)  # it changes nothing in the training


def test_every_step_is_told(data: TaskData, tiny_recipe: Recipe) -> None:
    steps: list[tuple[float, float]] = []
    train(
        student(data),
        data,
        replace(tiny_recipe, accumulate=2),
        HardLabels(),
        seed=0,
        on_step=lambda done, loss: steps.append((done, float(loss))),
    )
    assert [done for done, _ in steps] == [0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]
    assert all(1 < loss < 4 for _, loss in steps)


@pytest.mark.parametrize("options", [{"ema_decay": 0.9}, {"accumulate": 2}, {"ema_decay": 0.9, "accumulate": 4}])
def test_a_resumed_training_ends_where_an_unbroken_one_does(
    options: dict[str, float], data: TaskData, tiny_recipe: Recipe
) -> None:
    """With a method that has parameters of its own, which are trained, averaged over nothing, and kept."""
    recipe = replace(tiny_recipe, epochs=3, **options)  # type: ignore[arg-type]
    states: list[TrainingState] = []

    def keep(state: TrainingState, loss: float) -> None:
        def copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}

        momentum = [buffer.contiguous().clone() for buffer in state.momentum]  # as read from a file
        states.append(
            TrainingState(state.epoch, copy(state.network), copy(state.method), momentum, copy(state.average))
        )

    methods = [Projected(), Projected()]
    whole, resumed = student(data), build_student(SPEC, data, 5, torch.device("cpu"))
    loss = train(whole, data, recipe, methods[0], seed=0, on_epoch=keep)
    assert not torch.equal(states[0].method["project.weight"], Projected().project.weight)
    assert train(resumed, data, recipe, methods[1], seed=0, resume=states[0]) == loss
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(methods[1].state_dict(), methods[0].state_dict(), rtol=0, atol=0)
    finished = student(data)
    train(finished, data, recipe, Projected(), seed=0, resume=states[-1])
    torch.testing.assert_close(finished.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_weights_that_the_loss_does_not_reach_decay(data: TaskData, tiny_recipe: Recipe) -> None:
    """The method above asks for features alone: the student's classifier has no gradient."""
    network, recipe = student(data), replace(tiny_recipe, epochs=1, warmup_epochs=0.5, momentum=0.0, weight_decay=0.1)
    before = network.classifier.weight.detach().clone()
    train(network, data, recipe, Projected(), seed=0)
    factor = 1.0
    for step in range(1, 5):
        factor *= 1 - 0.1 * recipe.learning_rate_at(step / 4)
    torch.testing.assert_close(network.classifier.weight.detach(), before * factor)


def test_label_smoothing_of_hard_labels(data: TaskData, tiny_recipe: Recipe) -> None:
    """Uniform answers have the cross-entropy log 10 whatever the smoothing; certain ones pay for being certain."""
    answer = Answer(torch.tensor([[10.0, 0.0]]))
    batch = Batch(torch.empty(0), torch.tensor([0]), torch.tensor([0]))
    certain = torch.tensor([10.0, 0.0]).log_softmax(0)
    expected = -(0.9 * certain[0] + 0.1 * certain.mean())
    torch.testing.assert_close(HardLabels(0.1).loss(answer, batch), expected)
