"""The TFLite writer: the file computes what the module does, and what it cannot say it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from torch import Tensor, nn

from akd_gym.device_lab.tflite import export_tflite
from akd_gym.device_lab.tflite_writer import EXPORTER, EXPORTER_VERSION, TFLiteWriter, exporter_of
from akd_gym.errors import ExportError
from akd_gym.networks import build_network
from akd_gym.space import make_space


def randomised(module: nn.Module) -> nn.Module:
    """Eval mode, with batch-norm statistics as after training, so that a wrong fold shows."""
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            nn.init.normal_(child.running_mean, std=0.2)
            nn.init.uniform_(child.running_var, 0.5, 1.5)
            if child.affine:
                nn.init.uniform_(child.weight, 0.5, 1.5)
                nn.init.normal_(child.bias, std=0.2)
    return module.eval()


def channels_last(y: Tensor) -> np.ndarray:
    return (y.permute(0, 2, 3, 1) if y.dim() == 4 else y).numpy()


def run_litert(model: bytes, x: Tensor, resolver: OpResolverType = OpResolverType.AUTO) -> np.ndarray:
    interpreter = Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=resolver)
    runner = interpreter.get_signature_runner("serving_default")
    return runner(input=channels_last(x))["output"]


def operators(model: bytes) -> list[str]:
    interpreter = Interpreter(
        model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    return [op["op_name"] for op in interpreter._get_ops_details()]


def assert_same(module: nn.Module, shape: tuple[int, ...]) -> bytes:
    torch.manual_seed(0)
    randomised(module)
    x = torch.randn(shape)
    with torch.no_grad():
        expected = channels_last(module(x))
    model = export_tflite(module, shape)
    scale = max(1.0, float(np.abs(expected).max()))
    for resolver in (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
        got = run_litert(model, x, resolver)
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() <= 1e-5 * scale
    return model


class Fn(nn.Module):
    """A module around a function."""

    def __init__(self, function, *children: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.children_ = nn.ModuleList(children)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.children_)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 1), (14, 5)])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        (1, 1, 0, 1),
        (1, 2, 0, 1),
        (3, 1, 1, 1),
        (3, 2, 1, 1),
        (5, 2, 2, 1),
        (3, 1, 2, 2),
        (3, 1, 2, 1),
        ((1, 3), 1, (0, 1), 1),
    ],
)
@pytest.mark.parametrize("groups", [1, 4])
def test_convolution_of_any_padding_matches(size, kernel, stride, padding, dilation, groups) -> None:
    conv = nn.Conv2d(4, 8, kernel, stride, padding, dilation, groups, bias=False)
    assert_same(nn.Sequential(conv, nn.BatchNorm2d(8), nn.ReLU6()), (1, 4, *size))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(3),
        nn.ReLU6(),
        nn.Sigmoid(),
        nn.Hardswish(),
        nn.Hardsigmoid(),
    ],
    ids=str,
)
def test_a_layer_alone_matches(layer) -> None:
    assert_same(layer, (1, 3, 8, 8))


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 1), (2, 3), (1, 6)])
@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
        nn.AvgPool2d(3, 1, 1),
        nn.AvgPool2d(1, 2, ceil_mode=True),
        nn.AdaptiveAvgPool2d(1),
    ],
    ids=str,
)
def test_pooling_matches(size, pool) -> None:
    assert_same(pool, (1, 3, *size))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[:, :2],
        lambda x: x[:, 1:, 2:5, -3:],
        lambda x: F.pad(x, (0, 0, 0, 0, 0, 3)),
        lambda x: F.pad(x, (1, 2, 0, 3)),
        lambda x: x + x[:, :, :1, :1],
        lambda x: torch.sigmoid(x) * x.mean([2, 3], keepdim=True),
        lambda x: torch.relu(x + F.relu6(x)),
        lambda x: F.hardswish(x) * F.hardsigmoid(x),
        lambda x: x.mean((-1, -2)).relu(),
        lambda x: torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1),
        lambda x: F.adaptive_avg_pool2d(x, 1).flatten(start_dim=1),
        lambda x: F.avg_pool2d(x, 2, stride=1),
        lambda x: F.dropout(x, 0.5, training=False).contiguous().add(x).mul(x),
    ],
)
def test_functions_and_methods_match(function) -> None:
    assert_same(Fn(function), (1, 5, 6, 7))


def test_se_gate_pool_skip_and_classifier_match() -> None:
    def forward(x, stem, reduce, expand, pool, project, norm, classify):
        x = stem(x).relu()
        y = x * torch.sigmoid(expand(torch.relu(reduce(F.adaptive_avg_pool2d(x, 1)))))
        y = norm(project(y)) + F.pad(pool(x), (0, 0, 0, 0, 0, 4))
        return classify(y[:, :9].mean([2, 3]))

    children = (
        nn.Conv2d(1, 8, 3, 2, 1),
        nn.Conv2d(8, 2, 1),
        nn.Conv2d(2, 8, 1),
        nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        nn.Conv2d(8, 12, 1, bias=False),
        nn.BatchNorm2d(12),
        nn.Linear(9, 10),
    )
    assert_same(Fn(forward, *children), (1, 1, 13, 28))


def test_batch_norm_and_activation_are_folded_only_where_nobody_else_looks() -> None:
    def forward(x, conv, norm, act):
        y = conv(x)
        z = norm(y)
        return act(z) + y + z

    model = assert_same(Fn(forward, nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.ReLU()), (1, 3, 4, 4))
    assert operators(model) == ["CONV_2D", "MUL", "ADD", "RELU", "ADD", "ADD"]


def test_a_module_used_twice_is_written_twice() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1)
    assert_same(
        Fn(lambda x, conv, norm: conv(norm(conv(x)).relu()), conv, nn.BatchNorm2d(4, affine=False)), (1, 4, 5, 5)
    )


def test_block_becomes_one_operator_a_layer() -> None:
    def layer(i, o, kernel, groups=1):
        return [nn.Conv2d(i, o, kernel, padding=kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(o), nn.ReLU()]

    block = nn.Sequential(*layer(4, 8, 1), *layer(8, 8, 3, 8), *layer(8, 4, 1)[:2])
    assert operators(assert_same(block, (1, 4, 8, 8))) == ["CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D"]


@pytest.mark.parametrize("resolution", [64, 75])
@pytest.mark.parametrize("name", ["mnasnet0_5", "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_small"])
def test_torchvision_networks_match(name, resolution) -> None:
    assert_same(getattr(torchvision.models, name)(), (1, 3, resolution, resolution))


@pytest.mark.parametrize("preset", ["akd", "mnas"])
@pytest.mark.parametrize(("channels", "resolution"), [(1, 28), (3, 33)])
def test_random_students_match_and_xnnpack_takes_them_whole(preset, channels, resolution) -> None:
    space = make_space(preset, skeleton="small")
    rng = np.random.default_rng(resolution)
    for _ in range(6):
        spec = space.network(space.sample(rng))
        model = assert_same(build_network(spec, 10, channels), (1, channels, resolution, resolution))
        interpreter = Interpreter(model_content=model, num_threads=1)
        interpreter.allocate_tensors()
        delegates = [op for op in interpreter._get_ops_details() if op["op_name"] == "DELEGATE"]
        assert [list(op["outputs"]) for op in delegates] == [[interpreter.get_output_details()[0]["index"]]]


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Conv2d(4, 3, 1), nn.Sequential(nn.ELU())), r"'ELU' at '1\.0'"),
        (nn.Sequential(nn.Conv2d(4, 4, 1, groups=2)), r"'Conv2d' at '0' \(2 groups of 4 channels"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")), "'reflect'"),
        (Fn(lambda x: torch.softmax(x, 1)), "'softmax' at 'the top of the module'"),
        (Fn(lambda x: x.transpose(2, 3)), "'transpose'"),
        (Fn(lambda x: x + 1), "'add'.*constant"),
        (Fn(lambda x: torch.cat([x, x])), "'cat'"),
        (Fn(lambda x: x[:, ::2]), "'getitem'.*step 1"),
        (Fn(lambda x: x.flatten(1)), "'flatten'.*one pixel"),
        (Fn(lambda x: F.adaptive_avg_pool2d(x, 2)), "'adaptive_avg_pool2d'.*only to 1"),
        (Fn(lambda x: F.pad(x, (1, 1), value=2.0)), "'pad'.*only added zeros"),
        (Fn(lambda x: F.dropout(x)), "'dropout'"),
        (nn.Sequential(nn.Conv2d(4, 4, 9)), "kernel is larger"),
        (nn.Sequential(nn.Conv2d(7, 4, 1)), "takes 7 channels and gets 4"),
        (nn.Sequential(nn.AvgPool2d(3, 2, 1, count_include_pad=False)), "'AvgPool2d' at '0'"),
        (Fn(lambda x: x if x.sum() > 0 else -x), "must be able to trace"),
        (Fn(lambda x: (x, x)), "must return one tensor"),
    ],
)
def test_what_is_not_known_is_refused_by_name_and_place(module, message) -> None:
    with pytest.raises(ExportError, match=message):
        export_tflite(module.eval(), (1, 4, 8, 8))


def test_training_mode_and_wrong_shapes_are_refused() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).eval()
    module[1].train()
    with pytest.raises(ExportError, match="eval mode, but 1 is training"):
        export_tflite(module, (1, 3, 8, 8))
    with pytest.raises(ExportError, match=r"must be \(1, C, H, W\)"):
        export_tflite(module.eval(), (2, 3, 8, 8))


def test_the_same_module_gives_the_same_bytes_and_says_who_wrote_them() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    model = export_tflite(module, (1, 3, 8, 8), description="stem")
    assert model == export_tflite(module, (1, 3, 8, 8), description="stem")
    assert exporter_of(model) == (EXPORTER, EXPORTER_VERSION)


@pytest.mark.parametrize("model", [b"", b"TFL3", bytes(1000), bytes(range(256)) * 8], ids=len)
def test_a_file_of_unknown_origin_has_an_unknown_exporter(model) -> None:
    assert exporter_of(model) == ("unknown", "")


def test_a_file_cut_short_names_its_exporter_or_none() -> None:
    model = export_tflite(nn.Conv2d(3, 4, 3).eval(), (1, 3, 8, 8))
    found = [exporter_of(model[:length]) for length in range(len(model) + 1)]
    assert set(found) == {("unknown", ""), (EXPORTER, EXPORTER_VERSION)}
    assert found[0] == found[len(model) // 10] == ("unknown", "")
    assert found[-1] == (EXPORTER, EXPORTER_VERSION)


def test_weights_lie_on_16_byte_boundaries() -> None:
    weight = np.arange(1, 54, dtype=np.float32)
    writer = TFLiteWriter()
    x = writer.tensor("input", (1, 53))
    y = writer.operator("ADD", [x, writer.constant("w", weight)], "y", (1, 53), "AddOptions")
    model = writer.finish({"input": x}, {"output": y}, description="")
    assert model.index(weight.tobytes()) % 16 == 0
