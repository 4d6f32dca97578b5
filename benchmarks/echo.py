"""What the single create is compared with: the same server, the same model, and nothing else.

python -m benchmarks.echo: serves until it is ended. One Quart-trio route that validates a body as
`POST /timers` does and sends it back: no database, no key, no envelope.
"""

from __future__ import annotations

from typing import Final

import trio
from quart import Response, request
from quart_trio import QuartTrio

from timer_trio.api.fields.rules import Rules
from timer_trio.api.fields.timer import CREATE
from timer_trio.config import Settings
from timer_trio.domain.addresses import AddressGuard
from timer_trio.server import Server
from timer_trio.telemetry.metrics import Metrics

_RULES: Final = Rules(timeout_s=30, misfire_grace_s=300, max_metadata_keys=64, guard=AddressGuard())


async def echo() -> Response:
    wanted = CREATE.validate_json(await request.get_data(), context=_RULES)
    return Response(CREATE.dump_json(wanted), status=201, content_type="application/json")


async def main() -> None:
    app = QuartTrio("echo")
    app.add_url_rule("/timers", view_func=echo, methods=["POST"])
    server = Server(Settings.model_validate({"PORT": "0"}))
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run, app, Metrics(), trio.Event())
        print(f"listens on {server.urls[0]}", flush=True)


if __name__ == "__main__":
    trio.run(main)
