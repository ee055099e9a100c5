"""`akd compete` and `akd leaderboard`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from akd_gym.agents.competition import CompetitionObserver, CompetitionSettings
from akd_gym.agents.settings import optional
from akd_gym.analysis.competition import AgentRun
from akd_gym.analysis.formats import format_cost
from akd_gym.errors import InvalidSettingError


@dataclass(frozen=True)
class Compete:
    """Let agents compete on AKDBench: same budget, same seeds, and every evaluation counts.

    Random search always takes part. Runs are kept as they end: the same command goes on where it was stopped, and
    with other agents or more seeds adds theirs to the same leaderboard.

    For instance:
    - akd compete --agents ppo,rnn,evolution,tpe
    - akd compete --agents ppo,my_agents:search --budget 300 --seeds 5
    - akd compete --agents ppo --target-ratio 0.5 --out runs/half
    """

    agents: str = "ppo,rnn,evolution,local_search"
    """Who competes, separated by commas: names, or module:function for a function (env, budget, seed) of your own."""
    budget: int = 1000
    """Evaluations that each agent has."""
    seeds: int = 10
    """Runs of each agent."""
    first_seed: int = 0
    """Seed of the first run; the next ones follow."""
    teacher: str = "shipped:resnet"
    """Whose students: shipped:resnet, shipped:mixer, or none for hard labels."""
    target_ms: Annotated[float | None, optional("MS")] = None
    """Latency to aim at, in milliseconds; by default that of the reference architecture."""
    target_ratio: Annotated[float | None, optional("RATIO")] = None
    """The same in terms of the reference architecture's latency."""
    noise: bool = True
    """Whether agents see rewards with the noise of a training. They are judged without."""
    workers: Annotated[int | None, optional("N")] = None
    """Runs side by side; by default one a core."""
    retry: tyro.conf.FlagCreatePairsOff[bool] = False
    """Make disqualified runs again."""
    out: Annotated[Path | None, optional("FOLDER")] = None
    """Where the competition is kept; by default runs/compete-BUDGET."""

    def __call__(self, console: Console) -> None:
        """Hold the competition and show who won."""
        from akd_gym.agents.competition import run_competition
        from akd_gym.agents.competition.benchmark import resolve
        from akd_gym.agents.competition.runner import check_agents
        from akd_gym.analysis.competition_tables import reasons, terminal_table
        from akd_gym.cli.leaderboard import headline, write_results

        if self.seeds < 1:
            raise InvalidSettingError(f"`seeds` must be at least 1, but got {self.seeds}.")
        if self.target_ms is not None and self.target_ratio is not None:
            raise InvalidSettingError("`--target-ms` and `--target-ratio` both name the target: leave one out.")
        settings = CompetitionSettings(self.budget, self.teacher, self.target_ms, self.noise)
        agents = check_agents([name.strip() for name in self.agents.split(",") if name.strip()])
        settings = resolve(settings, self.target_ratio)
        folder = self.out or Path("runs", f"compete-{self.budget}")
        with CompetitionProgress(console, folder) as progress:
            competition = run_competition(
                agents,
                range(self.first_seed, self.first_seed + self.seeds),
                settings,
                folder,
                workers=self.workers,
                retry=self.retry,
                observer=progress,
            )
        standings = competition.standings()
        console.print()
        console.print(terminal_table(standings, headline(competition)))
        for standing in standings:
            for seeds, reason in reasons(standing):
                text = f"[red]disqualified[/] {escape(standing.agent)}, {seeds}: {escape(reason)}"
                console.print(text, highlight=False, soft_wrap=True)
        written = ", ".join(str(path) for path in write_results(competition, standings))
        console.print(f"Written: {written}", highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True)
class Leaderboard:
    """Make one page of the leaderboards of several competitions, with their pictures beside it.

    For instance:
    - akd leaderboard runs/compete-100 runs/compete-1000 --out docs/leaderboard.md
    """

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Directories of competitions, in the order of the page."""
    out: Path = Path("leaderboard.md")
    """The page, in Markdown."""

    def __call__(self, console: Console) -> None:
        """Write the page."""
        from akd_gym.agents.competition import read_competition
        from akd_gym.cli.leaderboard import write_page

        if not self.folders:
            raise InvalidSettingError("At least one directory of a competition must be named, but got none.")
        written = write_page(self.out, [read_competition(folder) for folder in self.folders])
        shown = ", ".join(str(path) for path in written)
        console.print(f"Written: {shown}", highlight=False, markup=False, soft_wrap=True)


class CompetitionProgress(CompetitionObserver):
    """A bar of runs, one of evaluations for each that is under way, and a line for each that has ended."""

    def __init__(self, console: Console, folder: Path) -> None:
        self._console, self._folder = console, folder
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._all: TaskID | None = None
        self._budget = 0
        self._bars: dict[tuple[str, int], TaskID] = {}

    def __enter__(self) -> CompetitionProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if kind is not None and self._all is not None:
            self._console.print("Stopped. Runs that ended are kept; the same command goes on.", highlight=False)

    def begin(self, settings: CompetitionSettings, jobs: int, kept: int) -> None:
        """See `CompetitionObserver.begin`."""
        self._budget = settings.budget
        noise = "" if settings.noise else ", without noise"
        self._console.print(
            f"[bold]Competing on AKDBench[/]: {settings.budget:,} evaluations a run, {escape(settings.teacher)}, "
            f"target {format_cost(settings.target, 'ms')}{noise}",
            highlight=False,
        )
        self._console.print(f"Directory: {self._folder}", highlight=False, markup=False, soft_wrap=True)
        if kept:
            self._console.print(f"{kept} runs are there already, {jobs} are to be made", highlight=False)
        if jobs:
            self._progress.start()
            self._all = self._progress.add_task("competition", total=jobs, unit="runs")

    def started(self, agent: str, seed: int) -> None:
        """See `CompetitionObserver.started`."""
        self._bars[agent, seed] = self._progress.add_task(
            f"{escape(agent)}, seed {seed}", total=self._budget, unit="evaluations"
        )

    def evaluated(self, agent: str, seed: int, evaluations: int) -> None:
        """See `CompetitionObserver.evaluated`."""
        self._progress.update(self._bars[agent, seed], completed=evaluations)

    def ended(self, run: AgentRun) -> None:
        """See `CompetitionObserver.ended`."""
        assert self._all is not None
        self._progress.remove_task(self._bars.pop((run.agent, run.seed)))
        self._progress.advance(self._all)
        what = f"{run.agent}, seed {run.seed}: "
        if run.reason is None:
            what += f"value {run.value:.4f} after {run.evaluations:,} evaluations, {run.total_seconds:.1f} s of its own"
        else:
            what += f"disqualified: {run.reason}"
        style = "dim" if run.reason is None else "red"
        self._console.print(what, style=style, highlight=False, markup=False, soft_wrap=True)

    def judging(self) -> None:
        """See `CompetitionObserver.judging`."""
        self._progress.stop()
        self._console.print("looking for the best architecture that there is", style="dim", highlight=False)
