"""The metrics, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from quart import Response

from timer_trio.api.context import ApiContext
from timer_trio.api.route import Operation, Route, Success
from timer_trio.domain.project import Scope


def routes(context: ApiContext) -> Sequence[Route]:
    async def metrics() -> Response:
        return Response(generate_latest(context.metrics), content_type=CONTENT_TYPE_LATEST)

    return (
        Route(
            method="GET",
            path="/metrics",
            handler=metrics,
            operation=_METRICS,
            scope=Scope.METRICS,
            is_of_service=True,
        ),
    )


_METRICS: Final = Operation(
    name="getMetrics",
    tag="operation",
    summary="Metrics for Prometheus",
    description="Lateness, callbacks by outcome, what is in flight, and more, of all projects.",
    success=Success(
        words="The metrics.",
        media=CONTENT_TYPE_LATEST,
        example="# HELP timer_trio_oldest_overdue_seconds …\n"
        "# TYPE timer_trio_oldest_overdue_seconds gauge\n"
        "timer_trio_oldest_overdue_seconds 0.0\n",
    ),
    refusals=(400, 401, 503),
)
