"""`pip install 'timer-trio[testing]'` brings the fixture `timer_service`."""

import threading
import time

import httpx
import pytest
import uvicorn

from app import app


@pytest.fixture
def url(timer_service, monkeypatch):
    """The app on a port of its own, since the service calls it by HTTP."""
    monkeypatch.setenv("TIMERS_URL", timer_service.url)
    monkeypatch.setenv("TIMERS_KEY", timer_service.api_key)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def test_trial_ends_after_a_fortnight(timer_service, url):
    httpx.post(f"{url}/trials/acme").raise_for_status()
    assert app.state.trials == {"acme": "running"}

    timer_service.advance(days=13)
    assert app.state.trials == {"acme": "ends soon"}

    timer_service.advance(days=1)
    assert app.state.trials == {"acme": "ended"}
    assert timer_service.advance(days=365) == []
