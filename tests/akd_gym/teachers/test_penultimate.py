"""The layer before the last, of every kind of network, against what each says itself."""

import pytest
import torch
from torch import Tensor, nn

from akd_gym.data import load_data
from akd_gym.errors import TeacherError
from akd_gym.teachers import NetworkTeacher, build_zoo_network, load_teacher, untrained_teacher
from akd_gym.teachers.networks import build_teacher_network
from akd_gym.teachers.penultimate import embed


def check(module: nn.Module, side: int, expected: Tensor, width: int, num_classes: int) -> None:
    assert expected.shape[1] == width
    pictures = torch.randint(0, 256, (2, 3, side, side), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    teacher = NetworkTeacher("any", module, "", num_classes, 3, (0.0,) * 3, (1.0,) * 3, side)
    assert teacher.feature_dim == width
    assert torch.allclose(teacher.features(pictures), expected, atol=1e-5)


def pictures(side: int) -> Tensor:
    drawn = torch.randint(0, 256, (2, 3, side, side), generator=torch.Generator().manual_seed(1))
    return (drawn.float() / 255).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("name", "side", "width"),
    [
        ("test_resnet", 64, 96),
        ("test_vit", 160, 64),
        ("test_convnext", 64, 64),
        ("tf_efficientnet_lite0", 64, 1280),
        ("mobilenetv3_small_050", 64, 1024),
        ("inception_v3", 80, 2048),
    ],
)
@torch.no_grad()
def test_timm_says_the_same(name: str, side: int, width: int) -> None:
    module = build_zoo_network(f"timm:{name}", 10).eval()
    expected = module.forward_head(module.forward_features(pictures(side)), pre_logits=True)
    check(module, side, expected.flatten(1), width, 10)


@torch.no_grad()
def test_torchvision_by_hand() -> None:
    x = pictures(80)
    resnet = build_zoo_network("torchvision:resnet18", 10).eval()
    stages = nn.Sequential(*list(resnet.children())[:-1])  # all but `fc`
    check(resnet, 80, stages(x).flatten(1), 512, 10)
    mobile = build_zoo_network("torchvision:mobilenet_v3_small", 10).eval()
    pooled = mobile.avgpool(mobile.features(x)).flatten(1)
    check(mobile, 80, mobile.classifier[:-1](pooled), 1024, 10)
    efficient = build_zoo_network("torchvision:efficientnet_b0", 10).eval()
    check(efficient, 80, efficient.avgpool(efficient.features(x)).flatten(1), 1280, 10)


@torch.no_grad()
def test_auxiliary_heads_are_not_taken_for_the_classifier() -> None:
    google = build_zoo_network("torchvision:googlenet", 10).eval()
    x, kept = pictures(80), []
    google.avgpool.register_forward_hook(lambda _, __, pooled: kept.append(pooled.flatten(1)))
    google(x)
    check(google, 80, kept[0], 1024, 10)
    inception = build_zoo_network("torchvision:inception_v3", 10).eval()
    inception.avgpool.register_forward_hook(lambda _, __, pooled: kept.append(pooled.flatten(1)))
    inception(x)
    check(inception, 80, kept[-1], 2048, 10)  # its auxiliary head is 768 wide


@torch.no_grad()
def test_a_convolution_as_classifier() -> None:
    squeeze = build_zoo_network("torchvision:squeezenet1_1", 10).eval()
    check(squeeze, 64, squeeze.features(pictures(64)).mean((2, 3)), 512, 10)


@pytest.mark.parametrize(("name", "width"), [("resnet", 96), ("inception", 192), ("mixer", 128)])
def test_shipped(name: str, width: int) -> None:
    data = load_data(train_size=100, val_size=1500)
    teacher = load_teacher(f"shipped:{name}", data)
    assert isinstance(teacher, NetworkTeacher)
    images = data.val.images[:4]
    prepared = teacher.prepare(images)
    module = teacher.module
    with torch.no_grad():
        if name == "mixer":
            expected = module.norm(module.blocks(module.embed(prepared).flatten(2).transpose(1, 2))).mean(1)
        else:
            expected = module.features(prepared).mean((2, 3))
    assert teacher.feature_dim == width
    assert torch.allclose(teacher.features(images), expected, atol=1e-5)


def test_inner_layers_of_the_same_width_are_not_taken() -> None:
    """The mixer has 16 tokens at 28 pixels, so with 16 classes its inner layers look like classifiers."""
    module = build_teacher_network("mixer", 16, 3, 28).eval()
    with torch.no_grad():
        tokens = module.embed(pictures(28)).flatten(2).transpose(1, 2)
        check(module, 28, module.norm(module.blocks(tokens)).mean(1), 128, 16)


def test_networks_without_a_single_last_layer() -> None:
    two_heads = untrained_teacher("timm:deit_tiny_distilled_patch16_224", 10)
    picture = torch.zeros(1, 3, 224, 224, dtype=torch.uint8)
    assert two_heads.logits(picture).shape == (1, 10)
    with pytest.raises(TeacherError, match=r"one layer to 10 classes to give features, but several answer together"):
        two_heads.features(picture)
    none = NetworkTeacher("none", nn.Flatten(), "", 48, 3, (0.0,) * 3, (1.0,) * 3)
    with pytest.raises(TeacherError, match=r"'none' must end in a linear layer or 1x1 convolution to 48 classes"):
        none.features(picture[..., :4, :4])
    with pytest.raises(TeacherError, match="to 48 classes to give features, but has none"):
        _ = none.feature_dim


def test_hooks_are_gone_afterwards() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    embed(module, torch.zeros(1, 3, 2, 2), 5)
    with pytest.raises(RuntimeError):
        embed(module, torch.zeros(1, 3, 3, 3), 5)
    assert not module[1]._forward_hooks
