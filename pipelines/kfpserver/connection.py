"""The way to a KFP server: address, credentials, time limits, bounded retries, and errors that a person can act on."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from components.errors import InputError

RETRIED = frozenset({429, 500, 502, 503, 504})
NOT_DONE = frozenset({429, 503})
"""Statuses after which nothing has happened, so that even a request that creates something may be repeated."""
OLDEST = (2, 16)
"""Earlier ones know neither the security context of a step nor how to delete a schedule without its runs."""


@dataclass(frozen=True)
class Pace:
    """How patient we are, in seconds.

    Attributes:
        poll: Between two looks at a run that is followed.
        outage: How long a server may be gone while a run is followed.
    """

    tries: int = 5
    first_wait: float = 0.5
    longest_wait: float = 8.0
    connect: float = 5.0
    read: float = 30.0
    poll: float = 5.0
    outage: float = 120.0


@dataclass(frozen=True)
class Access:
    """Where a KFP server is and how it knows us.

    Attributes:
        namespace: Of the runs, on a multi-user installation; empty on a single-user one.
        token_file: Read again for each request, so that a rotated token is taken up.
        ca: Certificate authorities in PEM form; None takes the usual ones.
        ui: Base URL of the pages for people, where it is not the host.
    """

    host: str
    namespace: str = ""
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    ca: Path | None = None
    ui: str = ""
    pace: Pace = field(default_factory=Pace)


class KfpError(Exception):
    """The KFP server cannot be reached, refuses, or does not do what was asked.

    Attributes:
        status: Of its HTTP answer; None when there was none.
        unclear: Whether what was asked may have been done all the same.
    """

    def __init__(self, message: str, status: int | None = None, *, unclear: bool = False) -> None:
        """Keep what a caller decides by."""
        super().__init__(message)
        self.status = status
        self.unclear = unclear


@dataclass(frozen=True)
class Server:
    """A KFP server that has answered: its services, and what it said about itself."""

    access: Access
    api: Any
    multi_user: bool
    version: str

    @property
    def namespace(self) -> str | None:
        """The namespace to ask for; None on a single-user installation, which refuses one."""
        return self.access.namespace if self.multi_user else None

    def service(self, name: str) -> Any:
        """Return one of the API's services: Run, Pipeline, PipelineUpload, Experiment, RecurringRun."""
        import kfp_server_api  # type: ignore[import-untyped]

        return getattr(kfp_server_api, f"{name}ServiceApi")(self.api)

    def page(self, path: str) -> str:
        """Return the address of a page of the UI."""
        return f"{(self.access.ui or self.access.host).rstrip('/')}/#/{path}"

    def text(self, path: str) -> str:
        """Return what the server answers to a path that its generated client does not know."""
        from urllib3.exceptions import HTTPError

        answer = self.api.call_api(path, "GET", auth_settings=["Bearer"], _preload_content=False)
        try:
            return bytes(answer.data).decode(errors="replace")
        except HTTPError as error:
            raise KfpError(f"{self.access.host} broke off the answer ({_reason(error)})") from error


def connect(access: Access) -> Server:
    """Return a server after a look at its health.

    Raises:
        InputError: The address or a file is not usable, or a namespace is missing.
        KfpError: Nothing answers there, or it is no KFP that runs our pipelines.
    """
    import kfp_server_api

    where = urlsplit(access.host)
    if where.scheme not in ("http", "https") or not where.hostname:
        raise InputError(f"KFP host {access.host!r}: expected an address such as http://localhost:8888")
    for path in (access.ca, access.token_file):
        if path is not None and not path.is_file():
            raise InputError(f"{path}: no such file")
    api = kfp_server_api.ApiClient(_configuration(access))
    api.rest_client.request = _Patient(api.rest_client.request, access)
    health = _health(Server(access, api, False, ""))
    server = Server(access, api, bool(health.get("multi_user")), str(health.get("tag_name", "unknown")))
    _check_version(server)
    if server.multi_user and not access.namespace:
        raise InputError(f"{access.host} serves several namespaces: name yours with --namespace")
    return server


def absent(call: Callable[[], Any]) -> Any:
    """Return what a call returns, None when the server says that there is no such thing."""
    try:
        return call()
    except KfpError as error:
        if error.status == 404:
            return None
        raise


def create_once(create: Callable[[], Any], find: Callable[[], Any]) -> Any:
    """Create something of a unique name and return it, also when the answer was lost or another was faster."""
    try:
        return create()
    except KfpError as error:
        if not error.unclear and error.status not in (409, 500):  # uploads answer 500 where 409 is meant
            raise
        found = find()
        if found is not None:
            return found
        if not error.unclear:
            raise
    return create()


def items(fetch: Callable[..., Any], attribute: str, limit: int | None = None, **query: Any) -> list[Any]:
    """Return what a listing call has on all its pages, or the first ones up to a limit."""
    found: list[Any] = []
    token = ""
    while True:
        page = fetch(page_token=token, page_size=min(100, limit or 100), **query)
        found += getattr(page, attribute) or []
        token = page.next_page_token or ""
        if not token or (limit is not None and len(found) >= limit):
            return found[:limit]


def named(name: str) -> str:
    """Return the filter of a listing call for one display name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _configuration(access: Access) -> Any:
    import kfp_server_api

    configuration = kfp_server_api.Configuration(host=access.host.rstrip("/"))
    configuration.retries = False  # ours are the only ones
    if access.ca is not None:
        configuration.ssl_ca_cert = str(access.ca)
    path = access.token_file
    if access.token or path is not None:
        configuration.api_key_prefix["authorization"] = "Bearer"
        configuration.api_key["authorization"] = access.token or "-"
    if path is not None:

        def refresh(config: Any) -> None:
            config.api_key["authorization"] = path.read_text().strip()

        configuration.refresh_api_key_hook = refresh
    return configuration


def _health(server: Server) -> dict[str, Any]:
    try:
        answer = json.loads(server.text("/apis/v2beta1/healthz"))
    except KfpError as error:
        if error.status != 404:
            raise
        raise KfpError(
            f"{server.access.host} has no API v2beta1: Headrace needs Kubeflow Pipelines {OLDEST[0]}.{OLDEST[1]} or "
            "later; is the address that of its API server or UI?",
            404,
        ) from error
    except ValueError as error:
        raise KfpError(
            f"{server.access.host} answers, but not as a KFP server (a login page?): check the address, or give a "
            "token with --token-file"
        ) from error
    if not isinstance(answer, dict):
        raise KfpError(f"{server.access.host} answers, but not as a KFP server: check the address")
    return answer


def _check_version(server: Server) -> None:
    """Refuse a server that says it is too old; one that does not say which it is may try."""
    found = re.match(r"v?(\d+)\.(\d+)", server.version)
    if found and (int(found[1]), int(found[2])) < OLDEST:
        raise KfpError(
            f"{server.access.host} is Kubeflow Pipelines {server.version}: these pipelines need "
            f"{OLDEST[0]}.{OLDEST[1]} or later; upgrade it"
        )


class _Patient:
    """Sends a request with time limits, and again where that helps and does no harm."""

    def __init__(self, send: Callable[..., Any], access: Access) -> None:
        """Wrap the generated client's own way to send."""
        self._send = send
        self._host = access.host
        self._pace = access.pace

    def __call__(self, method: str, url: str, **options: Any) -> Any:
        """Return the answer.

        Raises:
            KfpError: There is none, or it is an error, after all tries.
        """
        pace = self._pace
        wait = pace.first_wait
        options["_request_timeout"] = (pace.connect, pace.read)
        headers = options.pop("headers", None) or {}
        for left in reversed(range(pace.tries)):
            try:
                return self._send(method, url, headers=dict(headers), **options)
            except Exception as error:
                told, again, asked = self._judged(error, method)
                if told is None:
                    raise
                if not again or left == 0:
                    raise told from error
                time.sleep(min(max(wait, asked), pace.longest_wait))
                wait *= 2
        raise AssertionError("a try returns or raises")

    def _judged(self, error: Exception, method: str) -> tuple[KfpError | None, bool, float]:
        """Return what to say about an error, whether to try again, and how long the server asks us to wait."""
        from kfp_server_api.exceptions import ApiException  # type: ignore[import-untyped]
        from urllib3 import exceptions as failures

        repeatable = method in ("GET", "DELETE")
        if isinstance(error, ApiException) and error.status:
            again = error.status in (RETRIED if repeatable else NOT_DONE)
            unclear = not repeatable and error.status in RETRIED - NOT_DONE
            asked = str((error.headers or {}).get("Retry-After", ""))
            told = KfpError(self._explained(error.status, _message(error.body)), error.status, unclear=unclear)
            return told, again, float(asked) if asked.isdecimal() else 0.0
        if isinstance(error, ApiException | failures.SSLError):
            detail = str(getattr(error, "reason", None) or error).splitlines()[-1]
            return (
                KfpError(f"{self._host}: the TLS certificate is not accepted ({detail}); name its CA with --ca"),
                False,
                0,
            )
        if isinstance(error, failures.NewConnectionError | failures.ConnectTimeoutError | failures.NameResolutionError):
            return (
                KfpError(
                    f"{self._host} cannot be reached ({_reason(error)}): name where the KFP API answers with --host, "
                    "or forward it: kubectl --namespace kubeflow port-forward svc/ml-pipeline 8888"
                ),
                True,
                0.0,
            )
        if isinstance(error, failures.HTTPError):
            told = KfpError(f"{self._host} broke off the answer ({_reason(error)})", unclear=not repeatable)
            return told, repeatable, 0.0
        return None, False, 0.0

    def _explained(self, status: int, message: str) -> str:
        if status in (301, 302, 303, 307, 308, 401):
            return f"{self._host} wants to know who is asking ({status}): give a token with --token-file"
        if status == 403:
            return f"{self._host} does not allow it (403): {message}"
        return f"{self._host} answers {status}: {message}"


def _message(body: Any) -> str:
    """Return the sentence in an error answer of the API, its gateway, or a proxy in front of it."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    try:
        content = json.loads(text)
    except ValueError:
        return re.sub(r"(<[^>]*>|\s)+", " ", text).strip()[:300] or "no reason given"
    if not isinstance(content, dict):
        return text[:300]
    return str(content.get("error_message") or content.get("message") or content.get("error") or text)[:1000]


def _reason(error: Exception) -> str:
    return str(error).rpartition(": ")[2][:200]
