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
