"""Searches by PPO and the recurrent PPO: rounds played side by side, and checkpoints of what was learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from akd_gym.agents.checkpoints import latest_checkpoint, load_checkpoint, load_policy, save_checkpoint
from akd_gym.agents.ppo import ppo_settings
from akd_gym.agents.recording import SearchObserver, SearchRecorder
from akd_gym.agents.rnn import rnn_settings
from akd_gym.agents.settings import SearchSettings
from akd_gym.analysis.outcomes import Outcome
from akd_gym.envs.sb3 import make_sb3_vec_env
from akd_gym.envs.task import SearchTask
from akd_gym.evaluation import ProxyEvaluator
from akd_gym.torch_settings import torch_threads

_FREE_CHECKPOINTS = 100
"""Checkpoints over a whole search whose evaluations cost nothing; where they cost, every update has one."""


class Learner:
    """An algorithm on a search's task, as its checkpoint left it or new.

    Args:
        settings: Of the search; `agent` is `"ppo"` or `"rnn"`.
        run: The run directory.
        task: What is searched.

    Attributes:
        model: The algorithm.
        played: Candidates that it has learned from.

    Raises:
        CorruptFileError: If the checkpoint is damaged.
        RunMismatchError: If a policy to begin with is none, or of another space.
    """

    def __init__(self, settings: SearchSettings, run: Path, task: SearchTask) -> None:
        self._settings, self._run, self._task = settings, run, task
        self._decisions = len(task.space.decisions)
        algorithm: type[PPO] | type[RecurrentPPO] = RecurrentPPO if settings.agent == "rnn" else PPO
        envs = make_sb3_vec_env(settings.round_size, task=task)
        checkpoint = latest_checkpoint(run)
        if checkpoint is None:
            make_settings = rnn_settings if settings.agent == "rnn" else ppo_settings
            arguments = make_settings(envs, settings.budget, seed=settings.seed)
            self.model = algorithm(**arguments, tensorboard_log=str(run / "tensorboard"))
            if settings.policy is not None:
                load_policy(settings.policy, self.model)
        else:
            self.model = load_checkpoint(checkpoint, envs, algorithm)
            self.model.tensorboard_log = str(run / "tensorboard")  # the directory may have been moved
        self.played = self.model.num_timesteps // self._decisions

    def search(
        self, name: str, evaluator: ProxyEvaluator, observer: SearchObserver, earlier: Sequence[Outcome]
    ) -> None:
        """Search until the budget is spent.

        Args:
            name: The search's, in the ledger.
            evaluator: The task's.
            observer: Told how it goes.
            earlier: The candidates that were learned from.
        """
        settings, model = self._settings, self.model
        left = settings.budget * self._decisions - model.num_timesteps
        if left <= 0:
            return
        rounds = _Rounds(self._run, settings.budget * self._decisions, self._steps_between_checkpoints())
        self._task.watch = SearchRecorder(
            evaluator,
            name,
            settings.budget,
            observer=observer,
            log=rounds.note,
            earlier=earlier,
            played=self.played,
            rounds=self.played // settings.round_size,
        )
        with torch_threads(1):  # more gain nothing on a policy this small, and wait for each other beside trainings
            model.learn(left, callback=rounds, tb_log_name=type(model).__name__, reset_num_timesteps=False)
        save_checkpoint(self._run, model)

    def _steps_between_checkpoints(self) -> int:
        free = self._settings.evaluator == "bench"
        return self._settings.budget * self._decisions // _FREE_CHECKPOINTS if free else 0


class _Rounds(BaseCallback):
    """Keeps checkpoints of beginnings of updates, writes the numbers of rounds to the log, and ends in time.

    Args:
        run: The run directory.
        last_step: Steps that the budget allows.
        steps_between: Least steps from one checkpoint to the next.
    """

    def __init__(self, run: Path, last_step: int, steps_between: int) -> None:
        super().__init__()
        self._run, self._last_step, self._steps_between = run, last_step, steps_between
        self._saved: int | None = None
        self._numbers: Mapping[str, float] = {}

    def note(self, numbers: Mapping[str, float], played: int) -> None:
        """Take a round's numbers; they are logged when the model has counted its steps."""
        self._numbers = numbers

    def _on_rollout_start(self) -> None:
        if self._saved is None or self.model.num_timesteps - self._saved >= self._steps_between:
            save_checkpoint(self._run, self.model)
            self._saved = self.model.num_timesteps

    def _on_step(self) -> bool:
        model: Any = self.model
        assert isinstance(model, OnPolicyAlgorithm)
        if self._numbers:
            for name, value in self._numbers.items():
                self.logger.record(name, value)
            self.logger.dump(model.num_timesteps)  # an update may learn from several rounds
            self._numbers = {}
        update_follows = self.locals["n_steps"] + 1 == model.n_steps
        return update_follows or model.num_timesteps < self._last_step  # the budget may end between updates
