"""From a request's target to its route: by the path alone, whatever else it carries."""

from __future__ import annotations

from urllib.parse import urlsplit

from quart.routing import QuartMap
from quart.wrappers.base import BaseRequestWebsocket
from werkzeug.routing import BaseConverter, MapAdapter


class IdConverter(BaseConverter):
    """Whatever stands for an id in a path, but not the last word of a route beside it.

    Otherwise a wrong method there would be told that no timer has this id.
    """

    regex = r"(?!(?:batch|import)\Z)[^/]+"
    part_isolating = True


class RouteMap(QuartMap):
    """Finds a route by its path alone: a strange Host or query string is no reason to fail."""

    def bind_to_request(
        self,
        request: BaseRequestWebsocket,
        subdomain: str | None,  # noqa: ARG002 - Quart's signature
        server_name: str | None,  # noqa: ARG002
    ) -> MapAdapter:
        return self.bind(
            "", url_scheme=request.scheme, default_method=request.method, path_info=request.path
        )


def origin_path(target: str) -> str:
    """Reduce a request target to its path: proxies may send it in absolute form.

    One that cannot be read becomes a path that no route has.
    """
    if target.startswith("/"):
        return target
    try:
        return urlsplit(target).path or "/"
    except ValueError:
        return "*"
