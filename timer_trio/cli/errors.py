"""Why a command did not do what it was asked for, in words for the person at the terminal."""

from __future__ import annotations

from typing import ClassVar

from timer_trio.domain.errors import TimerTrioError


class CommandError(TimerTrioError):
    """A command ends with its exit code, and these words on standard error."""

    exit_code: ClassVar = 2


class RefusedError(CommandError):
    """The service has answered, and says no."""

    exit_code: ClassVar = 1


class NotAnsweredError(CommandError):
    """No timer service has answered."""


class ImportFailedError(CommandError):
    """The service did not take the file, or not to its end."""


class BulkFailedError(CommandError):
    """The service did not change many timers, or not all of them."""


class ListFailedError(CommandError):
    """The service did not tell of its replicas."""


class DatabaseFailedError(CommandError):
    """The database does not answer, or refuses."""


class PruneRefusedError(CommandError):
    """Nothing may be deleted: nobody has agreed, or the schema is older than the program."""


class ReencryptFailedError(CommandError):
    """Not all rows could be rewritten."""


class ListenFailedError(CommandError):
    """The address cannot be listened on."""
