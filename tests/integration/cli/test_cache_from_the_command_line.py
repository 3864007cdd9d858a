"""`factory cache` over a real cache: what is purged is gone, and nothing is removed by accident."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from contentfactory.cache.v1 import cache_pb2 as pb
from contentfactory.cache.v1 import cache_pb2_grpc as rpc

from tests.integration.cli.conftest import Run
from tests.support.processes import running_service

_TAGS = {"f1": ("template:faq@1", "content_type:faq"), "f2": ("template:faq@2",), "g": (), "h": ()}


@pytest.fixture
async def stub(environ: dict[str, str], tmp_path: Path) -> AsyncIterator[Any]:
    """A cache with four entries."""
    with running_service("cache", directory=tmp_path / "cache") as service:
        environ["FACTORY_CACHE"] = service.address
        async with grpc.aio.insecure_channel(service.address) as channel:
            made: Any = rpc.CacheServiceStub(channel)
            for key, tags in _TAGS.items():
                await made.Set(pb.SetRequest(key=key, content=pb.EntryContent(value=b"x", tags=tags)))
            yield made


async def held(stub: Any) -> set[str]:
    """Return the keys that have an entry."""
    gets = pb.BatchGetRequest(requests=[pb.GetRequest(key=key) for key in _TAGS])
    results = (await stub.BatchGet(gets)).results
    return {key for key, each in zip(_TAGS, results, strict=True) if each.value.HasField("entry")}


async def test_each_selector_removes_what_it_names(stub: Any, factory: Run) -> None:
    """By version, prefix and label, then everything; each says how many, as text or JSON."""
    marked = await factory("cache", "purge", "--template-version", "faq@2", "--leave-first", "--json")
    assert (marked.json["purged_entries"], marked.json["mode"]) == (1, "leave_first")
    by_version = await factory("cache", "purge", "--template-version", "faq@1", "--yes", "--json")
    assert (by_version.code, by_version.json["purged_entries"]) == (0, 1)
    assert await held(stub) == {"f2", "g", "h"}
    by_prefix = await factory("cache", "purge", "--prefix", "g", stdin="y\n")
    assert (by_prefix.code, by_prefix.out) == (0, "")
    assert "1 entry removed" in by_prefix.err
    assert (await factory("cache", "purge", "--tag", "nothing", "-y", "--json")).json["purged_entries"] == 0
    assert await held(stub) == {"f2", "h"}
    assert "2 entries removed" in (await factory("cache", "purge", "--all", "--yes")).err
    assert await held(stub) == set()


async def test_nothing_is_removed_by_accident(stub: Any, factory: Run) -> None:
    """No answer, a no, two selectors, none, or a version that is none: a line, an exit code, no change."""
    for arguments, stdin, hint in (
        (("--all",), "", "--yes"),
        (("--all",), "n\n", "nothing was removed"),
        (("--all", "--tag", "x", "-y"), "", "give one of"),
        (("-y",), "", "give one of"),
        (("--template-version", "faq", "-y"), "", "faq@3"),
        (("--template-version", "faq@0", "-y"), "", "faq@3"),
        (("--all", "--leave-first"), "", "everything cannot leave first"),
        (("--tag", "t" * 200, "-y"), "", "tag"),
    ):
        ended = await factory("cache", "purge", *arguments, stdin=stdin)
        assert ended.code == 1, arguments
        assert hint in ended.err
        assert "Traceback" not in ended.err
    assert await held(stub) == set(_TAGS)


async def test_stats_as_table_and_json(stub: Any, factory: Run) -> None:
    """The table says what is held, where time goes and that all is well; JSON has numbers as numbers."""
    assert await held(stub) == set(_TAGS)
    shown = await factory("cache", "stats")
    assert shown.code == 0
    for words in ("100.0% of 4 lookups", "4 entries", "batch_get", "(now)", "nothing slows it down"):
        assert words in shown.out, words
    found = (await factory("cache", "stats", "--json")).json
    assert (found["hits"], found["entries"], found["evictions"]) == (4, 4, 0)
    assert found["capacity_bytes"] == found["advice"]["limits"][2]["capacity_bytes"]
    assert [each["name"] for each in found["profile"]["operations"]].count("batch_get") == 1


async def test_warm_says_what_came(stub: Any, factory: Run) -> None:
    """Where nothing is left in the store nothing is brought; what is malformed is refused."""
    assert await held(stub) == set(_TAGS)
    ended = await factory("cache", "warm", "--strategy", "recent", "--max-bytes", "1MiB", "--json")
    assert ended.code == 0
    assert (ended.json["state"], ended.json["warmed_entries"]) == ("succeeded", 0)
    assert "0 of 0 entries" in (await factory("cache", "warm", "--tag", "content_type:faq")).err
    for arguments, hint in ((("--max-bytes", "much"), "512MiB"), (("--tag", "t" * 200), "tag")):
        refused = await factory("cache", "warm", *arguments)
        assert refused.code == 1
        assert hint in refused.err
        assert "Traceback" not in refused.err


async def test_a_cache_that_is_away_is_said_so(environ: dict[str, str], factory: Run) -> None:
    """Both commands end with the code for what cannot be reached."""
    environ["FACTORY_CACHE"] = "127.0.0.1:1"
    for command in ("stats", "warm"):
        ended = await factory("cache", command)
        assert ended.code == 3, ended.err
        assert "Traceback" not in ended.err
