"""`factory migrate` with real processes and the real emulator: killed, resumed, refused where it must be."""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from service_common.clock import SystemClock
from service_common.storage import Query, Set, open_store
from service_common.storage.migrating.record import RECORD_KEY, Record
from service_common.storage.migrating.scan import Scan
from service_common.storage.opening import open_scan

from tests.integration.cli.conftest import Run, spawn
from tests.support.firestore_emulator import Emulator
from tests.support.processes import running_service
from tests.support.stored_documents import SCHEMAS, documents, keep, living
from tests.support.wire import wire_to

pytestmark = pytest.mark.xdist_group("factory_migrate")
PATIENCE_S = 60.0
POLL_S = 0.05
KILLED = "processor"
"""Whose copying is killed: it has enough for a kill to come in the middle."""

KEPT = {
    name: documents(schema, 2500, most_bytes=8_000) if name == KILLED else documents(schema, 300)
    for name, schema in SCHEMAS.items()
}
DELAY_S = 0.2
"""How late each answer of the target is until the kill: then there is time for it."""


@pytest.fixture
def target(emulator: Emulator, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty database, for the command and for the test."""
    environ["FIRESTORE_EMULATOR_HOST"] = emulator.host
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator.host)
    return f"firestore://test-{uuid4().hex[:20]}/(default)"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the services have kept what they stored."""
    folder = tmp_path_factory.mktemp("filled")
    for name, schema in SCHEMAS.items():
        asyncio.run(keep(KEPT[name], schema, folder))
    return folder


@pytest.fixture
def data(filled: Path, tmp_path: Path) -> Path:
    """The test's own copy of it, where the command looks without being told."""
    return Path(shutil.copytree(filled, tmp_path / "data"))


async def copied(scan: Scan) -> int:
    """Return how many documents the target says are surely there."""
    record = Record.read(await scan.find((RECORD_KEY,)))
    return 0 if record is None else record.documents


async def kill_in_the_middle(
    command: tuple[str, ...], folder: Path, environ: dict[str, str], target: str, *, workers: bool
) -> int:
    """Start the command, kill it once it has come further than before, and return how far that is.

    Args:
        command: What to run.
        folder: Where.
        environ: Its environment.
        target: Where it copies to.
        workers: Whether the processes it started are killed too, or have to notice.
    """
    scan = await open_scan(target, schema=SCHEMAS[KILLED])
    before = await copied(scan)
    process = await spawn(command, folder, environ)
    children: list[psutil.Process] = []
    ends_at = time.monotonic() + PATIENCE_S
    while await copied(scan) <= before:
        assert process.returncode is None, (await process.communicate())[1]
        assert time.monotonic() < ends_at
        children = psutil.Process(process.pid).children(recursive=True) or children
        await asyncio.sleep(POLL_S)
    for each in children if workers else []:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.kill()
    assert await process.wait() == -9
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert alive == []
    after = await copied(scan)
    await scan.close()
    return after


async def test_killed_twice_it_ends_equal(
    factory: Run, environ: dict[str, str], tmp_path: Path, data: Path, target: str
) -> None:
    """Two `kill -9` lose nothing: each run goes on behind the last, and the target is what the source was."""
    command = ("migrate", "--to", target, "--service", KILLED, "--yes", "--json")
    with wire_to(environ["FIRESTORE_EMULATOR_HOST"]) as wire:
        wire.slow(delay_s=DELAY_S)
        slowed = {**environ, "FIRESTORE_EMULATOR_HOST": wire.host}
        first = await kill_in_the_middle(command, tmp_path, slowed, target, workers=False)
        second = await kill_in_the_middle(command, tmp_path, slowed, target, workers=True)
    assert 0 < first < second
    ended = await factory(*command)
    assert ended.code == 0, ended.err
    assert ended.json["equal"] is True
    said = ended.json["services"][KILLED]
    assert said["course"] == "resume"
    sides = said["collections"].values()
    assert sum(each["target"]["documents"] for each in sides) == len(living(KEPT[KILLED]))
    assert all(each["source"]["checksum"] == each["target"]["checksum"] for each in sides)
    await holds_everything(target, KILLED)


async def holds_everything(url: str, name: str) -> None:
    """Check that a store has every living document of a service, and that its queries find some."""
    store = await open_store(url, schema=SCHEMAS[name], clock=SystemClock())
    there = living(KEPT[name])
    found = await store.get_many(list(there))
    assert [each and each.data for each in found] == list(there.values())
    for shape in SCHEMAS[name].shapes:
        key, data = next(each for each in there.items() if each[0].collection == shape.collection)
        query = Query(
            shape,
            {field: data[field] for field in shape.equals},
            tenant=None if shape.all_tenants else key.tenant,
            limit=1000,
            contains=data[shape.contains][0] if shape.contains else None,
        )
        assert key in {each.key for each in (await store.query(query)).documents}, shape.name
    await store.close()


async def test_without_yes_nothing_is_written(factory: Run, data: Path, target: str) -> None:
    """It counts, estimates and says how to go on; the target stays empty. The data folder needs no naming."""
    ended = await factory("migrate", "--to", target, "--json")
    assert ended.code == 0, ended.err
    said = ended.json
    assert (said["copied"], said["estimate"]["writes"]) == (False, said["estimate"]["reads"])
    kept = {name: len(living(each)) for name, each in KEPT.items()}
    for name, schema in SCHEMAS.items():
        sides = said["services"][name]["collections"]
        assert sum(each["documents"] for each in sides.values()) == kept[name]
        assert sum(each["expired"] for each in sides.values()) == len(KEPT[name]) - kept[name]
        scan = await open_scan(target, schema=schema)
        for each in schema.collections:
            assert await scan.page(each.name, after=None, limit=1) == []
        assert await scan.find((RECORD_KEY,)) == []
        await scan.close()
    assert said["estimate"]["writes"] == sum(kept.values())
    assert "--yes" in ended.err


async def test_a_target_in_use_is_refused(factory: Run, data: Path, target: str) -> None:
    """Before anything is copied, also of the services whose part is free; every reason is named."""
    key, fields = next(iter(KEPT["tracker"].items()))
    store = await open_store(target, schema=SCHEMAS["tracker"], clock=SystemClock())
    await store.commit([Set(key, fields)])
    await store.close()
    ended = await factory("migrate", "--from", f"sqlite:///{data}", "--to", target, "--yes")
    assert ended.code == 1
    assert f"tracker: the target already holds documents of {key.collection}" in ended.err
    scan = await open_scan(target, schema=SCHEMAS[KILLED])
    assert await copied(scan) == 0
    await scan.close()


async def test_a_running_service_is_refused(factory: Run, target: str, tmp_path: Path) -> None:
    """The source is not copied while a service may write to it, and it is said how to stop it."""
    command = ("migrate", "--to", target, "--service", "optimizer", "--yes", "--json")
    store = {"STORE_URL": f"sqlite:///{tmp_path}/data/optimizer.db"}
    with running_service("optimizer", store, directory=tmp_path / "running"):
        ended = await factory(*command)
    assert ended.code == 1
    assert "optimizer.db is open in another process" in ended.err
    assert "factory down" in ended.err
    ended = await factory(*command)
    assert (ended.code, ended.json["equal"]) == (0, True)
    assert ended.json["services"]["optimizer"]["collections"]["service"]["target"]["documents"]


async def test_what_was_used_since_is_said_to_differ(factory: Run, data: Path, target: str) -> None:
    """A second run compares: equal at first, and after a write to the target it says so and ends with 2."""
    command = ("migrate", "--to", target, "--service", "optimizer", "--yes")
    assert (await factory(*command)).code == 0
    assert (await factory(*command)).code == 0
    key = next(iter(KEPT["optimizer"]))
    store = await open_store(target, schema=SCHEMAS["optimizer"], clock=SystemClock())
    await store.commit([Set(key, {"number": -1})])
    await store.close()
    ended = await factory(*command)
    assert ended.code == 2
    assert f"{key.collection}: not the same; the target has been used since it was copied" in ended.err


async def test_it_also_goes_down_again(factory: Run, data: Path, target: str, tmp_path: Path) -> None:
    """From Firestore to files, which a service then opens."""
    assert (await factory("migrate", "--to", target, "--service", "cache", "--yes")).code == 0
    down = f"sqlite:///{tmp_path}/down"
    ended = await factory("migrate", "--from", target, "--to", down, "--service", "cache", "--yes", "--json")
    assert (ended.code, ended.json["equal"]) == (0, True), ended.err
    await holds_everything(f"{down}/cache.db", "cache")


async def test_missing_files_are_named(factory: Run, tmp_path: Path) -> None:
    """A folder that holds nothing is not taken for services that have nothing; nothing is made there."""
    ended = await factory("migrate", "--from", "sqlite:///nowhere", "--to", "sqlite:///other", "--yes")
    assert ended.code == 1
    for name in SCHEMAS:
        assert f"{name}: there is no file {tmp_path}/nowhere/{name}.db" in ended.err
    assert not (tmp_path / "nowhere").exists()
    assert not (tmp_path / "other").exists()
