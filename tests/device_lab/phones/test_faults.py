"""Every fault at every stage: a retry or a named error, in time; nothing wrong measured, nothing left on the phone.

Each case has a loopback phone of its own. Most of a case is waiting for a phone that is silent, so several run side by
side; each test waits for its own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import pytest

from akd_gym.device_lab.canary import canary_model
from akd_gym.device_lab.loopback import FAULT_NAMES, STAGES, Fault, LoopbackPhone
from akd_gym.device_lab.phones.pool import PhonePool
from akd_gym.device_lab.phones.runner import WORK_FOLDER
from akd_gym.errors import DeviceError, DeviceLostError

PATIENCE_S = 3.0
LIMIT_S = 60.0
AT_ONCE = 5

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Case(NamedTuple):
    """A fault, and when it happens: from the start, after a first measurement, or from the start and for ever."""

    name: str
    stage: str
    when: str

    def __str__(self) -> str:
        return f"{self.name}@{self.stage}-{self.when}"


CASES = [
    Case(name, stage, when)
    for when in ("once", "amid", "always")
    for stage in STAGES
    for name in FAULT_NAMES
    if (stage, when) != ("connect", "amid")  # nobody connects amid a search, unless something else breaks first
]


class Measuring:
    """A phone that measures one model at a time, and what must hold afterwards."""

    def __init__(self, make_phone, usual_ms: list[float]) -> None:
        self.loopback = LoopbackPhone()
        self.usual_ms = usual_ms
        self.before = self.loopback.state()
        self.make_phone = make_phone
        self.phone = make_phone(self.loopback, patience_s=PATIENCE_S)
        self.pool = PhonePool([self.phone], tries=3, reconnect_s=6.0, look_s=0.2, announce=lambda text: None)

    def run(self, case: Case) -> None:
        """Raises what does not hold."""
        try:
            getattr(self, case.when)(case.name, case.stage)
        finally:
            self.loopback.close()

    def once(self, name: str, stage: str) -> None:
        fault = Fault(name, stage, lasts_s=0.5, reboot_s=0.3)
        self.loopback.inject(fault)
        self.check_number(self.measure())
        assert self.loopback.fired() == (fault,)
        self.check_nothing_is_left()

    def amid(self, name: str, stage: str) -> None:
        self.check_number(self.measure("first"))
        fault = Fault(name, stage, lasts_s=0.5, reboot_s=0.3)
        self.loopback.inject(fault)
        self.check_number(self.measure("second"))
        if stage != "push":  # what lies on the phone already is not pushed again
            assert self.loopback.fired() == (fault,)
        self.check_nothing_is_left()

    def always(self, name: str, stage: str) -> None:
        self.loopback.inject(Fault(name, stage, times=10_000, lasts_s=0.2, reboot_s=0.2))
        record = None
        with contextlib.suppress(DeviceError):  # one of ours; another exception fails the test
            record = self.measure()
        if record is not None and record.verdict == "failed":
            assert record.reason
            assert record.median_ms is None
        elif record is not None:
            self.check_number(record)
        self.loopback.forget_faults()
        with contextlib.suppress(DeviceLostError):
            self.check_nothing_is_left()
            return
        deadline = time.monotonic() + 20  # a phone that was away when it was given back: the next session tidies up
        while True:
            try:
                self.phone = self.make_phone(self.loopback, patience_s=PATIENCE_S)
                self.phone.connect()
                break
            except DeviceLostError:
                assert time.monotonic() < deadline
                time.sleep(0.3)
        self.check_nothing_is_left()

    def measure(self, name: str = "model"):
        """The record of the one model, measured within the limit."""
        begin = time.monotonic()
        try:
            [record] = self.pool.measure([(name, canary_model())])
        finally:
            assert time.monotonic() - begin < LIMIT_S
        return record

    def check_number(self, record) -> None:
        assert record.verdict == "ok", record.reason
        assert record.kind == "loopback"
        self.usual_ms.append(record.latency_ms)
        assert max(self.usual_ms) < 6 * min(self.usual_ms)  # other cases run beside it

    def check_nothing_is_left(self) -> None:
        self.phone.close()
        deadline = time.monotonic() + 5  # a process that was killed needs a moment, and some faults last a while
        while (self.loopback.children() or self.loopback.state() != self.before) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert self.loopback.children() == []
        assert self.loopback.state() == self.before
        folder = self.loopback.path(WORK_FOLDER)
        left = {path.name for path in folder.iterdir()} if folder.exists() else set()
        assert not {name for name in left if not name.startswith("benchmark_model-")}


@pytest.fixture(scope="module")
def cases(request, phone_maker) -> Iterator[dict[Case, Future[None]]]:
    """The cases that were asked for, under way."""
    asked = [item.callspec.params["case"] for item in request.session.items if item.path == request.path]
    usual_ms: list[float] = []
    run: Callable[[Case], None] = lambda case: Measuring(phone_maker, usual_ms).run(case)  # noqa: E731
    with ThreadPoolExecutor(AT_ONCE) as executor:
        yield {case: executor.submit(run, case) for case in asked}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_fault_ends_in_a_retry_or_a_named_error(case, cases) -> None:
    cases[case].result()
