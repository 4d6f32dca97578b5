from __future__ import annotations

import trio

from tests.acceptance.processes import PATIENCE_S
from tests.acceptance.service import Service

# Without a key the answer comes at once, when the server has just seen the goodbye.
CUT = b"POST /timers HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{ "


async def test_requests_that_end_in_the_middle_leave_no_traceback(served: Service) -> None:
    for _ in range(40):
        with trio.fail_after(PATIENCE_S):
            async with await served.connect() as stream:
                await stream.send_all(CUT)
                await stream.send_eof()
                async for _ in stream:
                    pass
    await served.stop()
    assert not [line for line in served.log if line["level"] in {"error", "critical"}]
