"""`pip install 'timer-trio[testing]'` brings the fixture `timer_service`."""

import threading
from datetime import timedelta

import pytest
import requests
from werkzeug.serving import make_server

from app import app


@pytest.fixture
def url(timer_service):
    """The shop on a port of its own, since the service calls it by HTTP."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    url = f"http://127.0.0.1:{server.server_port}"
    app.reminded.clear()
    app.config.update(OWN_URL=url, TIMERS_URL=timer_service.url, TIMERS_KEY=timer_service.api_key)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield url
    server.shutdown()
    thread.join()
    server.server_close()


def test_reminder_comes_after_a_week(timer_service, url):
    ordered_at = timer_service.now
    timer_id = requests.post(f"{url}/orders/4711", timeout=5).json()["timer"]

    assert timer_service.advance(days=6, hours=23) == []
    assert app.reminded == []

    [fired] = timer_service.advance(hours=1)
    assert (fired.id, fired.status, fired.http_status) == (timer_id, "completed", 204)
    assert fired.sent_at == ordered_at + timedelta(days=7)
    assert app.reminded == [4711]


def test_each_test_begins_without_timers(timer_service):
    assert timer_service.advance(days=30) == []
