from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from akd_gym.device_lab.canary import canary_model
from akd_gym.device_lab.loopback import Fault, LoopbackPhone
from akd_gym.device_lab.phones.phone import Phone
from akd_gym.device_lab.phones.pool import PhonePool
from akd_gym.errors import DeviceError, DeviceLostError

MODELS = [(f"model {i}", canary_model()) for i in range(6)]


@pytest.fixture
def loopbacks() -> Iterator[list[LoopbackPhone]]:
    phones = [LoopbackPhone(), LoopbackPhone()]
    yield phones
    for phone in phones:
        phone.close()


def make_pool(phones: list[Phone], said: list[str], **settings) -> PhonePool:
    return PhonePool(phones, **{"tries": 3, "reconnect_s": 20.0, "look_s": 0.1, "announce": said.append} | settings)


def close(phones: list[Phone]) -> None:
    for phone in phones:
        phone.close()


def test_phones_share_a_round(loopbacks, make_phone, said) -> None:
    phones = [make_phone(loopback) for loopback in loopbacks]
    records = list(make_pool(phones, said).measure(MODELS))
    assert sorted(record.architecture for record in records) == [name for name, _ in MODELS]
    assert {record.device_id for record in records} == {phone.facts.serial_hash for phone in phones}
    assert {record.verdict for record in records} == {"ok"}
    close(phones)


def test_records_come_one_by_one(loopback, make_phone, said) -> None:
    phone = make_phone(loopback)
    records = make_pool([phone], said).measure(MODELS[:2])
    assert next(records).architecture == "model 0"
    assert next(records).architecture == "model 1"
    with pytest.raises(StopIteration):
        next(records)
    phone.close()


def test_a_phone_that_is_pulled_out_gives_its_model_to_the_other(loopbacks, make_phone, said) -> None:
    phones = [make_phone(loopback) for loopback in loopbacks]
    pool = make_pool(phones, said)
    loopbacks[0].inject(Fault("reboot", "run", after=2, reboot_s=60.0))  # its canary, one model, then gone
    records = list(pool.measure(MODELS))
    assert sorted(record.architecture for record in records) == [name for name, _ in MODELS]
    assert {record.verdict for record in records} == {"ok"}
    assert any("is not there, and is looked for" in text for text in said)
    assert pool.quarantined == {}
    phones[1].close()
    with pytest.raises(DeviceLostError):
        phones[0].close()


def test_a_phone_that_comes_back_goes_on(loopback, make_phone, said) -> None:
    phone = make_phone(loopback)
    pool = make_pool([phone], said)
    assert len(list(pool.measure(MODELS[:1]))) == 1
    loopback.reboot(away_s=1.5)
    assert [record.verdict for record in pool.measure(MODELS[1:3])] == ["ok", "ok"]
    assert any("is back" in text for text in said)
    phone.close()


def test_where_no_phone_comes_back_the_round_ends_with_what_was_measured(loopback, make_phone, said) -> None:
    phone = make_phone(loopback)
    pool = make_pool([phone], said, reconnect_s=0.5)
    loopback.inject(Fault("reboot", "run", after=5, reboot_s=60.0))
    given = []
    with pytest.raises(DeviceLostError, match=r"for 0.5 s none was: .*Loopback.*every number so far is kept"):
        given.extend(pool.measure(MODELS))
    assert given  # pytest.raises left the loop, and not the records that came before


def test_a_flaky_phone_is_quarantined_and_named_and_the_other_does_the_work(loopbacks, make_phone, said) -> None:
    phones = [make_phone(loopback) for loopback in loopbacks]
    pool = make_pool(phones, said)
    loopbacks[0].inject(Fault("disk_full", "push", times=1000))
    records = list(pool.measure(MODELS))
    assert {record.device_id for record in records} == {phones[1].facts.serial_hash}
    assert {record.verdict for record in records} == {"ok"}
    [(name, reason)] = pool.quarantined.items()
    assert loopbacks[0].address in name
    assert "No space left" in reason
    assert [record.verdict for record in pool.measure(MODELS[:2])] == ["ok", "ok"]
    loopbacks[0].forget_faults()
    close(phones)


def test_where_all_phones_are_quarantined_the_error_names_them(loopback, make_phone, said) -> None:
    phone = make_phone(loopback)
    pool = make_pool([phone], said)
    loopback.inject(Fault("disk_full", "push", times=1000))
    for _ in range(2):  # also the next round, which does not try again
        with pytest.raises(DeviceError, match=rf"all failed 3 times in a row: .*{loopback.port}.*No space left"):
            list(pool.measure(MODELS[:1]))
    loopback.forget_faults()
    phone.close()


def test_a_model_that_breaks_the_benchmark_fails_alone(loopback, make_phone, said) -> None:
    phone = make_phone(loopback)
    records = {r.architecture: r for r in make_pool([phone], said).measure([("bad", b"TFL3 no"), *MODELS[:2]])}
    assert records["bad"].verdict == "failed"
    assert "given up after 3 attempts" in records["bad"].reason
    assert "exit code" in records["bad"].reason
    assert records["bad"].tries == 3
    assert [records[name].verdict for name, _ in MODELS[:2]] == ["ok", "ok"]
    phone.close()


def test_repeats_that_disagree_are_taken_again_and_counted(loopback, make_phone, said, quick) -> None:
    phone = make_phone(loopback, protocol=replace(quick, repeats=3, agreement=1e-9, tries=2, runs=3))
    records = list(make_pool([phone], said, tries=2).measure(MODELS[:1]))
    if records[0].verdict == "failed":  # but for the luck of equal microseconds
        assert "lie" in records[0].reason
        assert "apart" in records[0].reason
        assert records[0].tries == 2
    phone.close()


def test_a_throttling_phone_is_waited_for(loopback, make_phone, said) -> None:
    phone = make_phone(loopback)
    pool = make_pool([phone], said)
    loopback.inject(Fault("throttle", "report", after=1, lasts_s=1.0))  # during the first model's own benchmark
    [record] = pool.measure(MODELS[:1])
    assert record.verdict == "ok"
    assert record.tries == 2
    assert record.state_before["thermal_status"] == record.state_after["thermal_status"] == 0
    assert any("rests: its thermal status is 2" in text for text in said)
    phone.close()


def test_a_round_that_is_broken_off_leaves_nothing(loopback, make_phone, said) -> None:
    before = loopback.state()
    phone = make_phone(loopback)
    pool = make_pool([phone], said)
    loopback.inject(Fault("hang", "run", after=1))
    records = pool.measure(MODELS)
    threading.Timer(2.0, pool.stop).start()
    begin = time.monotonic()
    with pytest.raises(DeviceLostError, match="given back while they measured"):
        list(records)
    phone.close()
    assert time.monotonic() - begin < 20
    deadline = time.monotonic() + 5
    while loopback.children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert loopback.children() == []
    assert loopback.state() == before


def test_a_generator_that_is_dropped_ends_the_round(loopback, make_phone, said) -> None:
    phone = make_phone(loopback)
    records = make_pool([phone], said).measure(MODELS)
    next(records)
    records.close()
    phone.close()
    assert loopback.children() == []
    assert loopback.state().fixed_performance is False


def test_a_phone_without_work_rests(loopbacks, make_phone, said, monkeypatch) -> None:
    phones = [make_phone(loopback) for loopback in loopbacks]
    canaries = dict.fromkeys(phones, 0)
    for phone in phones:
        phone.connect()

        def run_canary(phone=phone, run=phone._run_canary):
            canaries[phone] += 1
            return run()

        monkeypatch.setattr(phone, "_run_canary", run_canary)
    loopbacks[0].inject(Fault("hang", "run", after=1))
    loopbacks[1].inject(Fault("hang", "run", after=1))
    pool = make_pool(phones, said)
    threading.Timer(4.0, pool.stop).start()
    with pytest.raises(DeviceLostError, match="given back"):
        list(pool.measure(MODELS[:1]))
    assert all(count <= 1 for count in canaries.values())
    close(phones)


def test_an_empty_round_needs_no_phone(said) -> None:
    assert list(make_pool([], said).measure([])) == []
