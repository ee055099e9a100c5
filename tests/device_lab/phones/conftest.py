"""Phones for the tests of this folder: loopback phones, a quick protocol, and sessions that lose patience soon."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from akd_gym.device_lab.adb.addresses import open_session
from akd_gym.device_lab.adb.session import CommandResult, Session
from akd_gym.device_lab.loopback import LoopbackPhone, benchmark_program
from akd_gym.device_lab.phones.phone import Phone
from akd_gym.device_lab.phones.protocol import LOOPBACK_PROTOCOL, PhoneProtocol

QUICK = replace(
    LOOPBACK_PROTOCOL,
    warmups=1,
    runs=5,
    min_s=0.0,
    max_s=5.0,
    repeats=1,
    cool_down_s=5.0,
    agreement=3.0,
    canary_tolerance=9.0,
)
"""A few runs; wide tolerances, because other tests may want the cores."""


class ImpatientSession:
    """A session whose operations may take `patience_s` at most, so that a phone that is silent is found so quickly."""

    def __init__(self, session: Session, patience_s: float) -> None:
        self._session, self._patience_s = session, patience_s
        self.address = session.address

    def run(self, command: str, *, timeout_s: float = 30.0) -> CommandResult:
        return self._session.run(command, timeout_s=min(timeout_s, self._patience_s))

    def push(self, content: bytes, path: str, *, mode: int = 0o644, timeout_s: float = 60.0) -> None:
        self._session.push(content, path, mode=mode, timeout_s=min(timeout_s, self._patience_s))

    def pull(self, path: str, *, timeout_s: float = 60.0) -> bytes:
        return self._session.pull(path, timeout_s=min(timeout_s, self._patience_s))

    def reboot(self, *, timeout_s: float = 30.0) -> None:
        self._session.reboot(timeout_s=min(timeout_s, self._patience_s))

    def close(self) -> None:
        self._session.close()


@pytest.fixture(scope="module")
def phone_maker(tmp_path_factory) -> Iterator[Callable[..., Phone]]:
    """Makes phones that measure on loopback phones; locks and the canary's reference are the module's own."""

    def connect(address: str, patience_s: float) -> Session:
        return ImpatientSession(open_session(address, timeout_s=patience_s), patience_s)

    def make(loopback: LoopbackPhone, *, protocol=QUICK, patience_s: float = 30.0, announce=lambda text: None) -> Phone:
        return Phone(
            loopback.address,
            functools.partial(connect, loopback.address, patience_s),
            benchmark_program(),
            protocol,
            announce=announce,
            lock_timeout_s=5.0,
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("machine")))
        patch.setenv("AKD_GYM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield make


@pytest.fixture
def quick() -> PhoneProtocol:
    """The protocol of `make_phone`, to vary."""
    return QUICK


@pytest.fixture
def said() -> list[str]:
    """What was announced."""
    return []


@pytest.fixture
def make_phone(phone_maker, said) -> Callable[..., Phone]:
    """As `phone_maker`, with what is announced in `said`."""
    return functools.partial(phone_maker, announce=said.append)


@pytest.fixture
def loopback() -> Iterator[LoopbackPhone]:
    with LoopbackPhone() as phone:
        yield phone
