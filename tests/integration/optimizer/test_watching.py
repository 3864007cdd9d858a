"""WatchActiveVersions: the state first, then each change, also those made through other processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from contentfactory.optimizer.v1 import optimizer_pb2 as pb
from contentfactory.optimizer.v1 import optimizer_pb2_grpc as rpc
from service_common.errors import ErrorKind

from tests.integration.optimizer.conftest import Running, Start, error_of, source
from tests.integration.optimizer.test_templates import BUILT_IN
from tests.support.backends import FIRESTORE, MEMORY, SQLITE

State = dict[tuple[str, str], int]


class Watcher:
    """A client that keeps what it is sent."""

    def __init__(self, client: rpc.OptimizerServiceAsyncStub, *, all_tenants: bool = False) -> None:
        self.call = client.WatchActiveVersions(pb.WatchActiveVersionsRequest(all_tenants=all_tenants))
        self.state: State = {}
        self._messages: AsyncIterator[pb.WatchActiveVersionsResponse] = aiter(self.call)

    async def take(self) -> pb.WatchActiveVersionsResponse:
        """Read one message."""
        async with asyncio.timeout(10):
            message = await anext(self._messages)
        for each in message.active_versions:
            self.state[each.tenant, each.version.template_id] = each.version.version
        for gone in message.deleted_templates:
            self.state.pop((gone.tenant, gone.template_id), None)
        return message

    async def synchronize(self) -> State:
        """Read up to the marker and return the state."""
        while not (await self.take()).synchronized:
            pass
        return dict(self.state)

    async def until(self, name: tuple[str, str], version: int | None) -> None:
        """Read until a template has this active version, or is gone."""
        while self.state.get(name) != version:
            await self.take()


async def create(client: rpc.OptimizerServiceAsyncStub, template_id: str = "haiku") -> None:
    """Create a template with two versions, the first active."""
    await client.CreateTemplate(pb.CreateTemplateRequest(template_id=template_id, source=source()))
    await client.CreateTemplateVersion(
        pb.CreateTemplateVersionRequest(template_id=template_id, source=source("b"))
    )


async def test_the_state_comes_first(running: Running, client: rpc.OptimizerServiceAsyncStub) -> None:
    """Built-in templates and the tenant's own, no other tenant's, then the marker."""
    await create(client)
    await create(await running.client("umbrella"), "secret")
    expected = {("", each): 1 for each in BUILT_IN} | {("acme", "haiku"): 1}
    assert await Watcher(client).synchronize() == expected


@pytest.mark.parametrize(
    ("backend", "processes"),
    [(MEMORY, 1), (SQLITE, 1), (SQLITE, 2), (FIRESTORE, 1), (FIRESTORE, 2)],
    indirect=["backend"],
)
async def test_changes_are_pushed(start: Start, processes: int) -> None:
    """Activation, rollback and deletion, by this process or by another one on the same store."""
    servers = [await start() for _ in range(processes)]
    writer, reader = await servers[0].client(), await servers[-1].client()
    watcher = Watcher(reader)
    await watcher.synchronize()
    await create(writer)
    await watcher.until(("acme", "haiku"), 1)
    await writer.ActivateVersion(pb.ActivateVersionRequest(template_id="haiku", version=2))
    await watcher.until(("acme", "haiku"), 2)
    made = await reader.Optimize(pb.OptimizeRequest(template_id="haiku", variables={"topic": "x"}))
    assert made.version == 2
    await writer.RollbackTemplate(pb.RollbackTemplateRequest(template_id="haiku"))
    await watcher.until(("acme", "haiku"), 1)
    await writer.DeleteTemplate(pb.DeleteTemplateRequest(template_id="haiku"))
    await watcher.until(("acme", "haiku"), None)
    assert (
        await error_of(reader.Optimize(pb.OptimizeRequest(template_id="haiku")))
    ).reason == "TEMPLATE_NOT_FOUND"


async def test_a_new_version_that_is_not_active_is_no_news(client: rpc.OptimizerServiceAsyncStub) -> None:
    """The next message is about the activation."""
    watcher = Watcher(client)
    await watcher.synchronize()
    await create(client, "first")
    await watcher.until(("acme", "first"), 1)
    await client.CreateTemplateVersion(
        pb.CreateTemplateVersionRequest(template_id="first", source=source("c"))
    )
    await client.ActivateVersion(pb.ActivateVersionRequest(template_id="first", version=3))
    assert [each.version.version for each in (await watcher.take()).active_versions] == [3]


async def test_all_tenants_are_for_services_only(
    running: Running, client: rpc.OptimizerServiceAsyncStub
) -> None:
    """A service with the role act_as sees everybody's; others are refused."""
    await create(client)
    await create(await running.client("umbrella"), "secret")
    state = await Watcher(await running.client("service"), all_tenants=True).synchronize()
    assert {("acme", "haiku"), ("umbrella", "secret")} <= set(state)
    request = pb.WatchActiveVersionsRequest(all_tenants=True)
    error = await error_of(aiter(client.WatchActiveVersions(request)).__anext__())
    assert (error.kind, error.reason) == (ErrorKind.PERMISSION_DENIED, "ROLE_REQUIRED")


async def test_other_tenants_changes_are_not_pushed(
    running: Running, client: rpc.OptimizerServiceAsyncStub
) -> None:
    """The next message after another tenant's change is about one's own."""
    watcher = Watcher(client)
    await watcher.synchronize()
    await create(await running.client("umbrella"), "secret")
    await create(client)
    await watcher.take()
    assert ("umbrella", "secret") not in watcher.state


async def test_watchers_are_let_go_when_the_service_stops(
    running: Running, client: rpc.OptimizerServiceAsyncStub
) -> None:
    """At once and with UNAVAILABLE, so that they come back elsewhere."""
    watcher = Watcher(client)
    await watcher.synchronize()
    closing = asyncio.ensure_future(running.lifecycle.close())
    error = await error_of(watcher.take())
    await closing
    assert (error.kind, error.reason) == (ErrorKind.UNAVAILABLE, "DRAINING")
