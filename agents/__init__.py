"""Agents: PPO's settings and policy, and the search they drive. Imported when first asked for: some need torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from akd_gym.agents.policies import MaskedActorCriticPolicy
    from akd_gym.agents.ppo import ppo_settings
    from akd_gym.agents.search import SearchObserver, SearchResult, read_outcomes, run_search
    from akd_gym.agents.settings import SearchSettings

__all__ = [  # noqa: RUF022 - grouped
    # Stable-Baselines3
    "MaskedActorCriticPolicy",
    "ppo_settings",
    # whole searches
    "SearchSettings",
    "SearchObserver",
    "SearchResult",
    "run_search",
    "read_outcomes",
]

_HOMES = {
    "MaskedActorCriticPolicy": "policies",
    "ppo_settings": "ppo",
    "SearchSettings": "settings",
    "SearchObserver": "search",
    "SearchResult": "search",
    "run_search": "search",
    "read_outcomes": "search",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
