"""Seconds to export a MnasNet to TFLite: the general converter (litert-torch) against `akd_gym.device_lab.tflite`.

litert-torch is an optional extra of about 900 MB (`pip install akd-gym[litert-torch]`); without it only our own seconds
are measured, and the result says so.
"""

from __future__ import annotations

import importlib.metadata
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn

from akd_gym.device_lab.tflite import export_tflite
from benchmarks.results import Measurement

SHAPE = (1, 3, 224, 224)


def measure() -> dict[str, Measurement]:
    """Give `export_seconds_ratio`."""
    return {"export_seconds_ratio": export_seconds_ratio()}


def export_seconds_ratio(repeats: int = 3) -> Measurement:
    """Measure both exporters on `torchvision.models.mnasnet1_0`, warm, taking turns; medians.

    Args:
        repeats: Exports by each, after one that warms up.

    Returns:
        `value` (their seconds over ours, None without litert-torch), both medians, the largest difference of either
        file's output from torch's, and `note` where something is missing.
    """
    torch.manual_seed(0)
    module = torchvision.models.mnasnet1_0(num_classes=1000).eval()
    result: Measurement = {"model": "torchvision mnasnet1_0, 224 px", "repeats": repeats}
    exporters: dict[str, Callable[[nn.Module], bytes]] = {"ours": lambda net: export_tflite(net, SHAPE)}
    try:
        version = importlib.metadata.version("litert-torch")
    except importlib.metadata.PackageNotFoundError:
        result["note"] = "litert-torch is not installed: pip install akd-gym[litert-torch]"
    else:
        result["litert_torch_version"] = version
        exporters["litert_torch"] = _litert_torch_exporter()

    seconds: dict[str, list[float]] = {name: [] for name in exporters}
    for repeat in range(repeats + 1):
        for name, export in exporters.items():
            start = time.perf_counter()
            model = export(module)
            if repeat:
                seconds[name].append(time.perf_counter() - start)
            else:
                result[f"{name}_error"] = _error(module, model, channels_last=name == "ours")
    for name, values in seconds.items():
        result[f"{name}_s"] = statistics.median(values)
    result["value"] = result["litert_torch_s"] / result["ours_s"] if "litert_torch_s" in result else None
    return result


def _litert_torch_exporter() -> Callable[[nn.Module], bytes]:
    import litert_torch

    def export(module: nn.Module) -> bytes:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = Path(folder, "model.tflite")
            litert_torch.convert(module, (torch.zeros(SHAPE),)).export(str(path))
            return path.read_bytes()

    return export


def _error(module: nn.Module, model: bytes, *, channels_last: bool) -> float:
    """Largest difference between the file's output and torch's, on one random image."""
    from ai_edge_litert.interpreter import Interpreter

    x = torch.randn(SHAPE)
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    given = (x.permute(0, 2, 3, 1).contiguous() if channels_last else x).numpy()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], given)
    interpreter.invoke()
    got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    with torch.no_grad():
        return float(np.abs(got - module(x).numpy()).max())
