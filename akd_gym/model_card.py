"""The model card of a trained student: what a reader must know to trust and to use it, made from its record.

Paper: Model Cards for Model Reporting - https://arxiv.org/abs/1810.03993
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from akd_gym.analysis.formats import format_cost, format_count
from akd_gym.architecture import NetworkSpec

_OPERATORS = {"conv": "convolution", "sepconv": "depthwise-separable", "mbconv": "inverted residual"}


def model_card(record: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        record: What `train_fully` writes as `record.json`.
    """
    spec = NetworkSpec.parse(record["architecture"])
    teacher = f", distilled from {record['teacher']}" if record["teacher"] else ""
    sections = [
        f"# A student for {record['data']}{teacher}",
        f"Made by `akd train` of akd-gym {record['akd_gym']}; all numbers are also in `record.json`.",
        "## Architecture",
        f"```\n{spec}\n```",
        _architecture(spec, record["resolution"], len(record["classes"])),
        "## Accuracy",
        _accuracy(record),
        "## Cost",
        _table(("", ""), _cost(record)),
        "## Training",
        _table(("", ""), _training(record)),
        _table(("recipe", ""), ((f"`{name}`", f"{value}") for name, value in record["recipe"].items())),
        "## Files",
        _table(
            ("file", "bytes", "SHA-256"),
            ((f"`{name}`", f"{file['bytes']:,}", f"`{file['sha256']}`") for name, file in record["files"].items()),
        ),
        "## Use",
        _use(spec, record),
    ]
    return "\n\n".join(sections) + "\n"


def _architecture(spec: NetworkSpec, resolution: int, classes: int) -> str:
    """A row a block, with the shape that comes out of it."""
    size = -(-resolution // spec.stem_stride)
    shape = f"{spec.stem_channels} x {size} x {size}"
    rows: list[tuple[object, ...]] = [("stem", "convolution", 1, spec.stem_kernel, spec.stem_stride, "", "", shape)]
    for number, block in enumerate(spec.blocks, start=1):
        size = -(-size // block.stride)
        operator = _OPERATORS[block.op] + (f" x{block.expansion}" if block.op == "mbconv" else "")
        shape = f"{block.channels} x {size} x {size}"
        rows.append((number, operator, block.layers, block.kernel, block.stride, block.skip, block.se or "", shape))
    rows.append(("head", "convolution, mean", 1, 1, 1, "", "", spec.head_channels))
    rows.append(("classifier", "linear", 1, "", "", "", "", classes))
    return _table(("block", "operator", "layers", "kernel", "stride", "skip", "SE", "output"), rows)


def _accuracy(record: Mapping[str, Any]) -> str:
    rows = []
    for part, name in (("val", "mini-val (not trained on, but students may have been chosen by it)"), ("test", "test")):
        if record[f"{part}_accuracy"] is not None:
            top5 = record[f"{part}_top5"]
            rows.append((
                name,
                f"{record[f'{part}_images']:,}",
                f"{100 * record[f'{part}_accuracy']:.2f} %",
                "-" if top5 is None else f"{100 * top5:.2f} %",
            ))  # fmt: skip
    return _table(("images", "counted", "top-1", "top-5"), rows)


def _cost(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    pixels, latency = f"{record['resolution']} px, {record['channels']} channels", record["latency"]
    rows = [("multiply-adds", f"{format_count(record['madds'])} ({pixels})"), ("parameters", f"{record['params']:,}")]
    if latency is None:
        return [*rows, ("latency", "not measured: `akd measure`")]
    if latency["verdict"] != "ok":
        return [*rows, ("latency", f"none, {latency['reason']}")]
    how = f"{latency['runtime']} {latency['runtime_version']}, {latency['threads']} thread"
    where = f"{latency['kind']}: {latency['device']}, {how}, {latency['created']}"
    return [*rows, ("latency", f"{format_cost(latency['median_ms'], 'ms')} ({where})")]


def _training(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    teacher = "none"
    if record["teacher"]:
        teacher = f"`{record['teacher']}` (weights {record['teacher_weights'][:12]})"
    return [
        ("method", f"`{record['method']}`"),
        ("teacher", teacher),
        ("data", f"`{record['data']}` (fingerprint {record['fingerprint']})"),
        ("images", f"{record['train_images']:,}"),
        ("classes", ", ".join(record["classes"]) if len(record["classes"]) <= 20 else str(len(record["classes"]))),
        ("seed", str(record["seed"])),
        ("processes", str(record["processes"])),
        ("mean loss of the last epoch", f"{record['loss']:.4f}"),
    ]


def _use(spec: NetworkSpec, record: Mapping[str, Any]) -> str:
    shape = f"1, {record['channels']}, {record['resolution']}, {record['resolution']}"
    return f"""In Python, from this folder:

```python
import json
from pathlib import Path

import torch

from akd_gym.architecture import NetworkSpec
from akd_gym.students import load_student

spec = NetworkSpec.parse("{spec}")
network, about = load_student(Path("student.safetensors"), spec)
mean, std = (torch.tensor(json.loads(about[name])).view(1, -1, 1, 1) for name in ("mean", "std"))
pictures = torch.zeros({shape}, dtype=torch.uint8)  # yours
with torch.no_grad():
    logits = network((pictures / 255 - mean) / std)
print(json.loads(about["classes"])[logits.argmax(1)[0]])
```

As a file for a phone:

```
akd export {shlex.quote(str(spec))} --weights student.safetensors --out student.tflite
```"""


def _table(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
