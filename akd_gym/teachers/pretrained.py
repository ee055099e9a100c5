"""Teachers with the weights that a zoo publishes, and the same networks with random ones."""

from __future__ import annotations

from akd_gym.errors import TeacherError
from akd_gym.teachers.architectures import usual_scaling
from akd_gym.teachers.assembly import assemble
from akd_gym.teachers.base import NetworkTeacher
from akd_gym.teachers.tasks import Scaling, Task
from akd_gym.teachers.zoos import Entry, Zoo, build_zoo_network
from akd_gym.teachers.zoos.imagenet import IMAGENET_CLASSES, IMAGENET_MEAN, IMAGENET_STD, is_imagenet


def load_pretrained(zoo: Zoo, name: str, task: Task) -> NetworkTeacher:
    """Load a network of a zoo with its published weights, which must be on this machine.

    Args:
        zoo: Whose.
        name: As the zoo calls it.
        task: Must have its channels and, unless only embeddings are wanted, its classes.

    Raises:
        UnknownNameError: The zoo has no such network.
        TeacherError: The zoo or the weights are not there (with what to put where), or they do not fit the task.
    """
    entry, full_name = zoo.describe(name), f"{zoo.prefix}:{name}"
    if entry.weights is None or entry.scaling is None:
        raise TeacherError(
            f"{zoo.prefix} has no weights of {full_name!r} that load without running code and whose scaling it tells: "
            f"bring them as file:PATH@{full_name}."
        )
    if entry.in_channels != task.in_channels:
        raise TeacherError(
            f"Teacher {full_name!r} takes {entry.in_channels} channels, but {task.name!r} has {task.in_channels}: give "
            "pictures of these channels, or train a teacher on yours (`akd teacher train`)."
        )
    _check_classes(entry, full_name, task)
    module = zoo.load(name, entry.weights.locate(full_name))
    # "pretrained": torchvision builds some networks otherwise for its own weights than for those of a file
    return assemble(full_name, f"pretrained:{full_name}", module, entry.num_classes, task, entry.scaling)


def untrained_teacher(
    name: str, num_classes: int, in_channels: int = 3, resolution: int | None = None
) -> NetworkTeacher:
    """Make a teacher of a zoo's network with random weights: for dry runs and tests.

    Args:
        name: `torchvision:NAME`, `timm:NAME` or `pytorchcv:NAME`.
        num_classes: Of its answers.
        in_channels: Of the pictures.
        resolution: Input size, pixels; None: the network's own.

    Raises:
        UnknownNameError: No zoo has such a network.
        TeacherError: The zoo is not installed, or cannot build the network so.
    """
    grey = Scaling(IMAGENET_MEAN[:1] * in_channels, IMAGENET_STD[:1] * in_channels, resolution)
    task = Task("a dry run", in_channels, resolution or 224, grey, None)
    module = build_zoo_network(name, num_classes, in_channels)
    usual = usual_scaling(name, task)
    scaling = Scaling(usual.mean, usual.std, resolution or usual.resolution)
    return assemble(f"untrained:{name}", name, module, num_classes, task, scaling)


def _check_classes(entry: Entry, name: str, task: Task) -> None:
    """Refuse a classification task whose classes are not those of the weights."""
    if task.class_names is None:
        return
    if entry.num_classes == 0:
        raise TeacherError(
            f"Teacher {name!r} knows no classes, it only embeds: distil its features from `load_embedder`, or take a "
            "teacher with classes."
        )
    same_number = entry.num_classes == task.num_classes
    if same_number and (entry.num_classes != IMAGENET_CLASSES or is_imagenet(task)):
        return
    theirs = f"{entry.num_classes:,} classes"
    if entry.num_classes == IMAGENET_CLASSES:
        theirs = "the 1,000 classes of ImageNet, named by their WordNet ids in order"
    raise TeacherError(
        f"Teacher {name!r} knows {theirs}, but {task.name!r} has {task.num_classes:,} "
        f"({', '.join(task.class_names[:5])}, ...): fine-tune it on yours and bring it as file:PATH@{name}. For "
        "embeddings, classes do not matter: `load_embedder`."
    )
