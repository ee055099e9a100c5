"""A fair competition of agents on AKDBench: everyone has the same budget, and every evaluation counts."""

from __future__ import annotations

from akd_gym.agents.competition.playing import Meter, play_agent
from akd_gym.agents.competition.runner import (
    Competition,
    CompetitionObserver,
    read_competition,
    run_competition,
)
from akd_gym.agents.competition.settings import CompetitionSettings

__all__ = [
    "Competition",
    "CompetitionObserver",
    "CompetitionSettings",
    "Meter",
    "play_agent",
    "read_competition",
    "run_competition",
]
