from __future__ import annotations

import sys

import pytest

from akd_gym.device_lab.adb.addresses import Address, FoundPhone, find_addresses, open_session, parse_address
from akd_gym.device_lab.loopback.phone import LoopbackPhone
from akd_gym.errors import DeviceLostError, InvalidSettingError

EXAMPLES = {
    "127.0.0.1:4444": Address("tcp", "127.0.0.1", 4444),
    "phone.lan": Address("tcp", "phone.lan", 5555),
    "[::1]:5556": Address("tcp", "::1", 5556),
    "[fe80::1%eth0]": Address("tcp", "fe80::1%eth0", 5555),
    "usb:HT7A1": Address("usb", "HT7A1"),
    "server:127.0.0.1:5555": Address("server", "127.0.0.1:5555"),
    "server:emulator-5554": Address("server", "emulator-5554"),
    "server:adb-X1 (2)._adb-tls-connect._tcp": Address("server", "adb-X1 (2)._adb-tls-connect._tcp"),
    'usb:it\'s; $(a) "serial"': Address("usb", 'it\'s; $(a) "serial"'),
}


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_address_is_read_and_written(text):
    address = EXAMPLES[text]
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "usb:",
        "server:",
        "::1",
        "a:b",
        "host:0",
        "host:65536",
        "host:",
        "[x]:1",
        "a b",
        "h\n:1",
        "usb:a\0",
        "a/b",
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InvalidSettingError, match=r"address of a phone|serial number"):
        parse_address(text)


def test_a_phone_is_opened_by_its_address(phone, keys):
    session = open_session(phone.address, keys=keys)
    assert session.address == phone.address
    assert session.run("echo well").output == "well"
    session.close()


def test_phones_at_a_running_server_are_found_with_their_problems(adb_server, phone, keys):
    with LoopbackPhone(accept_new_keys=False) as stranger:
        adb_server.connect(phone.address)
        adb_server.adb("connect", stranger.address)
        findings = find_addresses()
        found = {str(one.address): one.problem for one in findings.phones}
        assert found[f"server:{phone.address}"] is None
        assert "on its screen" in found[f"server:{stranger.address}"]
        assert len(found) == 2
        assert any("USB" in line for line in findings.not_searched)
        session = open_session(f"server:{phone.address}")
        assert session.run("echo well").output == "well"
        session.close()


def test_looking_around_starts_no_server(adb_server):
    adb_server.stop()
    findings = find_addresses()
    assert not adb_server.server.is_running()
    assert any("none runs" in line for line in findings.not_searched)


def test_without_libusb_the_extra_is_named(adb_server, monkeypatch, keys):
    adb_server.stop()
    monkeypatch.setitem(sys.modules, "usb1", None)
    monkeypatch.delitem(sys.modules, "adb_shell.transport.usb_transport", raising=False)
    assert any("akd-gym[usb]" in line for line in find_addresses().not_searched)
    with pytest.raises(InvalidSettingError, match=r"akd-gym\[usb\]"):
        open_session("usb:ANY", keys=keys)


def test_usb_phones_are_found_where_no_server_runs(adb_server, monkeypatch):
    from akd_gym.device_lab.adb import addresses, usb_link

    adb_server.stop()
    listed = [usb_link.UsbPhone("A1", None, None), usb_link.UsbPhone(None, "this user may not open it", None)]
    monkeypatch.setattr(addresses, "usb_phones", lambda: listed)
    assert find_addresses().phones == (
        FoundPhone(Address("usb", "A1"), None),
        FoundPhone(None, "this user may not open it"),
    )


def test_a_usb_phone_that_is_not_there_is_lost(keys):
    pytest.importorskip("usb1")
    with pytest.raises(DeviceLostError, match="usb:NONE must be plugged in"):
        open_session("usb:NONE", keys=keys)
