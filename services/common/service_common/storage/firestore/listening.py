"""What keeps a feed of a Firestore document going: one listen stream after another, each resuming the last.

A stream says CURRENT once it has told all that was; from then on every change arrives as it happens. RESET
takes that back until the next CURRENT. Streams end now and then by themselves, which is no failure.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from random import Random
from typing import Any

from google.api_core.exceptions import GoogleAPICallError
from google.cloud.firestore_v1.types import firestore as rpc

from service_common.resilience.retry import full_jitter_s
from service_common.storage.feed import DocumentFeed
from service_common.storage.firestore.connection import RPC_TIMEOUT_S, Connection

_ListenRequest: Any = rpc.ListenRequest.pb()
_Change = rpc.TargetChange.TargetChangeType
_TARGET = 1
_BASE_S = 0.25
_CAP_S = 15.0


class Listener:
    """Drives a feed. Its mutable state: the token to resume from.

    Args:
        feed: What to drive.
        database: `projects/{project}/databases/{database}`.
        name: The document's full name.
        connection: The wire.
        rng: Draws the waits between streams.
        opening_s: The longest a stream may take until it is current.
    """

    __slots__ = ("_connection", "_database", "_feed", "_name", "_opening_s", "_rng", "_token")

    def __init__(
        self,
        feed: DocumentFeed,
        database: str,
        name: str,
        *,
        connection: Connection,
        rng: Random,
        opening_s: float = RPC_TIMEOUT_S,
    ) -> None:
        self._feed = feed
        self._database = database
        self._name = name
        self._connection = connection
        self._rng = rng
        self._opening_s = opening_s
        self._token = b""

    async def run(self) -> None:
        """Listen, again and again, until the store is closed."""
        failures = 0
        while not self._feed.is_closed:
            with suppress(GoogleAPICallError, TimeoutError):
                await self._listen()
            if self._feed.is_live:
                failures = 0
            else:
                # It may be the token that Firestore does not want any more.
                self._token = b""
            self._feed.lost()
            failures += 1
            await asyncio.sleep(full_jitter_s(failures, base_s=_BASE_S, cap_s=_CAP_S, rng=self._rng))

    async def _listen(self) -> None:
        """Follow one stream to its end."""
        loop = asyncio.get_running_loop()
        async with (
            aclosing(self._connection.listen(self._request())) as answers,
            asyncio.timeout(self._opening_s) as patience,
        ):
            async for answer in answers:
                was_live = self._feed.is_live
                if not self._take(answer):
                    return
                if self._feed.is_live != was_live:
                    patience.reschedule(None if self._feed.is_live else loop.time() + self._opening_s)

    def _request(self) -> Any:
        request = _ListenRequest(database=self._database)
        request.add_target.target_id = _TARGET
        request.add_target.documents.documents.append(self._name)
        if self._token:
            request.add_target.resume_token = self._token
        return request

    def _take(self, answer: Any) -> bool:
        """Take in an answer; False if the stream has nothing more to say."""
        if answer.WhichOneof("response_type") == "target_change":
            return self._take_target(answer.target_change)
        if self._feed.is_live:
            self._feed.signal()
        return True

    def _take_target(self, change: Any) -> bool:
        kind = change.target_change_type
        self._token = change.resume_token or self._token
        if kind == _Change.CURRENT:
            self._feed.connected()
        elif kind == _Change.RESET:
            self._token = b""
            self._feed.lost()
        return bool(kind != _Change.REMOVE)
