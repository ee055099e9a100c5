"""`akd export`: one student as a file for a phone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Table

from akd_gym.agents.settings import optional
from akd_gym.architecture import NetworkSpec
from akd_gym.errors import InvalidSettingError, RunMismatchError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from akd_gym.data import TaskData
    from akd_gym.exported import FileAccuracy


@dataclass(frozen=True)
class Export:
    """Write one student as a TFLite file, ready for a phone.

    float16 halves the size; int8 quarters it and computes in integers, calibrated on training images of --data. With
    --data the accuracy of the file itself is measured on the test images, beside that of the float32 file, which is
    written too.

    For instance:
    - akd export "ARCHITECTURE" --weights out/student.safetensors --out student.tflite
    - akd export "ARCHITECTURE" --weights out/student.safetensors --format int8 --data fashion --out student.int8.tflite
    """

    architecture: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="ARCHITECTURE")]]
    """Canonical string, as searches print it."""
    out: Path
    """File to write, such as student.tflite."""
    weights: Annotated[Path | None, optional("FILE")] = None
    """student.safetensors of `akd train`; without it the weights are random, which is enough to measure latency."""
    format: Literal["float32", "float16", "int8"] = "float32"
    """How weights (and, of int8, activations) are stored. All formats take and give float32."""
    data: Annotated[str | None, optional("DATA")] = None
    """Images to calibrate int8 with and to measure accuracy on, as for `akd search`; by default none."""
    images: Annotated[int | None, optional("N")] = None
    """Test images to measure accuracy on; by default all, at most 5,000."""
    calibration_images: int = 256
    """Training images that int8 is calibrated with."""
    resolution: int = 28
    """Pixels of the input; taken from the weights or the data where given."""
    channels: int = 1
    """Channels of the input; taken from the weights or the data where given."""
    classes: int = 10
    """Outputs; taken from the weights or the data where given."""

    def __call__(self, console: Console) -> None:
        """Export, measure, and say what was written."""
        from akd_gym.device_lab.tflite import export_float16, export_int8, export_tflite
        from akd_gym.exported import calibration_batches
        from akd_gym.files import write_atomically

        self._check()
        spec = NetworkSpec.parse(self.architecture).canonical()
        network, shape, data = self._network(spec)
        files = {"float32": export_tflite(network, shape, description=str(spec))}
        if self.format == "float16":
            files["float16"] = export_float16(network, shape, description=str(spec))
        elif self.format == "int8":
            assert data is not None
            if self.weights is None:
                _settle(network, calibration_batches(data, self.calibration_images))
            calibration = calibration_batches(data, self.calibration_images)
            files["int8"] = export_int8(network, shape, calibration=calibration, description=str(spec))
        if data is not None and self.weights is not None:
            self._judge(spec, files, data, console)
            return
        model = files[self.format]
        write_atomically(self.out, model)
        kind = "random weights" if self.weights is None else f"weights of {self.weights}"
        text = f"{self.out}: {len(model) / 1024:.0f} KiB, {self.format}, {kind}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _judge(self, spec: NetworkSpec, files: dict[str, bytes], data: TaskData, console: Console) -> None:
        """Measure the accuracy of the files, write them with a record of it, and print it."""
        from akd_gym.exported import file_accuracy
        from akd_gym.files import write_atomically

        part, images = ("mini-val", data.val) if data.test is None else ("test", data.test)
        count = min(len(images), _MOST_IMAGES) if self.images is None else self.images
        with console.status("measuring the accuracy of the files"):
            found = {name: file_accuracy(file, images, data, count) for name, file in files.items()}
        beside = f"{self.out.stem.removesuffix(f'.{self.format}')}.float32{self.out.suffix}"
        paths: dict[str, Path] = {"float32": self.out.with_name(beside), self.format: self.out}
        record = {
            "schema_version": 1,
            "architecture": str(spec),
            "data": data.name,
            "part": part,
            "images": count,
            "calibration_images": self.calibration_images if self.format == "int8" else None,
            "files": {name: _describe(paths[name], files[name], found[name], found["float32"]) for name in files},
        }
        about = self.out.with_suffix(".json")
        for name, file in files.items():
            write_atomically(paths[name], file)
        write_atomically(about, (json.dumps(record, indent=2) + "\n").encode())
        _show(record, f"{count:,} {part} images of {data.name}, weights of {self.weights}", console)
        written = ", ".join(str(path) for path in (*paths.values(), about))
        console.print(f"Written: {written}", highlight=False, markup=False, soft_wrap=True)

    def _check(self) -> None:
        for name in ("resolution", "channels", "classes", "calibration_images"):
            if getattr(self, name) < 1:
                raise InvalidSettingError(f"`{name}` must be at least 1, but got {getattr(self, name)}.")
        if self.format == "int8" and self.data is None:
            raise InvalidSettingError(
                "`format` int8 must have images to be calibrated with, but got no `data`: add --data fashion, or the "
                "student's own."
            )

    def _network(self, spec: NetworkSpec) -> tuple[nn.Module, tuple[int, int, int, int], TaskData | None]:
        """The student, the shape of its input, and the data if asked for, scaled as the student knows it."""
        from akd_gym.data import load_data
        from akd_gym.networks import build_network
        from akd_gym.students import load_student

        if self.weights is None:
            data = None if self.data is None else load_data(self.data)
            resolution, channels, classes = self.resolution, self.channels, self.classes
            if data is not None:
                resolution, channels, classes = data.resolution, data.in_channels, data.num_classes
            return build_network(spec, classes, channels).eval(), (1, channels, resolution, resolution), data
        network, about = load_student(self.weights, spec)
        resolution, channels = int(about["resolution"]), int(about["channels"])
        data = None if self.data is None else load_data(self.data, resolution=resolution)
        if data is not None:
            classes_of_student = json.loads(about["classes"])
            if (classes_of_student, channels) != (list(data.class_names), data.in_channels):
                raise RunMismatchError(
                    f"`data` must have the classes and channels that {self.weights} was trained on "
                    f"({len(classes_of_student)} and {channels}), but {self.data!r} has {data.num_classes} and "
                    f"{data.in_channels}, or classes of other names."
                )
            data = replace(data, mean=tuple(json.loads(about["mean"])), std=tuple(json.loads(about["std"])))
        return network, (1, channels, resolution, resolution), data


_MOST_IMAGES = 5000


def _settle(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Let batch norm see images, as in a trained network: where activations vanish, int8 scales have no usual sizes.

    XNNPACK then leaves operators to other kernels, and the latency would be that of no trained student.
    """
    import torch

    with torch.no_grad():
        network.train()
        for batch in batches:
            if len(batch) > 1:  # batch norm refuses one pixel of one image
                network(batch)
        network.eval()


def _describe(path: Path, model: bytes, found: FileAccuracy, reference: FileAccuracy) -> dict[str, object]:
    return {
        "file": path.name,
        "bytes": len(model),
        "sha256": hashlib.sha256(model).hexdigest(),
        "accuracy": found.accuracy,
        "agreement": found.agreement(reference),
    }


def _show(record: dict[str, object], title: str, console: Console) -> None:
    table = Table("format", box=None, title=title, title_justify="left")
    for name in ("size", "accuracy", "same answer as float32"):
        table.add_column(name, justify="right")
    files = record["files"]
    assert isinstance(files, dict)
    for name, file in files.items():
        accuracy, agreement = (f"{100 * file[key]:.2f} %" for key in ("accuracy", "agreement"))
        table.add_row(name, f"{file['bytes'] / 1024:.0f} KiB", accuracy, "" if name == "float32" else agreement)
    console.print(table, highlight=False)
