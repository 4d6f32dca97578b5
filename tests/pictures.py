"""Pictures of the console for the docs, made anew: `make pictures`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import httpx
from playwright.sync_api import Browser

from tests.browser import browsing, data_of, serving, sign_in

FOLDER: Final = Path(__file__).parents[1] / "docs" / "pictures"
PICTURES: Final = (
    ("overview", "", "light", 1280, 860),
    ("timers", "/timers?status=completed&sort=execute_at", "light", 1280, 620),
    ("timer", "/timers/{failed}", "dark", 1280, 640),
    ("schedule", "/schedules/{schedule}", "light", 1280, 560),
    ("phone", "", "dark", 390, 780),
)
"""The name of a file, what it shows, in which colours, and how large."""
_WAIT_MS: Final = 16_000
"""Until some of what is created below has happened, and replicas have told of it."""


class _Receiver(BaseHTTPRequestHandler):
    """Answers each callback: 503 where its path says so."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(503 if "flaky" in self.path else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiver() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Receiver) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def fill(service: httpx.Client, url: str) -> dict[str, str]:
    """Create what a shop might have; answers with what stands in the addresses of the pages."""

    def wanted(number: int, **more: Any) -> dict[str, Any]:
        order = {"order": 4700 + number, "customer": "Ada"}
        return {
            "callback_url": f"{url}/hooks/reminder",
            "callback_payload": order,
            "metadata": {"shop": "berlin", "order": 4700 + number},
            **more,
        }

    delays = (0.2 * number for number in range(60))
    soon = [wanted(n, delay=delay) for n, delay in enumerate(delays)]
    later = [wanted(100 + n, delay=40 * n) for n in range(80)]
    data_of(service.post("/timers/batch", json={"timers": soon + later}))
    policy = {"delays": [1, 2], "max_attempts": 3}
    failing = wanted(17, callback_url=f"{url}/flaky", delay=0, retry=policy, key="order-4717")
    failed = data_of(service.post("/timers", json=failing))
    data_of(service.put("/flows/mail", json={"max_in_flight": 5}))
    every = {"every": 1, "name": "stock-sync", **wanted(0, callback_url=f"{url}/hooks/stock")}
    schedule = data_of(service.post("/schedules", json=every))
    data_of(
        service.post("/destinations/pause", json={"destination": "https://partner.example.com"})
    )
    return {"failed": failed["id"], "schedule": schedule["id"]}


def take(browser: Browser, service: httpx.Client, made: dict[str, str]) -> None:
    url = str(service.base_url)
    for name, path, scheme, width, height in PICTURES:
        context = browser.new_context(
            color_scheme=scheme,  # type: ignore[arg-type]  # Playwright's literals
            viewport={"width": width, "height": height},
            reduced_motion="reduce",
        )
        page = context.new_page()
        sign_in(page, url)
        page.goto(f"{url}/console{path.format(**made)}")
        page.locator(".rel, h1").first.wait_for()
        page.screenshot(path=FOLDER / f"{name}.png")
        context.close()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        receiver() as url,
        serving(DATA_DIR=folder) as service,
        browsing() as browser,
    ):
        made = fill(service, url)
        browser.new_page().wait_for_timeout(_WAIT_MS)
        take(browser, service, made)
    sizes = {path.name: path.stat().st_size for path in sorted(FOLDER.glob("*.png"))}
    sys.stdout.write("".join(f"{name} {size:,} bytes\n" for name, size in sizes.items()))


if __name__ == "__main__":
    main()
