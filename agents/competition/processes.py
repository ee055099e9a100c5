"""A process a run, so that agents can neither help nor harm each other."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from akd_gym.agents.competition.benchmark import make_env
from akd_gym.agents.competition.playing import play_agent
from akd_gym.agents.competition.settings import CompetitionSettings
from akd_gym.agents.competition.storage import log_file, write_run
from akd_gym.agents.registry import load_agent
from akd_gym.errors import AKDGymError

_READY, _DONE = "ready", "done"

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
"""Of the libraries that agents compute with, read when they are imported: runs go side by side, one a core."""


@dataclass(frozen=True)
class RunJob:
    """One run to be made.

    Attributes:
        folder: The competition's directory, where the run is kept.
        settings: The competition's.
        agent: Name or `module:function`.
        seed: Of agent and noise.
    """

    folder: Path
    settings: CompetitionSettings
    agent: str
    seed: int


class RunProcess:
    """A process that makes one run and ends. It keeps the run itself; this end hears how far it is.

    It is started by its command line: a fork would share torch's threads and locks, and `multiprocessing` would import
    the user's script again.

    Args:
        job: The run to make.

    Attributes:
        connection: Becomes ready when there is something to `hear`.
        job: What it was made for.
        since: When it was started, by `time.monotonic`.
    """

    def __init__(self, job: RunJob) -> None:
        self.job, self.since = job, time.monotonic()
        self.connection, theirs = Pipe()
        code = f"import sys; sys.path[:] = {sys.path!r}; from akd_gym.agents.competition.processes import serve"
        self._log = log_file(job.folder, job.agent, job.seed)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"{code}; serve({theirs.fileno()})"],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **_ONE_THREAD},
                start_new_session=True,  # Ctrl-C is the competition's to handle
            )
        theirs.close()
        self._is_ready = False
        with contextlib.suppress(OSError):  # it died at once: `hear` will find the pipe closed
            self.connection.send(job)

    def hear(self) -> int | str | None:
        """What the process says: evaluations so far; or how it died, in words; or None, that its run is kept.

        Raises:
            AKDGymError: If the run could not begin, which is not the agent's fault.
        """
        try:
            said = self.connection.recv()
        except (EOFError, OSError):
            said = None
        if said == _DONE:
            self.end()
            return None
        if said == _READY:
            self._is_ready = True
            return 0
        if isinstance(said, int):
            return said
        status = self._wait()
        self.end()
        if isinstance(said, AKDGymError):
            raise said
        if not self._is_ready:
            raise AKDGymError(f"A run must be able to begin, but its process {status}; {self._log} holds what it said.")
        return f"Its process {status}."

    def end(self) -> None:
        """End the process, in whatever it is."""
        self._process.kill()
        self._process.wait()
        self.connection.close()
        with contextlib.suppress(OSError):
            if not self._log.stat().st_size:
                self._log.unlink()

    def _wait(self) -> str:
        try:
            status = self._process.wait(timeout=5.0)  # its pipe is closed, so it ends, unless it closed the pipe itself
        except subprocess.TimeoutExpired:
            return "did not answer"
        if status < 0:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(-status).name}"
        return f"ended with status {status}"


def serve(descriptor: int) -> None:
    """Life of a run's process.

    Args:
        descriptor: Its end of the pipe.
    """
    connection = Connection(descriptor)
    try:
        job: RunJob = connection.recv()
    except EOFError:
        return
    threading.Thread(target=_end_with_other_end, args=(connection,), daemon=True).start()
    try:
        agent = load_agent(job.agent)
        _finish_importing_torch()
        env = make_env(job.settings, job.seed)
        env.reset(seed=job.seed)
    except AKDGymError as error:
        connection.send(error)
        return
    connection.send(_READY)

    def report(count: int) -> None:
        with contextlib.suppress(OSError):  # the competition is over, and so is this process in a moment
            connection.send(count)

    run = play_agent(agent, env, name=job.agent, budget=job.settings.budget, seed=job.seed, report=report)
    env.close()
    write_run(job.folder, run)
    connection.send(_DONE)


def _finish_importing_torch() -> None:
    """Torch imports half of itself with the first optimiser: seconds that are not the agent's own."""
    if "torch" in sys.modules:
        import torch

        torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])


def _end_with_other_end(connection: Connection) -> None:
    """Nothing more comes through the pipe: when it closes, the competition is over, however it ended."""
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    os._exit(1)
