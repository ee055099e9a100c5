"""What all sessions share: commands and verified file transfer over services that a subclass opens."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterator

from akd_gym.device_lab.adb.file_transfer import Stream, receive_file, send_file
from akd_gym.device_lab.adb.links import Deadline
from akd_gym.device_lab.adb.session import GRACE_S, LONGEST_TIMEOUT_S, CommandResult, guarded, unguarded
from akd_gym.errors import (
    AKDGymError,
    BadOutputError,
    CommandFailedError,
    DeviceError,
    DeviceLostError,
    InvalidSettingError,
)

_ANSWER_BYTES = 64 * 2**20  # far more than any command of ours prints
_WRONG_HASH = 65
_LEAST_S = 0.1


class StreamSession(ABC):
    """A `Session` (see there for its contract) over named services of a device.

    Args:
        address: As in `parse_address`.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._is_closed = False

    def run(self, command: str, *, timeout_s: float = 30.0) -> CommandResult:
        """Runs a POSIX shell command line; a non-zero exit code is a result."""
        with self._operation(timeout_s, f"run `{command[:100]}`") as deadline:
            return self._run(command, timeout_s, deadline)

    def push(self, content: bytes, path: str, *, mode: int = 0o644, timeout_s: float = 60.0) -> None:
        """Writes a file on the device: under its name there is the old one or all of the new one, verified by hash."""
        _check_path(path)
        draft = f"{path}.partial-{secrets.token_hex(4)}"
        quoted, quoted_draft = shlex.quote(path), shlex.quote(draft)
        digest = hashlib.sha256(content).hexdigest()
        with self._operation(timeout_s, f"push {path!r}") as deadline:
            try:
                with self._stream("sync:", deadline, _ANSWER_BYTES + len(content)) as stream:
                    send_file(stream, draft, content, mode)
            except CommandFailedError:
                self._run(f"rm -f {quoted_draft}", deadline.left_s() - GRACE_S, deadline)
                raise
            finish = self._run(
                f'd={quoted_draft}; f={quoted}; fail() {{ rm -f "$d"; exit $1; }}; '
                'if [ -d "$f" ]; then echo "Is a directory"; fail 1; fi; '
                f'h=$(sha256sum < "$d") || fail 1; case $h in {digest}*) ;; *) fail {_WRONG_HASH};; esac; '
                f'chmod {mode:o} "$d" && mv -f "$d" "$f" || fail 1',
                deadline.left_s() - GRACE_S,
                deadline,
            )
            if finish.exit_code == _WRONG_HASH:
                raise BadOutputError(f"{path!r} must arrive as it was sent, but the device has something else.")
            if finish.exit_code:
                raise CommandFailedError(f"{path!r} must be written, but the device says: {finish.output}.")

    def pull(self, path: str, *, timeout_s: float = 60.0) -> bytes:
        """Reads a file of the device, verified by size and hash."""
        _check_path(path)
        quoted = shlex.quote(path)
        with self._operation(timeout_s, f"pull {path!r}") as deadline:
            described = self._run(
                f"sha256sum < {quoted} && wc -c < {quoted}", deadline.left_s() - GRACE_S, deadline
            ).checked()
            try:
                digest, _, size_text = described.split()
                size = int(size_text)
            except ValueError as error:
                raise BadOutputError(f"{path!r} must have a hash and a size, but got {described!r}.") from error
            with self._stream("sync:", deadline, _ANSWER_BYTES + 2 * size) as stream:
                content = receive_file(stream, path, size)
            if len(content) != size or hashlib.sha256(content).hexdigest() != digest:
                raise BadOutputError(
                    f"{path!r} must arrive as the device has it ({size} bytes, SHA-256 {digest}), "
                    f"but {len(content)} bytes with another hash came. Was it written to meanwhile?"
                )
            return content

    def reboot(self, *, timeout_s: float = 30.0) -> None:
        """Has the device reboot; closes the session."""
        with self._operation(timeout_s, "reboot") as deadline:
            self._open("reboot:", deadline, _ANSWER_BYTES)
        self.close()

    def close(self) -> None:
        """Ends the session; may be called twice, and from another thread to break off what is under way."""
        self._is_closed = True
        self._disconnect()

    @abstractmethod
    def _open(self, service: str, deadline: Deadline, budget: int) -> Stream:
        """Opens a service of the device.

        Args:
            service: As adb names it, e.g. `"exec:ls"`.
            deadline: For opening it and for all that is done with it.
            budget: Bytes that the device may send on it.

        Raises:
            CommandFailedError: The device has no such service.
        """

    @abstractmethod
    def _disconnect(self) -> None:
        """Ends what is open, also while another thread waits for it."""

    @property
    @abstractmethod
    def _longest_service(self) -> int:
        """Bytes in the longest name of a service."""

    def _translated(self, error: Exception) -> DeviceError | None:
        """The error of ours for one of the library beneath; None if it is none of its errors."""
        return None

    def _run(self, command: str, timeout_s: float, deadline: Deadline) -> CommandResult:
        timeout_s = max(timeout_s, _LEAST_S)
        line, nonce = guarded(command, timeout_s)
        self._check_length(line)
        with self._stream(f"exec:{line}", deadline, _ANSWER_BYTES) as stream:
            raw = stream.read_to_end(_ANSWER_BYTES)
        return unguarded(raw, nonce, command, timeout_s)

    @contextlib.contextmanager
    def _stream(self, service: str, deadline: Deadline, budget: int) -> Iterator[Stream]:
        """An open stream, closed at the end also if the device refused something; after other errors all is closed."""
        stream = self._open(service, deadline, budget)
        try:
            yield stream
        except CommandFailedError:
            stream.close()
            raise
        stream.close()

    @contextlib.contextmanager
    def _operation(self, timeout_s: float, task: str) -> Iterator[Deadline]:
        if not 0 < timeout_s < LONGEST_TIMEOUT_S:
            raise InvalidSettingError(
                f"`timeout_s` must be more than 0 and less than {LONGEST_TIMEOUT_S:g}, but got {timeout_s}."
            )
        if self._is_closed:
            raise DeviceLostError(f"The session with {self.address} is closed. Open another one.")
        try:
            yield Deadline(timeout_s, f"{task} on {self.address}", GRACE_S)
        except (CommandFailedError, InvalidSettingError):
            raise  # the device and the link are as well as before
        except AKDGymError:
            self.close()
            raise
        except Exception as error:
            self.close()
            translated = self._translated(error)
            if translated is None:
                raise
            raise translated from error
        except BaseException:  # Ctrl-C: what is still under way would be taken for the next answer
            self.close()
            raise

    def _check_length(self, line: str) -> None:
        try:
            length = len(line.encode())
        except UnicodeEncodeError as error:
            raise InvalidSettingError(f"A command must be encodable as UTF-8, but: {error}.") from error
        if length >= self._longest_service - len("exec:"):
            raise InvalidSettingError(
                f"A command must be at most {self._longest_service} bytes with its guard, but got {length}. "
                "Push it as a script."
            )


def _check_path(path: str) -> None:
    is_encodable = path.encode(errors="replace") == path.encode(errors="ignore")
    if not path.startswith("/") or path.endswith("/") or "\0" in path or not is_encodable:
        raise InvalidSettingError(
            f"A path on a device must start with '/', name a file and be encodable without NUL, but got {path!r}."
        )
