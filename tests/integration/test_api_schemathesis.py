from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.api_under_test import API_KEY, served_api
from tests.sampling import WHOLE
from timer_trio.api import auth

# A schema cannot say "not in the past" or "no offset beside a cursor"; and a canceled timer is
# still there to be read.
NOT_OURS = "positive_data_acceptance,use_after_free"
EXAMPLES = "50" if WHOLE else "5"


async def test_generated_requests_find_no_breach_of_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It sends hundreds of requests without a key, and expects the same answer to each.
    monkeypatch.setattr(auth, "WRONG_KEYS", 1_000_000)
    async with served_api() as (api, url):
        await api.create(metadata={"customer": "c-17"})
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
        options = ["--header", f"X-API-Key: {API_KEY}", "--exclude-checks", NOT_OURS]
        # It knows no way to write lines of JSON; test_api_import.py does.
        options += ["--exclude-operation-id", "importTimers"]
        if not WHOLE:
            options += ["--include-path-regex", "^/(timers|flows)"]
        bounds = ["--max-examples", EXAMPLES, "--seed", "1", "--no-color"]
        done = await trio.run_process(
            [*command, *options, *bounds],
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=tmp_path,
        )
    assert done.returncode == 0, done.stdout.decode()
    assert b"Stateful" in done.stdout
