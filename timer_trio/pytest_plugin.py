"""The fixture `timer_service` for pytest: a real service on a clock that the test moves.

It runs `timer-trio serve --test-clock` as a process, one a session, and resets it before each test
that asks for it. So any framework can be tested with it, over real HTTP. Nothing but the standard
library is imported here: pytest loads this wherever timer-trio is installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, Any, Final

import pytest

API_KEY: Final = "a-key-for-tests-of-32-characters"
START_OPTION: Final = "timer_service_start"
START_PATIENCE_S: Final = 60.0
END_PATIENCE_S: Final = 10.0
KEPT_LINES: Final = 50
"""Of its log, for the words of an error."""

_NOT_FOR_TESTS: Final = (
    *("DATABASE_URL", "DATABASE_URL_FILE", "LISTEN_URL", "LISTEN_URL_FILE", "API_KEY_FILE"),
    *("WORKERS", "CALLBACK_ALLOW", "START_PAUSED"),
)
"""Settings of a service that is deployed from here; empty ones win over those of a file `.env`."""


class TimerServiceError(RuntimeError):
    """The service for tests does not start, or refuses what it was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """A callback that was made. `status` is that of its timer after it.

    `due_at` is the instant of this attempt, `sent_at` when it was sent, and `next_attempt_at` when
    it is tried again, if it is.
    """

    id: str
    attempt: int
    status: str
    http_status: int | None
    last_error: str | None
    callback_url: str
    due_at: datetime
    sent_at: datetime | None
    next_attempt_at: datetime | None


class TimerService:
    """A running service for tests: `url` is what the code under test needs to know, and `api_key`.

    Its clock stands still, but for `advance`.
    """

    api_key: Final = API_KEY

    def __init__(self, url: str) -> None:
        self.url: Final = url

    @property
    def headers(self) -> dict[str, str]:
        """What a request to it carries."""
        return {"X-API-Key": self.api_key}

    @property
    def now(self) -> datetime:
        """What the clock shows."""
        return _instant(self.request("GET", "/clock")["now"])

    def advance(
        self,
        time: float | timedelta | None = None,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        to: datetime | None = None,
    ) -> list[Fired]:
        """Let time pass: so many seconds, days, hours and minutes, or until the clock shows `to`.

        Returns once all that fell due has been answered and settled, with what was fired since it
        was last told.

        Raises:
            TimerServiceError: the clock cannot go there, or comes to no end.
        """
        if to is None:
            more = time if isinstance(time, timedelta) else timedelta(seconds=time or 0)
            passed = timedelta(days=days, hours=hours, minutes=minutes) + more
            wanted: dict[str, Any] = {"seconds": passed.total_seconds()}
        elif time is not None or days or hours or minutes:
            raise ValueError("to says when, or the others how long: not both")
        else:
            wanted = {"to": to.isoformat()}
        return [_fired(each) for each in self.request("POST", "/clock/advance", wanted)["fired"]]

    def reset(self) -> None:
        """Forget everything, and set the clock to its start."""
        self.request("POST", "/clock/reset")

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Ask its API, and return the `data` of its answer.

        Raises:
            TimerServiceError: it refuses.
        """
        request = urllib.request.Request(  # noqa: S310 - it is http, as we have started it
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={**self.headers, "Content-Type": "application/json"},
        )
        try:
            # No proxy of the environment stands between, and an advance may take its time.
            with _OPENER.open(request) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise TimerServiceError(f"{method} {path}: {_words_of(error)}") from None


_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def pytest_addoption(parser: pytest.Parser) -> None:
    words = "what the clock of timer_service shows first, such as 2030-01-01T00:00:00Z"
    parser.addini(START_OPTION, f"{words}; by default the machine's time")


@pytest.fixture(scope="session")
def timer_service_process(pytestconfig: pytest.Config) -> Iterator[TimerService]:
    """Run the service of the whole session, which is reset by `timer_service` alone."""
    with running_service(pytestconfig.getini(START_OPTION)) as service:
        yield service


@pytest.fixture
def timer_service(timer_service_process: TimerService) -> TimerService:
    """Return a timer service without any timers, whose clock stands at its start."""
    timer_service_process.reset()
    return timer_service_process


@contextmanager
def running_service(start: str = "") -> Iterator[TimerService]:
    """Run a service until the block ends, or this process does, however that ends.

    Raises:
        TimerServiceError: it does not start.
    """
    command = [sys.executable, "-m", "timer_trio", "serve", "--test-clock", "--until-stdin-ends"]
    process = subprocess.Popen(  # noqa: S603 - no word of it is a stranger's
        [*command, "--test-clock-start", start] if start else command,
        env=os.environ | _settings(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = _Log(process.stderr)
    try:
        yield TimerService(log.wait_ready())
    finally:
        _end(process)
        log.close()


def _settings() -> dict[str, str]:
    none = dict.fromkeys(_NOT_FOR_TESTS, "")
    ours = {"HOST": "127.0.0.1", "PORT": "0", "LOG_LEVEL": "info", "LOG_FORMAT": "json"}
    named = {f"TIMER_TRIO_{name}": value for name, value in (ours | none).items()}
    return none | named | {"TIMER_TRIO_API_KEY": API_KEY}


class _Log:
    """What the service has written, read by a thread so that it never waits for its reader."""

    def __init__(self, stream: IO[str] | None) -> None:
        if stream is None:
            raise AssertionError("the process was started with a pipe")
        self._stream = stream
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._url = ""
        self._told = threading.Event()
        self._thread = threading.Thread(target=self._read, name="timer-service-log", daemon=True)
        self._thread.start()

    def wait_ready(self) -> str:
        """Return where the service listens.

        Raises:
            TimerServiceError: it has ended, or takes too long.
        """
        if not self._told.wait(START_PATIENCE_S) or not self._url:
            raise TimerServiceError(
                "the service for tests does not start; is timer-trio[testing] installed? It says:\n"
                + "".join(self._lines)
            )
        return self._url

    def close(self) -> None:
        self._thread.join(END_PATIENCE_S)
        self._stream.close()

    def _read(self) -> None:
        with suppress(ValueError, OSError):
            for line in self._stream:
                self._lines.append(line)
                if not self._url and (url := _url_in(line)):
                    self._url = url
                    self._told.set()
        self._told.set()


def _url_in(line: str) -> str | None:
    try:
        told = json.loads(line)
    except ValueError:
        return None
    is_ready = isinstance(told, dict) and told.get("event") == "ready"
    return str(told["url"]) if is_ready else None


def _end(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    process.terminate()
    try:
        process.wait(END_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _words_of(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["message"])
    except (ValueError, KeyError, TypeError):
        return str(error)


def _fired(data: dict[str, Any]) -> Fired:
    instants = ("due_at", "sent_at", "next_attempt_at")
    return Fired(**data | {name: _instant(data[name]) for name in instants if data[name]})


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
