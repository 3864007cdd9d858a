"""A byte that changes on the disk costs one entry: a miss and a count, never another answer."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
from contentfactory.cache.v1 import cache_pb2 as pb
from contentfactory.cache.v1 import cache_pb2_grpc

from tests.support.processes import ServiceProcess, running_service

_DAMAGED = "the one that will be damaged"


def stub_of(service: ServiceProcess) -> Any:
    """Return a caller of a cache."""
    return cache_pb2_grpc.CacheServiceStub(grpc.insecure_channel(service.address))


def damage(database: Path) -> int:
    """Change some letters of a stored value; returns in how many documents it was."""
    right, wrong = _DAMAGED.encode(), _DAMAGED.upper().encode()
    with sqlite3.connect(database) as file:
        rows = file.execute("SELECT number, data FROM documents").fetchall()
        broken = [(data.replace(right, wrong), number) for number, data in rows if right in data]
        file.executemany("UPDATE documents SET data = ? WHERE number = ?", broken)
    return len(broken)


def test_a_damaged_entry_is_a_miss(tmp_path: Path) -> None:
    """Of three stored entries the damaged one is missing and counted; the others are whole."""
    values = {"a": b"first", "b": _DAMAGED.encode(), "c": b"last"}
    with running_service("cache", directory=tmp_path) as service:
        sets = [pb.SetRequest(key=key, content=pb.EntryContent(value=value)) for key, value in values.items()]
        stub_of(service).BatchSet(pb.BatchSetRequest(requests=sets))
        assert service.stop() == 0
    assert damage(tmp_path / "cache.db") == 1
    with running_service("cache", directory=tmp_path) as service:
        stub = stub_of(service)
        found = {key: stub.Get(pb.GetRequest(key=key)).entry.value for key in values}
        with urlopen(f"http://127.0.0.1:{service.metrics_port}/metrics") as answer:
            metrics = answer.read().decode()
    assert found == {**values, "b": b""}
    assert "content_cache_damaged_entries_total 1.0" in metrics
