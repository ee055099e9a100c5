"""RSA keys as adb has them: Android's own public-key struct, and signatures over a token taken for a SHA-1 digest."""

from __future__ import annotations

import base64
import binascii
import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA1

TOKEN_BYTES = 20
_MODULUS_BYTES = 256
_KEY = struct.Struct(f"<II{_MODULUS_BYTES}s{_MODULUS_BYTES}sI")  # words, -1/n mod 2^32, n, 2^4096 mod n, exponent


def parse_public_key(text: bytes) -> rsa.RSAPublicKey:
    """The key in what `adb keygen` writes: base64 of Android's struct, then possibly a blank and a comment.

    Raises:
        ValueError: It is not such a key of 2048 bits.
    """
    words = text.rstrip(b"\0").split(maxsplit=1)
    try:
        raw = base64.b64decode(words[0], validate=True)
        size, _, modulus, _, exponent = _KEY.unpack(raw)
        if size * 4 != _MODULUS_BYTES:
            raise ValueError(f"{size * 32} bits")
        return rsa.RSAPublicNumbers(exponent, int.from_bytes(modulus, "little")).public_key()
    except (IndexError, binascii.Error, struct.error, ValueError) as error:
        raise ValueError(f"A public key must be base64 of Android's 2048-bit struct: {error}.") from error


def is_signed(token: bytes, signature: bytes, key: rsa.RSAPublicKey) -> bool:
    """Whether the owner of `key` signed `token`."""
    try:
        key.verify(signature, token, padding.PKCS1v15(), utils.Prehashed(SHA1()))
    except InvalidSignature:
        return False
    return True
