"""Identification at rank 1: by hand, against brute force, within its memory."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from akd_gym.errors import DataError, InvalidSettingError
from akd_gym.retrieval import distractors as distractors_module
from akd_gym.retrieval import ranking
from akd_gym.retrieval.distractors import Distractors, Synthetic
from akd_gym.retrieval.ranking import Identification, identify


def at(*degrees: float) -> Tensor:
    """Unit vectors in a plane: the smaller the angle between two, the more similar they are."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1).float()


# Person 0 has pictures at 0, 10 and 40 degrees, three probes; person 1 has one at 25, a distractor of all of them.
GALLERY, PEOPLE = at(0, 10, 40, 25), torch.tensor([0, 0, 0, 1])
BEYOND = Distractors(at(60, -10, 10, 5).numpy())


def test_by_hand() -> None:
    """Six pairs: 0-10, 0-40, 10-0, 10-40, 40-10, 40-0.

    1 distractor (25): the nearest is 25, 15, 15 away. 0-10 and 10-0 are nearer: 2.
    2 (and 60): 25, 15, 15 still: 2.
    3 (and -10): 10, 15, 15. 0-10 is as far as the distractor, a tie: 1.
    4 (and 10): 10, 0, 15. The distractor is the probe's very picture: 0.
    5 (and 5): 0.
    """
    found = identify(GALLERY, PEOPLE, [5, 1, 2, 3, 4, 1], BEYOND)
    assert found.distractors == (1, 2, 3, 4, 5)
    assert found.hits.tolist() == [[2, 2, 1, 0, 0]]
    assert found.pairs.tolist() == [6]
    assert [rate.value for rate in found.rates()] == [2 / 6, 2 / 6, 1 / 6, 0, 0]


def test_length_of_embeddings_does_not_matter() -> None:
    lengths = torch.tensor([[3.0], [0.1], [100.0], [7.0]])
    assert identify(GALLERY * lengths, PEOPLE, [1, 3], BEYOND).hits.tolist() == [[2, 1]]


def test_only_the_gallery() -> None:
    people = torch.tensor([0, 0, 1, 1])
    found = identify(at(0, 10, 40, 25), people, [2])
    # 0: 10 against 25, 40. 10: 10 against 15. 40: 15 against 30, 40. 25: 15 against 15, a tie.
    assert found.hits.tolist() == [[2], [1]]
    assert found.synthetic == (0,)


def brute_force(embeddings: Tensor, people: Tensor, counts: list[int], beyond: Tensor, seed: int) -> np.ndarray:
    """Hits by person, one similarity after the other, in 64 bits."""
    own = torch.nn.functional.normalize(embeddings.double(), dim=1).numpy()
    others = torch.nn.functional.normalize(beyond.double(), dim=1).numpy()
    order = np.random.default_rng([seed, 0xFACE]).permutation(len(own))
    hits = np.zeros((int(people.max()) + 1, len(counts)), np.int64)
    for probe, person in enumerate(people.tolist()):
        foreign = [own[place] for place in order if people[place] != person]
        line = np.array([*foreign, *others]) @ own[probe]
        for mate, other in enumerate(people.tolist()):
            if other == person and mate != probe:
                hits[person] += [own[mate] @ own[probe] > line[:count].max() for count in counts]
    return hits[np.bincount(people) > 1]


@pytest.mark.parametrize("cells", [1, 100, 2**22])
def test_blocks_are_brute_force(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the sets of some probes end within a block, since people have different numbers of pictures."""
    monkeypatch.setattr(ranking, "_CELLS", cells)
    monkeypatch.setattr(distractors_module, "BLOCK", 64)
    generator = torch.Generator().manual_seed(1)
    people = torch.tensor([0] * 2 + [1] * 9 + [2] * 1 + [3] * 30 + [4] * 5 + [5])
    centres = torch.randn((6, 8), generator=generator)
    gallery = centres[people] + 0.7 * torch.randn((len(people), 8), generator=generator)
    real = torch.randn((100, 8), generator=generator)
    stream = Distractors(real.numpy(), Synthetic.fit(centres, seed=3))
    counts = [1, 5, 20, 47, 64, 65, 140, 500]
    beyond = torch.cat(list(stream.blocks(500)))
    found = identify(gallery, people, counts, stream, seed=2)
    expected = brute_force(gallery, people, counts, beyond, seed=2)
    assert found.hits.tolist() == expected.tolist()
    assert 0 < expected[:, -1].sum() < expected[:, 0].sum() < found.pairs.sum(), "so that there is something to find"
    # Person 3 has the fewest others: 48 - 30 = 18.
    assert found.synthetic == (0, 0, 0, 0, 0, 0, 22, 382)


def test_what_is_as_like_nobody_is_never_identified() -> None:
    assert identify(torch.zeros(4, 3), torch.tensor([0, 0, 1, 1]), [1]).hits.sum() == 0


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    identify(GALLERY, PEOPLE, [5], BEYOND, on_block=lambda done, total: told.append((done, total)))
    assert told == [(4, 4)]


def test_what_cannot_be_ranked() -> None:
    with pytest.raises(DataError, match="two pictures or more to be looked for, but none of the gallery has"):
        identify(GALLERY, torch.arange(4), [1])
    with pytest.raises(DataError, match="6 distractors were asked for, but a probe has 1 pictures of other identities"):
        identify(GALLERY, PEOPLE, [6])
    with pytest.raises(DataError, match="5 distractors beyond the gallery were asked for, but there are 4"):
        identify(GALLERY, PEOPLE, [6], BEYOND)
    with pytest.raises(DataError, match="must be finite, but 1 of 4 are not"):
        identify(torch.cat([GALLERY[:3], torch.tensor([[math.nan, 1.0]])]), PEOPLE, [1])
    for counts in ([], [0], [10, -1]):
        with pytest.raises(InvalidSettingError, match="`distractors` must be numbers of 1 or more"):
            identify(GALLERY, PEOPLE, counts)


def test_intervals_are_over_people() -> None:
    """Ten thousand pairs of two people tell no more than two people do."""
    found = Identification((1,), (0,), np.array([[5000], [0]]), np.array([5000, 5000]))
    assert found.rates() == [(0.5, 0.0, 1.0)]
    sure = Identification((1, 2), (0, 0), np.array([[6, 0]] * 9), np.array([6] * 9))
    assert sure.rates() == [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0)]
    # Every person half: each resample has the same rate, whoever is in it.
    assert Identification((1,), (0,), np.array([[1], [10], [100]]), np.array([2, 20, 200])).rates() == [(0.5, 0.5, 0.5)]
    # Half of 100 people found: the binomial standard error is 0.05.
    [(value, low, high)] = Identification((1,), (0,), np.array([[2], [0]] * 50), np.array([2] * 100)).rates()
    assert (value, low, high) == pytest.approx((0.5, 0.5 - 1.96 * 0.05, 0.5 + 1.96 * 0.05), abs=0.011)


_MEMORY = """
import json, resource, torch
from akd_gym.retrieval.distractors import Distractors, Synthetic
from akd_gym.retrieval.ranking import identify

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
people = torch.arange(300) // 10
gallery = torch.randn((30, 512), generator=generator)[people] + 2 * torch.randn((300, 512), generator=generator)
stream = Distractors(synthetic=Synthetic.fit(torch.randn((1000, 512), generator=generator)))
identify(gallery, people, [1000], stream)
before = peak()
found = identify(gallery, people, [1000, {most}], stream)
print(json.dumps([peak() - before, found.rates()[0].value, found.rates()[1].value]))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_distractors() -> None:
    """200,000 distractors of 512 floats would be 400 MiB."""
    code = _MEMORY.replace("{most}", "200_000")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    growth, few, many = json.loads(done.stdout)
    assert growth < 64
    assert 0 < many < few < 1
