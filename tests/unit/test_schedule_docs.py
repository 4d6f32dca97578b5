"""The table of docs/schedules.md says what the code does. TABLE=1 writes it anew."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from timer_trio.calendar import instants
from timer_trio.calendar.zones import zone
from timer_trio.domain.schedule_rule import Bounds, CronRule, EveryRule, RecurrenceRule, Rule

DOCS: Final = Path(__file__).parents[2] / "docs" / "schedules.md"
BERLIN: Final = zone("Europe/Berlin")
FORWARD: Final = datetime(2026, 3, 29, tzinfo=BERLIN)
BACK: Final = datetime(2026, 10, 25, tzinfo=BERLIN)
CRONS: Final = (
    *("30 2 * * *", "*/30 2 * * *", "0,30 1-3 * * *", "0 2,3 * * *"),
    *("30 * * * *", "0 */2 * * *", "30 0-23 * * *"),
)
RRULES: Final = ("FREQ=DAILY;BYHOUR=2;BYMINUTE=30", "FREQ=DAILY;BYHOUR=1,2,3;BYMINUTE=0")
RULES: Final[dict[str, Rule]] = {
    **{f"`cron` `{text}`": CronRule(text=text, timezone="Europe/Berlin") for text in CRONS},
    **{f"`rrule` `{text}`": RecurrenceRule(text=text, timezone="Europe/Berlin") for text in RRULES},
    "`every` 1 hour": EveryRule(seconds=3_600),
}


def cell(rule: Rule, day: datetime) -> str:
    begin, end = (day.replace(hour=hour).astimezone(UTC) for hour in (1, 4))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    within = Bounds(anchor=start, starts_at_anchor=True, end_at=end - timedelta(seconds=1))
    found = instants(rule, within, begin - timedelta(seconds=1))
    return ", ".join(shown(at) for at in found) or "nothing"


def shown(instant: datetime) -> str:
    local = instant.astimezone(BERLIN)
    return f"{local:%H:%M}+{int(f'{local:%z}') // 100}"


def table() -> str:
    rows = [
        f"| {name} | {cell(rule, FORWARD)} | {cell(rule, BACK)} |" for name, rule in RULES.items()
    ]
    head = (
        "| rule | 29 March, 02:00 becomes 03:00 | 25 October, 03:00 becomes 02:00 |\n|---|---|---|"
    )
    return "\n".join([head, *rows])


def test_the_table_in_the_docs_is_what_the_code_does() -> None:
    before, mark, text = DOCS.read_text(encoding="utf-8").partition("checks it -->\n")
    found, gap, after = text.partition("\n\n")
    if os.environ.get("TABLE"):
        DOCS.write_text(before + mark + table() + gap + after, encoding="utf-8")
    else:
        assert found == table()
