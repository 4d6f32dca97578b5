from __future__ import annotations

from typing import Unpack

from tests.contract.timers import spec
from timer_trio.callback_url import read_url
from timer_trio.domain.create_cost import create_cost_us
from timer_trio.domain.timer import JsonText, ResultTarget, SpecChange
from timer_trio.intake.create_queue import LIGHT_US, MAX_CREATES, MAX_CREATES_US


def cost_us(**changes: Unpack[SpecChange]) -> int:
    return create_cost_us(spec(**changes), at_most=MAX_CREATES_US)


def test_a_usual_timer_is_light_and_a_statement_of_them_is_full_of_rows() -> None:
    assert cost_us(metadata={"order": 7, "tags": ["a", "b"], "paid": True}) <= LIGHT_US
    assert cost_us(callback_payload=None, metadata={}) <= LIGHT_US
    assert cost_us() * MAX_CREATES <= MAX_CREATES_US


def test_each_value_of_the_metadata_counts_at_any_depth() -> None:
    assert cost_us(metadata={f"k{n}": n for n in range(1000)}) > 4_000
    assert cost_us(metadata={"k": [{"n": n} for n in range(1000)]}) > 4_000


def test_what_is_heavy_is_told_whatever_makes_it_so() -> None:
    long = "x" * 100_000
    assert cost_us(callback_payload=JsonText(f'"{long}"')) > LIGHT_US
    assert cost_us(metadata={"k": long}) > LIGHT_US
    assert cost_us(metadata={long: 1}) > LIGHT_US
    assert cost_us(callback_headers={"A": long}) > LIGHT_US
    told = ResultTarget(url=read_url("https://example.com/"), headers={"A": long})
    assert cost_us(on_completed=told) > LIGHT_US
    assert cost_us(on_failed=told) > LIGHT_US


def test_nothing_is_estimated_beyond_what_a_statement_may_take() -> None:
    many = list(range(MAX_CREATES_US))
    assert cost_us(metadata={"k": many}) == MAX_CREATES_US
    assert cost_us(metadata={str(n): n for n in many}) == MAX_CREATES_US
