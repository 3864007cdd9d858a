"""Every limit of the contract is enforced, by the name of the field."""

from __future__ import annotations

from typing import Any

import pytest
from contentfactory.tracker.v1 import tracker_pb2 as pb
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from progress_tracker.reading import check_reports, read_filter, read_report, read_watch
from progress_tracker.watching import EventWatch, Pace
from service_common.errors import ServiceError

from tests.unit.tracker.samples import NOW

DONE = pb.ITEM_STATE_SUCCEEDED


def message(**fields: Any) -> pb.ProgressReport:
    """Return a good report, but for these fields."""
    good: dict[str, Any] = {"job_id": "j", "producer_id": "p", "producer_sequence": 1}
    return pb.ProgressReport(**good | fields)


def with_item(**fields: Any) -> pb.ProgressReport:
    """Return a report of one item, good but for these fields."""
    good: dict[str, Any] = {"item_id": "i", "state": DONE}
    return message(items=[pb.ItemUpdate(**good | fields)])


BAD_REPORTS = [
    ("job_id", message(job_id="")),
    ("job_id", message(job_id="é" * 65)),
    ("job_id", message(job_id="a\0b")),
    ("producer_id", message(producer_id="x" * 129)),
    ("producer_sequence", message(producer_sequence=0)),
    ("producer_sequence", message(producer_sequence=-1)),
    ("report_time", message(report_time=Timestamp(seconds=2**62))),
    ("items", message(items=[pb.ItemUpdate(item_id="i", state=DONE)] * 1001)),
    ("totals.succeeded", message(totals=pb.ProducerTotals(succeeded=-1))),
    ("totals.cost_micros", message(totals=pb.ProducerTotals(cost_micros=2**62))),
    ("job.state", message(job=pb.JobUpdate(state=99))),  # type: ignore[arg-type]  # unknown on purpose
    ("job.display_name", message(job=pb.JobUpdate(display_name="x" * 257))),
    ("job.message", message(job=pb.JobUpdate(message="x" * 1025))),
    ("job.labels", message(job=pb.JobUpdate(labels={str(each): "" for each in range(33)}))),
    ("job.items_by_content_type[faq]", message(job=pb.JobUpdate(items_by_content_type={"faq": -1}))),
    ("job.create_time", message(job=pb.JobUpdate(create_time=Timestamp(nanos=-5)))),
    ("job.item_count", message(job=pb.JobUpdate(item_count=-1))),
    ("queue.position", message(queue=pb.QueueStanding())),
    ("queue.position", message(queue=pb.QueueStanding(position=-1))),
    ("queue.priority", message(queue=pb.QueueStanding(position=1, priority=9))),  # type: ignore[arg-type]  # unknown on purpose
    ("queue.waiting_since", message(queue=pb.QueueStanding(position=1, waiting_since=Timestamp(nanos=-5)))),
    ("items[0].item_id", with_item(item_id="")),
    ("items[0].state", with_item(state=0)),
    ("items[0].state", with_item(state=42)),
    ("items[0].quality", with_item(quality=float("nan"))),
    ("items[0].quality", with_item(quality=1.5)),
    ("items[0].attempts", with_item(attempts=-1)),
    ("items[0].error_message", with_item(error_message="é" * 513)),
    ("items[0].stages", with_item(stages=[pb.StageDuration(stage="x")] * 17)),
    ("items[0].stages[0].stage", with_item(stages=[pb.StageDuration()])),
    (
        "items[0].stages[0].duration",
        with_item(stages=[pb.StageDuration(stage="x", duration=Duration(seconds=-1))]),
    ),
]


@pytest.mark.parametrize(("field", "bad"), BAD_REPORTS)
def test_a_bad_report_names_its_field(field: str, bad: pb.ProgressReport) -> None:
    """INVALID_ARGUMENT with the path of the field within the request."""
    with pytest.raises(ServiceError) as caught:
        read_report("reports[3]", bad, arrival=NOW)
    assert f"reports[3].{field}" in [each.field for each in caught.value.violations]


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_has_one_to_a_thousand_reports(count: int) -> None:
    """An empty or oversized batch is refused as a whole."""
    with pytest.raises(ServiceError) as caught:
        check_reports(pb.BatchReportProgressRequest(reports=[message()] * count))
    assert [each.field for each in caught.value.violations] == ["reports"]


BAD_WATCHES = [
    ("target", pb.WatchProgressRequest()),
    ("job_id", pb.WatchProgressRequest(job_id="")),
    ("filter", pb.WatchProgressRequest(filter=pb.ProgressFilter(), mode=pb.WATCH_MODE_EVENTS)),
    ("mode", pb.WatchProgressRequest(job_id="j", mode=9)),  # type: ignore[arg-type]  # unknown on purpose
    ("min_interval", pb.WatchProgressRequest(job_id="j", min_interval=Duration(nanos=1))),
    ("min_interval", pb.WatchProgressRequest(job_id="j", min_interval=Duration(seconds=61))),
    ("idle_interval", pb.WatchProgressRequest(job_id="j", idle_interval=Duration(seconds=-1))),
]


@pytest.mark.parametrize(("field", "bad"), BAD_WATCHES)
def test_a_bad_watch_names_its_field(field: str, bad: pb.WatchProgressRequest) -> None:
    """INVALID_ARGUMENT with the field."""
    with pytest.raises(ServiceError) as caught:
        read_watch(bad, "t")
    assert [field] == [each.field for each in caught.value.violations]


def test_a_watch_has_the_contracts_defaults() -> None:
    """Snapshots every 200 ms, an idle frame after 15 s; a label value alone is no filter."""
    assert Pace(least_s=0.2, idle_s=15) == read_watch(pb.WatchProgressRequest(job_id="j"), "t")
    events = read_watch(pb.WatchProgressRequest(job_id="j", mode=pb.WATCH_MODE_EVENTS), "t")
    assert EventWatch(tenant="t", job_id="j", resume_token="", idle_s=15, wait_for_job=False) == events
    with pytest.raises(ServiceError):
        read_filter(pb.ProgressFilter(label_value="x"))
