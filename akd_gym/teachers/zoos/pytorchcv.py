"""pytorchcv's networks, by `pytorchcv:NAME`: the one library that still has PolyNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from akd_gym.errors import TeacherError, UnknownNameError
from akd_gym.teachers.checkpoints import read_state
from akd_gym.teachers.tasks import Scaling
from akd_gym.teachers.zoos.base import Entry, Weights, Zoo, fitting, import_zoo
from akd_gym.teachers.zoos.imagenet import IMAGENET_CLASSES, IMAGENET_MEAN, IMAGENET_STD

_FOLDER = Path("~/.torch/models")


class PytorchcvZoo(Zoo):
    """See `Zoo`. It says input sizes of its ImageNet networks only, all of which take ImageNet's usual scaling."""

    prefix = "pytorchcv"

    def describe(self, name: str) -> Entry:
        """See `Zoo.describe`."""
        _check(name)
        row = _table().get(name)
        if row is None or row["test_dataset"] != "in1k":
            return Entry(name, 0, 3, None, None)
        scaling = Scaling(IMAGENET_MEAN, IMAGENET_STD, int(row["img_size"]))
        file = f"{name}-{row['error_value']}-{row['checksum'][:8]}.pth"
        store = import_zoo("pytorchcv", "pytorchcv.models.common.model_store")
        weights = Weights(
            places=(_FOLDER.expanduser() / file,),
            address=f"{store.imgclsmob_repo_url}/releases/download/{row['repo_release_tag']}/{file}.zip (unpacked)",
            fetch="from pytorchcv.models.common.model_store import get_model_file; " + f"get_model_file('{name}')",
            sha1=row["checksum"],
        )
        return Entry(name, IMAGENET_CLASSES, 3, scaling, weights)

    def build(self, name: str, num_classes: int, in_channels: int) -> nn.Module:
        """See `Zoo.build`."""
        _check(name)
        try:
            return _provider().get_model(name, num_classes=num_classes, in_channels=in_channels)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TeacherError(
                f"pytorchcv:{name} cannot be built for {num_classes} classes and {in_channels} channels: {error}"
            ) from error

    def load(self, name: str, path: Path) -> nn.Module:
        """See `Zoo.load`; as pytorchcv does, what the file has beyond the network is left out."""
        state, _ = read_state(path)
        module = _provider().get_model(name)
        own = module.state_dict()
        try:
            module.load_state_dict({key: value for key, value in state.items() if key in own})
        except RuntimeError as error:
            raise fitting(f"pytorchcv:{name}", path, error) from error
        return module


def _provider() -> Any:
    return import_zoo("pytorchcv", "pytorchcv.model_provider")


def _check(name: str) -> None:
    known = tuple(_provider()._models)  # it offers no public list
    if name not in known:
        raise UnknownNameError("pytorchcv model", name, known)


def _table() -> dict[str, dict[str, str]]:
    """What pytorchcv says of its published weights, by network."""
    store = import_zoo("pytorchcv", "pytorchcv.models.common.model_store")
    columns, *rows = store.load_csv(store.get_model_metainfos_file_path())
    return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}
