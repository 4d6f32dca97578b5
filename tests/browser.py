"""A real browser, and a service for it to look at."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from typing import Any, Final

import httpx
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.debian import path_of

API_KEY: Final = "an-api-key-of-the-tests-of-the-console"
PATIENCE_S: Final = 60
CHROMIUM: Final = "chromium"
_AXE: Final = files("axe_playwright_python").joinpath("axe.min.js").read_text()
_RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@contextmanager
def browsing() -> Iterator[Browser]:
    """Run Chromium, which must be here; as root, who has no other, without its sandbox."""
    expect.set_options(timeout=PATIENCE_S * 1000)
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path_of(CHROMIUM), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def serving(**environ: str) -> Iterator[httpx.Client]:
    """Run the service; yields a client of its API, whose base URL is that of the console too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    chosen = {"API_KEY": API_KEY, "PORT": str(port), "CALLBACK_ALLOW": "127.0.0.0/8", **environ}
    command = [sys.executable, "-m", "timer_trio", "serve"]
    with subprocess.Popen(  # noqa: S603 - our own program
        command, env={**known, **chosen}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": API_KEY}, timeout=30
            ) as client:
                _wait_ready(client, process)
                yield client
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _wait_ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with suppress(httpx.TransportError):
            if client.get("/health/ready").status_code == 200:
                return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    raise AssertionError(f"the service has ended with {process.returncode}")


def sign_in(page: Page, url: str, key: str = API_KEY) -> None:
    page.goto(f"{url}/console/login")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Overview").wait_for()


def barriers(page: Page) -> list[str]:
    """Return what axe finds that is in somebody's way."""
    page.evaluate(_AXE)
    options = {"runOnly": {"type": "tag", "values": _RULES}, "resultTypes": ["violations"]}
    script = f"axe.run(document, {json.dumps(options)})"
    found: dict[str, Any] = page.evaluate(script)
    return [
        f"{page.url}: {each['id']}: {each['help']}: {node['html'][:200]}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


def data_of(answer: httpx.Response) -> Any:
    assert answer.status_code < 300, answer.text
    return answer.json()["data"]
