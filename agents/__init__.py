"""Agents by name, PPO's settings and policies, and the search. Imported when first asked for: some need torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from akd_gym.agents.masked_dqn import MaskedDQN, MaskedDQNPolicy, MaskedQRDQN, MaskedQRDQNPolicy
    from akd_gym.agents.play import Played, Player
    from akd_gym.agents.policies import MaskedActorCriticPolicy, MaskedRecurrentActorCriticPolicy
    from akd_gym.agents.ppo import ppo_settings
    from akd_gym.agents.registry import AGENTS, Agent, load_agent
    from akd_gym.agents.rnn import rnn_settings
    from akd_gym.agents.runs import read_run
    from akd_gym.agents.search import SearchObserver, SearchResult, read_outcomes, run_search
    from akd_gym.agents.settings import SearchSettings

__all__ = [  # noqa: RUF022 - grouped
    # agents by name, and what one of your own is made with
    "AGENTS",
    "Agent",
    "load_agent",
    "Player",
    "Played",
    # Stable-Baselines3
    "MaskedActorCriticPolicy",
    "MaskedRecurrentActorCriticPolicy",
    "MaskedDQN",
    "MaskedDQNPolicy",
    "MaskedQRDQN",
    "MaskedQRDQNPolicy",
    "ppo_settings",
    "rnn_settings",
    # whole searches
    "SearchSettings",
    "SearchObserver",
    "SearchResult",
    "run_search",
    "read_outcomes",
    "read_run",
]

_HOMES = {
    "AGENTS": "registry",
    "Agent": "registry",
    "load_agent": "registry",
    "Player": "play",
    "Played": "play",
    "MaskedActorCriticPolicy": "policies",
    "MaskedRecurrentActorCriticPolicy": "policies",
    "MaskedDQN": "masked_dqn",
    "MaskedDQNPolicy": "masked_dqn",
    "MaskedQRDQN": "masked_dqn",
    "MaskedQRDQNPolicy": "masked_dqn",
    "ppo_settings": "ppo",
    "rnn_settings": "rnn",
    "SearchSettings": "settings",
    "SearchObserver": "search",
    "SearchResult": "search",
    "run_search": "search",
    "read_outcomes": "search",
    "read_run": "runs",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
