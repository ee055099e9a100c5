"""One file over HTTP: whole or not at all, from where nobody on the way can change it."""

from __future__ import annotations

import contextlib
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import IO

from akd_gym.errors import StorageError

Progress = Callable[[int, int | None], None]
"""Told of the bytes so far, and of all there will be, if the server says."""

_CHUNK_BYTES = 1 << 16
_MOST_BYTES = 256 << 20  # whatever goes on and on is not what was asked for


def is_safe(url: str) -> bool:
    """Whether nobody on the way can change what comes from there, or it is this machine itself."""
    try:
        parts = urllib.parse.urlsplit(url)
        return bool(parts.hostname) and (
            parts.scheme == "https" or (parts.scheme == "http" and _is_local(parts.hostname))
        )
    except ValueError:
        return False


def _is_local(host: str | None) -> bool:
    return host in ("127.0.0.1", "::1", "localhost")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects only to where one may fetch from in the first place."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not is_safe(newurl):
            raise StorageError(f"{req.full_url} must lead to an `https:` address, but leads to {newurl!r}.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, progress: Progress, *, timeout_s: float, limit_s: float, by_hand: str) -> bytes:
    """The content behind a URL, whole.

    Args:
        url: `is_safe`.
        progress: Told how far it is.
        timeout_s: Longest silence of the server.
        limit_s: Longest time for all of it.
        by_hand: What a user can do without a network, for the messages.

    Raises:
        StorageError: It cannot be had, or not whole.
    """
    local = _is_local(urllib.parse.urlsplit(url).hostname)
    opener = urllib.request.build_opener(_SafeRedirects, *([urllib.request.ProxyHandler({})] if local else []))
    end = time.monotonic() + limit_s
    try:
        with contextlib.closing(opener.open(url, timeout=timeout_s)) as answer:
            length = answer.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() else None
            content = bytearray()
            progress(0, total)
            while chunk := answer.read1(_CHUNK_BYTES):
                content += chunk
                progress(len(content), total)
                if len(content) > _MOST_BYTES or time.monotonic() > end:
                    raise StorageError(
                        f"{url} must give at most {_MOST_BYTES >> 20} MB within {limit_s:g} s, but it went on after "
                        f"{len(content)} bytes. {by_hand}"
                    )
    except urllib.error.HTTPError as error:
        error.close()
        raise StorageError(
            f"{url} must be there, but the server says {error.code} {error.reason}. {by_hand}"
        ) from error
    except StorageError:
        raise
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "reason", None) or error
        said = f"no answer within {timeout_s:g} s" if isinstance(why, TimeoutError) else f"{why or type(why).__name__}"
        raise StorageError(f"{url} must be reachable, but got: {said}. Is this computer online? {by_hand}") from error
    if total is not None and len(content) != total:
        raise StorageError(
            f"{url} must give {total} bytes, but the link broke after {len(content)}. Try again. {by_hand}"
        )
    return bytes(content)
