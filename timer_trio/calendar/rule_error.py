"""What is wrong with a rule."""

from __future__ import annotations


class RuleError(ValueError):
    """A rule that has no instants, or that nobody can read.

    As text it is what follows the name of the field in a sentence: `must have five fields ...`.
    """

    def __init__(self, field: str, words: str) -> None:
        super().__init__(words)
        self.field = field
        """cron, every, rrule, timezone, start_at or end_at."""
