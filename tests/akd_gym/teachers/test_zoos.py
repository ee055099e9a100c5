"""Networks of the model zoos: built, described, and loaded with published weights that are on the machine."""

import gc
import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from akd_gym.data import TaskData
from akd_gym.errors import TeacherError, UnknownNameError
from akd_gym.images import ImageSet
from akd_gym.teachers import NetworkTeacher, build_zoo_network, load_embedder, load_teacher, untrained_teacher
from akd_gym.teachers.penultimate import classifiers
from akd_gym.teachers.zoos import ZOOS

PAPER = [  # Table 2: name, millions of parameters, input size, width of the layer before the last
    ("timm:tf_efficientnet_b7", 66.3, 600, 2560),
    ("timm:pnasnet5large", 86.1, 331, 4320),
    ("timm:legacy_senet154", 115.1, 224, 2048),
    ("pytorchcv:polynet", 95.4, 331, 2048),
    ("timm:inception_resnet_v2", 55.8, 299, 1536),
    ("torchvision:resnext101_32x8d.IMAGENET1K_V1", 88.8, 224, 2048),
    ("torchvision:wide_resnet101_2.IMAGENET1K_V1", 126.9, 224, 2048),
    ("torchvision:resnet152.IMAGENET1K_V1", 60.2, 224, 2048),
]


def colour_task(names: tuple[str, ...], name: str = "pictures", resolution: int = 32) -> TaskData:
    images = torch.randint(0, 256, (4, 3, resolution, resolution), generator=torch.Generator().manual_seed(0))
    part = ImageSet(images.to(torch.uint8), torch.arange(4) % len(names), torch.arange(4))
    return TaskData(name, len(names), names, (0.1,) * 3, (0.9,) * 3, part, part, None, "")


def wordnet_ids() -> tuple[str, ...]:
    from timm.data import ImageNetInfo

    return tuple(ImageNetInfo().label_names())


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of all zoos; returns torch.hub's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hugging"))
    hub = tmp_path / "torch" / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    return hub


@pytest.mark.slow
@pytest.mark.parametrize(("name", "millions", "resolution", "width"), PAPER)
def test_the_papers_teachers_answer_at_their_own_size(name: str, millions: float, resolution: int, width: int) -> None:
    torch.manual_seed(0)
    teacher = untrained_teacher(name, 1000)
    assert sum(p.numel() for p in teacher.module.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)
    assert (teacher.resolution, teacher.feature_dim, teacher.in_channels) == (resolution, width, 3)
    picture = torch.randint(0, 256, (1, 3, 256, 256), dtype=torch.uint8)
    answers: list[torch.Tensor] = []
    hook = teacher.module.register_forward_hook(lambda _, __, answer: answers.append(answer))
    features = teacher.features(picture)
    hook.remove()
    assert features.shape == (1, width)
    assert answers[0].shape == (1, 1000)
    assert answers[0].isfinite().all()
    (last,) = classifiers(teacher.module, 1000)
    assert torch.allclose(last(features), answers[0], atol=1e-4)
    del teacher, last
    gc.collect()


@pytest.mark.parametrize(("name", "resolution"), [("timm:test_resnet", 64), ("pytorchcv:resnet10", None)])
def test_any_classes_and_channels(name: str, resolution: int | None) -> None:
    teacher = untrained_teacher(name, 7, in_channels=1, resolution=resolution)
    assert teacher.resolution == (resolution or 224)
    assert teacher.logits(torch.zeros(2, 1, 30, 30, dtype=torch.uint8)).shape == (2, 7)
    assert len(teacher.mean) == 1


def test_what_the_zoos_say_of_their_weights() -> None:
    told = {}
    for name in (
        "torchvision:resnet152",
        "timm:inception_resnet_v2",
        "timm:tf_efficientnet_lite0",
        "pytorchcv:polynet",
    ):
        prefix, _, own = name.partition(":")
        told[own] = ZOOS[prefix].describe(own).scaling
    imagenet, half = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.5,) * 3, (0.5,) * 3)
    assert {own: (scaling.mean, scaling.std, scaling.resolution) for own, scaling in told.items() if scaling} == {
        "resnet152": (*imagenet, 224),
        "inception_resnet_v2": (*half, 299),
        "tf_efficientnet_lite0": (*half, 224),
        "polynet": (*imagenet, 331),
    }


def test_every_classification_network_of_torchvision_is_described() -> None:
    from torchvision import models

    for name in models.list_models(models):
        entry = ZOOS["torchvision"].describe(name)
        assert (entry.num_classes, entry.in_channels) == (1000, 3)
        assert entry.scaling is not None
        assert entry.scaling.resolution


def test_unknown_networks_and_weights() -> None:
    data = colour_task(("a", "b"))
    with pytest.raises(UnknownNameError, match="Did you mean 'resnet152'"):
        load_teacher("torchvision:resnet512", data)
    with pytest.raises(UnknownNameError, match=r"Did you mean 'resnet152\.IMAGENET1K_V2'"):
        load_teacher("torchvision:resnet152.IMAGENET1K_V3", data)
    with pytest.raises(UnknownNameError, match="Did you mean 'pnasnet5large'"):
        load_teacher("timm:pnasnetlarge", data)
    with pytest.raises(UnknownNameError, match=r"timm weights .*resnet18\.a1_in1k"):
        load_teacher("timm:resnet18.a9_in1k", data)
    with pytest.raises(UnknownNameError, match="Did you mean 'polynet'"):
        load_teacher("pytorchcv:polynett", data)
    with pytest.raises(UnknownNameError, match="torchvision:NAME, timm:NAME, pytorchcv:NAME"):
        build_zoo_network("keras:vgg", 10)


@pytest.mark.parametrize("package", ["timm", "pytorchcv"])
def test_a_zoo_that_is_not_installed(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package] + [package]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TeacherError, match=rf"`pip install 'akd-gym\[{package}\]'`"):
        load_teacher(f"{package}:polynet", colour_task(("a", "b")))


@pytest.mark.parametrize(
    ("name", "fetch", "address", "place"),
    [
        (
            "torchvision:resnet152.IMAGENET1K_V1",
            "torch.hub.load_state_dict_from_url('https://download.pytorch.org/models/resnet152-394f9c45.pth', "
            "check_hash=True, weights_only=True)",
            "https://download.pytorch.org/models/resnet152-394f9c45.pth",
            "torch/hub/checkpoints/resnet152-394f9c45.pth",
        ),
        (
            "timm:pnasnet5large",
            "timm.create_model('pnasnet5large', pretrained=True)",
            "https://huggingface.co/timm/pnasnet5large.tf_in1k/resolve/main/model.safetensors",
            "torch/hub/checkpoints/pnasnet5large.tf_in1k.safetensors",
        ),
        (
            "timm:legacy_senet154",
            "timm.create_model('legacy_senet154', pretrained=True)",
            "/legacy_senet154-e9eb9fe6.pth",
            "torch/hub/checkpoints/legacy_senet154-e9eb9fe6.pth",
        ),
        (
            "pytorchcv:polynet",
            "get_model_file('polynet')",
            "/releases/download/v0.0.96/polynet-0452-6a1b295d.pth.zip (unpacked)",
            ".torch/models/polynet-0452-6a1b295d.pth",
        ),
    ],
)
def test_weights_that_are_not_here(
    name: str, fetch: str, address: str, place: str, caches: Path, tmp_path: Path
) -> None:
    with pytest.raises(TeacherError, match="not on this machine and are never downloaded unasked") as caught:
        load_teacher(name, colour_task(wordnet_ids()))
    for part in (fetch, address, str(tmp_path / place)):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("torchvision:squeezenet1_1", "torch/hub/checkpoints/squeezenet1_1-b8a52dc0.pth"),
        ("pytorchcv:polynet", ".torch/models/polynet-0452-6a1b295d.pth"),
    ],
)
def test_weights_with_another_hash_are_refused(name: str, place: str, caches: Path, tmp_path: Path) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({}, path)
    with pytest.raises(TeacherError, match=rf"{path.name} is damaged .*SHA(1|256) must begin with .*Remove it"):
        load_teacher(name, colour_task(wordnet_ids()))


def test_published_weights_put_by_hand(caches: Path) -> None:
    data = colour_task(wordnet_ids())
    torch.manual_seed(0)
    module = build_zoo_network("timm:test_resnet", 1000).eval()
    save_file(module.state_dict(), caches / "test_resnet.r160_in1k.safetensors")
    teacher = load_teacher("timm:test_resnet", data)
    assert isinstance(teacher, NetworkTeacher)
    assert (teacher.resolution, teacher.num_classes, teacher.module.training) == (160, 1000, False)
    assert torch.allclose(teacher.logits(data.val.images), module(teacher.prepare(data.val.images)), atol=1e-5)

    save_file({"fc.weight": torch.zeros(1)}, caches / "test_resnet.r160_in1k.safetensors")
    with pytest.raises(TeacherError, match=r"does not hold the weights of 'timm:test_resnet': .*Missing key"):
        load_teacher("timm:test_resnet", data)


def test_published_weights_in_hugging_faces_cache(caches: Path, tmp_path: Path) -> None:
    """Laid out as `huggingface_hub` does: a blob named by its SHA-256, and a link to it."""
    data = colour_task(wordnet_ids())
    module = build_zoo_network("timm:test_resnet", 1000)
    repository = tmp_path / "hugging" / "models--timm--test_resnet.r160_in1k"
    for folder in ("blobs", "snapshots/abc", "refs"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    save_file(module.state_dict(), tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content)
    (repository / "snapshots" / "abc" / "model.safetensors").symlink_to(blob)
    assert load_teacher("timm:test_resnet.r160_in1k", data) is not None
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(TeacherError, match=r"model\.safetensors is damaged"):
        load_teacher("timm:test_resnet", data)


def test_torchvision_loads_its_own_file(caches: Path) -> None:
    module = build_zoo_network("torchvision:squeezenet1_1", 1000)
    path = caches / "squeezenet1_1-b8a52dc0.pth"
    torch.save(module.state_dict(), path)
    loaded = ZOOS["torchvision"].load("squeezenet1_1", path)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), module.parameters(), strict=True))
    torch.save(build_zoo_network("torchvision:squeezenet1_0", 1000).state_dict(), path)
    with pytest.raises(TeacherError, match="does not hold the weights of 'torchvision:squeezenet1_1'"):
        ZOOS["torchvision"].load("squeezenet1_1", path)
    torch.save(module, path)
    with pytest.raises(TeacherError, match="weights_only=True"):
        ZOOS["torchvision"].load("squeezenet1_1", path)


def test_pytorchcv_loads_a_file(tmp_path: Path) -> None:
    module = build_zoo_network("pytorchcv:resnet10", 1000)
    path = tmp_path / "resnet10.pth"
    torch.save(module.state_dict() | {"beyond": torch.zeros(1)}, path)
    loaded = ZOOS["pytorchcv"].load("resnet10", path)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), module.parameters(), strict=True))
    torch.save(build_zoo_network("pytorchcv:resnet18_wd2", 1000).state_dict(), path)
    with pytest.raises(TeacherError, match="does not hold the weights of 'pytorchcv:resnet10'"):
        ZOOS["pytorchcv"].load("resnet10", path)


def test_a_pretrained_teacher_wants_its_classes_and_channels(caches: Path) -> None:
    save_file(build_zoo_network("timm:test_resnet", 1000).state_dict(), caches / "test_resnet.r160_in1k.safetensors")
    with pytest.raises(
        TeacherError, match=r"knows the 1,000 classes of ImageNet.*'pictures' has 2 \(a, b, .*fine-tune"
    ):
        load_teacher("timm:test_resnet", colour_task(("a", "b")))
    people = colour_task(tuple(f"person{number:04d}" for number in range(1000)))
    with pytest.raises(TeacherError, match=r"knows the 1,000 classes of ImageNet.*'pictures' has 1,000 \(person0000"):
        load_teacher("timm:test_resnet", people)
    shuffled = colour_task(tuple(reversed(wordnet_ids())))
    with pytest.raises(TeacherError, match="WordNet ids in order"):
        load_teacher("timm:test_resnet", shuffled)
    colour = colour_task(wordnet_ids())
    grey = ImageSet(colour.train.images[:, :1], colour.train.labels, colour.train.indices)
    with pytest.raises(TeacherError, match="takes 3 channels, but 'pictures' has 1"):
        load_teacher("timm:test_resnet", replace(colour, train=grey, val=grey, mean=(0.5,), std=(0.5,)))
    assert load_embedder("timm:test_resnet", resolution=40).feature_dim > 0


def test_weights_that_cannot_be_loaded_safely() -> None:
    with pytest.raises(TeacherError, match="no weights of 'timm:flexivit_base' that load without running code"):
        load_embedder("timm:flexivit_base")
    with pytest.raises(TeacherError, match="bring them as file:PATH@pytorchcv:resnet20_cifar10"):
        load_embedder("pytorchcv:resnet20_cifar10")
