"""int8 files: what each integer means, worked out by hand, and answers as close as 8 bits allow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from torch import Tensor, nn

from akd_gym.baselines import BASELINES, baseline
from akd_gym.device_lab.tflite import export_int8, export_tflite
from akd_gym.errors import ExportError
from akd_gym.networks import build_network
from akd_gym.space import make_space

RESOLVERS = (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)


def run(model: bytes, x: Tensor, resolver: OpResolverType = OpResolverType.AUTO) -> np.ndarray:
    interpreter = Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=resolver)
    return interpreter.get_signature_runner("serving_default")(input=x.permute(0, 2, 3, 1).numpy())["output"]


def read(model: bytes) -> tuple[schema.ModelT, dict[str, schema.TensorT]]:
    root = schema.ModelT.InitFromPackedBuf(model, 0)
    return root, {tensor.name.decode(): tensor for tensor in root.subgraphs[0].tensors}


def integers(root: schema.ModelT, tensor: schema.TensorT) -> np.ndarray:
    kinds = {schema.TensorType.INT8: np.int8, schema.TensorType.INT32: np.int32}
    return root.buffers[tensor.buffer].data.view(kinds[tensor.type]).reshape(tensor.shape)


def is_fully_delegated(model: bytes) -> bool:
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    delegates = [op for op in interpreter._get_ops_details() if op["op_name"] == "DELEGATE"]
    return [list(op["outputs"]) for op in delegates] == [[interpreter.get_output_details()[0]["index"]]]


class Fn(nn.Module):
    """A module around a function."""

    def __init__(self, function, *children: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.children_ = nn.ModuleList(children)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.children_)


def test_integers_of_a_convolution_by_hand() -> None:
    conv = nn.Conv2d(1, 2, 1)
    conv.weight.data = torch.tensor([[[[2.0]]], [[[-0.5]]]])
    conv.bias.data = torch.tensor([1.0, -0.25])
    images = torch.tensor([-1.0, 0.0, 1.55]).view(1, 1, 1, 3)
    root, tensors = read(export_int8(nn.Sequential(conv).eval(), (1, 1, 1, 3), calibration=[images]))

    given = tensors["input.int8"].quantization  # -1 to 1.55: 255 steps of 0.01, so that -128 means -1
    assert given.scale == pytest.approx([0.01])
    assert given.zeroPoint.tolist() == [-28]
    weight = tensors["_0.weight"]  # symmetric, a scale a channel
    assert weight.quantization.scale == pytest.approx([2 / 127, 0.5 / 127])
    assert weight.quantization.zeroPoint.tolist() == [0, 0]
    assert weight.quantization.quantizedDimension == 0
    assert integers(root, weight).ravel().tolist() == [127, -127]
    bias = tensors["_0.bias"]
    assert bias.quantization.scale == pytest.approx([0.02 / 127, 0.005 / 127])
    assert integers(root, bias).tolist() == [6350, -6350]
    out = tensors["_0"].quantization  # channel 0 gives -1 to 4.1, channel 1 -1.025 to 0.25
    assert out.scale == pytest.approx([(4.1 + 1.025) / 255])
    assert out.zeroPoint.tolist() == [round(-128 + 1.025 / ((4.1 + 1.025) / 255))]

    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    versions = {names[code.builtinCode]: code.version for code in root.operatorCodes}
    assert versions == {"QUANTIZE": 1, "CONV_2D": 3, "DEQUANTIZE": 2}


def test_depthwise_weights_have_scales_along_the_last_dimension() -> None:
    conv = nn.Conv2d(3, 3, 3, groups=3)
    root, tensors = read(export_int8(nn.Sequential(conv).eval(), (1, 3, 4, 4), calibration=[torch.randn(2, 3, 4, 4)]))
    weight = tensors["_0.weight"]
    assert weight.shape.tolist() == [1, 3, 3, 3]
    assert weight.quantization.quantizedDimension == 3
    assert weight.quantization.scale == pytest.approx(conv.weight.detach().abs().amax((1, 2, 3)).numpy() / 127)
    assert (np.abs(integers(root, weight)).max((0, 1, 2)) == 127).all()


def test_a_linear_layer_has_one_scale() -> None:
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(3, 5)).eval()
    _, tensors = read(export_int8(module, (1, 3, 4, 4), calibration=[torch.randn(2, 3, 4, 4)]))
    assert tensors["_2.weight"].quantization.scale == pytest.approx(
        [module[2].weight.detach().abs().max().item() / 127]
    )
    assert len(tensors["_2.bias"].quantization.scale) == 1


LAYERS = {
    "dense": nn.Conv2d(4, 8, 3, 2, 1),
    "depthwise": nn.Conv2d(4, 4, 5, 1, 2, groups=4),
    "padded": nn.Conv2d(4, 4, 3, 2, 1, groups=4, bias=False),
    "norm": nn.BatchNorm2d(4).eval(),
    "relu": nn.ReLU(),
    "relu6": nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU6()),
    "sigmoid": nn.Sigmoid(),
    "hard_swish": nn.Hardswish(),
    "hard_sigmoid": nn.Hardsigmoid(),
    "pool": nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
    "mean": nn.AdaptiveAvgPool2d(1),
    "slice": Fn(lambda x: x[:, 1:3]),
    "pad": Fn(lambda x: F.pad(x, (0, 0, 0, 0, 0, 3))),
    "sum": Fn(lambda x: torch.relu(x + F.hardswish(x))),
    "gate": Fn(lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True))),
    "vector": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(4, 7), nn.Hardswish()),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_every_operator_is_as_close_as_its_steps_allow(name, size) -> None:
    module = nn.Sequential(LAYERS[name]).eval()
    images = 2 * torch.randn(8, 4, *size, generator=torch.Generator().manual_seed(0))
    model = export_int8(module, (1, 4, *size), calibration=[images])
    with torch.no_grad():
        expected = module(images)
    expected = (expected.permute(0, 2, 3, 1) if expected.dim() == 4 else expected).numpy()
    span = expected.max() - expected.min()
    for resolver in RESOLVERS:
        got = np.concatenate([run(model, image[None], resolver) for image in images])
        assert got.dtype == np.float32
        assert (
            np.abs(got - expected).max() < 0.03 * span
        )  # 8 bits are 0.004 of it, the input's and weights' come on top
        assert np.abs(got - expected).mean() < 0.01 * span


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_is_a_quarter_as_large_and_gives_correlated_answers(name) -> None:
    torch.manual_seed(0)
    network = build_network(baseline(name, 0.35), 100, 3)
    images = torch.randn(16, 3, 40, 40)
    network.train()(images)  # batch norm as after training
    network.eval()
    shape = (1, 3, 40, 40)
    model = export_int8(network, shape, calibration=images.split(8))
    assert len(model) < 0.45 * len(export_tflite(network, shape))
    with torch.no_grad():
        expected = network(images).numpy()
    for resolver in RESOLVERS:
        got = np.concatenate([run(model, image[None], resolver) for image in images])
        assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("preset", ["akd", "mnas"])
@pytest.mark.parametrize(("channels", "resolution"), [(1, 28), (3, 33)])
def test_random_students_give_correlated_answers(preset, channels, resolution) -> None:
    space = make_space(preset, skeleton="small")
    rng = np.random.default_rng(resolution)
    torch.manual_seed(0)
    for _ in range(4):
        spec = space.network(space.sample(rng))
        network = build_network(spec, 30, channels)
        images = torch.randn(16, channels, resolution, resolution)
        network.train()(images)
        network.eval()
        model = export_int8(network, (1, channels, resolution, resolution), calibration=[images])
        with torch.no_grad():
            expected = network(images).numpy()
        for resolver in RESOLVERS:
            got = np.concatenate([run(model, image[None], resolver) for image in images])
            assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.95
        assert is_fully_delegated(model) == ("pool" not in str(spec))  # XNNPACK's average pooling is float32 alone


@pytest.mark.parametrize("name", BASELINES)
def test_xnnpack_takes_baselines_whole(name) -> None:
    torch.manual_seed(0)
    network = build_network(baseline(name, 0.2), 10, 3)
    images = torch.randn(8, 3, 64, 64)
    network.train()(images)
    assert is_fully_delegated(export_int8(network.eval(), (1, 3, 64, 64), calibration=[images]))


def test_channels_that_are_as_good_as_off_do_no_harm() -> None:
    """Batch norm with a weight of nearly 0, as training leaves it, against a bias that its scale could not hold."""
    conv, norm = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)
    norm.weight.data = torch.tensor([1.0, 1e-12, 0.0, 1.0])
    norm.bias.data = torch.tensor([0.5, 3.0, -2.0, 0.0])
    module = nn.Sequential(conv, norm).eval()
    images = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    model = export_int8(module, (1, 3, 6, 6), calibration=[images])
    with torch.no_grad():
        expected = module(images[:1]).permute(0, 2, 3, 1).numpy()
    for resolver in RESOLVERS:
        np.testing.assert_allclose(run(model, images[:1], resolver), expected, atol=0.05)


def test_a_network_that_gives_nothing_but_zeros_exports() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()).eval()
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    model = export_int8(module, (1, 3, 4, 4), calibration=[torch.zeros(1, 3, 4, 4)])
    assert not run(model, torch.zeros(1, 3, 4, 4)).any()


def test_batches_count_together_and_the_same_ones_give_the_same_bytes() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardswish()).eval()
    images = torch.randn(9, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = export_int8(module, (1, 3, 8, 8), calibration=[images])
    assert whole == export_int8(module, (1, 3, 8, 8), calibration=iter(images.split(2)))
    assert whole != export_int8(module, (1, 3, 8, 8), calibration=[images[:2]])


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        ([], "must have calibration images, but got none"),
        ([torch.zeros(0, 3, 8, 8)], "must have calibration images, but got none"),
        ([torch.zeros(2, 3, 9, 8)], r"must be \(3, 8, 8\) \(C, H, W\), but got \(3, 9, 8\)"),
        ([torch.full((1, 3, 8, 8), torch.nan)], "must be finite"),
        ([torch.full((1, 3, 8, 8), 3e38)], "must be finite"),
    ],
)
def test_calibration_that_cannot_work(calibration, message) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)).eval()
    for parameter in module.parameters():
        nn.init.constant_(parameter, 10.0)
    with pytest.raises(ExportError, match=message):
        export_int8(module, (1, 3, 8, 8), calibration=calibration)
