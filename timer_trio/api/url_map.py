"""From a request's target to its route: by the path alone, whatever else it carries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from quart.routing import QuartMap
from quart.wrappers.base import BaseRequestWebsocket
from quart_trio import QuartTrio
from werkzeug.routing import BaseConverter, MapAdapter

from timer_trio.api.route import Route

_REST: Final = re.compile(r"\{(key|name|flow_key)\}")
"""Parameters that hold what a consumer chose."""


class Place(NamedTuple):
    """Where a route is."""

    method: str
    path: str
    endpoint: str


def add_routes(app: QuartTrio, routes: Sequence[Route]) -> None:
    places = tuple(Place(route.method, route.path, route.endpoint) for route in routes)
    app.url_map = _url_map(places)
    app.view_functions.update({route.endpoint: route.handler for route in routes})


@lru_cache(maxsize=4)  # it takes longer than all else of an app, of which tests make many
def _url_map(places: Sequence[Place]) -> RouteMap:
    app = QuartTrio("places", static_folder=None)
    app.url_map = found = RouteMap()
    found.merge_slashes = False  # a redirect would be an answer outside the contract
    found.converters["default"] = _parameter_converter(place.path for place in places)
    found.converters["rest"] = _RestConverter
    for place in places:
        rule = _REST.sub(r"<rest:\1>", place.path).replace("{", "<").replace("}", ">")
        app.add_url_rule(rule, place.endpoint, methods=[place.method])
    return found


def _parameter_converter(paths: Iterable[str]) -> type[BaseConverter]:
    """Return what matches a parameter: a part of a path, but no name of a route beside one.

    Otherwise a wrong method there would be told that no timer has this id.
    """
    names = "|".join(sorted(map(re.escape, _names_beside_parameters(paths))))

    class Converter(BaseConverter):
        regex = rf"(?!(?:{names})\Z)[^/]+" if names else "[^/]+"
        part_isolating = True

    return Converter


class _RestConverter(BaseConverter):
    """Matches a key or a name, in which an encoded slash is a character as any other."""

    regex = r"(?s:.+)"
    part_isolating = False


def _names_beside_parameters(paths: Iterable[str]) -> Iterator[str]:
    places = {tuple(path.rpartition("/")[::2]) for path in paths}
    folders = {folder for folder, last in places if last.startswith("{")}
    return (last for folder, last in places if folder in folders and not last.startswith("{"))


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


def path_under(prefix: str, path: str) -> str:
    """Return a path with the prefix, which proxies may have taken away or left there."""
    if not prefix:
        return path
    if path == prefix:
        return f"{prefix}/"
    return path if path.startswith(f"{prefix}/") else prefix + path
