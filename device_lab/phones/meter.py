"""`latency="phone"` and `latency="loopback"`: phones found, checked against each other, and measured with."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from akd_gym.device_lab.adb.addresses import Address, find_addresses, open_session, parse_address
from akd_gym.device_lab.adb.keys import load_keys
from akd_gym.device_lab.loopback import LoopbackPhone, benchmark_program
from akd_gym.device_lab.phones.benchmark_file import kept_benchmark
from akd_gym.device_lab.phones.facts import PhoneFacts
from akd_gym.device_lab.phones.phone import Phone
from akd_gym.device_lab.phones.phone_records import phone_identity
from akd_gym.device_lab.phones.pool import PhonePool
from akd_gym.device_lab.phones.protocol import LOOPBACK_PROTOCOL, PhoneProtocol
from akd_gym.device_lab.records import SCHEMA_VERSION, LatencyRecord
from akd_gym.errors import DeviceError, DeviceLostError, InvalidSettingError

Announce = Callable[[str], None]


class PhoneLatency:
    """Measures TFLite models on phones, several at once. `open_phones` makes it; close it to put the phones back.

    Args:
        kind: `"phone"` or `"loopback"`: what every phone must be.
        phones: Not connected yet; closed with this meter, also if it cannot be made.
        program: The `benchmark_model` executable.
        protocol: How a number is taken.
        mixed: Whether phones of different models may share a search, each candidate on any of them.
        announce: Told of waits and of phones that come and go.
        resources: Closed after the phones.

    Raises:
        InvalidSettingError: A phone is not of that kind, or they are of different models and `mixed` is not set.
        DeviceError: A phone cannot be used; the message says what to do.
    """

    def __init__(
        self,
        kind: str,
        phones: Sequence[Phone],
        program: bytes,
        protocol: PhoneProtocol,
        *,
        mixed: bool,
        announce: Announce,
        resources: contextlib.ExitStack | None = None,
    ) -> None:
        self.kind = kind
        self.needs_quiet = kind == "loopback"
        self.phones, self._announce = tuple(phones), announce
        self._resources = resources or contextlib.ExitStack()
        self._pool = PhonePool(self.phones, tries=protocol.tries, announce=announce)
        try:
            facts = [phone.identify() for phone in self.phones]
            identities = [phone_identity(one, program, protocol) for one in facts]
            self._check(facts, identities, mixed)
            for phone in self.phones:
                phone.connect()
        except BaseException:
            self.close()
            raise
        distinct = [one for i, one in enumerate(identities) if one not in identities[:i]]
        distinct.sort(key=lambda identity: str(identity["device"]))
        self._identity = distinct[0] if len(distinct) == 1 else {"kind": kind, "mixed": distinct}

    def identity(self) -> dict[str, Any]:
        """Model and system of the phones, benchmark, exporter and protocol; not which of several equal phones."""
        return self._identity | {"records": SCHEMA_VERSION}

    def measure(self, models: Sequence[tuple[str, bytes]]) -> Iterator[LatencyRecord]:
        """See `LatencyMeter.measure` and `PhonePool.measure`."""
        return self._pool.measure(models)

    def close(self) -> None:
        """Puts every phone's settings back and lets it go; a phone that is gone is named, and put back next time."""
        self._pool.stop()
        for phone in self.phones:
            try:
                phone.close()
            except DeviceError as error:
                self._announce(
                    f"{phone.name} could not be put back as it was: {error} "
                    "What it was is noted on it: `akd phones restore`, or the next measurement, puts it back."
                )
        self._resources.close()

    def _check(self, facts: Sequence[PhoneFacts], identities: Sequence[dict[str, Any]], mixed: bool) -> None:
        for phone, one in zip(self.phones, facts, strict=True):
            if one.kind != self.kind:
                raise InvalidSettingError(
                    f"`latency={self.kind}` must measure on a {self.kind}, but {phone.name} is a {one.kind}. "
                    f"Use latency={one.kind}:{phone.address} if that is meant."
                )
        serials = [one.serial_hash for one in facts]
        for i, phone in enumerate(self.phones):
            if serials[i] in serials[:i]:
                raise InvalidSettingError(f"Each phone must be named once, but {phone.name} is named twice.")
        for phone, identity in zip(self.phones, identities, strict=True):
            if identity != identities[0] and not mixed:
                names = (*identity, "protocol")
                differs = sorted(n for n in names if identity.get(n) != identities[0].get(n))
                raise InvalidSettingError(
                    f"The phones of one search must be of one model, but {phone.name} differs from "
                    f"{self.phones[0].name} in {', '.join(dict.fromkeys(differs))}. Name those to use "
                    "(phone:ADDRESS,ADDRESS), or ask for mixed-phones."
                )


def open_phones(
    source: str,
    addresses: Sequence[str] = (),
    *,
    protocol: PhoneProtocol | None = None,
    announce: Announce | None = None,
) -> PhoneLatency:
    """Finds phones and connects to them.

    Args:
        source: `"phone"`, `"mixed-phones"` or `"loopback"`; see `make_latency_meter`.
        addresses: Where they are; empty for all that adb can see, or for a loopback phone of this process's own.
        protocol: How a number is taken; None for the source's own.
        announce: Told of waits and of phones that come and go.

    Raises:
        InvalidSettingError: An address that is none, or phones that do not go together.
        DeviceError: There is no phone, or one cannot be used.
        StorageError: `akd phones setup` must fetch the benchmark first.
    """
    announce = announce or (lambda text: None)
    kind = "loopback" if source == "loopback" else "phone"
    protocol = protocol or (LOOPBACK_PROTOCOL if kind == "loopback" else PhoneProtocol())
    with contextlib.ExitStack() as stack:
        if kind == "loopback":
            if not addresses:
                keys = [key.GetPublicKey() for key in load_keys()]  # another user's commands must not run as this one
                addresses = [stack.enter_context(LoopbackPhone(accept_new_keys=False, known_keys=keys)).address]
            program = benchmark_program()
        else:
            program = kept_benchmark().read_bytes()
        found = [parse_address(text) for text in addresses] if addresses else _find(announce)
        phones = [
            Phone(
                str(address),
                functools.partial(open_session, address),
                program,
                protocol,
                announce=announce,
                airplane=_is_cabled(address),
            )
            for address in found
        ]
        return PhoneLatency(
            kind,
            phones,
            program,
            protocol,
            mixed=source == "mixed-phones",
            announce=announce,
            resources=stack.pop_all(),
        )


def _find(announce: Announce) -> list[Address]:
    """All phones that can be used; the others are announced."""
    found = find_addresses()
    usable = [one.address for one in found.phones if one.address is not None and one.problem is None]
    notes = [f"{one.address or 'a phone'}: {one.problem}" for one in found.phones if one.problem is not None]
    if not usable:
        notes += found.not_searched
        raise DeviceLostError(
            f"A phone must be connected, but none was found. {' '.join(notes)} `akd phones` says what to do; "
            "latency=phone:HOST:PORT names one on the network, latency=loopback does without."
        )
    for note in notes:
        announce(f"Not used: {note}")
    return usable


def _is_cabled(address: Address) -> bool:
    """Whether the link survives airplane mode; an adb server names its phones on the network HOST:PORT or `adb-...`."""
    is_wireless = address.kind == "tcp" or ":" in address.name or address.name.endswith("._tcp")
    return not is_wireless
