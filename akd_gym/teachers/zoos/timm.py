"""timm's networks, by `timm:NAME` or `timm:NAME.TAG`.

Paper: PyTorch Image Models - https://doi.org/10.5281/zenodo.4414861
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from akd_gym.errors import TeacherError, UnknownNameError
from akd_gym.teachers.checkpoints import read_state
from akd_gym.teachers.tasks import Scaling
from akd_gym.teachers.zoos.base import Entry, Weights, Zoo, fitting, import_zoo
from akd_gym.teachers.zoos.torchvision import hub_folder

_PUBLISHED_FILES = ("model.safetensors", "pytorch_model.bin")


class TimmZoo(Zoo):
    """See `Zoo`. Its weights lie in Hugging Face's cache, older ones in torch's hub cache."""

    prefix = "timm"

    def describe(self, name: str) -> Entry:
        """See `Zoo.describe`."""
        config = _config(name)
        return Entry(
            name=name,
            num_classes=config.num_classes,
            in_channels=config.input_size[0],
            scaling=Scaling(tuple(config.mean), tuple(config.std), config.input_size[-1]),
            weights=_published(name, config),
        )

    def build(self, name: str, num_classes: int, in_channels: int) -> nn.Module:
        """See `Zoo.build`."""
        _config(name)
        try:
            return import_zoo("timm").create_model(
                name, pretrained=False, num_classes=num_classes, in_chans=in_channels
            )
        except Exception as error:
            raise TeacherError(
                f"timm:{name} cannot be built for {num_classes} classes and {in_channels} channels: {error}"
            ) from error

    def load(self, name: str, path: Path) -> nn.Module:
        """See `Zoo.load`: by timm's own means, which know old names and background classes."""
        read_state(path)
        try:
            return import_zoo("timm").create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)})
        except (RuntimeError, KeyError, ValueError) as error:
            raise fitting(f"timm:{name}", path, error) from error


def _config(name: str) -> Any:
    """What timm knows of a network's weights, by default or by the tag in its name."""
    models = import_zoo("timm", "timm.models")
    base, _, tag = name.partition(".")
    if not models.is_model(base):
        raise UnknownNameError("timm model", base, import_zoo("timm").list_models())
    tags = models.get_arch_pretrained_cfgs(base) if tag else {}
    if tag and name not in tags:
        raise UnknownNameError("timm weights", name, tags)
    return models.get_pretrained_cfg(name) or models.PretrainedCfg()


def _published(name: str, config: Any) -> Weights | None:
    """Where timm keeps weights: on Hugging Face, else at an address of their own."""
    if config.custom_load:
        return None
    fetch = f"import timm; timm.create_model('{name}', pretrained=True)"
    file = config.url.rpartition("/")[2] if isinstance(config.url, str) and config.url else None
    in_hub = [hub_folder() / file] if file else []
    if config.hf_hub_id:
        repository, _, revision = config.hf_hub_id.partition("@")
        files = (config.hf_hub_filename,) if config.hf_hub_filename else _PUBLISHED_FILES
        look_up = import_zoo("timm", "huggingface_hub").try_to_load_from_cache
        cached = [look_up(repository, one, revision=revision or None) for one in files]
        by_hand = hub_folder() / f"{name.partition('.')[0]}.{config.tag}.safetensors"
        places = (by_hand, *(Path(place) for place in cached if isinstance(place, str)), *in_hub)
        address = f"https://huggingface.co/{repository}/resolve/{revision or 'main'}/{files[0]}"
        return Weights(places, address, fetch)
    return Weights(tuple(in_hub), config.url, fetch) if in_hub else None
