from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import trio

from tests.acceptance.client import instant
from tests.acceptance.processes import PATIENCE_S, running
from tests.acceptance.receiver import ReceiverProcess
from tests.acceptance.service import API_KEY, Service, service

LINES, NEAR = 20_000, 50
BAD = {7: b"{}", 4_000: b"not JSON", 20_050: b'{"delay": 1, "callback_url": "ftp://x"}'}
FAR: dict[str, Any] = {
    "delay": "P30D",
    "callback_url": "https://example.com/",
    "metadata": {"a": 1},
}
POST = (
    f"POST /timers/import HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\n"
    "Content-Type: application/x-ndjson\r\nContent-Length: 1000000\r\n\r\n"
).encode()


async def test_file_is_imported_and_near_timers_in_it_fire_on_time(
    served: Service, receiver: ReceiverProcess, folder: Path
) -> None:
    near = {"execute_at": instant(4), "callback_url": receiver.url()}
    lines = [json.dumps(FAR).encode()] * LINES + [json.dumps(near).encode()] * NEAR
    for number, line in BAD.items():
        lines[number - 1] = line
    file = folder / "timers.ndjson"
    file.write_bytes(b"\n".join(lines))
    url = f"http://127.0.0.1:{served.consumer.port}"
    environ = {"API_KEY": API_KEY, "TIMER_TRIO_URL": url, "HOME": str(folder)}
    async with running("-m", "timer_trio", "import", str(file), environ=environ) as importing:
        assert await importing.wait_ended() == 1
        await receiver.wait_arrivals(NEAR - 1)
    assert importing.out == [f"{LINES + NEAR - 3:,} imported, 3 refused"]
    assert [line.split(": ")[0] for line in importing.err] == [f"line {line}" for line in BAD]
    assert "callback_url: must begin with http" in importing.err[-1]
    assert await served.consumer.total("pending") == LINES - 2
    assert len(receiver.times_fired) == NEAR - 1
    assert min(arrival.late_ms for arrival in receiver.arrivals) >= 0
    await served.stop()


async def test_stop_in_the_middle_of_an_import_tells_how_far_it_came(service_database: str) -> None:
    line = json.dumps(FAR).encode() + b"\n"
    async with service(DATABASE_URL=service_database) as first:
        stream = await first.connect()
        await stream.send_all(POST + line * 3_000 + line[:10])
        with trio.fail_after(PATIENCE_S):
            while await first.consumer.total("pending") < 3_000:  # noqa: ASYNC110 - as a consumer would
                await trio.sleep(0.05)
        first.program.send_signal(signal.SIGTERM)
        answer = b""
        with trio.fail_after(PATIENCE_S):
            while b'{"code"' not in answer or not answer.endswith(b"\n\r\n"):
                answer += await stream.receive_some()
        await stream.aclose()
        assert await first.program.wait_ended() == 0, first.program.err
    (last,) = [part for part in answer.split(b"\r\n") if part.startswith(b'{"code"')]
    told = json.loads(last)
    assert told["code"] == 1
    assert told["message"].startswith("the service stops")
    assert told["data"]["imported"] == told["data"]["through_line"] == 3_000
    async with service(DATABASE_URL=service_database) as second:
        assert await second.consumer.total("pending") == 3_000
