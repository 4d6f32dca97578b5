"""How a command reaches a running service, and what is said where it does not."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

import click
import httpx
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from timer_trio.cli.group import read_settings
from timer_trio.config import Settings
from timer_trio.embedded import read_api_key

CONNECT_TIMEOUT_S: Final = 5.0
STRANGER: Final = "it is no timer service"
NO_ANSWER: Final = (httpx.HTTPError, httpx.InvalidURL, UnicodeError)
"""What asking a service raises; the last one where its name cannot be looked up."""

url_option = click.option(
    "--url",
    envvar="TIMER_TRIO_URL",
    show_envvar=True,
    help="Where the service listens; by default at HOST and PORT of the settings.",
)


class Refusal(TypedDict):
    code: int
    message: str


_REFUSAL: Final = TypeAdapter(Refusal)


@dataclass(frozen=True, slots=True)
class Service:
    """Where it listens, and the key that it asks for."""

    url: str
    key: str = field(repr=False)

    def client(self, answer_timeout_s: float) -> httpx.Client:
        return httpx.Client(
            headers={"X-API-Key": self.key},
            timeout=httpx.Timeout(answer_timeout_s, connect=CONNECT_TIMEOUT_S),
            trust_env=False,
        )

    def at(self, path: str) -> str:
        return f"{self.url.rstrip('/')}{path}"

    def no_answer(self, error: Exception) -> str:
        """Say that it cannot be reached."""
        return f"no answer from the service at {self.url}: {reason_of(error)}"


def named_service(url: str | None) -> Service:
    """Name the service at this URL, or that of the settings.

    Raises:
        StartRefusedError: the settings are wrong, or nobody knows the key.
    """
    settings = read_settings()
    # It would tell of each request, among the words for a person.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    key = settings.api_key or read_api_key(settings.data_dir)
    return Service(url or _url(settings), key.get_secret_value())


def reason_of(error: Exception) -> str:
    return str(error) or type(error).__name__


def refusal_in(body: bytes) -> Refusal | None:
    """Read what a timer service says when it refuses; None: no timer service says so."""
    try:
        return _REFUSAL.validate_json(body)
    except ValidationError:
        return None


def refused(status: int, body: bytes) -> str:
    """Say what was answered in place of a success."""
    refusal = refusal_in(body)
    return f"the service answered {status}: {refusal['message'] if refusal else STRANGER}"


def _url(settings: Settings) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - where to reach it
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
