"""TA-KD: a chain of teacher assistants bridges the gap between teacher and student.

Paper: Improved Knowledge Distillation via Teacher Assistant - https://arxiv.org/abs/1902.03393
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from akd_gym.architecture import NetworkSpec
from akd_gym.checkpoints import load_state, save_state
from akd_gym.distill.base import Training
from akd_gym.distill.kd import KD
from akd_gym.teachers.base import NetworkTeacher, Teacher, hash_teacher
from akd_gym.training import TrainingState, build_student, train


def expand_channels(spec: NetworkSpec, ratio: float) -> NetworkSpec:
    """The same network with `ratio` times the channels everywhere, each rounded to a whole number."""

    def expand(channels: int) -> int:
        return max(1, round(channels * ratio))

    return replace(
        spec,
        stem_channels=expand(spec.stem_channels),
        blocks=tuple(replace(block, channels=expand(block.channels)) for block in spec.blocks),
        head_channels=expand(spec.head_channels),
        hidden_channels=None if spec.hidden_channels is None else expand(spec.hidden_channels),
    ).canonical()


class TA(KD):
    """KD from the last of a chain of assistants, each trained by KD from the one before, the first from the teacher.

    The loss of all is that of equations 1 to 3: `(1 - lambda) * cross-entropy + lambda * T^2 * KL`, lambda being the
    recipe's `alpha`. The assistants are what Search to Distill took (section 5.1): three channel-expanded versions of
    the student, here evenly spaced below its double width. Each is trained as the student is, under the same recipe
    and seed; by multiply-adds, which grow with the square of the channels, they cost about 7 times the student's own.

    They are kept in the training's folder, as they are after every epoch, so that a stopped training goes on. Where
    several processes train the student, the first of each machine trains them alone.
    """

    expansions: ClassVar[tuple[float, ...]] = (1.75, 1.5, 1.25)
    """Channels of the assistants as ratios of the student's, the teacher's own pupil first."""

    @classmethod
    def prepare(cls, training: Training) -> TA:
        """See `Distillation.prepare`: trains the assistants that are not there yet.

        Raises:
            TeacherError: There is no teacher, or an assistant gives no finite answers.
            RunMismatchError: The folder holds assistants of another training.
            CorruptFileError: The checkpoint of an assistant is damaged.
            InfeasibleCandidateError: The training of an assistant diverges.
        """
        teacher = training.required_teacher
        for number, expansion in enumerate(cls.expansions, start=1):
            spec = expand_channels(training.spec, expansion)
            training.announce(f"Assistant {number} of {len(cls.expansions)}: the student with {expansion:g}x channels")
            teacher = train_assistant(spec, number, teacher, training)
        return cls(training.soft_labels(teacher), training.recipe.temperature, training.recipe.alpha)


def train_assistant(spec: NetworkSpec, number: int, teacher: Teacher, training: Training) -> Teacher:
    """Train an assistant by KD, or go on where its training stood; one that is finished is only loaded.

    Args:
        spec: The assistant.
        number: In the chain, from 1; names its file.
        teacher: Whom it learns from.
        training: Of the student.
    """
    data, recipe, path = training.data, training.recipe, training.folder / f"assistant{number}.safetensors"
    identity: dict[str, Any] = {
        "assistant": number,
        "architecture": str(spec),
        "data": data.name,
        "fingerprint": data.fingerprint,
        "teacher_weights": teacher.weights_hash,
        "recipe": recipe.identity(distilled=True),
        "seed": training.seed,
    }
    resume = load_state(path, identity)[0] if path.exists() else None
    network = build_student(spec, data, training.seed, training.device)

    def keep(state: TrainingState, loss: float) -> None:
        save_state(path, state, identity, loss)
        training.announce(f"Assistant {number}: epoch {state.epoch} of {recipe.epochs}, loss {loss:.3f}")

    method = KD(training.soft_labels(teacher), recipe.temperature, recipe.alpha)
    train(network, data, recipe, method, seed=training.seed, resume=resume, on_epoch=keep)
    return NetworkTeacher(
        name=f"assistant{number} of {teacher.name}",
        module=network.eval().requires_grad_(False),
        weights_hash=hash_teacher(str(spec), data.mean, data.std, None, network.state_dict()),
        num_classes=data.num_classes,
        in_channels=data.in_channels,
        mean=data.mean,
        std=data.std,
    )
