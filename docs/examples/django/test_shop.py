"""`pip install 'timer-trio[testing]' pytest-django` brings `timer_service` and `live_server`."""

import pytest
import requests
import shop


@pytest.fixture(autouse=True)
def shop_with_timers(timer_service, settings):
    settings.TIMERS_URL, settings.TIMERS_KEY = timer_service.url, timer_service.api_key
    shop.letters.clear()


def test_letter_comes_half_an_hour_after_the_last_touch(timer_service, live_server):
    for _ in range(3):
        requests.post(f"{live_server.url}/carts/7", timeout=5).raise_for_status()
        timer_service.advance(minutes=20)
    assert shop.letters == []

    timer_service.advance(minutes=10)
    assert shop.letters == ["7"]
    assert timer_service.advance(days=1) == []
