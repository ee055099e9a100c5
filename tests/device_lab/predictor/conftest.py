from __future__ import annotations

import numpy as np
import pytest

from akd_gym.device_lab import HostLatency
from akd_gym.device_lab.predictor import (
    LatencyTable,
    MeasuredNetwork,
    Operator,
    cross_validate,
    fit_latency,
    fit_madds,
    judge,
    operators_hash,
    read_operators,
    total_madds,
)
from akd_gym.device_lab.tflite_writer import TFLiteWriter


def _write_network(pixels: int = 8, channels: int = 20, last: str = "LOGISTIC") -> bytes:
    """3x3 convolution, 5x5 depthwise, 1x1 convolution to 40 channels, mean, 10 classes, and a last operator."""
    writer = TFLiteWriter()
    image = (1, pixels, pixels, channels)

    def weights(*shape: int) -> list[int]:
        outputs = shape[3] if shape[0] == 1 and len(shape) == 4 else shape[0]
        kernel = writer.constant(f"weight{shape}", np.full(shape, 0.1, np.float32))
        return [kernel, writer.constant(f"bias{shape}", np.zeros(outputs, np.float32))]

    conv = {"padding": 0, "strideH": 1, "strideW": 1}  # 0: SAME
    x = first = writer.tensor("input", (1, pixels, pixels, 3))
    x = writer.operator("CONV_2D", [x, *weights(channels, 3, 3, 3)], "a", image, "Conv2DOptions", **conv)
    options = "DepthwiseConv2DOptions"
    x = writer.operator(
        "DEPTHWISE_CONV_2D", [x, *weights(1, 5, 5, channels)], "b", image, options, depthMultiplier=1, **conv
    )
    x = writer.operator(
        "CONV_2D", [x, *weights(40, 1, 1, channels)], "c", (1, pixels, pixels, 40), "Conv2DOptions", **conv
    )
    axes = writer.constant("axes", np.array([1, 2], np.int32))
    x = writer.operator("MEAN", [x, axes], "d", (1, 40), "ReducerOptions", keepDims=False)
    x = writer.operator("FULLY_CONNECTED", [x, *weights(10, 40)], "e", (1, 10), "FullyConnectedOptions")
    x = writer.operator(last, [x], "f", (1, 10))
    return writer.finish({"input": first}, {"output": x}, description="")


def _random_models(count: int, seed: int = 0) -> list[tuple[Operator, ...]]:
    """Made-up networks of convolutions, depthwise convolutions and sums."""
    rng = np.random.default_rng(seed)
    models = []
    for _ in range(count):
        model = []
        for _ in range(int(rng.integers(4, 12))):
            pixels, inputs, outputs = int(rng.choice([49, 196, 784])), *rng.integers(8, 200, 2).tolist()
            moved = (pixels * inputs, pixels * outputs)
            kind = str(rng.choice(["conv_1x1", "conv_kxk", "depthwise", "add"]))
            taps = {"conv_1x1": inputs, "conv_kxk": 9 * inputs, "depthwise": 9, "add": 0}[kind]
            model.append(Operator(kind, pixels * outputs * taps, outputs, *moved, taps * outputs))
        models.append(tuple(model))
    return models


@pytest.fixture
def write_network():
    return _write_network


@pytest.fixture
def random_models():
    return _random_models


@pytest.fixture
def tiny_network() -> bytes:
    """On (1, 8, 8, 3) with 20 channels; counted by hand in the tests."""
    return _write_network()


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    """Of this machine, fitted to made-up numbers, over the operators of `tiny_network` and a sum."""
    rng = np.random.default_rng(0)
    models = [
        (*read_operators(_write_network(*rng.integers(8, 33, 2).tolist())), Operator("add", 0, 8, 64, 32, 0))
        for _ in range(24)
    ]
    latencies = [1e-3 + 1e-7 * total_madds(model) * (1 + 0.02 * rng.standard_normal()) for model in models]
    predicted = cross_validate(models, latencies, lambda seen, ms: fit_latency(seen, ms).predict_known, repeats=2)
    alone = cross_validate(models, latencies, lambda seen, ms: fit_madds(seen, ms).predict, repeats=2)
    return LatencyTable(
        model=fit_latency(models, latencies),
        spec="host",
        identity=HostLatency().identity(),
        device="a device",
        device_id="0123",
        runtime="litert-xnnpack",
        runtime_version="2.3.0",
        os="Linux",
        soc=None,
        threads=1,
        input_shape=(3, 8, 8),
        classes=10,
        space={"name": "akd"},
        data=None,
        held_out=judge(predicted, latencies),
        madds_alone=judge(alone, latencies),
        networks=tuple(
            MeasuredNetwork(f"network {i}", ms, ms, total_madds(model), operators_hash(model))
            for i, (model, ms) in enumerate(zip(models, latencies, strict=True))
        ),
        failed=0,
        warned=0,
        created="2026-01-31T12:00:00.000+00:00",
        tool_version="0.1.0",
    )
