"""The RSA keys by which a device knows this computer."""

from __future__ import annotations

import base64
import contextlib
import os
import struct
import tempfile
import warnings
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from akd_gym.errors import CorruptFileError, StorageError

_NAME = "adbkey"
_BITS = 2048
_OWNER_ONLY = 0o600


class DeviceKey:
    """A private key in the form that adb_shell signs with.

    Args:
        pem: The private key, as adb and OpenSSL write it.

    Raises:
        ValueError: It is not an RSA key of 2048 bits without a password.
    """

    def __init__(self, pem: bytes) -> None:
        try:
            key = serialization.load_pem_private_key(pem, None)
        except TypeError as error:  # needs a password
            raise ValueError(str(error)) from error
        if not isinstance(key, rsa.RSAPrivateKey) or key.key_size != _BITS:
            raise ValueError(f"adb takes only RSA keys of {_BITS} bits")
        self._key = key

    def Sign(self, data: bytes) -> bytes:
        """The signature of a device's challenge, which adb treats as if it were a SHA-1 digest already."""
        return self._key.sign(data, padding.PKCS1v15(), utils.Prehashed(hashes.SHA1()))

    def GetPublicKey(self) -> bytes:
        """The public key as a device stores it: Android's own struct in base64, and a comment."""
        numbers = self._key.public_key().public_numbers()
        word, size = 2**32, _BITS // 8
        packed = struct.pack(
            f"<II{size}s{size}sI",
            size // 4,
            word - pow(numbers.n, -1, word),
            numbers.n.to_bytes(size, "little"),
            pow(2, 2 * _BITS, numbers.n).to_bytes(size, "little"),
            numbers.e,
        )
        return base64.b64encode(packed) + b" akd_gym"


def load_keys(folder: str | Path | None = None) -> list[DeviceKey]:
    """This computer's keys, the one to offer first.

    Args:
        folder: Where the key is, and is made if there is none. By default adb's own key of this user comes first, if
            there is one (a device that trusts it asks nothing), then one in the cache folder, which is made only
            where adb has none.

    Raises:
        CorruptFileError: A key file holds something else.
        StorageError: A key file cannot be read or written.
    """
    if folder is not None:
        return [_own_key(Path(folder) / _NAME)]
    chosen = os.environ.get("AKD_GYM_CACHE")
    cache = Path(chosen or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "akd_gym"), _NAME)
    users = Path(os.path.expanduser("~/.android"), _NAME)  # noqa: PTH111 - which, unlike Path, takes a missing home
    if not os.path.lexists(users):  # also False where the folder may not be read
        return [_own_key(cache)]
    return [_read(users), *([_own_key(cache)] if cache.exists() else [])]


def _own_key(path: Path) -> DeviceKey:
    """Reads a key of ours, made if there is none; only its owner may read it from its first moment on."""
    try:
        if not path.exists():
            _make(path)
        if os.name == "posix" and path.stat().st_mode & 0o077:
            warnings.warn(f"{path} was open to other users. It is closed to them now.", stacklevel=3)
            path.chmod(_OWNER_ONLY)
    except OSError as error:
        raise StorageError(f"The key {path} must be writable: {error.strerror or error}.") from error
    return _read(path)


def _make(path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # with mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process or thread was quicker: its key is the one
            os.link(draft, path)
    finally:
        Path(draft).unlink(missing_ok=True)
    path.with_name(f"{path.name}.pub").write_bytes(_read(path).GetPublicKey() + b"\n")


def _read(path: Path) -> DeviceKey:
    try:
        return DeviceKey(path.read_bytes())
    except ValueError as error:
        raise CorruptFileError(
            f"{path} must hold an RSA private key in PEM format, but: {error}. Move it away to have a new one made."
        ) from error
    except OSError as error:
        raise StorageError(f"The key {path} must be readable: {error.strerror or error}.") from error
