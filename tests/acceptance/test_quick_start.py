from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.acceptance.client import Consumer
from tests.acceptance.processes import PROJECT, running
from tests.acceptance.service import service

OPTIONS_OF_MAKE_RUN = re.findall(
    r"^run:.*\n\t@exec \S+/timer-trio serve (.*)$", (PROJECT / "Makefile").read_text(), re.MULTILINE
)[0].split()


async def test_quick_start_shows_the_first_callback(folder: Path) -> None:
    async with (
        running("-m", "timer_trio", "listen", "--port", "0") as listener,
        service(
            *OPTIONS_OF_MAKE_RUN, DATA_DIR=str(folder / "data"), API_KEY="", CALLBACK_ALLOW=""
        ) as served,
    ):
        waiting = await listener.eventually(lambda: next(iter(listener.out), None))
        pasted = await served.program.eventually(lambda: curl_in(served.program.out))
        assert "Callbacks may reach this machine" in "\n".join(served.program.out)
        url, read_key, body = request_of(pasted)
        # What is written to no terminal may be kept by a log.
        assert read_key == f"$(cat {folder}/data/api_key)"
        key = (folder / "data" / "api_key").read_text().strip()
        assert url == f"http://127.0.0.1:{served.consumer.port}/timers"
        assert body["callback_url"] == "http://127.0.0.1:9000/"
        body |= {"callback_url": re.findall("http://[^ ]+", waiting)[0], "delay": 0.1}
        with closing(Consumer(key, served.consumer.port)) as stranger:
            timer_id = await stranger.create(**body)
        await listener.eventually(lambda: '  "hello"' in listener.out or None)
        shown = "\n".join(listener.out)
        assert re.search(r"Z  \d{1,3} ms late  POST /\n", shown)
        assert f"  X-Timer-Id: {timer_id}\n" in shown
        assert key not in "\n".join((*served.program.err, *served.program.out))
        await served.stop()


def test_key_is_shown_on_a_terminal(folder: Path) -> None:
    ours, theirs = os.openpty()
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "PORT": "0"}
    program = subprocess.Popen(
        [sys.executable, "-m", "timer_trio", "serve"],
        cwd=folder,
        env=environ | {"DATA_DIR": str(folder / "data"), "LOG_LEVEL": "error"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
    )
    os.close(theirs)
    shown = b""
    with closing(os.fdopen(ours, "rb", buffering=0)) as terminal, program:
        while b"serve --dev" not in shown:
            shown += terminal.read(65_536)
        program.terminate()
    key = (folder / "data" / "api_key").read_text().strip()
    assert f"API key: {key}\r\n" in shown.decode()


def curl_in(lines: list[str]) -> str | None:
    text = "\n".join(lines)
    return text[text.index("curl ") :] if "}'" in text else None


def request_of(pasted: str) -> tuple[str, str, dict[str, object]]:
    """Take URL, key and body out of a curl command."""
    _, url, _, key, _, _, _, body = [word for word in shlex.split(pasted) if word.strip()]
    return url, key.removeprefix("X-API-Key: "), json.loads(body)
