"""The wire to Firestore: calls in plain protobuf, each with a time-out, and a stream; nothing is retried."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from typing import Any, Protocol

import google.auth
import grpc.aio
from google.api_core.exceptions import DataLoss, from_grpc_error
from google.auth.exceptions import DefaultCredentialsError
from google.cloud.firestore_v1.services.firestore import FirestoreAsyncClient
from google.cloud.firestore_v1.services.firestore.transports.grpc_asyncio import FirestoreGrpcAsyncIOTransport
from google.cloud.firestore_v1.types import firestore as rpc

from service_common.errors import failed_precondition

RPC_TIMEOUT_S = 10.0

_HOST = "firestore.googleapis.com"
_OWNER = (("authorization", "Bearer owner"),)
"""What the emulator takes for an administrator, whom security rules do not concern."""

_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)
_KEEPALIVE = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
)
"""How a stream that died without a word is found out; the emulator takes it for an attack and hangs up."""


class Connection(Protocol):
    """What a store asks of Firestore; requests and answers are protobuf messages of `google.firestore.v1`.

    Errors: google.api_core's `GoogleAPICallError`.
    """

    async def commit(self, request: Any) -> Any:
        """Apply a `CommitRequest`."""
        ...

    async def batch_get(self, request: Any) -> list[Any]:
        """Return all answers to a `BatchGetDocumentsRequest`."""
        ...

    async def run_query(self, request: Any) -> list[Any]:
        """Return all answers to a `RunQueryRequest`."""
        ...

    def listen(self, request: Any) -> AsyncGenerator[Any, None]:
        """Yield the answers to one `ListenRequest`, until the server ends the stream or it is closed."""
        ...

    async def close(self) -> None:
        """Release the channel; calls under way end."""
        ...


class GrpcConnection:
    """A `Connection` over one channel. It connects when it is used, and again whenever it was lost."""

    __slots__ = ("_channel", "_client", "_metadata", "_timeout_s")

    def __init__(self, channel: grpc.aio.Channel, metadata: Any, timeout_s: float) -> None:
        self._channel = channel
        self._client = FirestoreAsyncClient(transport=FirestoreGrpcAsyncIOTransport(channel=channel))
        self._metadata = metadata
        self._timeout_s = timeout_s

    async def commit(self, request: Any) -> Any:
        """Apply a commit."""
        answer = await self._client.commit(
            rpc.CommitRequest.wrap(request), retry=None, timeout=self._timeout_s, metadata=self._metadata
        )
        return rpc.CommitResponse.pb(answer)

    async def batch_get(self, request: Any) -> list[Any]:
        """Return all answers."""
        stream = await self._client.batch_get_documents(
            rpc.BatchGetDocumentsRequest.wrap(request),
            retry=None,
            timeout=self._timeout_s,
            metadata=self._metadata,
        )
        return [rpc.BatchGetDocumentsResponse.pb(each) async for each in stream]

    async def run_query(self, request: Any) -> list[Any]:
        """Return all answers."""
        stream = await self._client.run_query(
            rpc.RunQueryRequest.wrap(request), retry=None, timeout=self._timeout_s, metadata=self._metadata
        )
        return [rpc.RunQueryResponse.pb(each) async for each in stream]

    async def listen(self, request: Any) -> AsyncGenerator[Any, None]:
        """Yield the answers, as long as there are any."""
        prefix = ("google-cloud-resource-prefix", request.database)
        listen: Any = (
            self._client.transport.listen
        )  # as it is: the client's would wrap errors and cancel late
        stream = listen(metadata=(*self._metadata, prefix))
        try:
            await stream.write(rpc.ListenRequest.wrap(request))
            async for answer in stream:
                if answer is None:  # so gRPC hands on what cannot be read, and goes on
                    raise DataLoss("an answer cannot be read")  # type: ignore[no-untyped-call]  # Google's has no types
                yield rpc.ListenResponse.pb(answer)
        except grpc.aio.AioRpcError as error:
            raise from_grpc_error(error) from error  # type: ignore[no-untyped-call]  # Google's has no types
        finally:
            stream.cancel()

    async def close(self) -> None:
        """Release the channel."""
        await self._channel.close(None)


async def connect(*, timeout_s: float = RPC_TIMEOUT_S) -> GrpcConnection:
    """Return a connection to the emulator at FIRESTORE_EMULATOR_HOST, else to Google's service.

    Waits for neither: what is away is noticed on use.

    Args:
        timeout_s: Longest a call may take.

    Raises:
        ServiceError: FAILED_PRECONDITION if no credentials are found.
    """
    emulator = os.environ.get("FIRESTORE_EMULATOR_HOST")
    if emulator:
        channel = grpc.aio.insecure_channel(emulator, options=_CHANNEL_OPTIONS)
        return GrpcConnection(channel, _OWNER, timeout_s)
    try:
        credentials, _ = await asyncio.to_thread(
            google.auth.default, scopes=FirestoreGrpcAsyncIOTransport.AUTH_SCOPES
        )
    except DefaultCredentialsError as error:
        raise failed_precondition(
            "STORE_NOT_READY",
            "no Google credentials found; run under a service account, or set GOOGLE_APPLICATION_CREDENTIALS",
        ) from error
    secure = FirestoreGrpcAsyncIOTransport.create_channel(
        _HOST, credentials=credentials, options=_CHANNEL_OPTIONS + _KEEPALIVE
    )
    return GrpcConnection(secure, (), timeout_s)
