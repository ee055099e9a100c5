"""dlib's face recognition as a teacher, and its alignment of faces. Both need the extra `faces`.

The network is a ResNet of 29 convolutions that embeds an aligned face of 150x150 pixels in 128 numbers, learned from
about three million faces (`dlib_face_recognition_resnet_model_v1`, Davis King, public domain). It comes inside the
package face_recognition_models.
Paper: Deep Residual Learning for Image Recognition - https://arxiv.org/abs/1512.03385
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from akd_gym.errors import TeacherError
from akd_gym.teachers import Teacher

_NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
_LANDMARKS = "shape_predictor_5_face_landmarks.dat"
_SIDE, _DIM = 150, 128
_PADDING = 0.25  # what the network was trained with around a face
_BATCH = 64
_UPSAMPLINGS = (0, 1, 2)  # a face must be 80 pixels wide to be found; small pictures are enlarged until it is


class DlibFaceTeacher(Teacher):
    """Embeds faces in 128 numbers; knows no classes.

    Faces must be upright and fill the picture as `align_face` cuts them: others are told apart much worse.

    Args:
        in_channels: 3, or 1 for grey pictures.

    Raises:
        TeacherError: dlib or its models are not installed, or the channels are neither.
    """

    def __init__(self, in_channels: int = 3) -> None:
        if in_channels not in (1, 3):
            raise TeacherError(f"Teacher 'dlib:face' takes pictures of 1 or 3 channels, but got {in_channels}.")
        path = _model_file(_NETWORK)
        self.name, self.num_classes, self.in_channels = "dlib:face", 0, in_channels
        self.weights_hash = hashlib.sha256(path.read_bytes()).hexdigest()
        self._network = _dlib().face_recognition_model_v1(str(path))

    @property
    def feature_dim(self) -> int:
        """See `Teacher.feature_dim`."""
        return _DIM

    def logits(self, images: Tensor) -> Tensor:
        """Refuse.

        Raises:
            TeacherError: Always.
        """
        raise TeacherError("Teacher 'dlib:face' gives features and knows no classes: distil its features.")

    def features(self, images: Tensor) -> Tensor:
        """See `Teacher.features`."""
        if images.ndim != 4 or images.dtype != torch.uint8 or images.shape[1] != self.in_channels:
            raise TeacherError(
                f"Teacher 'dlib:face' takes uint8 images (N, {self.in_channels}, H, W), "
                f"but got {images.dtype} {tuple(images.shape)}."
            )
        answers = [np.empty((0, _DIM), np.float32)]
        for part in images.cpu().split(_BATCH):
            chips = part
            if part.shape[-2:] != (_SIDE, _SIDE):
                scaled = F.interpolate(part.float(), (_SIDE, _SIDE), mode="bilinear", antialias=True)
                chips = scaled.round().clamp(0, 255).to(torch.uint8)
            rows = chips.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()
            answers.append(np.array(self._network.compute_face_descriptor(list(rows)), np.float32).reshape(-1, _DIM))
        return torch.from_numpy(np.concatenate(answers)).to(images.device)

    def to(self, device: str | torch.device) -> DlibFaceTeacher:
        """Stay on the CPU, where dlib is; answers go to the device of the images."""
        return self


def align_face(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8] | None:
    """Cut the largest face out of an RGB picture, upright, as dlib's network takes it.

    Args:
        picture: uint8 (H, W, 3).
        size: Pixels of height and width of the cut-out.

    Returns:
        uint8 (size, size, 3), or None if there is no face.

    Raises:
        TeacherError: dlib or its models are not installed.
    """
    dlib, (detector, predictor) = _dlib(), _aligner()
    for upsampling in _UPSAMPLINGS:
        faces = detector(picture, upsampling)
        if len(faces):
            largest = max(faces, key=lambda face: face.area())
            return np.asarray(dlib.get_face_chip(picture, predictor(picture, largest), size, _PADDING))
    return None


@functools.cache
def _aligner() -> tuple[Any, Any]:
    dlib = _dlib()
    return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(_model_file(_LANDMARKS)))


def _dlib() -> Any:
    try:
        return importlib.import_module("dlib")
    except ImportError as error:
        raise TeacherError(
            "dlib's face recognition needs the package dlib-bin: pip install 'akd-gym[faces]'."
        ) from error


def _model_file(name: str) -> Path:
    """A file inside face_recognition_models, which is found and not imported: it asks for the old pkg_resources."""
    found = importlib.util.find_spec("face_recognition_models")
    if found is None or not found.submodule_search_locations:
        raise TeacherError(
            f"{name} comes inside the package face_recognition_models, which is not installed: "
            "pip install 'akd-gym[faces]'."
        )
    path = Path(found.submodule_search_locations[0]) / "models" / name
    if not path.is_file():
        raise TeacherError(f"face_recognition_models is without {name}: reinstall it.")
    return path
