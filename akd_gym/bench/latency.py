"""The latency of each block row: a predictor fitted to measured networks is a sum over operators, so over blocks."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from akd_gym.architecture import Block, Layer, NetworkSpec
from akd_gym.bench.blocks import BlockTables
from akd_gym.bench.surrogate import bench_tables
from akd_gym.device_lab.predictor import LatencyModel, Operator, read_operators
from akd_gym.latencies import export_architecture
from akd_gym.space import Choices

Operators = tuple[Operator, ...]

_STEM, _HEAD = 2, 3  # operators before and behind the layers of an exported network: pad, conv; conv, mean, linear


class RowOperators:
    """The operators of each block row, read off exported networks of a single layer.

    Exporting all distinct layers takes a minute. Operators are those of `read_operators` on whole networks, which a
    test holds.

    Args:
        tables: Whose rows.
    """

    def __init__(self, tables: BlockTables) -> None:
        self.tables = tables
        self._exported = lru_cache(maxsize=None)(self._export)

    def of_row(self, place: int) -> Operators:
        """Of one row; the first block's hold the stem's, the last block's the head's."""
        placed = self.tables.blocks[place]
        layers = self.tables.layers(placed)
        size = self.tables.sizes[placed.number]
        found: list[Operator] = []
        for layer in layers:
            operators = self._exported(*_alone(layer), size)
            found += operators[_STEM:-_HEAD]
            size = -(-size // layer.stride)
        if placed.number == 0:
            found = [*self._exported(*_alone(layers[0]), self.tables.sizes[0])[:_STEM], *found]
        if placed.number == len(self.tables.sizes) - 1:
            found += operators[-_HEAD:]
        return tuple(found)

    def of_network(self, choices: Choices) -> Operators:
        """Of a whole network, in order."""
        return tuple(one for row in self.tables.look_up(choices) for one in self.of_row(row.place))

    def latencies_ms(self, model: LatencyModel) -> NDArray[np.float64]:
        """What each row adds to a network's predicted latency, shape (rows,); the constant is the first block's."""
        constant = model.predict_known(())
        return np.array(
            [
                model.predict_known(self.of_row(place)) - (constant if placed.number > 0 else 0.0)
                for place, placed in enumerate(self.tables.blocks)
            ]
        )

    def _export(self, block: Block, in_channels: int, size: int) -> Operators:
        """Of a network whose one layer takes images of this size and so many channels."""
        space = self.tables.space
        stride = space.skeleton.stem_stride
        network: NetworkSpec = replace(space.network(space.reference), stem_channels=in_channels, blocks=(block,))
        channels, resolution, _ = self.tables.input_shape
        if -(-resolution // stride) != size:
            resolution = size * stride
        return read_operators(
            export_architecture(str(network), (channels, resolution, resolution), self.tables.num_classes)
        )


@lru_cache(maxsize=1)
def row_operators() -> RowOperators:
    """Of AKDBench's tables; layers are exported once in a process."""
    return RowOperators(bench_tables())


def _alone(layer: Layer) -> tuple[Block, int]:
    """The block that is this layer alone, and the channels that come in."""
    return replace(layer.block, layers=1, stride=layer.stride, skip=layer.skip), layer.in_channels
