"""`timer-trio serve --test-clock` as a process, and the fixture of pytest that runs it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from tests.acceptance.processes import PROJECT, running
from tests.acceptance.service import API_KEY, Service
from tests.command import run_command
from tests.receivers import Stream, never_answers, read_request, receiver
from timer_trio.pytest_plugin import TimerService, TimerServiceError, running_service

START: Final = datetime(2030, 1, 1, tzinfo=UTC)
TEST_CLOCK: Final = ("-m", "timer_trio", "serve", "--test-clock")
ENVIRON: Final = {"PORT": "0", "API_KEY": API_KEY, "LOG_FORMAT": "json"}


@contextmanager
def threaded_receiver(answer: Any) -> Iterator[str]:
    """Answer callbacks from threads, as most frameworks do; `answer` tells the status."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(answer(body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def process() -> Iterator[TimerService]:
    with pytest.MonkeyPatch.context() as patch:
        # Of a real service that is deployed from here.
        patch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
        patch.setenv("TIMER_TRIO_WORKERS", "4")
        patch.setenv("API_KEY_FILE", "/nowhere")
        patch.setenv("CALLBACK_ALLOW", "hooks.example")
        patch.setenv("http_proxy", "http://127.0.0.1:1")
        patch.syspath_prepend(str(PROJECT))
        patch.setenv("PYTHONPATH", str(PROJECT))
        with running_service("2030-01-01T00:00:00Z") as service:
            yield service


@pytest.fixture
def service(process: TimerService) -> TimerService:
    process.reset()
    return process


def create(service: TimerService, **fields: Any) -> str:
    return str(service.request("POST", "/timers", fields)["id"])


def test_callback_that_a_thread_answers_is_waited_for(service: TimerService) -> None:
    def answer(_: bytes) -> int:
        threading.Event().wait(0.2)
        seen.append(service.now)
        return 204

    seen: list[datetime] = []
    with threaded_receiver(answer) as url:
        timer_id = create(service, delay="P7D", callback_url=url, timeout_seconds=5)
        [fired] = service.advance(days=30)
    assert seen == [START + timedelta(days=7)]
    assert (fired.id, fired.attempt, fired.status) == (timer_id, 1, "completed")
    assert (fired.http_status, fired.last_error, fired.callback_url) == (204, None, url)
    assert fired.due_at == fired.sent_at == START + timedelta(days=7)
    assert fired.next_attempt_at is None
    assert service.now == START + timedelta(days=30)


def test_thread_may_create_timers_while_it_answers(service: TimerService) -> None:
    def answer(body: bytes) -> int:
        if body != b"3":
            create(service, delay=3600, callback_url=url, callback_payload=int(body) + 1)
        return 200

    with threaded_receiver(answer) as url:
        create(service, delay=3600, callback_url=url, callback_payload=1)
        fired = service.advance(hours=3)
    assert [each.due_at for each in fired] == [START + timedelta(hours=n) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("time", "more", "passed"),
    [
        (90, {}, timedelta(seconds=90)),
        (1.5, {}, timedelta(seconds=1.5)),
        (timedelta(days=2), {}, timedelta(days=2)),
        (None, {"days": 1, "hours": 2, "minutes": 3}, timedelta(days=1, hours=2, minutes=3)),
        (None, {"to": START + timedelta(hours=1)}, timedelta(hours=1)),
        (None, {}, timedelta(0)),
    ],
)
def test_time_is_told_in_many_ways(
    service: TimerService, time: float | timedelta | None, more: Any, passed: timedelta
) -> None:
    assert service.advance(time, **more) == []
    assert service.now == START + passed


def test_refusals_are_told_in_words(service: TimerService) -> None:
    with pytest.raises(ValueError, match="not both"):
        service.advance(5, to=START)
    with pytest.raises(TimerServiceError, match="must not be negative"):
        service.advance(-1)
    with pytest.raises(TimerServiceError, match="lies before"):
        service.advance(to=START - timedelta(days=1))
    with pytest.raises(TimerServiceError, match="no timer has this id"):
        service.request("GET", "/timers/019bd3c0-6f3e-7a51-9c42-5d1f0c9ab117")
    assert service.now == START


def test_reset_forgets_all(service: TimerService) -> None:
    create(service, delay=60, callback_url="http://127.0.0.1:9/")
    service.advance(30)
    service.reset()
    assert service.now == START
    assert service.advance(days=1) == []


def test_it_says_nothing(capfd: pytest.CaptureFixture[str], process: TimerService) -> None:
    create(process, delay=60, callback_url="http://127.0.0.1:9/")
    assert [each.status for each in process.advance(60)] == ["failed"]
    assert capfd.readouterr() == ("", "")


def test_why_it_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setenv("TIMER_TRIO_MAX_IN_FLIGHT", "many")
    with pytest.raises(TimerServiceError, match="TIMER_TRIO_MAX_IN_FLIGHT"), running_service():
        pass


async def test_it_ends_with_the_process_that_started_it() -> None:
    code = """
import os, signal
from timer_trio.pytest_plugin import running_service
with running_service() as service:
    print(service.url, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    async with running("-c", code) as program:
        await program.wait_ended()
        url = await program.eventually(lambda: next(iter(program.out), "nothing"))
    port = _port_of(url)
    with trio.fail_after(20):
        while await _is_served(port):  # noqa: ASYNC110 - a probe
            await trio.sleep(0.02)


async def _is_served(port: int) -> bool:
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True


async def test_process_is_loud_and_ends_at_once() -> None:
    async def hold(stream: Stream) -> None:
        await read_request(stream)
        arrived.set()
        await never_answers(stream)

    arrived = trio.Event()
    async with receiver(hold) as silent, running(*TEST_CLOCK, environ=ENVIRON) as program:
        served = Service(program)
        consumer = served.consumer
        consumer.port = _port_of((await served.wait_logged("ready"))["url"])
        told = await program.eventually(lambda: "\n".join(program.out) if program.out[3:] else None)
        assert "THIS IS NO REAL SERVICE" in told
        assert "/clock/advance" in told
        assert any("no real timer" in line["warning"] for line in served.logged("test_clock"))
        answer = await consumer.ask("GET", "/timers")
        assert "x-test-clock" in answer.headers
        with trio.fail_after(20):
            await consumer.create(callback_url="http://127.0.0.1:9/", delay=60)
            # A real one would wait for the callback.
            await consumer.create(callback_url=silent.url(), delay=0, timeout_seconds=60)
            await arrived.wait()
            await served.stop()
        consumer.close()


def _port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@pytest.mark.parametrize(
    ("options", "environ", "words"),
    [
        (
            ("--test-clock",),
            {"DATABASE_URL": "postgresql://a@b/c", "API_KEY": API_KEY},
            "start it without DATABASE_URL",
        ),
        (("--test-clock", "--workers", "2"), {}, "start it without WORKERS"),
        (("--test-clock", "--test-clock-start", "2030-01-01"), {}, "no instant with an offset"),
        (("--test-clock", "--test-clock-start", "tomorrow"), {}, "no instant with an offset"),
        (("--test-clock-start", "2030-01-01T00:00:00Z"), {}, "need --test-clock"),
        (("--until-stdin-ends",), {}, "need --test-clock"),
    ],
)
def test_it_refuses_what_a_real_service_needs(
    tmp_path: Path, options: tuple[str, ...], environ: dict[str, str], words: str
) -> None:
    code, _, said = run_command(tmp_path, "serve", *options, **environ)
    assert code == 2
    assert words in said
