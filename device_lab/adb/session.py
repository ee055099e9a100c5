"""The seam to a device: run, push, pull, reboot. And how a command is wrapped so that its end and output are certain.

adb's plain shell reports no exit code, mixes the error stream into the output, and says nothing when a link drops or
damages bytes. `guarded` therefore has the device print, after the output, a nonce with the exit code and a hash of
both, and kills the command on the device when its time is up, because closing a stream does not. Whatever the command
started in the background is killed when it ends.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
from dataclasses import dataclass
from typing import Protocol

from akd_gym.errors import BadOutputError, CommandFailedError, DeviceTimeoutError, InvalidSettingError

_KILLED = 137  # 128 + SIGKILL
GRACE_S = 2.0
"""How much longer than its command a session waits, so that the device itself can report the time-out."""

LONGEST_TIMEOUT_S = 1e6


@dataclass(frozen=True)
class CommandResult:
    """What a command on a device gave.

    Attributes:
        command: As it was asked for.
        exit_code: 0 for success.
        output: Standard output and error, interleaved, without the newlines that end it.
    """

    command: str
    exit_code: int
    output: str

    def checked(self) -> str:
        """The output of a command that succeeded.

        Raises:
            CommandFailedError: Its exit code is not 0.
        """
        if self.exit_code:
            raise CommandFailedError(
                f"`{_shortened(self.command)}` must succeed on the device, but ended with exit code {self.exit_code}: "
                f"{_shortened(self.output) or 'no output'}."
            )
        return self.output


class Session(Protocol):
    """One connection to one device; one thread uses it at a time. `akd_gym.device_lab.adb.addresses` opens them.

    Every method raises `DeviceLostError` when the link breaks, `DeviceTimeoutError` when `timeout_s` seconds pass, and
    `BadOutputError` when something else than the protocol arrives. After any of these the session is closed: open
    another. `close` may be called twice, and from another thread to break off what is under way.
    """

    address: str

    def run(self, command: str, *, timeout_s: float = 30.0) -> CommandResult:
        """Runs a POSIX shell command line. A non-zero exit code is a result, not an error (see `checked`)."""
        ...

    def push(self, content: bytes, path: str, *, mode: int = 0o644, timeout_s: float = 60.0) -> None:
        """Writes a file on the device.

        Raises:
            CommandFailedError: The device refused: no space, no permission, no such folder.
        """
        ...

    def pull(self, path: str, *, timeout_s: float = 60.0) -> bytes:
        """Reads a file of the device.

        Raises:
            CommandFailedError: The device refused: no such file, no permission.
        """
        ...

    def reboot(self, *, timeout_s: float = 30.0) -> None:
        """Has the device reboot; closes the session."""
        ...

    def close(self) -> None:
        """Ends the session."""
        ...


def guarded(command: str, timeout_s: float) -> tuple[str, str]:
    """The command line to send for `command`, and the nonce that `unguarded` then expects.

    Raises:
        InvalidSettingError: The command holds a NUL, or the time is not positive.
    """
    if "\0" in command:
        raise InvalidSettingError(f"A command must hold no NUL character, but got {command!r}.")
    if not 0 < timeout_s < LONGEST_TIMEOUT_S:
        raise InvalidSettingError(
            f"`timeout_s` must be more than 0 and less than {LONGEST_TIMEOUT_S:g}, but got {timeout_s}."
        )
    limit = f"timeout -s KILL {max(timeout_s, 0.001):.3f}"  # 0 would be no limit
    nonce = secrets.token_hex(8)
    line = (
        # Shells say "Killed" of their own accord. Android's has no printf of its own, and a program takes only 128 KiB.
        'exec 2>/dev/null; case $KSH_VERSION in "") w() { printf %s "$1"; };; *) w() { print -rn -- "$1"; };; esac; '
        # A session of its own, so that what the command started ends with it: some `timeout`s kill only their child.
        f"o=$( $(command -v setsid) {limit} sh -c {shlex.quote(command)} </dev/null 2>&1 & "
        "p=$!; wait $p; r=$?; kill -s KILL -- -$p; exit $r ); r=$?; "
        f'w "$o"; printf \'\\n%s=%s=%s\\n\' {nonce} $r "$(w "$o=$r" | sha256sum)"'
    )
    return line, nonce


def unguarded(raw: bytes, nonce: str, command: str, timeout_s: float) -> CommandResult:
    """The result in what the device sent for a guarded command.

    Args:
        raw: All that was sent.
        nonce: From `guarded`.
        command: As it was asked for.
        timeout_s: As it was asked for.

    Raises:
        BadOutputError: The nonce is missing, or the output does not fit its hash.
        DeviceTimeoutError: The device killed the command because its time was up.
    """
    found = re.search(rb"\n%b=(\d+)=([0-9a-f]{64})[^\n]*\n?\Z" % nonce.encode(), raw)
    if found is None:
        raise BadOutputError(
            f"The output of `{_shortened(command)}` must end with its nonce, but it ends with {raw[-60:]!r}: "
            "it is truncated or damaged."
        )
    output = raw[: found.start()]
    if hashlib.sha256(output + b"=" + found[1]).hexdigest().encode() != found[2]:
        raise BadOutputError(f"The output of `{_shortened(command)}` does not fit its hash: it was damaged on its way.")
    exit_code = int(found[1])
    if exit_code == _KILLED:
        raise DeviceTimeoutError(
            f"`{_shortened(command)}` must end within {timeout_s:g} s, but the device killed it "
            "(its time was up, or memory ran out)."
        )
    return CommandResult(command, exit_code, output.decode(errors="replace"))


def _shortened(text: str, length: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 3]}..."
