"""The REST API: JSON to domain and back, and the sole home of HTTP status codes."""

from timer_trio.api.app import create_app
from timer_trio.api.context import ApiContext, Health

__all__ = ["ApiContext", "Health", "create_app"]
