"""Teachers that are wanted for their features, whatever classes they know."""

from pathlib import Path

import pytest
import torch
from torch import nn

from akd_gym.errors import TeacherError, UnknownNameError
from akd_gym.teachers import EmbeddingTeacher, EnsembleTeacher, build_zoo_network, load_embedder
from akd_gym.teachers.settings import TEACHER_ASSETS


def face_net(num_classes: int, in_channels: int) -> nn.Module:
    assert num_classes == 0
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_channels, 7))


def no_embedding(num_classes: int, in_channels: int) -> nn.Module:
    return nn.Conv2d(in_channels, 4, 3)


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    path = tmp_path / "faces.pt"
    torch.save(face_net(0, 3).state_dict(), path)
    return path


def test_what_a_function_answers_is_the_embedding(faces: Path) -> None:
    teacher = load_embedder(f"file:{faces}@{__name__}:face_net", mean=(0.5,) * 3, std=(0.5,) * 3)
    assert isinstance(teacher, EmbeddingTeacher)
    assert (teacher.feature_dim, teacher.num_classes) == (7, 0)
    white = torch.full((2, 3, 112, 112), 255, dtype=torch.uint8)  # (1 - 0.5) / 0.5 = 1
    assert torch.allclose(teacher.features(white), teacher.module(torch.ones(2, 3, 112, 112)), atol=1e-5)
    with pytest.raises(TeacherError, match="knows no classes: distil its features"):
        teacher.logits(white)


def test_a_classifier_embeds_before_its_last_layer(tmp_path: Path) -> None:
    """The number of classes is the file's own: here 17 people."""
    module = build_zoo_network("timm:test_resnet", 17).eval()
    path = tmp_path / "people.pt"
    torch.save(module.state_dict(), path)
    teacher = load_embedder(f"file:{path}@timm:test_resnet")
    assert (teacher.num_classes, teacher.feature_dim) == (17, 96)
    images = torch.randint(0, 256, (2, 3, 112, 112), dtype=torch.uint8)
    expected = module.forward_head(module.forward_features(teacher.prepare(images)), pre_logits=True)
    assert torch.allclose(teacher.features(images), expected, atol=1e-5)
    torch.save({key: value for key, value in module.state_dict().items() if not key.startswith("fc.")}, path)
    with pytest.raises(TeacherError, match=r"must hold the classifier of its network, fc\.weight"):
        load_embedder(f"file:{path}@timm:test_resnet")


def test_shipped_teachers_embed_pictures_of_any_classes(tmp_path: Path) -> None:
    shipped = load_embedder("shipped:resnet", in_channels=1, resolution=28)
    copied = load_embedder(f"file:{TEACHER_ASSETS / 'resnet.safetensors'}@resnet", in_channels=1, resolution=28)
    images = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8)
    assert torch.equal(shipped.features(images), copied.features(images))
    assert shipped.feature_dim == 96


def test_an_ensemble_of_embedders(faces: Path, tmp_path: Path) -> None:
    path = tmp_path / "people.pt"
    torch.save(build_zoo_network("timm:test_resnet", 17).state_dict(), path)
    teacher = load_embedder(f"file:{faces}@{__name__}:face_net+file:{path}@timm:test_resnet")
    assert isinstance(teacher, EnsembleTeacher)
    images = torch.zeros(2, 3, 112, 112, dtype=torch.uint8)
    assert teacher.features(images).shape == (2, teacher.feature_dim) == (2, 7 + 96)
    with pytest.raises(TeacherError, match="must know the same classes"):
        teacher.logits(images)


def test_what_does_not_embed(faces: Path, tmp_path: Path) -> None:
    path = tmp_path / "conv.pt"
    torch.save(no_embedding(0, 3).state_dict(), path)
    with pytest.raises(TeacherError, match=r"must be an embedding \(N, D\), but is \(1, 4, 110, 110\)"):
        load_embedder(f"file:{path}@{__name__}:no_embedding")
    with pytest.raises(TeacherError, match="of another shape"):
        load_embedder(f"file:{faces}@{__name__}:face_net", in_channels=1)
    with pytest.raises(TeacherError, match=r"knows 1-channel images of 10 classes .*but 'pictures to embed' has 3"):
        load_embedder("shipped:resnet")
    with pytest.raises(UnknownNameError):
        load_embedder("none")
    with pytest.raises(TeacherError, match=r"`mean` of teacher .* must have one value for each of 3 channels"):
        load_embedder(f"file:{faces}@{__name__}:face_net", mean=(0.5,))
