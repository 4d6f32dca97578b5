"""300 cron expressions: some that people write, the rest drawn from what each field can hold."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Final

from tests.cron_judge import Judge

WRITTEN: Final = """
* * * * *
*/5 * * * *
*/7 * * * *
0 * * * *
30 * * * *
59 * * * *
0 */2 * * *
30 */3 * * *
15 */24 * * *
0 0 * * *
0 1 * * *
30 1 * * *
0 2 * * *
15 2 * * *
30 2 * * *
45 2 * * *
59 2 * * *
0 3 * * *
30 3 * * *
0,30 2 * * *
*/10 2 * * *
*/10 1-3 * * *
0 2,3 * * *
30 2,3 * * *
0 0-23 * * *
30 0-23/1 * * *
0 1,*/2 * * *
0 23 * * *
59 23 * * *
15 0 * * *
0 9 * * 1-5
0 9 * * MON-FRI
30 8 * * mon,wed,fri
0 9 * * 0
0 9 * * 7
0 9 * * 5-7
0 9 * * SAT,SUN
0 0 1 * *
0 0 15 * *
0 0 31 * *
0 0 L * *
0 9 LW * *
0 9 1,L * *
0 9 15,LW * *
30 2 L 3,10 *
0 0 29 2 *
0 0 1 1 *
59 23 31 12 *
0 0 1 */3 *
0 0 1 JAN,APR,JUL,OCT *
0 0 1-7 * 1
0 0 1-7 * MON
0 0 */2 * 1
0 0 */31 * *
0 0 13 * 5
0 0 13 * */5
0 0 * * 5L
0 0 * * 0L
0 0 * * 7L
0 0 * * FRI#1
0 0 * * 1#5
0 0 * * 1#1,3#3
0 9 1 * 5#2
0 9 * * 5L,1
0 9 30 * 1#5
0 2 * 3 7L
30 2 * MAR,OCT SUN
30 1 * 10,11 SUN#1
5/15 * * * *
10-50/20 * * * *
0 4/6 * * *
0 0 5/10 * *
0 0 1 6/2 *
0 0 * * 2/2
* 2 * * *
*/2 3 * * 0
* * 1 1 *
0 0 * 2 *
0 12 * * *
0 0 30,31 12 *
0 0 0 * * *
30 0 0 * * *
0 30 2 * * *
59 59 1 * * *
30 30 2 * * *
*/30 0 2 * * *
*/20 59 1-2 * * *
0,30 */15 * * * *
15 */30 */2 * * *
*/15 * * * * *
* * 2 * * 0
7 7 7 7 7 *
59 59 23 L * *
1-59/29 30 2 * * *
0 0 12 * * 5#3
10 0 * 29 2 *
""".strip().splitlines()

SECONDS: Final = ("0", "15", "59", "*/20", "7-50/13", "1,30")
MINUTES: Final = ("0", "1", "30", "59", "*/10", "*/17", "0,15,45", "20-40", "5/25", "3-50/11", "*")
HOURS: Final = ("0", "1", "2", "3", "23", "1-3", "2,14", "*/2", "*/5", "9-17", "0-23", "1/7", "*")
MONTH_DAYS: Final = ("*", "*", "*", "1", "15", "29", "31", "L", "LW", "1-7", "*/3", "10/5", "2,L")
YEAR_MONTHS: Final = ("*", "*", "*", "*", "3", "MAR-APR", "9-11", "*/2", "jan,OCT", "2", "4/6")
WEEKDAYS: Final = ("*", "*", "0", "SUN", "1-5", "FRI", "6,7", "*/2", "0L", "3L", "SUN#1", "7#2")
FIELDS: Final = (MINUTES, HOURS, MONTH_DAYS, YEAR_MONTHS, WEEKDAYS)


def expressions() -> list[str]:
    draw = random.Random(13)
    found = dict.fromkeys(WRITTEN)
    while len(found) < 300:
        fields = (SECONDS, *FIELDS) if draw.random() < 0.2 else FIELDS
        text = " ".join(draw.choice(field) for field in fields)
        if falls_on_a_day(text):
            found[text] = None
    return list(found)


def falls_on_a_day(text: str) -> bool:
    judge = Judge(text)
    return any(judge.matches_day(date(2026, 1, 1) + timedelta(days=day)) for day in range(1_461))
