"""TLS from mounted certificates, read again when they change."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from pathlib import Path

from serving.options import Options

log = logging.getLogger(__name__)


class Certificate:
    """The contexts of a server's listeners; without a certificate there is none, and they speak plainly."""

    def __init__(self, options: Options) -> None:
        self._paths = (options.tls_certificate, options.tls_key)
        self._contexts: list[ssl.SSLContext] = []
        self._stamp: tuple[int, int] | None = None

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
        context.load_cert_chain(*self._paths)
        self._stamp = self._stamped()
        self._contexts.append(context)
        return context

    def reload(self) -> None:
        """Use a renewed certificate for new connections."""
        if not self._contexts:
            return
        try:
            stamp = self._stamped()
            if stamp == self._stamp:
                return
            for context in self._contexts:
                context.load_cert_chain(*self._paths)
            self._stamp = stamp
        except OSError as error:  # ssl.SSLError is one
            log.warning("the certificate is kept as it was: %s", error)

    def _stamped(self) -> tuple[int, int]:
        chain, key = self._paths
        return Path(chain).stat().st_mtime_ns, Path(key).stat().st_mtime_ns
