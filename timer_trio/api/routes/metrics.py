"""The metrics, as Prometheus reads them."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from quart import Response

from timer_trio.api.context import ApiContext


class MetricsRoute:
    def __init__(self, context: ApiContext) -> None:
        self._registry = context.metrics

    async def metrics(self) -> Response:
        return Response(generate_latest(self._registry), content_type=CONTENT_TYPE_LATEST)
