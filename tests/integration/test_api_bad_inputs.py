from __future__ import annotations

import httpx
from structlog.testing import capture_logs

from tests.api_under_test import API_KEY, besides_requests, running_api, served_api
from tests.bad_inputs import BAD_INPUTS


def test_every_bad_input_is_another() -> None:
    claims = [bad.claim for bad in BAD_INPUTS]
    assert len(set(claims)) == len(claims) >= 200


async def test_every_bad_input_is_refused_in_the_envelope() -> None:
    faults = []
    async with running_api() as api:
        timer_id = (await api.create())["id"]
        with capture_logs() as logs:
            for bad in BAD_INPUTS:
                answer = await api.client.send(bad.request("http://api", API_KEY, timer_id))
                if fault := bad.fault_in(answer):
                    faults.append(f"{bad.claim}: {fault}")
        assert await api.get(timer_id) == await api.get(timer_id)
    assert not faults, "\n".join(faults)
    assert not besides_requests(logs)


async def test_every_bad_input_is_refused_through_a_real_server() -> None:
    faults = []
    async with served_api() as (api, url), httpx.AsyncClient() as client:
        timer = await api.get((await api.create())["id"])
        for bad in BAD_INPUTS:
            answer = await client.send(bad.request(url, API_KEY, timer["id"]))
            if fault := bad.fault_in(answer):
                faults.append(f"{bad.claim}: {fault}")
        assert await api.get(timer["id"]) == timer
    assert not faults, "\n".join(faults)
