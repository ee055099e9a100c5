"""Files with float16 weights: half the size, nearly the same answers, nothing computed in another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from torch import nn

from akd_gym.baselines import BASELINES, baseline
from akd_gym.device_lab.tflite import export_float16, export_tflite
from akd_gym.errors import ExportError
from akd_gym.networks import build_network


def run(model: bytes, x: torch.Tensor, resolver: OpResolverType = OpResolverType.AUTO) -> np.ndarray:
    interpreter = Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=resolver)
    return interpreter.get_signature_runner("serving_default")(input=x.permute(0, 2, 3, 1).numpy())["output"]


def tensors_of(model: bytes) -> list[schema.TensorT]:
    root = schema.ModelT.InitFromPackedBuf(model, 0)
    return [tensor for tensor in root.subgraphs[0].tensors if root.buffers[tensor.buffer].data is not None]


@pytest.mark.parametrize("name", BASELINES)
def test_a_network_is_half_as_large_and_answers_nearly_the_same(name) -> None:
    torch.manual_seed(0)
    network = build_network(baseline(name, 0.35), 10, 3).eval()
    shape = (1, 3, 40, 40)
    x = torch.randn(shape)
    with torch.no_grad():
        expected = network(x).numpy()
    full, half = export_tflite(network, shape), export_float16(network, shape)
    assert 0.45 < len(half) / len(full) < 0.6
    for resolver in (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
        np.testing.assert_allclose(run(half, x, resolver), expected, atol=0.01 * np.abs(expected).max())
    assert {tensor.type for tensor in tensors_of(half) if np.prod(tensor.shape) > 8} == {schema.TensorType.FLOAT16}


def test_weights_that_float16_holds_give_the_very_same_answers() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardswish(), nn.Conv2d(4, 4, 1, groups=4)).eval()
    for parameter in network.parameters():
        parameter.data = parameter.data.half().float()
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(
        run(export_float16(network, (1, 3, 8, 8)), x), run(export_tflite(network, (1, 3, 8, 8)), x)
    )


def test_xnnpack_takes_the_network_whole() -> None:
    network = build_network(baseline("mobilenet_v3_small", 0.5), 10, 3).eval()
    interpreter = Interpreter(model_content=export_float16(network, (1, 3, 32, 32)), num_threads=1)
    interpreter.allocate_tensors()
    delegates = [op for op in interpreter._get_ops_details() if op["op_name"] == "DELEGATE"]
    assert [list(op["outputs"]) for op in delegates] == [[interpreter.get_output_details()[0]["index"]]]


def test_weights_beyond_float16_are_refused_by_name() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1)).eval()
    module[0].bias.data[1] = 70_000.0
    with pytest.raises(ExportError, match=r"within 65,504 to be float16, but '_0\.bias' reaches 70000"):
        export_float16(module, (1, 3, 8, 8))


def test_the_same_module_gives_the_same_bytes() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    assert export_float16(module, (1, 3, 8, 8)) == export_float16(module, (1, 3, 8, 8))
