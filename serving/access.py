"""Who may call, and how often: API keys from a mounted file and a token bucket per key."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from serving.errors import Refused

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float


class Access:
    """Checks keys; without a file every caller passes.

    The file has one `name:key` per line; blank lines and lines that start with # are skipped. Names are for logs and
    limits. A file that becomes unreadable or empty leaves the last good keys in force.
    """

    def __init__(self, path: str, rate: float, now: Callable[[], float] = monotonic) -> None:
        self._path = Path(path) if path else None
        self._rate = rate
        self._now = now
        self._keys: Mapping[str, bytes] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._buckets: dict[str, _Bucket] = {}
        if self._path is not None:
            self._keys = _read_keys(self._path)
            self._stamp = _stamp(self._path)

    @property
    def enabled(self) -> bool:
        return self._path is not None

    def reload(self) -> None:
        """Read the file again when it has changed."""
        if self._path is None:
            return
        try:
            stamp = _stamp(self._path)
            if stamp == self._stamp:
                return
            self._keys, self._stamp = _read_keys(self._path), stamp
            log.info("API keys read again: %d", len(self._keys))
        except (OSError, ValueError) as error:
            if self._stamp is not None:
                log.warning("API keys are kept as they were: %s", error)
                self._stamp = None

    def admit(self, headers: Mapping[bytes, bytes]) -> str:
        """Return the name of the caller's key; empty where no keys are asked for.

        Raises:
            Refused: 401 without a valid key, 429 above the key's rate.
        """
        if self._path is None:
            return ""
        name = self._name(_presented(headers))
        if name is None:
            raise Refused(
                401,
                "an API key is needed: send Authorization: Bearer <key> or X-API-Key: <key>",
                ((b"www-authenticate", b"Bearer"),),
            )
        self._count(name)
        return name

    def _name(self, presented: bytes) -> str | None:
        """Return whose key it is; takes as long whether one matches, the last matches or none does."""
        digest = hashlib.sha256(presented).digest()
        found = None
        for name, known in self._keys.items():
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def _count(self, name: str) -> None:
        if self._rate <= 0:
            return
        now = self._now()
        burst = max(1.0, self._rate)
        bucket = self._buckets.setdefault(name, _Bucket(burst, now))
        bucket.tokens = min(burst, bucket.tokens + (now - bucket.filled) * self._rate)
        bucket.filled = now
        if bucket.tokens < 1:
            wait = int((1 - bucket.tokens) / self._rate) + 1
            raise Refused(
                429,
                f"more than {self._rate:g} requests per second with this key: slow down",
                ((b"retry-after", b"%d" % wait),),
            )
        bucket.tokens -= 1


def _presented(headers: Mapping[bytes, bytes]) -> bytes:
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return token.strip()
    return headers.get(b"x-api-key", b"").strip()


def _read_keys(path: Path) -> Mapping[str, bytes]:
    keys = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, key = line.partition(":")
        if not colon or not name.strip() or len(key.strip()) < 8:
            raise ValueError(f"{path}, line {number}: expected name:key with a key of at least 8 characters")
        keys[name.strip()] = hashlib.sha256(key.strip().encode()).digest()
    if not keys:
        raise ValueError(f"{path}: holds no key; write one name:key per line")
    return keys


def _stamp(path: Path) -> tuple[int, int, int]:
    """Return what changes with the file; a mounted secret is replaced by a symbolic link, so the inode counts."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size
