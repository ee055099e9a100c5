"""Distractors: real ones first, then draws that look like the embeddings they were fitted to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from akd_gym.errors import DataError
from akd_gym.retrieval.distractors import BLOCK, Distractors, Synthetic, unit


@pytest.mark.parametrize("count", [40, 3000], ids=["fewer than dimensions", "more"])
def test_draws_have_the_mean_and_the_covariance_of_what_they_are_fitted_to(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn((count, 60), generator=generator) * torch.linspace(0.2, 2, 60) + 1
    wanted = unit(values).double().numpy()
    synthetic = Synthetic.fit(10 * values)
    drawn = torch.cat([synthetic.block(number, BLOCK) for number in range(20)]).double().numpy()
    np.testing.assert_allclose(drawn.mean(0), wanted.mean(0), atol=0.002)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(wanted.T), atol=0.002)
    assert np.linalg.matrix_rank(synthetic.factor, tol=1e-4) == min(count - 1, 60)


def test_a_draw_is_the_same_however_many_are_drawn() -> None:
    stream = Distractors(synthetic=Synthetic.fit(torch.eye(7), seed=4))
    few, many = torch.cat(list(stream.blocks(100))), torch.cat(list(stream.blocks(BLOCK + 10)))
    assert (len(few), len(many)) == (100, BLOCK + 10)
    torch.testing.assert_close(few, many[:100], rtol=0, atol=1e-6)
    assert not torch.equal(many[:10], many[BLOCK:])
    other = torch.cat(list(Distractors(synthetic=Synthetic.fit(torch.eye(7), seed=5)).blocks(100)))
    assert not torch.allclose(few, other)


def test_real_ones_come_first_from_memory_or_a_file(tmp_path: Path) -> None:
    real = np.arange(30, dtype=np.float32).reshape(10, 3)
    real.tofile(tmp_path / "index")
    mapped = np.memmap(tmp_path / "index", np.float32, "r", shape=(10, 3))
    for array in (real, mapped):
        stream = Distractors(array, Synthetic.fit(torch.eye(3)))
        blocks = torch.cat(list(stream.blocks(25)))
        assert (len(blocks), stream.real) == (25, 10)
        assert torch.equal(blocks[:10], torch.from_numpy(real))
        assert torch.equal(torch.cat(list(stream.blocks(4))), torch.from_numpy(real[:4]))
        assert sum(map(len, Distractors(array).blocks(25))) == 10


def test_one_face_has_no_spread() -> None:
    with pytest.raises(DataError, match="fitted to 2 faces or more, but got 1"):
        Synthetic.fit(torch.ones(1, 5))
