"""Everything about a network that is a sum over its blocks, tabulated: its name, what it costs, and its features.

A block's share depends on its choices and the channels that come in, so that a few thousand rows stand for all
networks of the space, and one is looked up in microseconds: a row a block, each leading to those of the next.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from akd_gym.architecture import Block, Layer
from akd_gym.cost import Cost, count_cost
from akd_gym.space import Choices, SearchSpace

INPUT_SHAPE = (1, 28, 28)
CLASSES = 10

LAYER_COUNTS: dict[str, Callable[[Layer], bool]] = {
    "layers": lambda layer: True,
    "layers.conv": lambda layer: layer.block.op == "conv",
    "layers.sepconv": lambda layer: layer.block.op == "sepconv",
    "layers.mbconv3": lambda layer: layer.block.op == "mbconv" and layer.block.expansion == 3,
    "layers.mbconv6": lambda layer: layer.block.op == "mbconv" and layer.block.expansion == 6,
    "layers.noskip": lambda layer: layer.skip == "none",
    "layers.identity": lambda layer: layer.skip == "identity",
    "layers.pool": lambda layer: layer.skip == "pool",
    "layers.se": lambda layer: layer.block.se > 0,
    "layers.kernel5": lambda layer: layer.block.kernel == 5,
}
"""Features of a network besides its decisions: how many of its layers are so. A skip counts where it acts."""


class BlockRow(NamedTuple):
    """One way to build a block.

    Attributes:
        place: Of the row among all rows; choices that build the same block share it.
        name: Its piece of the architecture's string.
        following: The rows of the next block by its choices.
    """

    place: int
    name: str
    following: BlockOptions


BlockOptions = dict[Choices, BlockRow]
"""The rows of a block behind given channels, by the block's choices."""


class PlacedBlock(NamedTuple):
    """What a row builds.

    Attributes:
        number: Which block of the network, from 0.
        in_channels: Channels that come in.
        block: What is built.
        choices: Its canonical choices.
        cost: What the network has more with it than with the blocks before it alone. The first block's hold stem and
            head, so that rows sum up to the network's.
    """

    number: int
    in_channels: int
    block: Block
    choices: Choices
    cost: Cost


class BlockTables:
    """The rows of all blocks of a space.

    Args:
        space: Whose networks to look up.
        input_shape: `(channels, resolution, resolution)` of the images.
        num_classes: Classes of the images.

    Attributes:
        blocks: What each row builds, by place.
        sizes: Pixels of height and width that come into each block.
    """

    def __init__(
        self, space: SearchSpace, input_shape: tuple[int, int, int] = INPUT_SHAPE, num_classes: int = CLASSES
    ) -> None:
        self.space, self.input_shape, self.num_classes = space, input_shape, num_classes
        skeleton = space.skeleton
        self._frame = space.network(space.reference)
        self.sizes = [-(-input_shape[1] // skeleton.stem_stride)]
        for stride in skeleton.strides[:-1]:
            self.sizes.append(-(-self.sizes[-1] // stride))
        self.blocks: list[PlacedBlock] = []
        of_block = [[d for d in space.decisions if d.block == number] for number in range(1, len(self.sizes) + 1)]
        stops = np.cumsum([len(decisions) for decisions in of_block]).tolist()
        self._spans = tuple(zip([0, *stops[:-1]], stops, strict=True))
        self._options = [tuple(itertools.product(*(range(len(d.options)) for d in own))) for own in of_block]
        self._ends = (
            f"stem_k{skeleton.stem_kernel}_s{skeleton.stem_stride}_c{skeleton.stem_channels}",
            (f"head_c{skeleton.head_channels}"),
        )
        self._known: dict[tuple[int, int], BlockOptions] = {}
        self._first = self._rows((), skeleton.stem_channels)

    def look_up(self, choices: Sequence[int]) -> list[BlockRow]:
        """One row a block.

        Raises:
            InvalidArchitectureError: The choices are not of the space.
        """
        rows, options = [], self._first
        try:
            for start, stop in self._spans:
                row = options[choices[start:stop]]  # type: ignore[index]
                rows.append(row)
                options = row.following
        except (KeyError, TypeError):  # no tuple of integers in range
            return self.look_up(self.space.validate(choices))
        if len(choices) != stop:
            self.space.validate(choices)
        return rows

    def name(self, rows: Sequence[BlockRow]) -> str:
        """The canonical string of the network of these rows."""
        stem, head = self._ends
        return " ".join([stem, *[row.name for row in rows], head])

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Of the columns of `features`."""
        return (*self.space.feature_names, *LAYER_COUNTS)

    @cached_property
    def features(self) -> NDArray[np.float64]:
        """What each row adds to the features of a network.

        They are `SearchSpace.features` of its canonical choices, then `LAYER_COUNTS`. Shape (rows, features).
        """
        space = self.space
        owners = np.concatenate([[d.block - 1] * len(d.feature_names) for d in space.decisions])
        table = np.zeros((len(self.blocks), len(self.feature_names)))
        for place, placed in enumerate(self.blocks):
            start, stop = self._spans[placed.number]
            whole = (*space.reference[:start], *placed.choices, *space.reference[stop:])
            table[place, : space.num_features] = space.features(whole) * (owners == placed.number)
            for layer in self.layers(placed):
                table[place, space.num_features :] += [counts(layer) for counts in LAYER_COUNTS.values()]
        return table

    @cached_property
    def costs(self) -> NDArray[np.float64]:
        """What each row adds to a network's multiply-adds of one image and to its parameters, shape (rows, 2)."""
        return np.array([(placed.cost.madds, placed.cost.params) for placed in self.blocks], dtype=np.float64)

    def layers(self, placed: PlacedBlock) -> list[Layer]:
        """The layers of a block where it stands."""
        return list(replace(self._frame, stem_channels=placed.in_channels, blocks=(placed.block,)).layers())

    def _rows(self, before: Choices, in_channels: int) -> BlockOptions:
        """The rows of the block that follows the choices `before`, whose blocks give so many channels."""
        index = next((i for i, (start, _) in enumerate(self._spans) if start == len(before)), len(self._spans))
        known = self._known.setdefault((index, in_channels), {})
        if known or index == len(self._spans):
            return known
        after = self.space.reference[self._spans[index][1] :]
        by_block: dict[Block, BlockRow] = {}
        for choices in self._options[index]:
            network = self.space.network((*before, *choices, *after))
            block = network.blocks[index]
            if block not in by_block:
                grown = self._cost(network.blocks[: index + 1])
                without = self._cost(network.blocks[:index])
                start, stop = self._spans[index]
                own = self.space.choices(network)[start:stop]
                added = Cost(grown.madds - without.madds, grown.params - without.params)
                self.blocks.append(PlacedBlock(index, in_channels, block, own, added))
                place, following = len(self.blocks) - 1, self._rows((*before, *choices), block.channels)
                by_block[block] = BlockRow(place, str(block), following)
            known[choices] = by_block[block]
        return known

    def _cost(self, blocks: tuple[Block, ...]) -> Cost:
        if not blocks:
            return Cost(0, 0)
        channels, resolution, _ = self.input_shape
        return count_cost(replace(self._frame, blocks=blocks), resolution, channels, self.num_classes)
