"""The 1,000 classes that published weights know, and how to tell that a task has just these."""

from __future__ import annotations

import hashlib

from akd_gym.teachers.tasks import Task

IMAGENET_CLASSES = 1000
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_KNOWN_LISTS = {
    "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd": "WordNet ids in order (n01440764, ...)",
    "0b0f9fee7c952f257418d62aa701f023a9da13b443a14f5c4291e5724d92967c": "torchvision's names (tench, ...)",
}
"""SHA-256 of the class names, a line each: what is in the lists."""


def is_imagenet(task: Task) -> bool:
    """Whether a task has ImageNet's 1,000 classes in the order in which all published weights answer."""
    if task.name.partition(":")[0] == "imagenet":  # torchvision's own reader of it
        return True
    return hashlib.sha256("\n".join(task.class_names or ()).encode()).hexdigest() in _KNOWN_LISTS
