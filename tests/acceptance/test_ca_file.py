from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from tests.acceptance.service import service
from tests.receivers import OK, answers, receiver, tls_contexts


@pytest.mark.parametrize("trusted", [True, False])
async def test_callback_trusts_the_authority_of_the_operators_file(
    service_database: str, tmp_path: Path, *, trusted: bool
) -> None:
    authority, other = trustme.CA(), trustme.CA()
    ca_file = tmp_path / "ca.pem"
    (authority if trusted else other).cert_pem.write_to_path(str(ca_file))
    server, _ = tls_contexts(authority, "127.0.0.1")
    async with (
        receiver(answers(OK), ssl_context=server) as called,
        service(DATABASE_URL=service_database, CALLBACK_CA_FILE=str(ca_file)) as served,
    ):
        timer_id = await served.consumer.create(delay=0, callback_url=called.url())
        await served.consumer.wait_ended()
        timer = await served.consumer.get(timer_id)
        await served.stop()
    if trusted:
        assert timer["status"] == "completed"
    else:
        assert timer["last_error"].startswith("certificate verify failed")
