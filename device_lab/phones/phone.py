"""One phone that measures: connected, conditions set, core chosen; each attempt gives a record or says why not."""

from __future__ import annotations

import contextlib
import hashlib
import math
import statistics
import time
from collections.abc import Callable

from akd_gym.device_lab.adb.session import Session
from akd_gym.device_lab.canary import CanaryReference, canary_model
from akd_gym.device_lab.lock import phone_lock
from akd_gym.device_lab.machine import machine_id
from akd_gym.device_lab.phones.conditions import MeasuringConditions
from akd_gym.device_lab.phones.facts import PhoneFacts, read_facts
from akd_gym.device_lab.phones.phone_records import about, measured_record
from akd_gym.device_lab.phones.protocol import PhoneProtocol
from akd_gym.device_lab.phones.runner import BenchmarkRunner
from akd_gym.device_lab.phones.state import PhoneState, changes, read_state
from akd_gym.device_lab.records import LatencyRecord
from akd_gym.errors import DeviceError, DeviceLostError, UnsteadyDeviceError

_CANARY_RUNS = 3  # of which the median becomes the reference, the first time
_POLL_S = 2.0  # between two looks at a phone that cools down
_SAY_S = 20.0  # between two lines about that

Announce = Callable[[str], None]


class Phone:
    """A phone behind one address. One thread uses it at a time; `interrupt` may be called from any.

    Connecting takes the phone's machine-wide lock, puts back what a crashed session left, sets the conditions for
    measuring and brings the benchmark over. `close` undoes all of it, also over a new connection if the old one broke.

    Args:
        address: How it is reached, for messages.
        connect: Opens a session to it.
        program: The `benchmark_model` executable.
        protocol: How a number is taken.
        announce: Told of waits.
        airplane: Whether the link survives airplane mode, which then is part of the conditions.
        lock_timeout_s: Longest wait for another process that measures on this phone.

    Attributes:
        facts: What it is; None until `identify`.
        reachable: Whether a session could be opened the last time that one was needed.
        in_benchmark: Whether `attempt` runs, or was broken off in, the model's own benchmark.
    """

    def __init__(
        self,
        address: str,
        connect: Callable[[], Session],
        program: bytes,
        protocol: PhoneProtocol,
        *,
        announce: Announce,
        airplane: bool = False,
        lock_timeout_s: float = 600.0,
    ) -> None:
        self.address, self.protocol = address, protocol
        self.facts: PhoneFacts | None = None
        self.reachable = False
        self.in_benchmark = False
        self._connect, self._program, self._announce = connect, program, announce
        self._program_sha256 = hashlib.sha256(program).hexdigest()
        self._airplane, self._lock_timeout_s = airplane, lock_timeout_s
        self._session: Session | None = None
        self._conditions: MeasuringConditions | None = None
        self._runner: BenchmarkRunner | None = None
        self._reference: CanaryReference | None = None
        self._canary_ms: float | None = None
        self._best_khz = 0
        self._refused: dict[str, str] = {}
        self._lock, self._holds_lock = contextlib.ExitStack(), False
        self._interrupted = False

    @property
    def name(self) -> str:
        """How people know it: maker and model once that is known, with its address."""
        return self.address if self.facts is None else f"{self.facts.manufacturer} {self.facts.model} ({self.address})"

    def identify(self) -> PhoneFacts:
        """What the phone is, as it said the first time: a core that is offline later is waited for, not replaced.

        Changes nothing on the phone.

        Raises:
            DeviceError: See `connect`.
        """
        if self.facts is None:
            session = self._open()
            try:
                self.facts = read_facts(session)
            finally:
                session.close()
        return self.facts

    def connect(self) -> PhoneFacts:
        """Connects, or connects again; does nothing if there is a session.

        Raises:
            DeviceLostError: It cannot be reached, or another phone answers at its address.
            DeviceUnauthorizedError: It does not accept this computer's key.
            DeviceTimeoutError: It does not answer, or another process keeps its lock.
            DeviceError: See `Session`, `read_facts` and `MeasuringConditions`.
        """
        if self._session is not None:
            assert self.facts is not None
            return self.facts
        known = self.identify()
        session = self._open()
        try:
            facts = read_facts(session)
            if facts.serial_hash != known.serial_hash:
                raise DeviceLostError(f"{self.name} must answer, but another phone does, a {facts.model}.")
            if facts.os != known.os:
                raise UnsteadyDeviceError(f"{self.name} must keep its system, but {facts.os} runs on it now.")
            if not self._holds_lock:
                self._lock.enter_context(phone_lock(known.serial_hash, self._lock_timeout_s))
                self._holds_lock = True
            if self._conditions is None:
                self._conditions = MeasuringConditions(airplane=self._airplane)
            if self._runner is None:
                self._runner = BenchmarkRunner(self._program, self.protocol, known.big_core, known.mask)
            self._runner.prepare(session)
            self._refused = self._conditions.apply(session).refused
        except BaseException:
            session.close()
            raise
        self._session = session
        if self._interrupted:
            self.drop()
            raise DeviceLostError(f"{self.name} was interrupted.")
        return known

    def drop(self) -> None:
        """Gives the session up, after it failed; the next `connect` makes a new one."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def interrupt(self) -> None:
        """Breaks off what another thread does with this phone, until `resume`."""
        self._interrupted = True
        if (session := self._session) is not None:
            session.close()

    def resume(self) -> None:
        """Lets it be used again after `interrupt`."""
        self._interrupted = False

    def close(self) -> None:
        """Puts every setting back, removes what was brought but for the program, and lets the phone go.

        Raises:
            DeviceError: The phone cannot be reached any more; its settings are in a journal on it and the next
                session puts them back.
        """
        self.resume()
        try:
            if self._conditions is not None:
                if self._session is not None:
                    with contextlib.suppress(DeviceError):
                        self._leave(self._session)
                        return
                session = self._open()
                try:
                    self._leave(session)
                finally:
                    session.close()
        finally:
            self.drop()
            self._conditions = None
            self._lock.close()
            self._holds_lock = False

    def wait_until_ready(self) -> None:
        """Connects if need be, and waits until the phone is cool and its canary as fast as ever.

        Raises:
            UnsteadyDeviceError: It was not so in time.
            DeviceError: See `connect`.
        """
        self.connect()
        begin, said_at = time.monotonic(), -math.inf
        while (why := self._unready()) is not None:
            waited = time.monotonic() - begin
            if waited > self.protocol.cool_down_s:
                raise UnsteadyDeviceError(
                    f"{self.name} must be ready within {self.protocol.cool_down_s:g} s, but {why}. "
                    "Let it rest, out of the sun and off its charger."
                )
            if waited - said_at >= _SAY_S:
                self._announce(f"{self.name} rests: {why} ({waited:.0f} of at most {self.protocol.cool_down_s:g} s)")
                said_at = waited
            self._pause(min(_POLL_S, self.protocol.cool_down_s / 4))

    def attempt(self, name: str, model: bytes) -> LatencyRecord:
        """Measures one model once, between two readings of the phone's state, after `wait_until_ready`.

        `in_benchmark` is true exactly while the model's own benchmark runs: an error then may be the model's fault.

        Args:
            name: Architecture.
            model: TFLite file.

        Raises:
            UnsteadyDeviceError: The numbers are not to be trusted; the message says why. Try again.
            DeviceError: The benchmark failed, or the phone.
        """
        begin = time.monotonic()
        session, runner = self._need()
        runner.bring(session, model)
        before = self._state()
        self.in_benchmark = True
        runs = [runner.run(session, model) for _ in range(self.protocol.repeats)]
        self.in_benchmark = False
        after = self._state()
        runner.forget(session, model)
        reasons = changes(before, after, battery_limit_c=self.protocol.battery_limit_c)
        if disagreement := self.protocol.disagreement([run.times.median_ms for run in runs]):
            reasons.append(disagreement)
        if reasons:
            raise UnsteadyDeviceError(f"{self.name} changed while it measured: {'; '.join(reasons)}.")
        assert self.facts is not None
        return measured_record(
            about(self.facts, self._program_sha256, self.protocol, name, model),
            model,
            runs,
            before,
            after,
            canary_ms=self._canary_ms,
            canary_reference_ms=self._reference.read() if self._reference else None,
            refused=self._refused,
            seconds=time.monotonic() - begin,
        )

    def failed(self, name: str, model: bytes, reason: str, tries: int) -> LatencyRecord:
        """The record of a model that is given up."""
        assert self.facts is not None
        fields = about(self.facts, self._program_sha256, self.protocol, name, model)
        return LatencyRecord(**fields, verdict="failed", reason=reason, tries=tries)

    def _open(self) -> Session:
        self.reachable = False
        session = self._connect()
        self.reachable = True
        return session

    def _need(self) -> tuple[Session, BenchmarkRunner]:
        if self._session is None or self._runner is None:
            raise DeviceLostError(f"{self.name} must be connected, but its session has ended.")
        return self._session, self._runner

    def _state(self) -> PhoneState:
        session, _ = self._need()
        assert self.facts is not None
        return read_state(session, self.facts.big_core)

    def _unready(self) -> str | None:
        """Why nothing should be measured now, in words."""
        p, state = self.protocol, self._state()
        assert self.facts is not None
        if self.facts.big_core not in state.online:
            return f"its fastest core, {self.facts.big_core}, is offline"
        self._best_khz = max(self._best_khz, state.max_khz or 0)
        if state.max_khz is not None and state.max_khz < self._best_khz:
            return f"its clock is held to {state.max_khz / 1e6:.2f} GHz, it had {self._best_khz / 1e6:.2f} GHz before"
        if state.thermal_status is not None and state.thermal_status > p.thermal_limit:
            return f"its thermal status is {state.thermal_status}, at most {p.thermal_limit} is allowed"
        if state.battery_temp_c is not None and state.battery_temp_c > p.battery_limit_c:
            return f"its battery has {state.battery_temp_c:g} °C, at most {p.battery_limit_c:g} °C are allowed"
        self._canary_ms, reference_ms = self._run_canary()
        return p.slowness(self._canary_ms, reference_ms)

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._interrupted and (left := end - time.monotonic()) > 0:
            time.sleep(min(0.1, left))
        if self._interrupted:
            raise DeviceLostError(f"{self.name} was interrupted.")

    def _run_canary(self) -> tuple[float, float]:
        """The canary's median now, and on this phone's best day, in milliseconds."""
        session, runner = self._need()
        assert self.facts is not None
        if self._reference is None:
            device = self.facts.serial_hash if self.facts.kind == "phone" else f"loopback-{machine_id()}"
            key = f"{self._program_sha256[:16]}-{device}-core{self.facts.big_core}"
            self._reference = CanaryReference(key)
        count = 1 if self._reference.read() else _CANARY_RUNS
        runner.bring(session, canary_model())
        now_ms = statistics.median(runner.run(session, canary_model()).times.median_ms for _ in range(count))
        return now_ms, self._reference.settle(now_ms)

    def _leave(self, session: Session) -> None:
        assert self._conditions is not None
        if self._runner is not None:
            self._runner.clean(session)
        self._conditions.restore(session)
