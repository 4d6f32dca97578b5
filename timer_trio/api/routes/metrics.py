"""The metrics, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST
from quart import Response

from timer_trio.api.context import ApiContext
from timer_trio.api.errors import BusyError
from timer_trio.api.route import Operation, Route, Success
from timer_trio.domain.project import Scope
from timer_trio.telemetry.exposition import OthersSilentError


def routes(context: ApiContext) -> Sequence[Route]:
    async def metrics() -> Response:
        try:
            text = await context.metrics_text()
        except OthersSilentError:
            raise BusyError("the other workers do not tell what they count; try again") from None
        return Response(text, content_type=CONTENT_TYPE_LATEST)

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
    description="Lateness, callbacks by outcome, requests by route, what is in flight beside its "
    "limits, and more, of all projects. With `--workers` whichever of them answers tells of all.",
    success=Success(
        words="The metrics.",
        media=CONTENT_TYPE_LATEST,
        example="# HELP timer_trio_oldest_overdue_seconds …\n"
        "# TYPE timer_trio_oldest_overdue_seconds gauge\n"
        "timer_trio_oldest_overdue_seconds 0.0\n",
    ),
    refusals=(400, 401, 503),
)
