"""The `benchmark_model` executable for phones, kept in the cache: fetched once or the user's own, pinned and checked.

Only `fetch_benchmark` goes to the network, and only `akd phones setup` calls it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from akd_gym.device_lab.phones.download import Progress, download, is_safe
from akd_gym.errors import CorruptFileError, InvalidSettingError, StorageError
from akd_gym.files import write_atomically

VERSION = "2.2.0"
DEFAULT_URL = f"https://storage.googleapis.com/litert/binaries/{VERSION}/android_arm64/benchmark_model"

Announce = Callable[[str], None]
_BY_HAND = "Or download it by hand and give it to `akd phones setup --benchmark FILE`."
_MODE = 0o755
_ELF_START = struct.Struct("<4sBB12xH")
_ELF_HEADER = struct.Struct("<4sBB10xHHIQQQIHHHHHH")  # of 64-bit little-endian files
_ELF64, _LITTLE_ENDIAN, _ARM64 = 2, 1, 183
_MACHINES = {3: "32-bit x86", 40: "32-bit ARM", 62: "64-bit x86", 243: "RISC-V"}
ARM64_PROGRAM = "a 64-bit ARM program"
"""What `describe_program` says of a program for phones."""


@dataclass(frozen=True)
class Pin:
    """What was kept; lies beside it as JSON.

    Attributes:
        url: Where it was fetched, or `file:` and the name of the user's own.
        sha256: Its hash.
        size: In bytes.
        fetched: UTC time, ISO 8601.
    """

    url: str
    sha256: str
    size: int
    fetched: str


def cache_folder() -> Path:
    """Where the program is kept: in `$AKD_GYM_CACHE`, else in the user's cache folder."""
    chosen = os.environ.get("AKD_GYM_CACHE")
    cache = Path(chosen or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "akd_gym"))
    return cache / "benchmark_model"


def kept_benchmark(*, cache: Path | None = None) -> Path:
    """The benchmark program in the cache, checked against its pin. Never fetches it.

    Args:
        cache: Folder where it is kept; None for `cache_folder()`.

    Raises:
        StorageError: There is none, or it cannot be read.
        CorruptFileError: It is not what was pinned, or its pin is damaged.
    """
    folder = cache or cache_folder()
    pin = read_pin(folder)
    program = _program(folder)
    if pin is None or not program.exists():
        raise StorageError(
            f"A benchmark program for phones must be kept in {folder}, but there is none. `akd phones setup` fetches "
            "it, `akd phones setup --benchmark FILE` keeps one of yours."
        )
    found = _hash(program)
    if found != pin.sha256:
        own = " --benchmark FILE" if pin.url.startswith("file:") else ""
        raise CorruptFileError(
            f"{program} must have the SHA-256 {pin.sha256} that was pinned, but has {found}: it was changed or damaged "
            f"since. `akd phones setup{own}` replaces it."
        )
    return program


def fetch_benchmark(
    *,
    url: str = DEFAULT_URL,
    cache: Path | None = None,
    sha256: str | None = None,
    announce: Announce = lambda text: None,
    progress: Progress = lambda done, total: None,
    timeout_s: float = 30.0,
    limit_s: float = 1800.0,
) -> Path:
    """Fetches the benchmark program and pins its hash, unless what is pinned for `url` is there already, whole.

    Once pinned, only the same content is taken from that URL.

    Args:
        url: `https:`, or `http:` on this machine.
        cache: Folder to keep it in; None for `cache_folder()`.
        sha256: Hash that it must have; None if the one of the first fetch will do.
        announce: Told what is fetched, or that nothing needs to be.
        progress: Told how far the fetch is.
        timeout_s: Longest silence of the server.
        limit_s: Longest time for all of it.

    Returns:
        The file.

    Raises:
        StorageError: It cannot be fetched or kept; an old one is as it was.
        CorruptFileError: What came is no program for phones, or has another hash than it must; it is not kept.
        InvalidSettingError: `url` or `sha256` is not fit.
    """
    if not is_safe(url):
        raise InvalidSettingError(f"The benchmark must be fetched from an `https:` address, but got {url!r}.")
    sha256 = _hexadecimal(sha256)
    folder = cache or cache_folder()
    pin = read_pin(folder)
    pin = pin if pin is not None and pin.url == url else None
    if pin is not None and _program(folder).exists() and _hash(_program(folder)) == pin.sha256:
        _check_hash(pin.sha256, sha256, str(_program(folder)))
        announce(f"benchmark_model of {url} is there already, fetched {pin.fetched}")
        return _program(folder)
    _make(folder)
    announce(f"Fetching benchmark_model from {url}")
    content = download(url, progress, timeout_s=timeout_s, limit_s=limit_s, by_hand=_BY_HAND)
    _check_program(content, url)
    found = hashlib.sha256(content).hexdigest()
    _check_hash(found, sha256, url)
    if pin is not None and pin.sha256 != found:
        raise CorruptFileError(
            f"{url} must still have the SHA-256 {pin.sha256} of {pin.fetched}, but what came has {found}. If you know "
            f"that it was replaced there, remove {_pin_path(folder)} and try again."
        )
    return _keep(folder, content, url)


def keep_benchmark(path: Path, *, cache: Path | None = None, sha256: str | None = None) -> Path:
    """Keeps a copy of a benchmark program of the user's own, in place of whatever was kept, and pins its hash.

    It may be for any kind of phone, so what it is gets no check; `describe_program` tells.

    Args:
        path: The user's.
        cache: Folder to keep it in; None for `cache_folder()`.
        sha256: Hash that it must have, if one is known.

    Returns:
        The copy.

    Raises:
        StorageError: It cannot be read or kept.
        CorruptFileError: It is empty, or has another hash than `sha256`.
        InvalidSettingError: `sha256` is no hash.
    """
    sha256 = _hexadecimal(sha256)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StorageError(f"The benchmark program {path} must be readable, but: {error.strerror or error}.") from error
    if not content:
        raise CorruptFileError(f"The benchmark program {path} must hold a program, but it is empty. Download it again.")
    _check_hash(hashlib.sha256(content).hexdigest(), sha256, str(path))
    folder = cache or cache_folder()
    _make(folder)
    return _keep(folder, content, f"file:{path.name}")


def read_pin(cache: Path | None = None) -> Pin | None:
    """What is pinned in a cache folder; None if nothing is.

    Raises:
        CorruptFileError: It is damaged.
        StorageError: It may not be read.
    """
    path = _pin_path(cache or cache_folder())
    try:
        pin = Pin(**json.loads(path.read_text(encoding="utf-8")))
        if not all(isinstance(text, str) for text in (pin.url, pin.sha256, pin.fetched)):
            raise ValueError(f"it holds {pin}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"{path} must be readable, but: {error.strerror or error}.") from error
    except (ValueError, TypeError) as error:
        raise CorruptFileError(
            f"{path} must say what was kept, but it cannot be read: {error}. Remove it and run `akd phones setup`."
        ) from error
    return pin


def describe_program(content: bytes) -> str:
    """What a file is, in words: `ARM64_PROGRAM`, or what else."""
    if content[:2] == b"#!":
        return "a script"
    if len(content) < _ELF_START.size or content[:4] != b"\x7fELF":
        return f"no program: it begins with {content[:16]!r}"
    _, bits, order, machine = _ELF_START.unpack_from(content)
    if (bits, order, machine) != (_ELF64, _LITTLE_ENDIAN, _ARM64):
        return f"a program for another processor ({_MACHINES.get(machine, f'ELF machine {machine}')})"
    least = _least_bytes(content)
    if len(content) < least:
        return f"{ARM64_PROGRAM} that breaks off: {len(content)} of {least} bytes or more"
    return ARM64_PROGRAM


def _program(folder: Path) -> Path:
    return folder / "benchmark_model"


def _pin_path(folder: Path) -> Path:
    return folder / "benchmark_model.json"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"The folder {folder} must be writable: {error.strerror or error}. AKD_GYM_CACHE moves it. {_BY_HAND}"
        ) from error


def _keep(folder: Path, content: bytes, url: str) -> Path:
    """Replaces program and pin. If that breaks off between the two they do not fit, and setting up anew is the cure."""
    fetched = datetime.now(timezone.utc).isoformat(timespec="seconds")
    pin = Pin(url, hashlib.sha256(content).hexdigest(), len(content), fetched)
    try:
        write_atomically(_program(folder), content).chmod(_MODE)
        write_atomically(_pin_path(folder), json.dumps(dataclasses.asdict(pin), indent=2).encode())
    except OSError as error:  # StorageError is one
        raise StorageError(f"{error} Make room, or choose another folder (AKD_GYM_CACHE).") from error
    return _program(folder)


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise StorageError(f"{path} must be readable: {error.strerror or error}.") from error


def _check_hash(found: str, asked: str | None, where: str) -> None:
    if asked not in (None, found):
        raise CorruptFileError(f"{where} must have the SHA-256 {asked} that was asked for, but has {found}.")


def _check_program(content: bytes, url: str) -> None:
    """Refuses what is no whole executable for phones, such as an error page."""
    found = describe_program(content)
    if found == ARM64_PROGRAM:
        return
    if found.startswith(ARM64_PROGRAM):
        raise CorruptFileError(f"{url} must give a whole program, but gave {found}. Try again. {_BY_HAND}")
    raise CorruptFileError(
        f"{url} must give {ARM64_PROGRAM}, but gave {len(content)} bytes of {found}. "
        f"Is it the right address, and is there a login page in between? {_BY_HAND}"
    )


def _least_bytes(content: bytes) -> int:
    """How long a 64-bit ELF file must be by its header: the table of sections ends it."""
    if len(content) < _ELF_HEADER.size:
        return _ELF_HEADER.size
    fields = _ELF_HEADER.unpack_from(content)
    sections, size, count = fields[8], fields[13], fields[14]
    return int(sections + size * count)


def _hexadecimal(sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise InvalidSettingError(f"`sha256` must be 64 hexadecimal digits, but got {sha256!r}.")
    return sha256.lower()
