"""Items and results over gRPC: paged in the order of work, streamed once each, resumed by token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.integration.processor.conftest import (
    Client,
    Factory,
    error_of,
    kind_and_reason,
    piece_of,
    raw_item,
)

ITEMS = 230


@pytest.fixture(scope="module")
def job_id(factory: Factory) -> str:
    """A finished job of a few shards; every tenth item was refused, and three waited for such a one."""
    client = factory.client()
    run = uuid4().hex
    factory.mock.script({"fault": "invalid", "contains": f"refuse {run}"})
    words = ("refuse", "write")
    items = [raw_item(f"i{n:03}", f"{words[n % 10 > 0]} {run} {n}") for n in range(ITEMS)]
    needing = [piece_of("faq", f"topic {n}", "i000") for n in range(3)]
    for number, each in enumerate(needing):
        each.item_id = f"needing{number}"
    job, results = client.run([*items, *needing])
    assert job.state == pb.JOB_STATE_PARTIALLY_SUCCEEDED
    assert (job.counts.succeeded, job.counts.failed, job.counts.skipped) == (207, 23, 3)
    assert len(results) == ITEMS + 3
    return job.job_id


def pages(client: Client, rpc: str, size: int, **fields: object) -> Iterator[list[Any]]:
    """Yield the pages of a listing."""
    token = ""
    while True:
        request = getattr(pb, f"{rpc}Request")(page_size=size, page_token=token, **fields)
        page = getattr(client, rpc)(request)
        yield list(page.items if rpc == "ListItems" else page.results)
        token = page.next_page_token
        if not token:
            return


@pytest.mark.parametrize("size", [1, 7, 96, 1000])
def test_pages_join_to_the_whole_in_one_order(client: Client, job_id: str, size: int) -> None:
    """Whatever the page size, items and results come once each, in the same order."""
    items = [each.item_id for page in pages(client, "ListItems", size, job_id=job_id) for each in page]
    results = [each.item_id for page in pages(client, "ListResults", size, job_id=job_id) for each in page]
    assert items == results
    assert len(set(items)) == len(items) == ITEMS + 3
    assert [each for each in items if each.startswith("i")] == [f"i{n:03}" for n in range(ITEMS)]


def test_items_are_filtered_by_state(client: Client, job_id: str) -> None:
    """A filter keeps the items of its state; what failed says why, what was skipped because of whom."""
    failed = [
        each
        for page in pages(client, "ListItems", 10, job_id=job_id, state=pb.ITEM_STATE_FAILED)
        for each in page
    ]
    assert [each.item_id for each in failed] == [f"i{n:03}" for n in range(0, ITEMS, 10)]
    assert {each.error.reason for each in failed} == {"MODEL_REFUSED"}
    skipped = client.ListItems(pb.ListItemsRequest(job_id=job_id, state=pb.ITEM_STATE_SKIPPED)).items
    assert [each.item_id for each in skipped] == ["needing0", "needing1", "needing2"]
    assert {(each.error.reason, tuple(each.depends_on)) for each in skipped} == {
        ("DEPENDENCY_FAILED", ("i000",))
    }
    assert "i000" in skipped[0].error.message


def test_results_hold_either_content_or_the_reason_why_not(client: Client, job_id: str) -> None:
    """A result has a piece exactly when it succeeded, and an error exactly when not."""
    for page in pages(client, "ListResults", 100, job_id=job_id):
        for each in page:
            succeeded = each.state == pb.ITEM_STATE_SUCCEEDED
            assert each.HasField("piece") == succeeded != each.HasField("error")
            assert each.HasField("finish_time")
            assert each.attempts == (0 if each.state == pb.ITEM_STATE_SKIPPED else 1)


def test_a_draft_lists_its_items_as_waiting(client: Client) -> None:
    """Before the start items are listed in the order they were added, and there are no results."""
    draft = client.new_job([raw_item(f"i{n:03}") for n in range(250)])
    listed = [each for page in pages(client, "ListItems", 30, job_id=draft) for each in page]
    assert [each.item_id for each in listed] == [f"i{n:03}" for n in range(250)]
    assert {each.state for each in listed} == {pb.ITEM_STATE_PENDING}
    assert not client.ListResults(pb.ListResultsRequest(job_id=draft)).results
    running = pb.ListItemsRequest(job_id=draft, state=pb.ITEM_STATE_RUNNING)
    assert not client.ListItems(running).items


def test_a_stream_continues_after_every_token(client: Client, job_id: str) -> None:
    """From the token of any frame on, a new stream sends exactly what the frames after it held."""
    request = pb.StreamResultsRequest(job_id=job_id)
    frames = list(client.StreamResults(request))
    assert len(frames) > 3
    sent = [{each.item_id for each in frame.results} for frame in frames]
    assert sum(map(len, sent)) == len(set().union(*sent)) == ITEMS + 3
    for number, frame in enumerate(frames):
        again = pb.StreamResultsRequest(job_id=job_id, resume_token=frame.resume_token)
        rest = [each.item_id for later in client.StreamResults(again) for each in later.results]
        assert len(set(rest)) == len(rest)
        assert set(rest) == set().union(*sent[number + 1 :])


def test_a_client_that_is_cut_off_all_the_time_gets_everything_once(client: Client) -> None:
    """A client that reads one frame a time and comes back with its token misses nothing."""
    job_id = client.new_job([raw_item(f"i{n}", f"cut {uuid4()} {n}") for n in range(300)])
    client.start(job_id)
    token, connections = "", 0
    seen: list[str] = []
    while len(seen) < 300:
        stream = client.StreamResults(pb.StreamResultsRequest(job_id=job_id, resume_token=token))
        frame = next(iter(stream))
        stream.cancel()
        seen += [each.item_id for each in frame.results]
        token = frame.resume_token
        connections += 1
    assert len(set(seen)) == len(seen) == 300
    assert connections > 3
    assert not client.finish_from(job_id, token)


def test_a_stream_waits_for_a_job_that_is_started_later(client: Client) -> None:
    """A stream that was opened on a draft sends the results once there are any, and ends with the job."""
    job_id = client.new_job([raw_item("a", f"later {uuid4()}")])
    stream = client.StreamResults(pb.StreamResultsRequest(job_id=job_id))
    client.start(job_id)
    assert [each.item_id for frame in stream for each in frame.results] == ["a"]


@pytest.mark.parametrize("token", ["nonsense", "WyJhIiwwLFtdXQ==", "WyJhIiwxZTMwOSxbXV0=", "W10="])
def test_bad_resume_tokens_are_refused(client: Client, job_id: str, token: str) -> None:
    """A token that this job did not give out is INVALID_ARGUMENT."""
    error = error_of(client.StreamResults, pb.StreamResultsRequest(job_id=job_id, resume_token=token))
    assert kind_and_reason(error) == ("INVALID_ARGUMENT", "INVALID_RESUME_TOKEN")
