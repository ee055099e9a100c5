"""What a teacher says of every view of every image: computed once, kept on disk, reused by every student.

Running the teacher beside each student makes a distillation search three to four times as expensive as a
plain one (paper, section 4). Here view v of image i is the same picture for everyone (`akd_gym.augment`), so
its soft label is a constant: one pass of the teacher a view serves every candidate of every later search.
Logits are stored, not probabilities: float16, whole when the classes are few; the K largest log-probabilities and the
mass that is missing from them when the classes are many. They are expanded to all classes a batch at a time.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock
import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from akd_gym.augment import AugmentRecipe
from akd_gym.errors import CorruptFileError, InvalidSettingError, StorageError, TeacherError
from akd_gym.files import write_atomically
from akd_gym.images import Images
from akd_gym.teachers import Teacher

SCHEMA_VERSION = 1
WHOLE_UP_TO = 100
"""With at most so many classes every logit is stored; with more, the `DEFAULT_TOP_K` largest."""
DEFAULT_TOP_K = 10
_IMAGES_A_PASS = 2048  # how many views are held in memory at a time while the teacher answers,
_BYTES_A_PASS = 2**24  # or so many bytes of them, if that is fewer


@dataclass(frozen=True)
class ViewLabels:
    """The soft labels of one view, as they are stored; indexed by rows as a tensor of logits would be.

    Args:
        tensors: `logits` (N, num_classes); or `log_top` and `classes` (N, K) with `log_missing` (N,).
        num_classes: Classes a soft label covers.
    """

    tensors: dict[str, Tensor]
    num_classes: int

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """Logits of these images: float32 (B, num_classes); what is missing is spread over the classes not kept."""
        chosen = {name: tensor[rows] for name, tensor in self.tensors.items()}
        if "logits" in chosen:
            return chosen["logits"].float()
        log_top, classes, log_missing = (chosen[name] for name in ("log_top", "classes", "log_missing"))
        spread = log_missing - math.log(self.num_classes - log_top.shape[1])
        whole = spread[:, None].expand(-1, self.num_classes).clone()
        return whole.scatter_(1, classes.long(), log_top.float())


@dataclass(frozen=True)
class SoftLabels:
    """The soft labels of one teacher for one set of images: a handle to files, cheap to send to a worker.

    Args:
        folder: Holds one file a view; its name is the key of all that the labels depend on.
        views: Number of views; a longer training goes through them again.
        num_images: Images a view.
        num_classes: Classes a soft label covers.
    """

    folder: Path
    views: int
    num_images: int
    num_classes: int

    def open(self, view: int, device: torch.device | str = "cpu") -> ViewLabels:
        """Open the labels of one view, checked once: on a CPU they stay in the file, mapped to memory.

        Args:
            view: Epoch or view number; taken modulo `views`.
            device: Where rows are asked for and logits are given.

        Raises:
            CorruptFileError: The file is damaged.
            StorageError: The file is gone or unreadable.
        """
        tensors = _read(_view_path(self.folder, view % self.views))
        return ViewLabels({name: tensor.to(device) for name, tensor in tensors.items()}, self.num_classes)

    def view(self, view: int, rows: Tensor | None = None) -> Tensor:
        """Return the logits of one view: float32 (N, num_classes), in the order of the images asked for.

        Where the classes are many, all of them are large: `open` the view and ask for a batch at a time.

        Args:
            view: Epoch or view number; taken modulo `views`.
            rows: Only these positions, int64; None for all.

        Raises:
            CorruptFileError: The file is damaged.
            StorageError: The file is gone or unreadable.
        """
        return self.open(view)[slice(None) if rows is None else rows]


def soft_labels(
    teacher: Teacher,
    images: Images,
    data_fingerprint: str,
    augment: AugmentRecipe,
    views: int,
    root: Path,
    *,
    top_k: int | None = None,
    announce: Callable[[str], None] | None = None,
) -> SoftLabels:
    """Open a teacher's soft labels for these images, computing the views that are not there yet.

    Two processes that ask at once pay once: the second waits for the first. A process killed while it writes
    leaves nothing that is ever read.

    Args:
        teacher: Who answers.
        images: What for; rows of the labels follow its order.
        data_fingerprint: Identity of the pool that `images.indices` count within (`TaskData.fingerprint`).
        augment: The recipe of the views.
        views: How many views, usually the epochs of a proxy training.
        root: Folder of all soft labels, shared between searches.
        top_k: How many classes to keep an image; None: all up to 100 classes, 10 beyond.
        announce: Told the size before anything is written, and each view done.

    Raises:
        CorruptFileError: A file is damaged; `akd repair` removes it.
        InvalidSettingError: `views` or `top_k` below 1.
        StorageError: Not enough room, or the folder cannot be written.
        TeacherError: The teacher answers with something that is not finite.
    """
    if views < 1:
        raise InvalidSettingError(f"`views` must be 1 or more, but got {views}.")
    if top_k is not None and top_k < 1:
        raise InvalidSettingError(f"`top_k` must be 1 or more, but got {top_k}.")
    if top_k is None and teacher.num_classes > WHOLE_UP_TO:
        top_k = DEFAULT_TOP_K
    if top_k is not None and top_k >= teacher.num_classes:
        top_k = None
    key = _key(teacher, images, data_fingerprint, augment, top_k)
    labels = SoftLabels(root / "soft_labels" / key, views, len(images), teacher.num_classes)

    def missing() -> list[int]:
        return [view for view in range(views) if not _view_path(labels.folder, view).exists()]

    if missing():
        with _storage_errors(labels.folder):
            labels.folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(labels.folder.with_suffix(".lock")):
                for leftover in labels.folder.glob(".view*"):  # of a writer that was killed: we hold the lock
                    leftover.unlink()
                _compute(teacher, images, augment, missing(), labels, top_k, announce)
    for view in range(views):
        _read(_view_path(labels.folder, view))
    return labels


def repair(root: Path) -> list[Path]:
    """Remove damaged soft-label files below `root`, which are then computed anew when next asked for.

    Returns:
        The files that were removed.
    """
    removed = []
    for path in sorted((root / "soft_labels").glob("*/*.safetensors")):
        try:
            _read(path)
        except CorruptFileError:
            with _storage_errors(path):
                path.unlink()
            removed.append(path)
    return removed


def _key(teacher: Teacher, images: Images, data_fingerprint: str, augment: AugmentRecipe, top_k: int | None) -> str:
    identity = {
        "schema": SCHEMA_VERSION,
        "teacher": teacher.weights_hash,
        "data": data_fingerprint,
        "images": hashlib.sha256(images.indices.numpy().astype("<i8").tobytes()).hexdigest(),
        "augment": augment.identity(),
        "top_k": top_k,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def _view_path(folder: Path, view: int) -> Path:
    return folder / f"view{view:04d}.safetensors"


def _compute(
    teacher: Teacher,
    images: Images,
    augment: AugmentRecipe,
    views: list[int],
    labels: SoftLabels,
    top_k: int | None,
    announce: Callable[[str], None] | None,
) -> None:
    """Let the teacher answer for the missing views, and write each as it is done."""
    if not views:  # another process wrote them while we waited for the lock
        return
    bytes_an_image = 2 * teacher.num_classes if top_k is None else top_k * (2 + 4) + 4
    size = len(views) * (len(images) * bytes_an_image + 1024)
    free = shutil.disk_usage(labels.folder).free
    if size > free:
        raise StorageError(
            errno.ENOSPC,
            f"Soft labels need {size / 2**20:.1f} MiB below {labels.folder}, but only {free / 2**20:.1f} "
            f"MiB are free: "
            "make room, or choose another folder (AKD_GYM_CACHE)",
        )
    say = announce or (lambda _: None)
    kept = f"{teacher.num_classes} classes" if top_k is None else f"top {top_k} of {teacher.num_classes} classes"
    say(
        f"Soft labels of {teacher.name}: {len(views)} views x {len(images):,} images x {kept}, "
        f"{size / 2**20:.1f} MiB in {labels.folder}"
    )
    for number, view in enumerate(views, start=1):
        parts = []
        rows = torch.arange(len(images)).split(max(1, min(_IMAGES_A_PASS, _BYTES_A_PASS // math.prod(images.shape))))
        for pictures in images.batches(rows, torch.device("cpu"), augment, view):
            answer = teacher.logits(pictures).cpu()
            if not torch.isfinite(answer).all() or answer.abs().max() > torch.finfo(torch.float16).max:
                raise TeacherError(
                    f"Teacher {teacher.name!r} must answer with finite logits within float16, "
                    f"but view {view} has {answer.abs().max().item()}."
                )
            parts.append(_compress(answer, top_k))
        tensors = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        _write(_view_path(labels.folder, view), tensors)
        say(f"Soft labels of {teacher.name}: view {number} of {len(views)} done")


def _compress(logits: Tensor, top_k: int | None) -> dict[str, Tensor]:
    if top_k is None:
        return {"logits": logits.half()}
    log_probabilities = logits.log_softmax(1)
    ordered, classes = log_probabilities.sort(1, descending=True)
    return {
        "log_top": ordered[:, :top_k].half().contiguous(),
        "classes": classes[:, :top_k].int().contiguous(),
        "log_missing": ordered[:, top_k:].logsumexp(1),
    }


def _checksum(tensors: dict[str, Tensor], label: str) -> str:
    digest = hashlib.sha256(f"{SCHEMA_VERSION} {label}".encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].contiguous().numpy().data)
    return digest.hexdigest()


def _label(path: Path) -> str:
    """What a file says it is, so that one copied over another is noticed: key and view."""
    return f"{path.parent.name}/{path.name}"


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write whole or not at all."""
    content = save(tensors, metadata={"sha256": _checksum(tensors, _label(path))})
    write_atomically(path, content)


def _read(path: Path) -> dict[str, Tensor]:
    """Memory-map a file and check it."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise CorruptFileError(_damaged(path, str(error))) from error
    except OSError as error:
        raise StorageError(error.errno, f"Soft labels cannot be read: {error.strerror or error}", str(path)) from error
    if metadata.get("sha256") != _checksum(tensors, _label(path)):
        raise CorruptFileError(_damaged(path, "its SHA-256 is not the recorded one"))
    return tensors


def _damaged(path: Path, why: str) -> str:
    return f"Soft-label file {path} is damaged ({why}): `akd repair` removes it, and it is then computed anew."


@contextlib.contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    """Turn the system's refusals to write into `StorageError`."""
    try:
        yield
    except (StorageError, CorruptFileError):
        raise
    except OSError as error:
        raise StorageError(
            error.errno,
            f"Soft labels cannot be written: {error.strerror or error} (AKD_GYM_CACHE moves them)",
            str(path),
        ) from error
