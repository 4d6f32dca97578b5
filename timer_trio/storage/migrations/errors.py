from __future__ import annotations

from timer_trio.config import StartRefusedError


class MigrationError(StartRefusedError):
    """The database cannot be brought to this code's schema; the text says what to do."""


class GrantsMissingError(MigrationError):
    """The role lacks rights on the tables; the text has the statements that grant them."""
