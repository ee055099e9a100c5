"""`akd evaluate`: one student by its architecture string, exactly as a search judges it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from akd_gym.agents.settings import SearchSettings, optional
from akd_gym.architecture import NetworkSpec
from akd_gym.cli.console import say
from akd_gym.errors import InfeasibleCandidateError

if TYPE_CHECKING:
    from akd_gym.analysis.outcomes import Outcome

_Architecture = Annotated[str, tyro.conf.arg(metavar="ARCHITECTURE")]


@dataclass(frozen=True)
class Evaluate:
    """Evaluate one architecture exactly as a search does: proxy training, then latency.

    With --like RUN the settings are those of a search and its numbers are shown beside the new ones: the accuracy is
    the same to the last digit on the same machine, the latency within the noise of the device.
    """

    architecture: tyro.conf.Positional[_Architecture]
    """Canonical string, as searches print it."""
    settings: Annotated[SearchSettings, tyro.conf.arg(name="")] = field(default_factory=SearchSettings)
    like: Annotated[Path | None, optional("RUN")] = None
    """Run directory whose settings to use, and whose numbers to compare with."""

    def __call__(self, console: Console) -> None:
        """Evaluate and print."""
        from akd_gym.analysis.formats import format_cost, format_count
        from akd_gym.evaluation import make_evaluator

        spec = NetworkSpec.parse(self.architecture).canonical()
        settings = self.settings
        evaluator = make_evaluator(
            **settings.evaluator_kwargs(),
            ledger=settings.ledger if self.like is None else None,  # what is to be checked must not be looked up
            workers=1,
            announce=lambda text: say(console, text),
        )
        try:
            choices = evaluator.space.choices(spec)
            with console.status("training and measuring"):
                [result] = evaluator.evaluate([choices])
        finally:
            evaluator.close()
        if result.status != "ok":
            raise InfeasibleCandidateError(str(result.reason), f"{spec} gets no accuracy")
        assert result.accuracy is not None
        known = self._known(result.architecture)
        console.print(f"accuracy  {100 * result.accuracy:.4f} %", highlight=False)
        if known is not None and known.accuracy is not None:
            console.print(f"          {100 * known.accuracy:.4f} % in {self.like}", highlight=False, markup=False)
        if result.latency_ms is not None:
            latency = format_cost(result.latency_ms, "ms")
            console.print(f"latency   {latency} ({result.latency_kind}: {result.device})", highlight=False)
        if known is not None and known.latency_ms is not None:
            console.print(
                f"          {format_cost(known.latency_ms, 'ms')} in {self.like}", highlight=False, markup=False
            )
        console.print(f"MAdds     {format_count(result.madds)}", highlight=False)
        console.print(f"params    {format_count(result.params)}", highlight=False)
        console.print(f"seconds   {result.seconds:.1f}", highlight=False)

    def _known(self, architecture: str) -> Outcome | None:
        """What the search to compare with found."""
        if self.like is None:
            return None
        from akd_gym.agents.search import read_outcomes

        outcomes = read_outcomes(self.like).outcomes
        return next((outcome for outcome in outcomes if outcome.architecture == architecture), None)
