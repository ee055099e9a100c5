"""Several teachers that answer as one."""

import hashlib
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from akd_gym.augment import AugmentRecipe
from akd_gym.data import TaskData, load_data
from akd_gym.errors import TeacherError
from akd_gym.soft_labels import soft_labels
from akd_gym.teachers import EnsembleTeacher, NetworkTeacher, load_teacher, member_names

NAMES = ("shipped:resnet", "shipped:inception", "shipped:mixer")


@pytest.fixture(scope="module")
def data() -> TaskData:
    return load_data(train_size=100, val_size=1500)


class Constant(nn.Module):
    """Answers every picture with the same logits."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.answer = nn.Linear(1, len(logits))
        self.answer.weight.data.zero_()
        self.answer.bias.data = torch.tensor(logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(x.mean((1, 2, 3)).unsqueeze(1))


def constant(*logits: float, in_channels: int = 1, resolution: int | None = None) -> NetworkTeacher:
    scale = (0.0,) * in_channels, (1.0,) * in_channels
    return NetworkTeacher("constant", Constant(*logits), f"{logits}", len(logits), in_channels, *scale, resolution)


def test_the_mean_of_probabilities_by_hand() -> None:
    log = math.log
    teacher = EnsembleTeacher([constant(log(8), log(1), log(1)), constant(log(1), log(1), log(2))])
    pictures = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    # (.8, .1, .1) and (.25, .25, .5): not what the mean of the logits would give
    assert torch.allclose(teacher.logits(pictures).exp(), torch.tensor([[0.525, 0.175, 0.3]] * 2), atol=1e-6)


def test_confident_members_stay_finite() -> None:
    teacher = EnsembleTeacher([constant(1e4, 0.0), constant(0.0, 1e4)])
    answer = teacher.logits(torch.zeros(1, 1, 4, 4, dtype=torch.uint8))
    assert torch.allclose(answer, torch.tensor([[log_half := math.log(0.5), log_half]]))


def test_an_ensemble_of_the_shipped_beats_its_members(data: TaskData) -> None:
    teacher = load_teacher("+".join(NAMES), data)
    assert isinstance(teacher, EnsembleTeacher)
    assert teacher.name == "+".join(NAMES)
    images, labels = data.val.images[:1000], data.val.labels[:1000]
    answers = [member.logits(images) for member in teacher.members]
    together = teacher.logits(images)
    assert torch.allclose(together.exp(), torch.stack(answers).softmax(2).mean(0), atol=1e-5)
    accuracies = [float((logits.argmax(1) == labels).float().mean()) for logits in answers]
    assert float((together.argmax(1) == labels).float().mean()) > max(accuracies)


def test_features_stand_side_by_side(data: TaskData) -> None:
    teacher = load_teacher("shipped:resnet+shipped:mixer", data)
    assert isinstance(teacher, EnsembleTeacher)
    features = teacher.features(data.val.images[:3])
    assert features.shape == (3, teacher.feature_dim) == (3, 96 + 128)
    first, second = teacher.members
    assert torch.equal(features[:, :96], first.features(data.val.images[:3]))
    assert torch.equal(features[:, 96:], second.features(data.val.images[:3]))


def test_each_member_resizes_for_itself() -> None:
    sizes: list[int] = []

    class Seen(Constant):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(x.shape[-1])
            return super().forward(x)

    members = [
        NetworkTeacher("seen", Seen(0.0, 1.0), "", 2, 1, (0.0,), (1.0,), resolution) for resolution in (8, None, 20)
    ]
    EnsembleTeacher(members).logits(torch.zeros(1, 1, 12, 12, dtype=torch.uint8))
    assert sizes == [8, 12, 20]


def test_the_hash_is_of_the_members(data: TaskData) -> None:
    teachers = [load_teacher(name, data) for name in ("shipped:resnet", "shipped:mixer")]
    a, b = (teacher for teacher in teachers if teacher is not None)
    expected = hashlib.sha256(json.dumps(["ensemble", a.weights_hash, b.weights_hash]).encode()).hexdigest()
    assert EnsembleTeacher([a, b]).weights_hash == expected
    assert len({e.weights_hash for e in (a, b, EnsembleTeacher([a, b]), EnsembleTeacher([b, a]))}) == 4


def test_to_moves_every_member() -> None:
    teacher = EnsembleTeacher([constant(0.0, 1.0), constant(1.0, 0.0)])
    assert teacher.to("meta") is teacher
    assert all(p.device.type == "meta" for member in teacher.members for p in member.module.parameters())


def test_members_that_do_not_fit_each_other() -> None:
    with pytest.raises(TeacherError, match=r"two members or more, but got 1"):
        EnsembleTeacher([constant(0.0, 1.0)])
    with pytest.raises(TeacherError, match=r"as many channels, but 'constant' has 1 channels, 'constant' has 3"):
        EnsembleTeacher([constant(0.0, 1.0), constant(0.0, 1.0, in_channels=3)])
    other_classes = EnsembleTeacher([constant(0.0, 1.0), constant(0.0, 1.0, 2.0)])
    picture = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(TeacherError, match=r"same classes .*'constant' has 2 classes, 'constant' has 3"):
        other_classes.logits(picture)
    assert other_classes.features(picture).shape == (1, 2)


def test_a_member_with_other_classes_is_refused(data: TaskData, tmp_path: Path) -> None:
    path = tmp_path / "three.pt"
    torch.save(Constant(0.0, 1.0, 2.0).state_dict(), path)
    with pytest.raises(TeacherError, match=r"answer.bias \(3,\) instead of \(10,\)"):
        load_teacher(f"shipped:resnet+file:{path}@{__name__}:ten", data)


def ten(num_classes: int, in_channels: int) -> nn.Module:
    return Constant(*([0.0] * num_classes))


def test_its_soft_labels_are_what_it_answers(data: TaskData, tmp_path: Path) -> None:
    teacher = load_teacher("shipped:resnet+shipped:mixer", data)
    assert teacher is not None
    augment = AugmentRecipe()
    cached = soft_labels(teacher, data.train, data.fingerprint, augment, 1, tmp_path)
    live = teacher.logits(augment.view(data.train.images, data.train.indices, 0))
    assert torch.allclose(cached.view(0).softmax(1), live.softmax(1), atol=2e-3)  # stored in half precision


def test_a_plus_in_a_path_joins_nothing() -> None:
    assert member_names("shipped:resnet") == ["shipped:resnet"]
    assert member_names("file:/a+b/c.pt@resnet+timm:resnet18+file-in-order:d+e.pt@m:f") == [
        "file:/a+b/c.pt@resnet",
        "timm:resnet18",
        "file-in-order:d+e.pt@m:f",
    ]
