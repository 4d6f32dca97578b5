from __future__ import annotations

from tests.contract.timers import spec
from timer_trio.domain.create_cost import create_cost_us
from timer_trio.domain.timer import JsonText
from timer_trio.intake import LIGHT_US, MAX_CREATES, MAX_CREATES_US


def test_a_usual_timer_is_light_and_a_statement_of_them_is_full_of_rows() -> None:
    usual = create_cost_us(spec(metadata={"order": 7}))
    assert usual <= LIGHT_US
    assert create_cost_us(spec()) * MAX_CREATES <= MAX_CREATES_US


def test_each_value_of_the_metadata_counts_at_any_depth() -> None:
    flat = create_cost_us(spec(metadata={f"k{n}": n for n in range(1000)}))
    deep = create_cost_us(spec(metadata={"k": [{"n": n} for n in range(1000)]}))
    assert flat > 4_000
    assert deep > 4_000


def test_what_is_heavy_is_told_whatever_makes_it_so() -> None:
    long = "x" * 100_000
    assert create_cost_us(spec(callback_payload=JsonText(f'"{long}"'))) > LIGHT_US
    assert create_cost_us(spec(metadata={"k": long})) > LIGHT_US
    assert create_cost_us(spec(callback_headers={"A": long})) > LIGHT_US
    assert create_cost_us(spec(callback_payload=None, metadata={})) <= LIGHT_US
