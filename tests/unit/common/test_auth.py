"""Credentials: who a call is for, who may speak for others, and files that change."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from service_common.call import LOCAL_PRINCIPAL, Principal
from service_common.clock import ManualClock
from service_common.errors import ErrorKind, ServiceError
from service_common.rpc.auth import Authenticator, parse_tokens

ENTRIES = [
    {"token": "alpha", "tenant": "acme", "user": "ann", "roles": []},
    {
        "token_sha256": hashlib.sha256(b"beta").hexdigest(),
        "tenant": "ops",
        "user": "processor",
        "roles": ["act_as"],
    },
]


def bearer(token: str, **more: str) -> dict[str, str | bytes]:
    """Make metadata."""
    return {"authorization": f"Bearer {token}", **{k.replace("_", "-"): v for k, v in more.items()}}


def kind_of(authenticator: Authenticator, metadata: dict[str, str | bytes]) -> ErrorKind:
    """Return how a call is refused."""
    with pytest.raises(ServiceError) as caught:
        authenticator.authenticate(metadata)
    return caught.value.kind


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """Write a tokens file."""
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps(ENTRIES))
    return path


def test_tokens_name_their_principal(tokens: Path) -> None:
    """Plain and hashed entries both work; the scheme's case does not matter."""
    auth = Authenticator(tokens, clock=ManualClock())
    assert auth.authenticate(bearer("alpha")) == Principal("acme", "ann")
    assert auth.authenticate({"authorization": "bearer beta"}).roles == {"act_as"}


@pytest.mark.parametrize(
    "metadata",
    [{}, bearer("gamma"), bearer(""), {"authorization": "Basic alpha"}, {"authorization": b"Bearer alpha"}],
)
def test_without_a_known_token_nobody_enters(tokens: Path, metadata: dict[str, str | bytes]) -> None:
    """Missing, unknown and malformed credentials are UNAUTHENTICATED."""
    assert kind_of(Authenticator(tokens, clock=ManualClock()), metadata) is ErrorKind.UNAUTHENTICATED


def test_only_the_role_may_act_as_another(tokens: Path) -> None:
    """With the role, tenant and user are the named ones; without it the call is denied."""
    auth = Authenticator(tokens, clock=ManualClock())
    acting = auth.authenticate(bearer("beta", x_act_as_tenant="acme", x_act_as_user="ann"))
    assert (acting.tenant, acting.user) == ("acme", "ann")
    assert kind_of(auth, bearer("alpha", x_act_as_tenant="ops")) is ErrorKind.PERMISSION_DENIED
    assert kind_of(auth, bearer("alpha", x_act_as_user="bob")) is ErrorKind.PERMISSION_DENIED


@pytest.mark.parametrize("name", ["", "UPPER", "a/b", "..", "-a", "a" * 64, "a b", "a\n"])
def test_tenant_names_are_checked(tokens: Path, name: str) -> None:
    """A name that could leave its place in a path is refused."""
    auth = Authenticator(tokens, clock=ManualClock())
    assert kind_of(auth, bearer("beta", x_act_as_tenant=name)) is ErrorKind.INVALID_ARGUMENT


def test_without_a_file_everyone_is_local() -> None:
    """One default principal, that may name the stored tenant it works for."""
    auth = Authenticator(None, clock=ManualClock())
    assert auth.authenticate({}) == LOCAL_PRINCIPAL
    assert auth.authenticate({"x-act-as-tenant": "acme"}).tenant == "acme"


def test_changes_are_seen_and_bad_ones_ignored(tokens: Path) -> None:
    """A new file takes effect; one that cannot be read leaves the old tokens in force."""
    clock = ManualClock()
    auth = Authenticator(tokens, clock=clock)
    tokens.write_text("[{")
    clock.advance(2)
    assert auth.authenticate(bearer("alpha")).tenant == "acme"
    swapped = tokens.with_suffix(".new")
    swapped.write_text(json.dumps([{**ENTRIES[0], "token": "delta"}]))
    swapped.replace(tokens)
    clock.advance(2)
    assert auth.authenticate(bearer("delta")).tenant == "acme"
    assert kind_of(auth, bearer("alpha")) is ErrorKind.UNAUTHENTICATED


@pytest.mark.parametrize(
    "entry",
    [
        "x",
        {"tenant": "acme"},
        {"token": "t", "token_sha256": "0" * 64, "tenant": "acme"},
        {"token": "t", "tenant": "Acme"},
        {"token": "t", "tenant": "acme", "roles": "act_as"},
        {"token": "", "tenant": "acme"},
        {"token_sha256": "xyz", "tenant": "acme"},
        {"token": "t", "tenant": "acme", "role": []},
        {"token": "alpha", "tenant": "acme"},
    ],
)
def test_bad_files_say_which_entry(entry: Any) -> None:
    """The message names the entry and never quotes a token."""
    with pytest.raises(ValueError, match="entry 1") as caught:
        parse_tokens(json.dumps([ENTRIES[0], entry]).encode())
    assert "alpha" not in str(caught.value)


async def test_calls_are_refused_over_the_wire(serve: Any, tokens: Path) -> None:
    """The server asks for a token, knows its tenant, and lets health pass without one."""
    import grpc  # noqa: PLC0415 - only this test speaks gRPC
    from google.protobuf.wrappers_pb2 import StringValue  # noqa: PLC0415 - as above
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415 - as above

    async with serve(auth_tokens_file=tokens) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.stub.Unary(StringValue(value="a"))
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        await running.stub.Unary(StringValue(value="a"), metadata=(("authorization", "Bearer alpha"),))
        assert running.echo.calls[-1].principal.tenant == "acme"
        async with grpc.aio.insecure_channel(running.address) as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
