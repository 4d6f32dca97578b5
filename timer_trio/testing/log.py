"""The service's log, kept quiet in somebody's tests."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final, NamedTuple

import structlog


class _Place(NamedTuple):
    module: ModuleType
    name: str
    logger: Any


_LOUD: Final[list[_Place]] = []
"""Loggers that stand aside while services are quiet."""
_USERS: Final[list[object]] = []


@contextmanager
def quiet_log() -> Iterator[None]:
    """Have the modules of the service log warnings and errors alone; loggers of others are left.

    How they are written is for whoever has configured structlog.
    """
    user = object()
    if not _USERS:
        _LOUD.extend(_places())
        for place in _LOUD:
            setattr(place.module, place.name, _quiet())
    _USERS.append(user)
    try:
        yield
    finally:
        _USERS.remove(user)
        if not _USERS:
            for place in _LOUD:
                setattr(*place)
            _LOUD.clear()


def _quiet() -> Any:
    return structlog.wrap_logger(
        None, wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING)
    )


def _places() -> Iterator[_Place]:
    kind = type(structlog.get_logger())
    for name, module in tuple(sys.modules.items()):
        if name.startswith("timer_trio."):
            for attribute, value in tuple(vars(module).items()):
                if isinstance(value, kind):
                    yield _Place(module, attribute, value)
