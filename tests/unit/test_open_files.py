from __future__ import annotations

import pytest

from timer_trio.run.open_files import REST, Shares, Wanted, divide

USUAL = Wanted(clients=4096, callbacks=1000, idle=1000, database=24)


def test_all_have_what_they_want_where_there_is_room() -> None:
    assert divide(16_384, USUAL) == Shares(clients=4096, callbacks=1000, idle=1000)
    assert divide(USUAL.open_files, USUAL) == Shares(clients=4096, callbacks=1000, idle=1000)


@pytest.mark.parametrize("open_files", [256, 512, 1024, 2048, 4096, 8192, 20_000])
@pytest.mark.parametrize("callbacks", [1, 100, 1000, 10_000])
@pytest.mark.parametrize("clients", [1, 100, 4096, 65_536])
def test_sum_fits_and_clients_take_a_quarter_at_most(
    open_files: int, callbacks: int, clients: int
) -> None:
    wanted = Wanted(clients=clients, callbacks=callbacks, idle=1000, database=24)
    shares = divide(open_files, wanted)
    assert shares.clients + shares.callbacks + shares.idle + REST + wanted.database <= open_files
    assert 1 <= shares.clients <= min(clients, open_files // 4)
    assert 1 <= shares.callbacks <= callbacks
    assert shares.idle >= 1


def test_clients_and_idle_connections_shrink_before_callbacks_do() -> None:
    shares = divide(1024, Wanted(clients=4096, callbacks=700, idle=1000, database=24))
    assert shares.callbacks == 700
    assert (shares.clients, shares.idle) == (100, 100)


def test_callbacks_that_do_not_fit_leave_the_others_a_sixteenth() -> None:
    assert divide(1024, USUAL) == Shares(clients=64, callbacks=772, idle=64)


def test_what_one_does_not_need_the_other_has() -> None:
    shares = divide(1024, Wanted(clients=10, callbacks=600, idle=1000, database=24))
    assert (shares.clients, shares.idle, shares.callbacks) == (10, 256, 600)


def test_hardly_any_files_are_still_divided() -> None:
    shares = divide(64, USUAL)
    assert min(shares.clients, shares.callbacks, shares.idle) >= 1
