from __future__ import annotations

import pytest

from akd_gym.device_lab.phones.protocol import LOOPBACK_PROTOCOL, PhoneProtocol
from akd_gym.errors import InvalidSettingError


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("runs", 1, "at least 2, but got 1"),
        ("repeats", 0, "at least 1, but got 0"),
        ("tries", 0, "at least 1"),
        ("warmup_s", -1.0, "must not be negative, but got -1"),
        ("max_s", 0.0, "must be positive, but got 0"),
        ("agreement", float("nan"), "must be positive, but got nan"),
        ("cool_down_s", float("inf"), "must not be negative, but got inf"),
    ],
)
def test_what_cannot_work_is_refused(name, value, match) -> None:
    with pytest.raises(InvalidSettingError, match=f"`{name}`.*{match}"):
        PhoneProtocol(**{name: value})


def test_repeats_agree_within_three_percent() -> None:
    protocol = PhoneProtocol()
    assert protocol.disagreement([10.0]) is None
    assert protocol.disagreement([10.0, 10.29]) is None
    assert protocol.disagreement([10.3, 10.0]) is None
    assert "3.1% apart (10.31, 10 ms), at most 3.0% is allowed" in protocol.disagreement([10.31, 10.0])


def test_a_canary_may_be_faster_but_not_slower() -> None:
    protocol = PhoneProtocol()
    assert protocol.slowness(0.5, 1.0) is None
    assert protocol.slowness(1.05, 1.0) is None
    assert "6.0% more than the 1 ms of this phone at its best" in protocol.slowness(1.06, 1.0)


def test_a_loopback_is_given_more_room() -> None:
    assert LOOPBACK_PROTOCOL.agreement > PhoneProtocol().agreement
    assert LOOPBACK_PROTOCOL.canary_tolerance > PhoneProtocol().canary_tolerance
