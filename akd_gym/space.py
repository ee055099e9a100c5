"""The search space: decisions over a skeleton of blocks, and the architectures they stand for.

The paper (section 3.1) searches seven blocks of identical layers with 35 decisions that expand to 77 dimensions
(section 4.1), and does not say which. The preset `akd` is our reading of it: five decisions a block,

| decision | options | kind | features |
|---|---|---|---|
| `conv_op` | `conv`, `sepconv`, `mbconv3`, `mbconv6` | categorical | 4 |
| `skip_op` | `none`, `identity`, `pool`, `identity+se` | categorical | 4 |
| `kernel` | 3, 5 | numeric | 1 |
| `layers` | base - 1, base, base + 1 (at least 1) | numeric | 1 |
| `filters` | 0.75, 1, 1.25 times the base | numeric | 1 |

so that 7 x 5 = 35 and 7 x 11 = 77. The reference architecture is like MobileNetV2: mbconv6, identity, kernel 3, base
layers and filters throughout. The preset `mnas` has MnasNet's own six decisions, with squeeze-and-excite independent
of the skip. A space of your own is a `SearchSpace` with other decisions or another skeleton.

This module imports no torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from akd_gym.architecture import Block, NetworkSpec
from akd_gym.errors import AKDGymError, InvalidArchitectureError, InvalidSettingError, UnknownNameError
from akd_gym.user_modules import import_user_module

Choices = tuple[int, ...]
"""One option index a decision, in the order of `SearchSpace.decisions`."""

Role = Literal["conv_op", "skip_op", "kernel", "se", "layers", "filters"]

_CONV_OPS: Mapping[str, tuple[Any, int]] = {
    "conv": ("conv", 1),
    "sepconv": ("sepconv", 1),
    "mbconv3": ("mbconv", 3),
    "mbconv6": ("mbconv", 6),
}
_SKIP_OPS: Mapping[str, tuple[Any, float]] = {
    "none": ("none", 0.0),
    "identity": ("identity", 0.0),
    "pool": ("pool", 0.0),
    "identity+se": ("identity", 0.25),
}
_FALLBACK: dict[str, Any] = {
    "conv_op": "mbconv6",
    "skip_op": "identity",
    "kernel": 3,
    "se": 0.0,
    "layers": 0,
    "filters": 1.0,
}
_CATEGORICAL = ("conv_op", "skip_op")


@dataclass(frozen=True)
class Decision:
    """One choice of the agent.

    Attributes:
        block: Which block it shapes, from 1 as in the paper's figures.
        role: What it decides: `"conv_op"`, `"skip_op"`, `"kernel"`, `"se"`, `"layers"` or `"filters"`.
        options: What can be chosen. `layers` options are added to the block's base, `filters` multiply it.
        default: Index of the option in the space's reference architecture.

    Raises:
        InvalidSettingError: If the role or an option is unknown, or the options are fewer than two.
    """

    block: int
    role: Role
    options: tuple[Any, ...]
    default: int = 0

    def __post_init__(self) -> None:
        if self.role not in _FALLBACK:
            raise UnknownNameError("decision role", self.role, _FALLBACK)
        if len(self.options) < 2 or len(set(self.options)) != len(self.options):
            raise InvalidSettingError(f"`{self.name}` must have 2 or more distinct options, but got {self.options}.")
        if not 0 <= self.default < len(self.options):
            raise InvalidSettingError(
                f"`default` of {self.name} must index its {len(self.options)} options, but got {self.default}."
            )
        by_role: dict[str, Mapping[str, Any]] = {"conv_op": _CONV_OPS, "skip_op": _SKIP_OPS}
        known = by_role.get(self.role)
        for option in self.options:
            if known is not None and option not in known:
                raise UnknownNameError(f"option of {self.name}", str(option), known)

    @property
    def name(self) -> str:
        """For example `"block3.kernel"`."""
        return f"block{self.block}.{self.role}"

    @property
    def categorical(self) -> bool:
        """Whether the options have no order, and so become one-hot features."""
        return self.role in _CATEGORICAL

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One name a feature: a categorical decision has one an option, a numeric one has one."""
        return tuple(f"{self.name}={option}" for option in self.options) if self.categorical else (self.name,)


@dataclass(frozen=True)
class Skeleton:
    """What the decisions vary: base layers, filters and strides of each block, and a fixed stem and head."""

    name: str
    repeats: tuple[int, ...]
    filters: tuple[int, ...]
    strides: tuple[int, ...]
    stem_channels: int
    head_channels: int
    stem_kernel: int = 3
    stem_stride: int = 2

    def __post_init__(self) -> None:
        lengths = {len(self.repeats), len(self.filters), len(self.strides)}
        if lengths == {0} or len(lengths) != 1:
            raise InvalidSettingError(
                "`repeats`, `filters` and `strides` of a skeleton must have one entry a block, but have "
                f"{len(self.repeats)}, {len(self.filters)} and {len(self.strides)}."
            )


SKELETONS: dict[str, Skeleton] = {
    "mnasnet": Skeleton(
        "mnasnet",
        repeats=(1, 2, 3, 4, 3, 3, 1),
        filters=(16, 24, 32, 64, 96, 160, 320),
        strides=(1, 2, 2, 2, 1, 2, 1),
        stem_channels=32,
        head_channels=1280,
    ),
    "small": Skeleton(
        "small",
        repeats=(1, 1, 2, 1, 2, 1, 1),
        filters=(8, 12, 16, 16, 24, 24, 32),
        strides=(1, 2, 1, 1, 2, 1, 1),
        stem_channels=8,
        head_channels=64,
    ),
}


def _per_block(blocks: int, decisions: Mapping[str, tuple[tuple[Any, ...], int]]) -> tuple[Decision, ...]:
    return tuple(
        Decision(block, role, options, default)  # type: ignore[arg-type]
        for block in range(1, blocks + 1)
        for role, (options, default) in decisions.items()
    )


_AKD = {
    "conv_op": (("conv", "sepconv", "mbconv3", "mbconv6"), 3),
    "skip_op": (("none", "identity", "pool", "identity+se"), 1),
    "kernel": ((3, 5), 0),
    "layers": ((-1, 0, 1), 1),
    "filters": ((0.75, 1.0, 1.25), 1),
}
_MNAS = {
    "conv_op": (("conv", "sepconv", "mbconv3", "mbconv6"), 3),
    "kernel": ((3, 5), 0),
    "se": ((0.0, 0.25), 0),
    "skip_op": (("none", "identity", "pool"), 1),
    "layers": ((-1, 0, 1), 1),
    "filters": ((0.75, 1.0, 1.25), 1),
}
PRESETS: dict[str, Callable[[int], tuple[Decision, ...]]] = {
    "akd": lambda blocks: _per_block(blocks, _AKD),
    "mnas": lambda blocks: _per_block(blocks, _MNAS),
}


class SearchSpace:
    """Decisions over a skeleton; the seam between agents (choices) and everything else (networks).

    Different choices can build the same network (an identity over a changing shape, a clipped layer count).
    `choices` and `canonical` answer with the spelling closest to the reference architecture.

    Args:
        name: Goes into records.
        decisions: In the order an agent takes them, block by block.
        skeleton: What they vary. A role that a block does not decide keeps the skeleton's base (and `mbconv6`,
            identity, kernel 3, no squeeze-and-excite).

    Raises:
        InvalidSettingError: If a decision names no block of the skeleton or stands out of block order, two
            decide the same, or filter options of a block do not stay distinct.
    """

    def __init__(self, name: str, decisions: Sequence[Decision], skeleton: Skeleton) -> None:
        self.name, self.decisions, self.skeleton = name, tuple(decisions), skeleton
        names = [decision.name for decision in self.decisions]
        if not names:
            raise InvalidSettingError("A search space must have at least one decision, but got none.")
        if len(set(names)) != len(names):
            raise InvalidSettingError(f"Decisions must be distinct, but {sorted(names)} repeat a name.")
        blocks = [decision.block for decision in self.decisions]
        if blocks != sorted(blocks) or blocks[0] < 1 or blocks[-1] > len(skeleton.repeats):
            raise InvalidSettingError(
                f"Decisions must go block by block, from 1 to {len(skeleton.repeats)}, but got blocks {blocks}."
            )
        self._by_block = [
            tuple(d for d in self.decisions if d.block == block + 1) for block in range(len(skeleton.repeats))
        ]
        self._channels = [self._channel_options(block) for block in range(len(skeleton.repeats))]
        self.option_counts: NDArray[np.int64] = np.array([len(d.options) for d in self.decisions], dtype=np.int64)
        self.num_actions = int(self.option_counts.max())
        self.feature_names = tuple(name for d in self.decisions for name in d.feature_names)
        self.num_features = len(self.feature_names)
        self.reference: Choices = tuple(d.default for d in self.decisions)
        self._block = lru_cache(maxsize=None)(self._make_block)
        self._spellings = lru_cache(maxsize=None)(self._make_spellings)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.name, self.decisions, self.skeleton))

    def __repr__(self) -> str:
        return f"SearchSpace({self.name!r}, {len(self.decisions)} decisions, skeleton={self.skeleton.name!r})"

    @cached_property
    def size(self) -> int:
        """How many sequences of choices there are (a Python integer: it can be astronomically large)."""
        size = 1
        for count in self.option_counts.tolist():
            size *= count
        return size

    # ---- choices -----------------------------------------------------------------------------------------

    def validate(self, choices: Sequence[int]) -> Choices:
        """Return `choices` as a tuple of ints.

        Raises:
            InvalidArchitectureError: If the length is not that of `decisions` or an index is out of range.
        """
        if len(choices) != len(self.decisions):
            raise InvalidArchitectureError(
                f"The space {self.name!r} takes {len(self.decisions)} choices, but got {len(choices)}."
            )
        for decision, choice in zip(self.decisions, choices, strict=True):
            if choice != int(choice) or not 0 <= choice < len(decision.options):
                raise InvalidArchitectureError(
                    f"`{decision.name}` must be from 0 to {len(decision.options) - 1}, but got {choice}."
                )
        return tuple(int(choice) for choice in choices)

    def sample(self, rng: np.random.Generator) -> Choices:
        """Draw every decision uniformly."""
        return tuple(rng.integers(self.option_counts).tolist())

    def mutate(self, choices: Sequence[int], rng: np.random.Generator) -> Choices:
        """Change one decision, drawn uniformly, so that another network results (Real et al., 2018)."""
        choices = self.validate(choices)
        network = self.network(choices)
        while True:
            index = int(rng.integers(len(choices)))
            shift = int(rng.integers(1, self.option_counts[index]))
            mutant = self._with(choices, index, (choices[index] + shift) % int(self.option_counts[index]))
            if self.network(mutant) != network:
                return mutant

    def neighbours(self, choices: Sequence[int]) -> list[Choices]:
        """All canonical choices whose network differs from this one in a single decision."""
        choices = self.validate(choices)
        found = {
            self.canonical(self._with(choices, index, option)): None
            for index, count in enumerate(self.option_counts.tolist())
            for option in range(count)
        }
        found.pop(self.canonical(choices))
        return list(found)

    def canonical(self, choices: Sequence[int]) -> Choices:
        """The spelling by which all choices that build the same network are known."""
        return self.choices(self.network(choices))

    # ---- networks ----------------------------------------------------------------------------------------

    def network(self, choices: Sequence[int]) -> NetworkSpec:
        """The canonical network that `choices` build.

        Raises:
            InvalidArchitectureError: See `validate`.
        """
        choices = self.validate(choices)
        blocks: list[Block] = []
        channels, start = self.skeleton.stem_channels, 0
        for index, decisions in enumerate(self._by_block):
            block = self._block(index, choices[start : start + len(decisions)], channels)
            blocks.append(block)
            channels, start = block.channels, start + len(decisions)
        skeleton = self.skeleton
        return NetworkSpec(
            skeleton.stem_kernel,
            skeleton.stem_stride,
            skeleton.stem_channels,
            tuple(blocks),
            skeleton.head_channels,
        )

    def decided_blocks(self, choices: Sequence[int]) -> list[Block]:
        """The blocks that the first `len(choices)` decisions already fix, for drawing a search under way."""
        blocks: list[Block] = []
        channels, start = self.skeleton.stem_channels, 0
        for index, decisions in enumerate(self._by_block):
            stop = start + len(decisions)
            if stop > len(choices):
                break
            blocks.append(self._block(index, tuple(choices[start:stop]), channels))
            channels, start = blocks[-1].channels, stop
        return blocks

    def choices(self, network: NetworkSpec | str) -> Choices:
        """The canonical choices that build `network`: the inverse of `network`.

        Raises:
            InvalidArchitectureError: If the string is malformed or belongs to another space.
        """
        spec = (NetworkSpec.parse(network) if isinstance(network, str) else network).canonical()
        frame = self.network(self.reference)
        if (spec.stem_kernel, spec.stem_stride, spec.stem_channels, spec.head_channels, len(spec.blocks)) != (
            frame.stem_kernel,
            frame.stem_stride,
            frame.stem_channels,
            frame.head_channels,
            len(frame.blocks),
        ):
            raise InvalidArchitectureError(
                f"The architecture is not of the space {self.name!r} with skeleton {self.skeleton.name!r}: stem, "
                f"head and number of blocks must be those of '{frame}', but got '{spec}'."
            )
        choices: Choices = ()
        channels = self.skeleton.stem_channels
        for index, block in enumerate(spec.blocks):
            spelling = self._spellings(index, channels).get(block)
            if spelling is None:
                raise InvalidArchitectureError(
                    f"The architecture is not of the space {self.name!r} with skeleton {self.skeleton.name!r}: no "
                    f"choices build block {index + 1}, '{block}'."
                )
            choices += spelling
            channels = block.channels
        return choices

    # ---- features ----------------------------------------------------------------------------------------

    def features(self, choices: Sequence[int]) -> NDArray[np.float32]:
        """Expand choices to `(num_features,)`: categorical ones as one-hot, numeric ones by value (Figure 8)."""
        values: list[float] = []
        for decision, choice in zip(self.decisions, self.validate(choices), strict=True):
            if decision.categorical:
                values += [float(index == choice) for index in range(len(decision.options))]
            else:
                values.append(float(decision.options[choice]))
        return np.array(values, dtype=np.float32)

    def choices_from_features(self, features: Iterable[float]) -> Choices:
        """The choices nearest to a feature vector; the inverse of `features`, and defined for means of them.

        Raises:
            InvalidArchitectureError: If the vector does not have `num_features` entries.
        """
        values = np.asarray(list(features), dtype=np.float64)
        if values.shape != (self.num_features,):
            raise InvalidArchitectureError(
                f"The space {self.name!r} has {self.num_features} features, but got shape {values.shape}."
            )
        choices, start = [], 0
        for decision in self.decisions:
            stop = start + len(decision.feature_names)
            if decision.categorical:
                choices.append(int(values[start:stop].argmax()))
            else:
                choices.append(int(np.abs(np.array(decision.options, dtype=float) - values[start]).argmin()))
            start = stop
        return tuple(choices)

    def to_json(self) -> dict[str, Any]:
        """What identifies the space in records; `from_json` is the inverse."""
        return {
            "name": self.name,
            "decisions": [asdict(d) | {"options": list(d.options)} for d in self.decisions],
            "skeleton": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self.skeleton).items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SearchSpace:
        """Inverse of `to_json`."""
        skeleton: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data["skeleton"].items()}
        decisions = [Decision(**d | {"options": tuple(d["options"])}) for d in data["decisions"]]
        return cls(data["name"], decisions, Skeleton(**skeleton))

    # ---- inside ------------------------------------------------------------------------------------------

    @staticmethod
    def _with(choices: Choices, index: int, option: int) -> Choices:
        return (*choices[:index], option, *choices[index + 1 :])

    def _channel_options(self, block: int) -> dict[float, int]:
        """Channels by filter option, rounded to the largest of 8, 4, 2, 1 that keeps the options distinct."""
        base = self.skeleton.filters[block]
        factors = next((d.options for d in self._by_block[block] if d.role == "filters"), (1.0,))
        for divisor in (8, 4, 2, 1):
            channels = {f: max(divisor, int(base * f / divisor + 0.5) * divisor) for f in factors}
            if len(set(channels.values())) == len(factors):
                return channels
        raise InvalidSettingError(
            f"Filter options must stay distinct after rounding, but {factors} times {base} of block {block + 1} do not."
        )

    def _make_block(self, index: int, choices: Choices, in_channels: int) -> Block:
        taken = dict(_FALLBACK)
        for decision, choice in zip(self._by_block[index], choices, strict=True):
            taken[decision.role] = decision.options[choice]
        op, expansion = _CONV_OPS[taken["conv_op"]]
        skip, se = _SKIP_OPS[taken["skip_op"]]
        return Block(
            op=op,
            layers=max(1, self.skeleton.repeats[index] + int(taken["layers"])),
            kernel=int(taken["kernel"]),
            stride=self.skeleton.strides[index],
            expansion=expansion,
            channels=self._channels[index].get(taken["filters"], self.skeleton.filters[index]),
            skip=skip,
            se=max(se, float(taken["se"])),
        ).canonical(in_channels)

    def _make_spellings(self, index: int, in_channels: int) -> dict[Block, Choices]:
        decisions = self._by_block[index]
        default = tuple(d.default for d in decisions)
        spellings = sorted(
            itertools.product(*(range(len(d.options)) for d in decisions)),
            key=lambda choices: sum(a != b for a, b in zip(choices, default, strict=True)),
        )
        table: dict[Block, Choices] = {}
        for choices in spellings:
            table.setdefault(self._block(index, choices, in_channels), choices)
        return table


def make_space(name: str | SearchSpace = "akd", skeleton: str | Skeleton = "mnasnet") -> SearchSpace:
    """Make a search space.

    Args:
        name: A preset (`"akd"`, `"mnas"`), or `"module:attribute"` naming a `SearchSpace` or a function that
            takes a skeleton and returns one.
        skeleton: A preset (`"mnasnet"` for 224 px, `"small"` for 28-32 px) or a `Skeleton`.

    Raises:
        UnknownNameError: If the space or the skeleton is unknown.
        InvalidSettingError: If `module:attribute` cannot be imported or is no search space.
    """
    if isinstance(name, SearchSpace):
        return name
    if isinstance(skeleton, str):
        if skeleton not in SKELETONS:
            raise UnknownNameError("skeleton", skeleton, SKELETONS)
        skeleton = SKELETONS[skeleton]
    if name in PRESETS:
        return SearchSpace(name, PRESETS[name](len(skeleton.repeats)), skeleton)
    if ":" not in name:
        raise UnknownNameError("space", name, [*PRESETS, "module:attribute"])
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_user_module(module), attribute)
        space = found if isinstance(found, SearchSpace) else found(skeleton)
    except AKDGymError:
        raise
    except Exception as error:
        raise InvalidSettingError(f"The space {name!r} must be importable, but got: {error!r}.") from error
    if not isinstance(space, SearchSpace):
        raise InvalidSettingError(f"{name!r} must be or make a SearchSpace, but got {type(space).__name__}.")
    return space
