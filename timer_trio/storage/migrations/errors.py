from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from timer_trio.config import StartRefusedError


class MigrationError(StartRefusedError):
    """The database cannot be brought to this code's schema; the text says what to do."""


class GrantsMissingError(MigrationError):
    """The role lacks rights on the tables; the text has the statements that grant them."""


class BuildPutOffError(MigrationError):
    """A step that goes on beside the work was not taken, or is in the way: it may be later."""


class BuildBusyError(BuildPutOffError):
    """Another process takes a concurrent step just now, or changes tables."""

    def __init__(self) -> None:
        super().__init__(
            "another process builds an index or changes tables just now: run this again when it has"
            " ended"
        )


@contextmanager
def explained(step: object, *, after_failure: str = "was rolled back") -> Iterator[None]:
    """Raise MigrationError for what a step's SQL is refused for; a state of the database passes."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError):
        raise  # it may go by
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidSchemaName) as error:
        raise MigrationError(
            f"step {step} was not taken: {error.diag.message_primary}. Let a role that may"
            " make tables run `timer-trio db migrate`, or grant this one what it lacks: README,"
            " Database operations, lists it"
        ) from error
    except psycopg.Error as error:
        reason = error.diag.message_primary or "no reason given"
        raise MigrationError(f"step {step} failed and {after_failure}: {reason}") from error
