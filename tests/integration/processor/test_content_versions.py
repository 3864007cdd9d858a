"""Content versions over gRPC: what was generated again stays beside what was, and is found every way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.integration.processor.conftest import (
    Client,
    Factory,
    configured,
    error_of,
    kind_and_reason,
    raw_item,
)
from tests.support.mock_process import mock_endpoint
from tests.support.processes import running_service

LOWEST = pb.CONTENT_VERSION_ORDER_LOWEST_QUALITY_FIRST
HIGHEST = pb.CONTENT_VERSION_ORDER_HIGHEST_QUALITY_FIRST
NO_ID = ("NOT_FOUND", "CONTENT_VERSION_NOT_FOUND")


def pages(client: Client, size: int = 0, **fields: Any) -> Iterator[list[pb.ContentVersion]]:
    """Yield the pages of a listing."""
    token = ""
    while True:
        request = pb.ListContentVersionsRequest(page_size=size, page_token=token, **fields)
        page = client.ListContentVersions(request)
        yield list(page.versions)
        token = page.next_page_token
        if not token:
            return


def listed(client: Client, size: int = 0, **fields: Any) -> list[pb.ContentVersion]:
    """Return a whole listing."""
    return [each for page in pages(client, size, **fields) for each in page]


def read(client: Client, version: pb.ContentVersion) -> pb.ContentVersion:
    """Return a version by its id."""
    found: pb.ContentVersion = client.GetContentVersion(
        pb.GetContentVersionRequest(version_id=version.version_id)
    ).version
    return found


def unique(prefix: str) -> str:
    """Return a name of this test alone, good for an item and for a content type."""
    return prefix + uuid4().hex


def test_an_item_generated_again_has_both_versions_also_after_a_restart(tmp_path: Path) -> None:
    """Two jobs, the second with REFRESH: two versions, the newest first, each with what its job got."""
    with ExitStack() as stack:
        mock = stack.enter_context(mock_endpoint())
        environment = configured(tmp_path, mock)
        first = stack.enter_context(running_service("processor", environment, directory=tmp_path))
        client = Client(first.address, tenant="acme")
        item = raw_item("a", uuid4().hex)
        old_job, old = client.run([item, raw_item("other")])
        new_job, new = client.run([item], cache_policy=pb.CACHE_POLICY_REFRESH)
        before = listed(client, item_id="a")
        client.channel.close()
        first.kill()
        again = stack.enter_context(running_service("processor", environment, directory=tmp_path))
        client = Client(again.address, tenant="acme")
        stack.enter_context(client.channel)
        versions = listed(client, item_id="a")
        assert versions == before
        assert [each.job_id for each in versions] == [new_job.job_id, old_job.job_id]
        assert versions[0].create_time.ToNanoseconds() > versions[1].create_time.ToNanoseconds()
        for version, result in zip(versions, (new["a"], old["a"]), strict=True):
            assert not version.piece.content
            assert read(client, version).piece == result.piece
            assert result.piece.cost_micros > 0
        assert listed(client, item_id="a", with_content=True) == [read(client, each) for each in versions]
        assert [each.item_id for each in listed(client)].count("other") == 1


def test_by_quality_the_scored_ones_come_in_their_order(client: Client) -> None:
    """Lowest and highest first, and within bounds: those with such a score, in steps of 0.05."""
    kind = unique("t")
    items = [
        raw_item(f"i{n}", f"{kind} {n}", content_type=kind, max_tokens=2 + 20 * (n % 5)) for n in range(40)
    ]
    _, results = client.run(items)
    scores = {name: each.piece.quality for name, each in results.items() if each.piece.HasField("quality")}
    assert len(set(scores.values())) > 1, "all scores are alike, so this proves nothing"
    for order, sign in ((LOWEST, 1), (HIGHEST, -1)):
        found = listed(client, 7, content_type=kind, order=order)
        assert sorted(each.item_id for each in found) == sorted(scores)
        joined = [sign * each.piece.quality for each in found]
        assert all(later > earlier - 0.05 for n, later in enumerate(joined) for earlier in joined[:n])
    middle = sorted(scores.values())[len(scores) // 2]
    within = listed(client, content_type=kind, order=LOWEST, min_quality=middle, max_quality=middle)
    assert {each.item_id for each in within} == {name for name, each in scores.items() if each == middle}


def test_pages_hold_what_was_there_once_while_a_job_commits_more(client: Client) -> None:
    """From the first page on, each version that was there comes once and in order, whatever is added."""
    kind = unique("t")
    client.run([raw_item(f"old{n}", f"{kind} {n}", content_type=kind) for n in range(150)])
    there = [each.version_id for each in listed(client, content_type=kind)]
    assert len(set(there)) == len(there) == 150
    job_id = client.new_job([raw_item(f"i{n}", f"{kind} more {n}", content_type=kind) for n in range(300)])
    listing = pages(client, 7, content_type=kind)
    seen = [each.version_id for each in next(listing)]
    client.start(job_id)
    seen += [each.version_id for page in listing for each in page]
    assert seen == there
    client.finish(job_id)
    assert len(listed(client, 1000, content_type=kind)) == 450


def test_another_tenant_sees_nothing(factory: Factory, client: Client) -> None:
    """Neither in a listing nor by id; and its own item of the same name is its own."""
    name = unique("i")
    client.run([raw_item(name)])
    (mine,) = listed(client, item_id=name)
    other = factory.client("umbrella")
    assert listed(other, item_id=name) == []
    request = pb.GetContentVersionRequest(version_id=mine.version_id)
    assert kind_and_reason(error_of(other.GetContentVersion, request)) == NO_ID
    other.run([raw_item(name)])
    (theirs,) = listed(other, item_id=name)
    assert theirs.version_id != mine.version_id
    assert listed(client, item_id=name) == [mine]


def test_a_token_belongs_to_its_listing(client: Client) -> None:
    """Under another item, type or order it is refused; another page size may use it."""
    kind = unique("t")
    client.run([raw_item(f"i{n}", f"{kind} {n}", content_type=kind) for n in range(5)])
    first = client.ListContentVersions(pb.ListContentVersionsRequest(content_type=kind, page_size=2))
    token = first.next_page_token
    others: list[dict[str, Any]] = [{}, {"item_id": "i1"}, {"content_type": kind, "order": LOWEST}]
    for other in others:
        request = pb.ListContentVersionsRequest(page_token=token, **other)
        refused = kind_and_reason(error_of(client.ListContentVersions, request))
        assert refused == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
    rest = pb.ListContentVersionsRequest(content_type=kind, page_token=token, with_content=True)
    found = client.ListContentVersions(rest).versions
    assert len(found) == 3
    assert all(each.piece.content for each in found)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"order": LOWEST}, ["order"]),
        ({"order": LOWEST, "item_id": "a"}, ["order"]),
        ({"content_type": "faq", "min_quality": 0.5}, ["min_quality"]),
        ({"content_type": "faq", "order": HIGHEST, "max_quality": 1.5}, ["max_quality"]),
        ({"content_type": "faq", "order": HIGHEST, "min_quality": 0.6, "max_quality": 0.5}, ["max_quality"]),
        ({"item_id": "a b"}, ["item_id"]),
        ({"content_type": "FAQ"}, ["content_type"]),
        ({"page_size": 1001}, ["page_size"]),
    ],
    ids=lambda each: ",".join(each) if isinstance(each, list) else "",
)
def test_what_cannot_be_asked_is_refused_by_field(
    client: Client, fields: dict[str, Any], named: list[str]
) -> None:
    """Each rule of the contract names the field that broke it."""
    error = error_of(client.ListContentVersions, pb.ListContentVersionsRequest(**fields))
    assert [each.field for each in error.violations] == named
