"""Restarting what dies: soon at first, then less often; from the beginning once it has run for a while."""

from factory_cli.supervision.restarts import Restarts


def _after(deaths: int) -> Restarts:
    restarts = Restarts()
    for _ in range(deaths):
        restarts = restarts.after_death(ran_for_s=0.1)
    return restarts


def test_delays_grow_to_a_limit() -> None:
    """Delays double from half a second to 15 seconds, and stay there for ever."""
    assert [_after(n).delay_s for n in (0, 1, 2, 3, 4)] == [0, 0.5, 1, 2, 4]
    assert _after(10).delay_s == _after(5000).delay_s == 15


def test_a_process_that_ran_for_a_while_starts_anew() -> None:
    """After a good run, a death is the first one again."""
    assert _after(8).after_death(ran_for_s=60).delay_s == 0.5
