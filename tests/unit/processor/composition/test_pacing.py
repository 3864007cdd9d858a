"""The pace is what was set, and where nothing was set what the store asks for."""

from __future__ import annotations

from parallel_processor.composition.pacing import pacing
from parallel_processor.config import Settings
from service_common.config import load

SET = {
    "PROCESSOR_COMMIT_INTERVAL_S": "0.1",
    "PROCESSOR_ANNOUNCE_AHEAD": "3",
    "PROCESSOR_SETTLE_INTERVAL_S": "7",
    "PROCESSOR_MAX_CONCURRENCY": "40",
}


def test_a_billed_store_is_written_less_often() -> None:
    """Unset, each interval is longer, calls are announced ahead, and streams rest between looks."""
    unset = load(Settings, {"PROCESSOR_MAX_CONCURRENCY": "40"})
    local, hosted = pacing(unset, hosted=False), pacing(unset, hosted=True)
    assert local.commits.interval_s < hosted.commits.interval_s
    assert local.settle_s < hosted.settle_s
    assert (local.commits.ahead.left, hosted.commits.ahead.left) == (0, 40)
    assert (local.looks.rest_s, hosted.looks.rest_s > 0) == (0, True)


def test_what_is_set_holds_for_every_store() -> None:
    """An explicit value is never replaced."""
    for hosted in (False, True):
        pace = pacing(load(Settings, SET), hosted=hosted)
        assert (pace.commits.interval_s, pace.commits.ahead.left, pace.settle_s) == (0.1, 3, 7)
