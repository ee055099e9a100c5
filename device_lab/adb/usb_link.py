"""A link over USB, through adb_shell's wrapper of libusb (extra `usb`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from akd_gym.device_lab.adb.links import Deadline, Link
from akd_gym.errors import DeviceLostError, InvalidSettingError

_SLICE_S = 0.25  # a transfer is waited for in slices, so that another thread can close the link
_MISSING = "Phones on a USB cable must be reached by libusb1, but it does not load: {}. `pip install 'akd-gym[usb]'`."
_NO_ACCESS = (
    "this user may not open it. On Linux, install the udev rules for Android devices "
    "(Debian: android-sdk-platform-tools-common) and plug it in again"
)
_BUSY = "another program holds it. An adb server is likely: name the phone `server:SERIAL`, or `adb kill-server`"


@dataclass(frozen=True)
class UsbPhone:
    """A phone found on a cable.

    Attributes:
        serial: Its serial number; None where it cannot be read.
        problem: Why it cannot be used, None if nothing speaks against it.
        device: adb_shell's transport to it, not yet connected.
    """

    serial: str | None
    problem: str | None
    device: Any


def usb_phones() -> list[UsbPhone]:
    """The phones on USB cables of this computer.

    Raises:
        InvalidSettingError: libusb1 is not installed; the message names the extra.
    """
    try:
        import usb1
        from adb_shell.transport.usb_transport import UsbTransport as LibusbTransport
    except (ImportError, OSError) as error:
        raise InvalidSettingError(_MISSING.format(error)) from error
    phones = []
    try:
        for device in LibusbTransport.find_all_adb_devices():
            try:
                phones.append(UsbPhone(device.serial_number, None, device))
            except usb1.USBErrorAccess:
                phones.append(UsbPhone(None, _NO_ACCESS, device))
            except usb1.USBError as error:
                phones.append(UsbPhone(None, str(error), device))
    except usb1.USBError as error:
        raise InvalidSettingError(f"USB must be readable, but is not: {error}.") from error
    return phones


class UsbLink(Link):
    """A link over two bulk endpoints.

    The daemon on the phone learns from a packet that is not full where a transfer ends. So after a transfer of only
    full packets an empty one is sent, as Google's adb does and adb_shell does not. The phone sends none.

    Args:
        device: adb_shell's transport to the phone, connected.
        peer: Who is at the other end, for messages.
    """

    def __init__(self, device: Any, peer: str) -> None:
        super().__init__(peer)
        self._device = device
        self._packet_size = max(end.getMaxPacketSize() for end in device._setting.iterEndpoints())
        self._buffer = bytearray()

    @classmethod
    def find(cls, serial: str) -> UsbLink:
        """Opens the phone with that serial number.

        Raises:
            DeviceLostError: It is not there, or may not be opened.
            InvalidSettingError: libusb1 is not installed.
        """
        phones = usb_phones()
        for phone in phones:
            if phone.serial == serial:
                return cls.open(phone.device, f"usb:{serial}")
        others = ", ".join(phone.serial or f"one of which {phone.problem}" for phone in phones) or "none"
        raise DeviceLostError(
            f"usb:{serial} must be plugged in, with USB debugging switched on, but was not found. Found: {others}."
        )

    @classmethod
    def open(cls, device: Any, peer: str) -> UsbLink:
        """Opens what adb_shell found.

        Raises:
            DeviceLostError: It is gone, or may not be opened.
        """
        import usb1

        try:
            device.connect()
        except usb1.USBErrorAccess as error:
            raise DeviceLostError(f"{peer} must be free to open, but {_NO_ACCESS}.") from error
        except usb1.USBErrorBusy as error:
            device.close()
            raise DeviceLostError(f"{peer} must be free to open, but {_BUSY}.") from error
        except usb1.USBError as error:
            device.close()
            raise DeviceLostError(f"{peer} must be plugged in, but cannot be opened: {error}.") from error
        return cls(device, peer)

    def _send(self, data: bytes, deadline: Deadline) -> None:
        done = 0
        while done < len(data):
            done += self._write(data[done:], deadline) or 0
        if data and len(data) % self._packet_size == 0:
            while self._write(b"", deadline) is None:
                pass

    def _write(self, data: bytes, deadline: Deadline) -> int | None:
        """How many bytes were taken in a slice of time; None if the device was not ready."""
        from adb_shell.exceptions import UsbWriteFailedError

        try:
            count = self._device.bulk_write(data, self._slice_s(deadline))
        except UsbWriteFailedError as error:
            return self._moved_in_time(error, error.args[1], "transferred") or None
        if data and not count:
            raise DeviceLostError(f"{self.peer} must take data, but takes none.")
        return count

    def _receive(self, limit: int, deadline: Deadline) -> bytes:
        from adb_shell.exceptions import UsbReadFailedError

        # A transfer longer than asked for is an error to libusb, so whole packets are asked for.
        wanted = -(-limit // self._packet_size) * self._packet_size
        empty_reads = 0
        while not self._buffer:
            try:
                self._buffer += self._device.bulk_read(wanted, self._slice_s(deadline))
                empty_reads += 1
            except UsbReadFailedError as error:
                self._buffer += self._moved_in_time(error, error.usb_error, "received") or b""
            if not self._buffer and empty_reads > 1:  # one may end a transfer of full packets
                raise DeviceLostError(f"{self.peer} must send data, but ends its transfers without any.")
        part = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        return part

    def _slice_s(self, deadline: Deadline) -> float:
        self._check_open()
        return max(min(deadline.left_s(), _SLICE_S), 0.001)  # 0 ms would mean for ever to libusb

    def _moved_in_time(self, error: Exception, cause: Exception | None, attribute: str) -> Any:
        """What libusb moved before a slice's time was up; any other cause is an error."""
        import usb1

        if isinstance(cause, usb1.USBErrorTimeout):
            return getattr(cause, attribute, None)
        raise DeviceLostError(f"The link to {self.peer} must stay up, but it broke: {cause or error}.") from error

    def _break_off(self) -> None:
        """The flag is enough: it is looked at between slices."""

    def _release(self) -> None:
        self._device.close()
