"""The REST API: JSON to domain and back, and the sole home of HTTP status codes.

- ``app``            all routes, and what stands around them
- ``routes``         what is answered, one module a resource
- ``route``          what a route is
- ``inside``         the API asked from within the process, for pages beside it
- ``asgi``           one exchange, whose answer reaches its client
- ``url_map``        from a target to its route
- ``auth``           the API keys, and what each is for
- ``key_limits``     how many requests of a key are served
- ``access_log``     a line for each request
- ``principal``      on whose behalf a request is served
- ``openapi``        the document and its page
- ``page``           a page around any HTML
- ``idempotency``    requests that may be repeated
- ``import_run``     an import: its lines are read while those before are written
- ``bulk_run``       what is done to many timers, page by page
- ``run_body``       an answer that tells how far its work is
- ``requests``       from the members of a body to the domain
- ``query``          from a query string to the page of timers that it asks for
- ``responses``      from the domain to JSON
- ``fields``         what each field of a timer may be
- ``body``           from bytes to members
- ``cursor``         a place in a list
- ``parameters``     a query string, read strictly
- ``context``        what the API needs of the service around it
- ``errors``         from what went wrong to what the consumer is told
"""

from timer_trio.api.app import MorePages, create_app
from timer_trio.api.context import ApiContext, CellHealth, ClockControl, Health

__all__ = ["ApiContext", "CellHealth", "ClockControl", "Health", "MorePages", "create_app"]
