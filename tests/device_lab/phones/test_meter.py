from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from akd_gym.device_lab import make_latency_meter
from akd_gym.device_lab.adb.addresses import Address, open_session
from akd_gym.device_lab.adb.keys import load_keys
from akd_gym.device_lab.canary import canary_model
from akd_gym.device_lab.loopback import LoopbackPhone, benchmark_program
from akd_gym.device_lab.phones.benchmark_file import keep_benchmark
from akd_gym.device_lab.phones.meter import PhoneLatency, _is_cabled, open_phones
from akd_gym.errors import DeviceLostError, DeviceUnauthorizedError, InvalidSettingError, StorageError


@pytest.fixture(autouse=True)
def own_phones(phone_maker, monkeypatch) -> None:
    """No adb server is asked, and locks, cache and keys are the tests' own."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")


def test_a_loopback_needs_nothing_and_says_what_it_is(quick) -> None:
    meter = open_phones("loopback", protocol=quick)
    identity = meter.identity()
    assert (meter.kind, identity["kind"], meter.needs_quiet) == ("loopback", "loopback", True)
    assert identity["protocol"]["runs"] == quick.runs
    [record] = meter.measure([("canary", canary_model())])
    assert (record.kind, record.verdict) == ("loopback", "ok")
    meter.close()
    meter.close()


def test_nobody_else_may_send_commands_to_a_loopback_of_our_own(quick, tmp_path) -> None:
    meter = open_phones("loopback", protocol=quick)
    with pytest.raises(DeviceUnauthorizedError):
        open_session(meter.phones[0].address, timeout_s=2.0, keys=load_keys(tmp_path))
    meter.close()


def test_a_loopback_never_passes_for_a_phone(tmp_path) -> None:
    program = tmp_path / "benchmark_model"
    program.write_bytes(b"\x7fELF" + bytes(60))
    keep_benchmark(program)
    with (
        LoopbackPhone() as loopback,
        pytest.raises(
            InvalidSettingError, match=r"must measure on a phone, but .* is a loopback. Use latency=loopback:"
        ),
    ):
        make_latency_meter(f"phone:{loopback.address}")


def test_several_of_one_model_have_one_identity_and_share_the_work(quick) -> None:
    with LoopbackPhone() as one, LoopbackPhone() as other:
        meter = open_phones("loopback", [one.address, other.address], protocol=quick)
        single = open_phones("loopback", protocol=quick)
        assert meter.identity() == single.identity()
        single.close()
        records = list(meter.measure([(f"m{i}", canary_model()) for i in range(4)]))
        assert len({record.device_id for record in records}) == 2
        meter.close()


def test_different_models_are_refused_unless_asked_for(quick, phone_maker) -> None:
    with LoopbackPhone(model="Left") as left, LoopbackPhone(model="Right; rm -rf 'x\"") as right:
        before = left.state(), right.state()
        with pytest.raises(InvalidSettingError, match=r"of one model, but .*Right.* differs from .*Left.* in device"):
            open_phones("loopback", [left.address, right.address], protocol=quick)
        assert (left.state(), right.state()) == before
        mixed = PhoneLatency(
            "loopback",
            [phone_maker(left), phone_maker(right)],
            benchmark_program(),
            quick,
            mixed=True,
            announce=lambda text: None,
        )
        assert [one["device"] for one in mixed.identity()["mixed"]] == [
            "akd-gym Left",
            "akd-gym Right; rm -rf 'x\"",
        ]
        assert {r.verdict for r in mixed.measure([("a", canary_model()), ("b", canary_model())])} == {"ok"}
        mixed.close()
        assert (left.state(), right.state()) == before


def test_a_phone_named_twice_is_refused(quick) -> None:
    with LoopbackPhone() as loopback, pytest.raises(InvalidSettingError, match="named twice"):
        open_phones("loopback", [loopback.address, f"localhost:{loopback.port}"], protocol=quick)


def test_nothing_connected_says_where_was_looked(monkeypatch, tmp_path) -> None:
    program = tmp_path / "benchmark_model"
    program.write_bytes(b"\x7fELF" + bytes(60))
    keep_benchmark(program)
    with pytest.raises(DeviceLostError, match=r"none was found.*`akd phones` says what to do.*latency=loopback"):
        make_latency_meter("phone")


@pytest.fixture
def unmarked() -> Iterator[list[LoopbackPhone]]:
    """Two phones of different models, without the mark of a loopback, and the program that they need set up."""
    with LoopbackPhone(model="Left") as left, LoopbackPhone(model="Right") as right:
        for phone in (left, right):
            properties = phone.root / "state" / "properties"
            properties.write_text(properties.read_text().replace("ro.akd_gym.loopback=1", "ro.akd_gym.loopback=0"))
        program = left.root / "program"
        program.write_bytes(benchmark_program())
        keep_benchmark(program)
        yield [left, right]


def test_a_phone_is_measured_with_the_program_that_was_set_up(unmarked, quick) -> None:
    left, _ = unmarked
    meter = open_phones("phone", [left.address], protocol=quick)
    assert (meter.kind, meter.identity()["kind"], meter.needs_quiet) == ("phone", "phone", False)
    [record] = meter.measure([("canary", canary_model())])
    assert (record.kind, record.verdict, record.device) == ("phone", "ok", "akd-gym Left")
    assert record.runtime_sha256 == hashlib.sha256(benchmark_program()).hexdigest()
    meter.close()
    with pytest.raises(InvalidSettingError, match=r"must measure on a loopback, but .* is a phone"):
        open_phones("loopback", [left.address], protocol=quick)


def test_mixed_phones_are_asked_for_by_name(unmarked, quick) -> None:
    addresses = [phone.address for phone in unmarked]
    with pytest.raises(InvalidSettingError, match="of one model"):
        open_phones("phone", addresses, protocol=quick)
    meter = open_phones("mixed-phones", addresses, protocol=quick)
    records = list(meter.measure([(f"m{i}", canary_model()) for i in range(4)]))
    assert {record.device for record in records} == {"akd-gym Left", "akd-gym Right"}
    meter.close()


def test_a_benchmark_must_have_been_set_up(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("AKD_GYM_CACHE", str(tmp_path))
    with pytest.raises(StorageError, match="akd phones setup"):
        make_latency_meter("phone:127.0.0.1:1")


def test_a_phone_that_is_not_there_is_named() -> None:
    with pytest.raises(DeviceLostError, match=r"127\.0\.0\.1:1\b"):
        make_latency_meter("loopback:127.0.0.1:1")


@pytest.mark.parametrize("name", ["loopback:", "phone:", "predicted:"])
def test_a_colon_needs_something_behind_it(name) -> None:
    with pytest.raises(InvalidSettingError, match="after the colon"):
        make_latency_meter(name)


@pytest.mark.parametrize(
    ("address", "cabled"),
    [
        (Address("usb", "ABC"), True),
        (Address("server", "ABC"), True),
        (Address("server", "192.168.1.5:5555"), False),
        (Address("server", "adb-ABC-x1y2z3._adb-tls-connect._tcp"), False),
        (Address("tcp", "192.168.1.5"), False),
    ],
)
def test_airplane_mode_is_for_cables(address, cabled) -> None:
    assert _is_cabled(address) is cabled
