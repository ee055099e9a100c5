from __future__ import annotations

import pytest

from akd_gym.envs.synthetic import SyntheticEvaluator


@pytest.fixture
def evaluator() -> SyntheticEvaluator:
    return SyntheticEvaluator(seed=1)
