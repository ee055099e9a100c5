"""torchvision's classification networks, by `torchvision:NAME` or `torchvision:NAME.WEIGHTS`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from akd_gym.errors import TeacherError, UnknownNameError
from akd_gym.teachers.checkpoints import read_state
from akd_gym.teachers.tasks import Scaling
from akd_gym.teachers.zoos.base import Entry, Weights, Zoo, fitting

_SLOW_TO_INITIALISE = ("googlenet", "inception_v3")


class TorchvisionZoo(Zoo):
    """See `Zoo`. Its weights lie in torch's hub cache."""

    prefix = "torchvision"

    def describe(self, name: str) -> Entry:
        """See `Zoo.describe`."""
        published = _weights(name)
        shown = published.transforms()
        file = published.url.rpartition("/")[2]
        return Entry(
            name=name,
            num_classes=len(published.meta["categories"]),
            in_channels=3,
            scaling=Scaling(tuple(shown.mean), tuple(shown.std), shown.crop_size[0]),
            weights=Weights(
                places=(hub_folder() / file,),
                address=published.url,
                fetch=f"import torch; torch.hub.load_state_dict_from_url('{published.url}', check_hash=True, "
                "weights_only=True)",
            ),
        )

    def build(self, name: str, num_classes: int, in_channels: int) -> nn.Module:
        """See `Zoo.build`."""
        models, base = _models(), _known(name)
        if in_channels != 3:
            raise TeacherError(
                f"torchvision:{name} takes 3 channels, but {in_channels} are asked for: take a network of timm, or "
                "bring one that takes them as module:function."
            )
        options: dict[str, Any] = {}
        if base in _SLOW_TO_INITIALISE:
            options["init_weights"] = False
        if base.startswith("vit_"):  # their position embeddings are of one input size
            options["image_size"] = _weights(name).transforms().crop_size[0]
        return models.get_model(base, weights=None, num_classes=num_classes, **options)

    def load(self, name: str, path: Path) -> nn.Module:
        """See `Zoo.load`: by torchvision's own means, which know old names and built-in input scaling."""
        read_state(path)  # torchvision unpickles the file; so it must hold tensors and nothing else
        try:
            return _models().get_model(_known(name), weights=_weights(name), progress=False)
        except (RuntimeError, KeyError) as error:
            raise fitting(f"torchvision:{name}", path, error) from error


def hub_folder() -> Path:
    """Where torch.hub keeps weights."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def _models() -> Any:
    from torchvision import models  # here, because it costs half a second that other teachers need not pay

    return models


def _known(name: str) -> str:
    """The network's name, without that of weights."""
    models, base = _models(), name.partition(".")[0]
    if base not in models.list_models(models):
        raise UnknownNameError("torchvision model", base, models.list_models(models))
    return base


def _weights(name: str) -> Any:
    """The weights that a name asks for, or the default ones."""
    published = _models().get_model_weights(_known(name))
    tag = name.partition(".")[2]
    if tag and tag not in published.__members__:
        known = [f"{name.partition('.')[0]}.{one.name}" for one in published]  # not their alias DEFAULT
        raise UnknownNameError("torchvision weights", name, known)
    return published[tag] if tag else published.DEFAULT
