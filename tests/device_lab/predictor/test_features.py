"""What a predictor sees in a TFLite file, against counts worked out by hand and against `count_cost`."""

from __future__ import annotations

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from akd_gym.cost import count_cost
from akd_gym.device_lab.predictor import Form, Operator, operators_hash, read_operators, total_madds
from akd_gym.device_lab.predictor.features import FEATURES
from akd_gym.device_lab.tflite import export_tflite
from akd_gym.device_lab.tflite_writer import input_of
from akd_gym.errors import AKDGymError, CorruptFileError, InvalidSettingError, UnknownNameError
from akd_gym.networks import build_network
from akd_gym.space import make_space


def test_operators_are_as_counted_by_hand(tiny_network) -> None:
    assert read_operators(tiny_network) == (
        Operator("conv_kxk", madds=64 * 20 * 27, channels=20, inputs=192, outputs=1280, weights=540 + 20),
        Operator("depthwise", madds=64 * 20 * 25, channels=20, inputs=1280, outputs=1280, weights=500 + 20),
        Operator("conv_1x1", madds=64 * 20 * 40, channels=40, inputs=1280, outputs=2560, weights=800 + 40),
        Operator("mean", madds=0, channels=40, inputs=2560, outputs=40, weights=0),
        Operator("fully_connected", madds=400, channels=10, inputs=40, outputs=10, weights=410),
        Operator("logistic", madds=0, channels=10, inputs=10, outputs=10, weights=0),
    )
    assert input_of(tiny_network) == ((1, 8, 8, 3), "float32")


def test_features_are_as_counted_by_hand(tiny_network) -> None:
    features = Form(vector=16, cache_elements=2000).features(read_operators(tiny_network))
    assert set(features) <= set(FEATURES)
    assert features == {
        "constant": 1,
        "conv_kxk.count": 1,
        "conv_kxk.madds": 64 * 32 * 27,  # 20 channels are two vectors of 16
        "conv_kxk.elements": 192 + 1280,
        "conv_kxk.weights": 560,
        "depthwise.count": 1,
        "depthwise.madds": 64 * 32 * 25,
        "depthwise.elements": 2560,
        "depthwise.weights": 520,
        "conv_1x1.count": 1,
        "conv_1x1.madds": 64 * 20 * 48,
        "conv_1x1.elements": 3840,
        "conv_1x1.weights": 840,
        "mean.count": 1,
        "mean.elements": 2600,
        "fully_connected.count": 1,
        "fully_connected.madds": 40 * 16,
        "fully_connected.elements": 50,
        "fully_connected.weights": 410,
        "logistic.count": 1,
        "logistic.elements": 20,
        "spill.inputs": 560,  # the mean reads 2560 elements, the 1x1 convolution writes them
        "spill.outputs": 560,
    }


def test_a_plain_form_rounds_nothing_and_spills_nothing(tiny_network) -> None:
    features = Form().features(read_operators(tiny_network))
    assert features["conv_kxk.madds"] == 64 * 20 * 27
    assert not any(name.startswith("spill") for name in features)


def test_of_a_pooling_the_elements_under_its_windows_count() -> None:
    from torch import nn

    (pool,) = read_operators(export_tflite(nn.AvgPool2d(2).eval(), (1, 4, 6, 6)))
    assert pool == Operator("average_pool", madds=3 * 3 * 4 * 4, channels=4, inputs=144, outputs=36, weights=0)


@pytest.mark.parametrize(
    ("space", "skeleton", "shape"), [("akd", "small", (1, 28, 28)), ("mnas", "mnasnet", (3, 64, 64))]
)
def test_multiply_adds_of_whole_networks_are_those_of_count_cost(space, skeleton, shape) -> None:
    rng = np.random.default_rng(0)
    drawn_from = make_space(space, skeleton)
    for choices in [drawn_from.reference, *(drawn_from.sample(rng) for _ in range(6))]:
        spec = drawn_from.network(choices)
        model = read_operators(export_tflite(build_network(spec, 10, shape[0]).eval(), (1, *shape)))
        assert total_madds(model) == count_cost(spec, shape[1], shape[0], 10).madds


def test_an_unknown_operator_is_named(write_network) -> None:
    with pytest.raises(UnknownNameError, match=r"operator of the latency predictor 'TANH'.*CONV_2D"):
        read_operators(write_network(last="TANH"))


def test_a_custom_operator_is_named(tiny_network) -> None:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tiny_network))
    model.operatorCodes[-1].builtinCode = model.operatorCodes[-1].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    model.operatorCodes[-1].customCode = "MyOperator"
    with pytest.raises(UnknownNameError, match="'MyOperator'"):
        read_operators(packed(model))


def test_files_from_before_the_wide_operator_codes_read_the_same(tiny_network) -> None:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tiny_network))
    for code in model.operatorCodes:
        code.builtinCode = 0
    assert read_operators(packed(model)) == read_operators(tiny_network)


def test_other_types_than_float32_are_refused(tiny_network) -> None:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tiny_network))
    for tensor in model.subgraphs[0].tensors:
        tensor.type = schema.TensorType.INT8
    with pytest.raises(InvalidSettingError, match="must compute in float32, but its CONV_2D does not"):
        read_operators(packed(model))


def test_several_subgraphs_are_refused(tiny_network) -> None:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tiny_network))
    model.subgraphs *= 2
    with pytest.raises(InvalidSettingError, match="must have 1 subgraph, but got 2"):
        read_operators(packed(model))


def test_a_cut_file_is_damaged_and_never_another_model(tiny_network) -> None:
    whole = read_operators(tiny_network)
    needed = 0
    for length in range(0, len(tiny_network), 97):
        try:
            assert read_operators(tiny_network[:length]) == whole
        except CorruptFileError:
            needed = length
    assert needed > 0.9 * len(tiny_network)  # only what no operator needs may be missing
    with pytest.raises(CorruptFileError, match="must be a whole TFLite file, but it is not"):
        read_operators(tiny_network[:needed])


def test_any_damage_ends_in_an_error_of_ours_or_in_numbers(tiny_network) -> None:
    rng = np.random.default_rng(0)
    errors = 0
    for _ in range(500):
        content = bytearray(tiny_network)
        for place in rng.integers(0, len(content), 8):
            content[place] = rng.integers(256)
        try:
            read_operators(bytes(content))
        except AKDGymError:
            errors += 1
    assert errors > 50


def test_hashes_tell_models_of_other_operators_apart(write_network) -> None:
    hashes = {operators_hash(read_operators(write_network(pixels=pixels))) for pixels in (8, 8, 9, 10)}
    assert len(hashes) == 3


def packed(model: schema.ModelT) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
