"""Which instants follow from a schedule's rule; the one package that knows the calendar libraries.

- ``occurrences``       from a rule to its instants, through the wall clock of its zone
- ``wall_clock``        from instants to readings of a clock, and back
- ``zones``             the time zones of the tzdata package
- ``cron``              cron expressions, by cronsim
- ``recurrence_text``   RRULEs, read; ``recurrence`` is what they say
- ``recurrence_walls``  and on which readings of a clock they fall, by ``recurrence_days``
- ``rule_error``        what is wrong with a rule
"""

from timer_trio.calendar.occurrences import check_rule, instants, next_after
from timer_trio.calendar.rule_error import RuleError
from timer_trio.calendar.zones import zone_data_version

__all__ = ["RuleError", "check_rule", "instants", "next_after", "zone_data_version"]
