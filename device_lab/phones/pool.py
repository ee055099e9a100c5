"""Several phones at once: each takes the next model that waits, and a phone that fails gives its model back."""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from akd_gym.device_lab.phones.phone import Phone
from akd_gym.device_lab.records import TIMEOUT_REASON, LatencyRecord
from akd_gym.errors import (
    BadOutputError,
    CommandFailedError,
    DeviceError,
    DeviceLostError,
    DeviceTimeoutError,
    UnsteadyDeviceError,
)

_STRIKES = 3  # failures of a phone in a row until it is quarantined
_JOIN_S = 30.0
_LOOK_S = 0.2  # between two looks of a thread that waits for others

Announce = Callable[[str], None]


@dataclass
class _Job:
    """A model to measure, with what went wrong so far.

    Attributes:
        name: Architecture.
        model: TFLite file.
        rejections: Attempts in which its benchmark failed, or gave a number that was thrown away.
        losses: Attempts in which the link or the phone broke off its benchmark.
    """

    name: str
    model: bytes
    rejections: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)

    @property
    def attempts(self) -> int:
        """That failed."""
        return len(self.rejections) + len(self.losses)


@dataclass
class _Lane:
    """A phone with its record of failures."""

    phone: Phone
    strikes: int = 0
    quarantine: str | None = None
    absence: str | None = None


class PhonePool:
    """Phones that share a round of models.

    A model goes back to the others when its phone fails. After `tries` attempts whose benchmark failed or gave numbers
    that would not settle, or twice as many in which something broke off its benchmark, it gets a record with verdict
    `"failed"`. A phone that is lost is looked for until the round ends; one that is there and fails three times in a
    row is quarantined: named, and not used again.

    Args:
        phones: All of them.
        tries: Attempts on one model, see above.
        reconnect_s: How long a round goes on looking for phones while none is there.
        look_s: Between two looks for a lost phone.
        announce: Told of phones that come and go.
    """

    def __init__(
        self,
        phones: Sequence[Phone],
        *,
        tries: int,
        reconnect_s: float = 120.0,
        look_s: float = 1.0,
        announce: Announce,
    ) -> None:
        self._lanes = [_Lane(phone) for phone in phones]
        self._tries, self._reconnect_s, self._look_s = tries, reconnect_s, look_s
        self._announce = announce
        self._round: _Round | None = None
        self._workers: list[threading.Thread] = []

    @property
    def quarantined(self) -> dict[str, str]:
        """Names of phones that are not used any more, each with the reason."""
        return {lane.phone.name: lane.quarantine for lane in self._lanes if lane.quarantine is not None}

    def measure(self, models: Sequence[tuple[str, bytes]]) -> Iterator[LatencyRecord]:
        """Gives a record of each model as soon as it is there.

        Raises:
            DeviceError: No phone is left: all are quarantined, or none came back in time. The message names each.
        """
        lanes = [lane for lane in self._lanes if lane.quarantine is None]
        if models and not lanes:
            raise self._nobody()
        for lane in lanes:
            lane.phone.resume()
        self._round = round_ = _Round([_Job(name, model) for name, model in models])
        self._workers = [threading.Thread(target=self._work, args=(lane, round_), daemon=True) for lane in lanes]
        for worker in self._workers:
            worker.start()
        absent_since: float | None = None
        given = 0
        try:
            while given < len(models):
                if (record := round_.next_record()) is not None:
                    given += 1
                    yield record
                    continue
                if round_.error is not None:
                    raise round_.error
                if round_.stopped:
                    raise DeviceLostError("The phones were given back while they measured.")
                if all(lane.quarantine is not None for lane in lanes):
                    raise self._nobody()
                if not all(lane.absence for lane in lanes if lane.quarantine is None):
                    absent_since = None
                elif absent_since is None:
                    absent_since = time.monotonic()
                elif time.monotonic() - absent_since > self._reconnect_s:
                    raise DeviceLostError(
                        f"A phone must be there, but for {self._reconnect_s:g} s none was: "
                        f"{'; '.join(lane.absence for lane in lanes if lane.absence)}. "
                        "Connect it and go on: every number so far is kept."
                    )
        finally:
            self.stop()

    def stop(self) -> None:
        """Ends the round that is under way, if there is one; from any thread."""
        if self._round is not None:
            if self._round.unfinished:
                self._round.stop()
                for lane in self._lanes:
                    lane.phone.interrupt()
            for worker in self._workers:
                worker.join(_JOIN_S)
        self._round, self._workers = None, []

    def _work(self, lane: _Lane, round_: _Round) -> None:
        """A phone's thread: attempts on waiting models until none is left."""
        try:
            while round_.unfinished and lane.quarantine is None:
                if round_.has_waiting() and self._is_ready(lane, round_) and (job := round_.take()) is not None:
                    self._attempt(lane, job, round_)
        except BaseException as error:  # a bug of ours must end the round, not only this thread
            round_.error = error

    def _is_ready(self, lane: _Lane, round_: _Round) -> bool:
        """Whether the phone is connected, cool and steady; waits for it to become so."""
        phone = lane.phone
        try:
            phone.wait_until_ready()
        except DeviceError as error:
            phone.drop()
            if phone.reachable:
                lane.absence = None
            if phone.reachable or not isinstance(error, DeviceLostError | DeviceTimeoutError):
                self._strike(lane, error)
            else:
                if lane.absence is None and round_.unfinished:
                    self._announce(f"{phone.name} is not there, and is looked for: {error}")
                lane.absence = f"{phone.name}: {error}"
            round_.wait(self._look_s)
            return False
        if lane.absence is not None:
            self._announce(f"{phone.name} is back")
            lane.absence = None
        return True

    def _attempt(self, lane: _Lane, job: _Job, round_: _Round) -> None:
        phone = lane.phone
        try:
            record = phone.attempt(job.name, job.model)
        except DeviceError as error:
            in_benchmark, phone.in_benchmark = phone.in_benchmark, False
            is_models = isinstance(error, UnsteadyDeviceError) or in_benchmark
            if not isinstance(error, UnsteadyDeviceError | CommandFailedError):
                phone.drop()  # after anything else the session is closed, or should be
            if not round_.unfinished:
                return
            is_link = isinstance(error, DeviceLostError | DeviceTimeoutError)
            if is_models:
                broken_off = is_link or isinstance(error, BadOutputError)
                (job.losses if broken_off else job.rejections).append(str(error))
            if len(job.rejections) >= self._tries or len(job.losses) >= 2 * self._tries:
                round_.finish(phone.failed(job.name, job.model, _reason(job, error), job.attempts))
            else:
                round_.give_back(job)
            if is_link or not is_models:
                self._strike(lane, error)
            return
        lane.strikes = 0
        round_.finish(dataclasses.replace(record, tries=job.attempts + 1))

    def _strike(self, lane: _Lane, error: DeviceError) -> None:
        lane.strikes += 1
        self._announce(f"{lane.phone.name} failed ({lane.strikes} of {_STRIKES} in a row): {error}")
        if lane.strikes >= _STRIKES:
            lane.quarantine = str(error)
            self._announce(f"{lane.phone.name} is quarantined: it is not used any more")

    def _nobody(self) -> DeviceError:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self.quarantined.items())
        return DeviceError(
            f"At least one phone must work, but all failed {_STRIKES} times in a row: {reasons} "
            "`akd phones` says what is missing. Every number so far is kept."
        )


class _Round:
    """Models that wait, models under way, and records that are ready; shared by the phones' threads."""

    def __init__(self, jobs: Sequence[_Job]) -> None:
        self.error: BaseException | None = None
        self.stopped = False
        self._waiting, self._left = deque(jobs), len(jobs)
        self._records: queue.SimpleQueue[LatencyRecord] = queue.SimpleQueue()
        self._changed = threading.Condition()

    @property
    def unfinished(self) -> bool:
        """Whether there is a model without a record, and nobody stopped the round."""
        return self._left > 0 and self.error is None and not self.stopped

    def has_waiting(self) -> bool:
        """Whether a model waits for a phone, after a short wait if need be: an idle phone should rest."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or not self.unfinished, _LOOK_S)
            return self.unfinished and bool(self._waiting)

    def take(self) -> _Job | None:
        """The next model; None if another phone was quicker."""
        with self._changed:
            return self._waiting.popleft() if self._waiting else None

    def give_back(self, job: _Job) -> None:
        """Lets any phone take a model again, after those that wait already."""
        with self._changed:
            self._waiting.append(job)
            self._changed.notify_all()

    def finish(self, record: LatencyRecord) -> None:
        """Notes a record."""
        with self._changed:
            self._left -= 1
            self._records.put(record)
            self._changed.notify_all()

    def next_record(self) -> LatencyRecord | None:
        """A record that is ready, after a short wait if need be."""
        try:
            return self._records.get(timeout=_LOOK_S)
        except queue.Empty:
            return None

    def wait(self, seconds: float) -> None:
        """Sleeps, but not beyond the end of the round."""
        with self._changed:
            self._changed.wait_for(lambda: not self.unfinished, seconds)

    def stop(self) -> None:
        """Has every thread end after what it is doing."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()


def _reason(job: _Job, last: DeviceError) -> str:
    """Why a model is given up, as its record says it."""
    prefix = f"{TIMEOUT_REASON}: " if isinstance(last, DeviceTimeoutError) else ""
    failures = dict.fromkeys([*job.rejections, *job.losses])
    return f"{prefix}given up after {job.attempts} attempts: {' / '.join(failures)}"
