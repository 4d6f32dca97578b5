"""One table of operations for both clients.

An operation is written once, as a method that returns what is asked. Of a resource whose driver
blocks it is a method that returns the answer, of one whose driver is `async` one that is awaited.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from timer_trio.client.answers import Page
from timer_trio.client.call import Call, Run
from timer_trio.client.drivers import AsyncDriver, SyncDriver

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
D = TypeVar("D", bound=SyncDriver | AsyncDriver)


class Resource(Generic[D]):
    """Operations on things of one kind."""

    def __init__(self, driver: D) -> None:
        self.driver = driver


class operation(Generic[P, T]):  # noqa: N801 - a decorator
    """A method that asks the service; it raises TimerTrioError."""

    def __init__(self, build: Callable[Concatenate[Any, P], Call[T] | Run[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, resource: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, resource: Resource[SyncDriver], owner: Any) -> Callable[P, T]: ...
    @overload
    def __get__(
        self, resource: Resource[AsyncDriver], owner: Any
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, resource: Resource[Any] | None, owner: Any) -> Any:
        return self if resource is None else _bound(self._build, resource, resource.driver.ask)


class listing(Generic[P, T]):  # noqa: N801 - a decorator
    """A method that iterates over a list, page by page; the iteration raises TimerTrioError."""

    def __init__(self, build: Callable[Concatenate[Any, P], Call[Page[T]]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, resource: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, resource: Resource[SyncDriver], owner: Any) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(
        self, resource: Resource[AsyncDriver], owner: Any
    ) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, resource: Resource[Any] | None, owner: Any) -> Any:
        return self if resource is None else _bound(self._build, resource, resource.driver.pages)


def _bound(
    build: Callable[Concatenate[Any, P], T], resource: Resource[Any], do: Callable[[T], R]
) -> Callable[P, R]:
    asked: Callable[P, T] = MethodType(build, resource)

    @wraps(asked)
    def method(*args: P.args, **kwargs: P.kwargs) -> R:
        return do(asked(*args, **kwargs))

    return method
