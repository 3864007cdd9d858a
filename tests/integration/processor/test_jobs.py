"""Jobs over gRPC: created, filled, started, listed, cancelled, with every documented error."""

from __future__ import annotations

from uuid import uuid4

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from tests.integration.processor.conftest import (
    Client,
    Factory,
    error_of,
    kind_and_reason,
    piece_of,
    raw,
    raw_item,
)

UNKNOWN = "0" * 32
BY_JOB: list[tuple[str, type[Message]]] = [
    ("BatchAddItems", pb.BatchAddItemsRequest),
    ("StartJob", pb.StartJobRequest),
    ("GetJob", pb.GetJobRequest),
    ("ListItems", pb.ListItemsRequest),
    ("CancelJob", pb.CancelJobRequest),
    ("ListResults", pb.ListResultsRequest),
    ("StreamResults", pb.StreamResultsRequest),
]


def for_job(request: type[Message], job_id: str) -> Message:
    """Return a request that is fine but for its job."""
    items = {"items": [raw_item("a")]} if request is pb.BatchAddItemsRequest else {}
    return request(job_id=job_id, **items)


def add(client: Client, job_id: str, *items: pb.JobItem) -> list[str]:
    """Add items; returns per item `added`, `already` or the reason of its error."""
    answers = []
    for each in client.BatchAddItems(pb.BatchAddItemsRequest(job_id=job_id, items=items)).results:
        if each.HasField("error"):
            info = error_details_pb2.ErrorInfo()
            assert any(detail.Unpack(info) for detail in each.error.details)
            answers.append(info.reason)
        else:
            answers.append("already" if each.value.already_added else "added")
    return answers


def test_a_topic_becomes_eight_pieces(client: Client, factory: Factory) -> None:
    """An outline and its seven derivatives succeed, the seven got the outline, and the money adds up."""
    seven = (
        "podcast_script",
        "study_guide",
        "one_pager",
        "detailed_reading",
        "faq",
        "flashcards",
        "reading_questions",
    )
    topic = f"volcanoes {uuid4().hex}"
    before = factory.mock.counts()
    outline = piece_of("outline", topic)
    outline.item_id = "outline"
    derived = [piece_of(each, topic, "outline") for each in seven]
    for each, name in zip(derived, seven, strict=True):
        each.item_id = name
    job, results = client.run([*derived, outline], display_name="volcanoes", labels={"course": "1"})
    after = factory.mock.counts()
    assert job.state == pb.JOB_STATE_SUCCEEDED
    assert (job.counts.total, job.counts.succeeded, job.counts.pending, job.counts.running) == (8, 8, 0, 0)
    assert {each.piece.content_type for each in results.values()} == {"outline", *seven}
    assert job.usage.model_calls == after["completions"] - before["completions"] == 8
    assert job.usage.prompt_tokens == after["prompt_tokens"] - before["prompt_tokens"]
    assert job.usage.output_tokens == after["output_tokens"] - before["output_tokens"]
    assert job.usage.cost_micros == job.usage.prompt_tokens + 2 * job.usage.output_tokens
    assert job.usage.cost_micros == sum(each.piece.cost_micros for each in results.values())
    assert (job.usage.uncertain_calls, job.usage.uncertain_spend_micros) == (0, 0)
    asked = [str(each["body"]["messages"]) for each in factory.mock.requests()]
    outline_start = results["outline"].piece.content[:24]
    assert sum(outline_start in each and topic in each for each in asked) == 7


@pytest.mark.parametrize(("rpc", "request_type"), BY_JOB, ids=[name for name, _ in BY_JOB])
def test_unknown_jobs_and_those_of_others_do_not_exist(
    client: Client, factory: Factory, rpc: str, request_type: type[Message]
) -> None:
    """An id that nobody gave out and another tenant's job are NOT_FOUND; an empty id is a bad field."""
    mine = client.new_job([raw_item("a")])
    other = factory.client("umbrella")
    for caller, job_id in ((client, UNKNOWN), (other, mine)):
        error = error_of(getattr(caller, rpc), for_job(request_type, job_id))
        assert kind_and_reason(error) == ("NOT_FOUND", "JOB_NOT_FOUND")
    for bad in ("", "x" * 129, "nul\0", "../.."):
        error = error_of(getattr(client, rpc), for_job(request_type, bad))
        assert error.kind.value == "INVALID_ARGUMENT"


def test_creation_is_repeatable_by_request_id(client: Client, factory: Factory) -> None:
    """The same request_id and body make one job, another body is refused, and tenants do not meet."""
    request = pb.CreateJobRequest(display_name="once", request_id=uuid4().hex)
    first = client.CreateJob(request).job
    assert client.CreateJob(request).job == first
    assert factory.client("umbrella").CreateJob(request).job.job_id != first.job_id
    request.display_name = "twice"
    assert kind_and_reason(error_of(client.CreateJob, request)) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")


def test_without_request_id_every_creation_is_its_own(client: Client) -> None:
    """Two equal requests without a request_id make two jobs."""
    assert client.new_job() != client.new_job()


def test_a_new_job_is_what_was_asked_for(client: Client) -> None:
    """Every field of the request is in the job, and defaults are filled in."""
    request = pb.CreateJobRequest(
        display_name="title",
        priority=pb.JOB_PRIORITY_HIGH,
        labels={"a": "b"},
        model="other",
        cache_policy=pb.CACHE_POLICY_BYPASS,
    )
    job = client.CreateJob(request).job
    assert (job.display_name, job.priority, dict(job.labels)) == ("title", pb.JOB_PRIORITY_HIGH, {"a": "b"})
    assert (job.model, job.cache_policy, job.user) == ("other", pb.CACHE_POLICY_BYPASS, "ann")
    assert (job.state, job.HasField("create_time"), job.HasField("start_time")) == (
        pb.JOB_STATE_DRAFT,
        True,
        False,
    )
    plain = client.CreateJob(pb.CreateJobRequest()).job
    assert (plain.priority, plain.cache_policy) == (pb.JOB_PRIORITY_NORMAL, pb.CACHE_POLICY_USE)


BAD_JOBS = {
    "display_name": pb.CreateJobRequest(display_name="é" * 129),
    "request_id": pb.CreateJobRequest(request_id="x" * 129),
    "labels": pb.CreateJobRequest(labels={"__reserved__": "x"}),
    "priority": pb.CreateJobRequest(priority=99),  # type: ignore[arg-type]  # that is the point
    "cache_policy": pb.CreateJobRequest(cache_policy=-1),  # type: ignore[arg-type]  # that is the point
}


@pytest.mark.parametrize("field", BAD_JOBS)
def test_bad_fields_of_a_job_are_named(client: Client, field: str) -> None:
    """A bad field is refused by name."""
    error = error_of(client.CreateJob, BAD_JOBS[field])
    assert [each.field for each in error.violations] == [field]


def test_items_are_added_once(client: Client) -> None:
    """A repeat is answered as such, in one batch and across batches; another body under the id is refused."""
    job_id = client.new_job()
    assert add(client, job_id, raw_item("a"), raw_item("a"), raw_item("b")) == ["added", "already", "added"]
    assert add(client, job_id, raw_item("a"), raw_item("b", "else"), raw_item("c")) == [
        "already",
        "ITEM_ID_REUSED",
        "added",
    ]
    assert client.job(job_id).counts.total == 3


def test_dependencies_are_checked_per_item(client: Client) -> None:
    """Circles and unknown items are refused, with all repeats of them; the rest of the batch is added."""
    job_id = client.new_job([piece_of("outline")])
    lost = piece_of("faq", "lost", "nowhere")
    circle = [piece_of("faq", "one", "two/faq"), piece_of("faq", "two", "one/faq")]
    answers = add(client, job_id, lost, lost, *circle, piece_of("faq", "volcanoes", "volcanoes/outline"))
    assert answers == [
        "UNKNOWN_DEPENDENCY",
        "UNKNOWN_DEPENDENCY",
        "DEPENDENCY_CYCLE",
        "DEPENDENCY_CYCLE",
        "added",
    ]
    assert client.job(job_id).counts.total == 2


def a_dependency(variable: str) -> list[pb.JobItem.Dependency]:
    """Return one dependency."""
    return [pb.JobItem.Dependency(item_id="x", variable=variable)]


BAD_ITEMS = {
    "item_id": raw_item("not allowed!"),
    "spec": pb.JobItem(item_id="a"),
    "spec.prompt": pb.JobItem(item_id="a", spec=pb.PieceSpec(model="m")),
    "spec.raw.messages": pb.JobItem(item_id="a", spec=pb.PieceSpec(raw=pb.RawPrompt(max_tokens=1))),
    "spec.raw.messages[0].role": pb.JobItem(
        item_id="a",
        spec=pb.PieceSpec(raw=pb.RawPrompt(messages=[pb.ChatMessage(content="x")], max_tokens=1)),
    ),
    "spec.raw.max_tokens": pb.JobItem(item_id="a", spec=raw("x", max_tokens=0)),
    "spec.variation": pb.JobItem(item_id="a", spec=raw("x", variation=-1)),
    "spec.max_tokens": pb.JobItem(item_id="a", spec=pb.PieceSpec(template_id="faq", max_tokens=-5)),
    "spec.template_id": pb.JobItem(item_id="a", spec=pb.PieceSpec(template_id="No Such")),
    "spec.variables": pb.JobItem(item_id="a", spec=pb.PieceSpec(template_id="faq", variables={"A": "b"})),
    "depends_on": pb.JobItem(item_id="a", spec=raw("x"), depends_on=a_dependency("outline")),
    "depends_on[0].variable": pb.JobItem(
        item_id="a", spec=pb.PieceSpec(template_id="faq"), depends_on=a_dependency("")
    ),
    "labels": pb.JobItem(item_id="a", spec=raw("x"), labels={"": "x"}),
}


@pytest.mark.parametrize("field", BAD_ITEMS)
def test_bad_items_are_refused_alone_and_by_field(client: Client, field: str) -> None:
    """A bad item gets an error that names its field by position; the item beside it is added."""
    job_id = client.new_job()
    request = pb.BatchAddItemsRequest(job_id=job_id, items=[raw_item("good"), BAD_ITEMS[field]])
    good, bad = client.BatchAddItems(request).results
    assert good.HasField("value")
    violations = error_details_pb2.BadRequest()
    assert any(each.Unpack(violations) for each in bad.error.details)
    assert f"items[1].{field}" in [each.field for each in violations.field_violations]


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_has_one_to_a_thousand_items(client: Client, count: int) -> None:
    """An empty batch and one that is too long are refused as a whole."""
    items = [raw_item(f"i{n}") for n in range(count)]
    error = error_of(client.BatchAddItems, pb.BatchAddItemsRequest(job_id=client.new_job(), items=items))
    assert [each.field for each in error.violations] == ["items"]


def test_items_with_all_the_labels_and_needs_they_may_have_are_stored_and_run(client: Client) -> None:
    """A batch as heavy as the contract allows neither breaks a document's limit nor wedges the job."""
    labels = {f"{n:02}" + "k" * 61: "v" * 256 for n in range(16)}
    items = [pb.JobItem(item_id=f"i{n}", spec=raw("same", max_tokens=1), labels=labels) for n in range(250)]
    job, results = client.run(items)
    assert job.counts.succeeded == len(results) == 250
    assert dict(results["i7"].labels) == labels


def test_a_started_job_takes_no_items_and_starts_once(client: Client) -> None:
    """BatchAddItems is refused after the start; StartJob again changes nothing."""
    job_id = client.new_job([raw_item("a", f"once {uuid4()}")])
    client.start(job_id)
    client.finish(job_id)
    error = error_of(client.BatchAddItems, for_job(pb.BatchAddItemsRequest, job_id))
    assert kind_and_reason(error) == ("FAILED_PRECONDITION", "JOB_NOT_DRAFT")
    done = client.job(job_id)
    assert client.start(job_id) == done


def test_jobs_that_cannot_start(client: Client) -> None:
    """An empty and a cancelled job are refused."""
    empty = client.new_job()
    request = pb.StartJobRequest(job_id=empty)
    assert kind_and_reason(error_of(client.StartJob, request)) == ("FAILED_PRECONDITION", "JOB_EMPTY")
    client.CancelJob(pb.CancelJobRequest(job_id=empty))
    assert kind_and_reason(error_of(client.StartJob, request)) == ("FAILED_PRECONDITION", "JOB_CANCELLED")


def test_jobs_are_listed_latest_first_in_pages(factory: Factory) -> None:
    """Pages follow each other without gap or repeat, by state too, and hold the tenant's own jobs only."""
    umbrella = factory.client("umbrella")
    mine = [umbrella.new_job() for _ in range(5)]
    for state in (pb.JOB_STATE_UNSPECIFIED, pb.JOB_STATE_DRAFT):
        listed: list[str] = []
        token = ""
        while True:
            request = pb.ListJobsRequest(state=state, page_size=2, page_token=token)
            page = umbrella.ListJobs(request)
            assert len(page.jobs) <= 2
            listed += [each.job_id for each in page.jobs]
            token = page.next_page_token
            if not token:
                break
        assert [each for each in listed if each in mine] == mine[::-1]
        assert len(set(listed)) == len(listed)
    page = umbrella.ListJobs(pb.ListJobsRequest(state=pb.JOB_STATE_FAILED))
    assert not set(mine) & {each.job_id for each in page.jobs}


@pytest.mark.parametrize("rpc", ["ListJobs", "ListItems", "ListResults"])
def test_bad_pages_are_refused(client: Client, rpc: str) -> None:
    """A page size out of range and a token that nobody gave out are named."""
    request_type = getattr(pb, f"{rpc}Request")
    job = {} if rpc == "ListJobs" else {"job_id": client.new_job([raw_item("a")])}
    for size in (-1, 1001):
        error = error_of(getattr(client, rpc), request_type(page_size=size, **job))
        assert [each.field for each in error.violations] == ["page_size"]
    for token in ("nonsense", "bm9uc2Vuc2U=", "é", "WyJhIiwwLFtdXQ==", "WyJhIiwxZTMwOSxbXV0="):
        error = error_of(getattr(client, rpc), request_type(page_token=token, **job))
        assert kind_and_reason(error) == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")


def test_a_token_belongs_to_one_job(client: Client) -> None:
    """Another job's token is refused."""
    one, two = (client.new_job([raw_item("a"), raw_item("b")]) for _ in range(2))
    token = client.ListItems(pb.ListItemsRequest(job_id=one, page_size=1)).next_page_token
    assert token
    error = error_of(client.ListItems, pb.ListItemsRequest(job_id=two, page_token=token))
    assert kind_and_reason(error) == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")


def test_a_group_that_no_shard_can_hold_cannot_start(client: Client) -> None:
    """A thousand and one items that hang together are refused at the start, with the reason."""
    outline = piece_of("outline")
    needing = [piece_of("faq", f"t{n}", outline.item_id) for n in range(1000)]
    job_id = client.new_job([outline, *needing])
    error = error_of(client.StartJob, pb.StartJobRequest(job_id=job_id))
    assert kind_and_reason(error) == ("FAILED_PRECONDITION", "GROUP_TOO_LARGE")


def test_capacity_is_told(client: Client) -> None:
    """The replica tells its limit, its breakers and what holds it back."""
    capacity = client.GetCapacity(pb.GetCapacityRequest())
    assert capacity.concurrency_limit == 64
    assert capacity.memory_bytes > 0
    assert "model" in {each.name for each in capacity.breakers}
    assert {each.state for each in capacity.breakers} == {pb.BREAKER_STATE_CLOSED}
    assert capacity.explanation
