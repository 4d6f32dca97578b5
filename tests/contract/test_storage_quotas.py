"""Live timers of a project that limits them: never more, and room again once some have ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from random import getrandbits
from typing import Final

import psycopg
import pytest
import trio

from tests.contract.timers import (
    ALICE,
    FIRST,
    LATER,
    NOW,
    SOON,
    claim,
    completed,
    keyed,
    new_timer,
    retrying,
    seconds,
)
from tests.schedules import new_occurrence, new_schedule
from timer_trio.domain.bulk import Bulk, BulkAction, BulkPage
from timer_trio.domain.errors import QuotaUsedUpError
from timer_trio.domain.project import ProjectId
from timer_trio.domain.query import TimerFilter
from timer_trio.domain.timer import NewTimer, TimerId
from timer_trio.storage import Storage
from timer_trio.storage.postgres import PostgresStorage
