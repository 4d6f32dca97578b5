"""How a command reaches a running service, and what is said where it does not."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import click
import httpx
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from timer_trio.cli.group import read_settings
from timer_trio.config import Settings, SettingsError
from timer_trio.domain.project import is_project_name
from timer_trio.embedded import read_api_key

CONNECT_TIMEOUT_S: Final = 5.0
NO_TIMER_SERVICE: Final = "it is no timer service"
REQUEST_ERRORS: Final = (httpx.HTTPError, httpx.InvalidURL, UnicodeError)
"""What asking a service raises; the last one where its name cannot be looked up."""
NOT_SENT: Final = (
    httpx.InvalidURL,
    UnicodeError,
    httpx.UnsupportedProtocol,
    httpx.ConnectError,
    httpx.ConnectTimeout,
)
"""Those of them after which the service knows nothing of the request."""

url_option = click.option(
    "--url",
    envvar="TIMER_TRIO_URL",
    show_envvar=True,
    help="Where the service listens; by default at HOST and PORT of the settings.",
)

_PROJECT: Final = "timer_trio.project"


def _keep_project(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    if not is_project_name(value):
        raise click.BadParameter(f"{value!r} is no name of a project")
    context.meta[_PROJECT] = value


project_option = click.option(
    "--project",
    envvar="TIMER_TRIO_PROJECT",
    show_envvar=True,
    expose_value=False,
    callback=_keep_project,
    help="Which project to act in, if the key is API_KEY; by default the project default.",
)
"""What `named_service` reads in the command and all below it."""


class Refusal(TypedDict):
    code: int
    message: str


_REFUSAL: Final = TypeAdapter(Refusal)
_NO_SUCH_ROUTE: Final = 3
"""The code in a timer service's own 404; other servers have none."""

_PROXY_REFUSALS: Final[Mapping[int, str]] = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "a proxy in front of the service takes no body so great: "
    "raise its limit (nginx: client_max_body_size 0, proxy_request_buffering off), or send the "
    "file in parts",
    HTTPStatus.BAD_GATEWAY: "a proxy got no answer from the service behind it: see whether that "
    "runs, and where the proxy looks for it",
    HTTPStatus.SERVICE_UNAVAILABLE: "a proxy has no service behind it: see whether that runs, and "
    "where the proxy looks for it",
    HTTPStatus.GATEWAY_TIMEOUT: "a proxy did not wait for the service behind it: let it wait "
    "longer, and pass on what comes (nginx: proxy_read_timeout 1h, proxy_request_buffering off, "
    "proxy_buffering off)",
}


@dataclass(frozen=True, slots=True)
class Service:
    """Where it listens, and the key that it asks for."""

    url: str
    key: str = field(repr=False)
    project: str | None = None

    def client(self, answer_timeout_s: float) -> httpx.Client:
        """Make a client; what the environment says of proxies and keys is for others.

        Raises:
            SettingsError: SSL_CERT_FILE or SSL_CERT_DIR names no certificates.
        """
        project = {} if self.project is None else {"X-Project": self.project}
        return httpx.Client(
            headers={"X-API-Key": self.key, **project},
            timeout=httpx.Timeout(answer_timeout_s, connect=CONNECT_TIMEOUT_S),
            trust_env=False,
            verify=_trusted() if self.url.lower().startswith("https:") else True,
        )

    @property
    def path(self) -> str:
        """What comes before the paths of the API; nothing, in most cases."""
        _, _, rest = self.url.partition("://")
        return rest.partition("/")[2].strip("/")

    def at(self, path: str) -> str:
        return f"{self.url.rstrip('/')}{path}"

    def no_answer(self, error: Exception) -> str:
        """Return words for a service that cannot be reached."""
        return f"no answer from the service at {self.url}: {reason_of(error)}"

    def refused(self, answer: httpx.Response) -> str:
        """Return words for what was answered in place of a success, and by whom."""
        refusal, status = refusal_in(answer.content), answer.status_code
        if refusal is None:
            return f"{self.url} answered {status}: {self._words_of_another(answer)}"
        if says_no_such_route(answer) and self.path:
            return f"no timer-trio API at {self.url}: does --url name a path too much?"
        return f"the service answered {status}: {refusal['message']}"

    def _words_of_another(self, answer: httpx.Response) -> str:
        if answer.has_redirect_location:
            return f"name with --url where it leads: {answer.headers['Location']}"
        return _PROXY_REFUSALS.get(answer.status_code, f"{NO_TIMER_SERVICE}, so look at --url")


def _trusted() -> ssl.SSLContext:
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        name = "SSL_CERT_FILE" if os.environ.get("SSL_CERT_FILE") else "SSL_CERT_DIR"
        raise SettingsError(
            f"{name} must name certificates in PEM form: {os.environ.get(name)} holds none, or "
            f"cannot be read ({error.strerror})"
        ) from None


def named_service(url: str | None) -> Service:
    """Return the service at this URL, or that of the settings.

    Raises:
        StartRefusedError: the settings are wrong, or nobody knows the key.
    """
    settings = read_settings()
    # It would tell of each request, among the words for a person.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    key = settings.api_key or read_api_key(settings.data_dir)
    context = click.get_current_context(silent=True)
    project = None if context is None else context.meta.get(_PROJECT)
    return Service(url or _url(settings), key.get_secret_value(), project)


def last_line(answer: httpx.Response, on_line: Callable[[str], None]) -> str:
    """Read an answer that streams, and return its last line that is not blank; "": there is none.

    `on_line` gets each line as it comes.
    """
    last = ""
    for line in answer.iter_lines():
        on_line(line)
        last = line or last
    return last


def reason_of(error: Exception) -> str:
    return str(error) or type(error).__name__


def refusal_in(body: bytes) -> Refusal | None:
    """Read what a timer service says when it refuses; None: no timer service says so."""
    try:
        return _REFUSAL.validate_json(body)
    except ValidationError:
        return None


def is_of_a_proxy(answer: httpx.Response) -> bool:
    """Whether somebody in front of the service answered, who may have passed on what was sent."""
    return refusal_in(answer.content) is None and answer.status_code in _PROXY_REFUSALS


def says_no_such_route(answer: httpx.Response) -> bool:
    refusal = refusal_in(answer.content)
    return refusal is not None and refusal["code"] == _NO_SUCH_ROUTE


def _url(settings: Settings) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - where to reach it
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
