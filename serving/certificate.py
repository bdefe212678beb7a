"""TLS from mounted certificates, read again when they change."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from pathlib import Path

from serving.options import Options

log = logging.getLogger(__name__)

Stamp = tuple[tuple[int, int], ...]


class Certificate:
    """The contexts of a server's listeners; without a certificate there is none, and they speak plainly."""

    def __init__(self, options: Options) -> None:
        self._paths = (options.tls_certificate, options.tls_key)
        self._client_ca = options.tls_client_ca
        self._contexts: list[ssl.SSLContext] = []
        self._stamp: Stamp | None = None
        self._refused: Stamp | None = None

    def context(self, protocols: Sequence[str] = ()) -> ssl.SSLContext | None:
        """Return a context for a listener that speaks one of these protocols (ALPN).

        Raises:
            OSError: The files cannot be read, or are no certificate and key.
        """
        if not self._paths[0]:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if protocols:
            context.set_alpn_protocols(list(protocols))
        self._load(context)
        self._stamp = self._stamped()
        self._contexts.append(context)
        return context

    def reload(self) -> None:
        """Use a renewed certificate for new connections."""
        if not self._contexts:
            return
        stamp = self._stamped()
        if stamp in (None, self._stamp, self._refused):
            return
        try:
            # On a context of its own first: a certificate without its key would leave the ones in use with neither.
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            for context in self._contexts:
                self._load(context)
        except OSError as error:  # ssl.SSLError is one
            self._refused = stamp
            log.warning("the certificate is kept as it was, until its files change again: %s", error)
        else:
            self._stamp, self._refused = stamp, None
            log.info("the certificate was renewed")

    def _load(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(*self._paths)
        if self._client_ca:  # those of before stay trusted until the process ends: OpenSSL only adds
            context.load_verify_locations(self._client_ca)
            context.verify_mode = ssl.CERT_REQUIRED

    def _stamped(self) -> Stamp | None:
        """Return when the files were written last; None while one of them is away."""
        try:
            paths = [Path(path) for path in (*self._paths, self._client_ca) if path]
            return tuple((path.stat().st_mtime_ns, path.stat().st_ino) for path in paths)
        except OSError:
            return None
